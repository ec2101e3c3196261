{{- define "crossover.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "crossover.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "crossover.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "crossover.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "crossover.registry" -}}{{ include "crossover.fullname" . }}-registry{{- end }}

{{/* Names of objects without a namespace, which two releases of one name must not share. */}}
{{- define "crossover.clusterName" -}}{{ include "crossover.fullname" . }}-{{ .Release.Namespace }}{{- end }}

{{/* (dict "root" $ "component" "registry"): these never change, for selectors cannot. */}}
{{- define "crossover.selectorLabels" -}}
app.kubernetes.io/name: {{ include "crossover.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "crossover.labels" -}}
{{ include "crossover.selectorLabels" . }}
app.kubernetes.io/part-of: crossover
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* (dict "root" $ "image" .Values.images.registry) */}}
{{- define "crossover.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "crossover.registryServiceAccount" -}}
{{- with .Values.registry.serviceAccount -}}
{{- .name | default (ternary (include "crossover.registry" $) "default" .create) -}}
{{- end -}}
{{- end }}

{{- define "crossover.uploadServiceAccount" -}}
{{ .Values.pipeline.serviceAccount.name | default (printf "%s-upload" (include "crossover.fullname" .)) }}
{{- end }}

{{- define "crossover.registryUrl" -}}
http://{{ include "crossover.registry" . }}.{{ .Release.Namespace }}:{{ .Values.registry.service.port }}
{{- end }}

{{- define "crossover.workspace" -}}
{{ .Values.pipeline.workspace | default (printf "s3://%s/studies/demo" .Values.s3.bucket) }}
{{- end }}

{{- define "crossover.claim" -}}
{{ .Values.database.embedded.existingClaim | default (printf "%s-data" (include "crossover.registry" .)) }}
{{- end }}

{{/* JSON list of the namespaces in which pipelines run. */}}
{{- define "crossover.pipelineNamespaces" -}}
{{ .Values.pipelineNamespaces | default (list .Release.Namespace) | uniq | toJson }}
{{- end }}

{{/* Whether more than one replica of the registry may run: "true" or nothing. */}}
{{- define "crossover.severalReplicas" -}}
{{- if or .Values.registry.autoscaling.enabled (gt (int .Values.registry.replicas) 1) -}}true{{- end -}}
{{- end }}

{{/* The registry's database, for those who may open it. */}}
{{- define "crossover.databaseEnv" -}}
- name: CROSSOVER_REGISTRY_URL
{{- if eq .Values.database.mode "external" }}
  valueFrom:
    secretKeyRef: {name: {{ .Values.database.external.existingSecret | quote }}, key: {{ .Values.database.external.key | quote }}}
{{- else }}
  value: sqlite:////data/registry.sqlite
{{- end }}
{{- end }}

{{- define "crossover.s3Settings" -}}
{{- with .Values.s3 -}}
{{- if .endpoint }}
CROSSOVER_S3_ENDPOINT: {{ .endpoint | quote }}
{{- end }}
{{- if .region }}
CROSSOVER_S3_REGION: {{ .region | quote }}
{{- end }}
CROSSOVER_S3_SECURE: {{ .secure | quote }}
{{- end }}
{{- end }}

{{- define "crossover.s3Env" -}}
{{- range $name, $value := include "crossover.s3Settings" . | fromYaml }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.s3 }}
{{- if .existingSecret }}
- name: CROSSOVER_S3_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .accessKeyKey | quote }}}
- name: CROSSOVER_S3_SECRET_KEY
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .secretKeyKey | quote }}}
{{- end }}
{{- end }}
{{- end }}
