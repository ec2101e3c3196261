{{/* What the Pod Security Standard `restricted` asks of a pod. */}}
{{- define "crossover.podSecurityContext" -}}
runAsNonRoot: true
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- $value := index $.Values.podSecurity $name }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ $value | int64 }}
{{- end }}
{{- end }}
{{- if not (kindIs "invalid" .Values.podSecurity.fsGroup) }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* And of a container. Where no pod's context applies (KServe), that of the pod goes in, too. */}}
{{- define "crossover.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "crossover.standaloneSecurityContext" -}}
{{ include "crossover.containerSecurityContext" . }}
{{- range $name := list "runAsUser" "runAsGroup" }}
{{- $value := index $.Values.podSecurity $name }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ $value | int64 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of every pod: (dict "root" $ "part" .Values.registry) */}}
{{- define "crossover.podBasics" -}}
enableServiceLinks: false
securityContext:
  {{- include "crossover.podSecurityContext" .root | nindent 2 }}
{{- include "crossover.placement" . }}
{{- end }}

{{- define "crossover.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $.part $name }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of a container with the image `image`. */}}
{{- define "crossover.containerBasics" -}}
image: {{ include "crossover.image" . }}
imagePullPolicy: {{ .image.pullPolicy }}
securityContext:
  {{- include "crossover.containerSecurityContext" .root | nindent 2 }}
resources:
  {{- toYaml .part.resources | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}
