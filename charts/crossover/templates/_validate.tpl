{{/* Combinations that the schema cannot refuse: each names the value and the remedy. */}}
{{- define "crossover.validate" -}}
{{- $v := .Values }}
{{- if eq $v.database.mode "external" }}
  {{- if not $v.database.external.existingSecret }}
    {{- fail "database.external.existingSecret: empty in external mode; name a secret of this namespace with the SQLAlchemy URL of a PostgreSQL database" }}
  {{- end }}
{{- else }}
  {{- if include "crossover.severalReplicas" . }}
    {{- fail "registry.replicas, registry.autoscaling: more than one replica cannot share the embedded SQLite; set database.mode=external, or one replica" }}
  {{- end }}
  {{- if $v.database.sqlLogin.existingSecret }}
    {{- fail "database.sqlLogin.existingSecret: SQLite has no logins; set database.mode=external, or leave it empty" }}
  {{- end }}
{{- end }}
{{- with $v.registry }}
  {{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) }}
    {{- fail "registry.autoscaling.minReplicas: larger than maxReplicas; lower it" }}
  {{- end }}
  {{- if lt (int .terminationGracePeriodSeconds) (int (add .preStopSeconds 20)) }}
    {{- fail "registry.terminationGracePeriodSeconds: shorter than preStopSeconds and the 20 seconds in which requests are finished; raise it" }}
  {{- end }}
  {{- if and .kubernetesAudience (not .serviceAccount.create) (not .serviceAccount.name) }}
    {{- fail "registry.serviceAccount.name: empty, and the default service account would get system:auth-delegator; name one, set create=true, or empty registry.kubernetesAudience" }}
  {{- end }}
  {{- if and .allowedHosts $v.monitoring.serviceMonitor.enabled }}
    {{- fail "registry.allowedHosts: Prometheus calls pods by their address, which would be refused; leave it empty, or set monitoring.serviceMonitor.enabled=false" }}
  {{- end }}
{{- end }}
{{- $tokens := merge dict (default dict $v.pipeline.profile.env) (default dict $v.pipeline.profile.env_from_secrets) }}
{{- if and (eq $v.pipeline.mode "api") (ne $v.registry.kubernetesAudience "cluster") (not (hasKey $tokens "CROSSOVER_REGISTRY_TOKEN")) (not (hasKey $tokens "CROSSOVER_REGISTRY_TOKEN_FILE")) }}
  {{- fail "registry.kubernetesAudience: the token in a pipeline's pod is for the API server alone; set it to `cluster`, or name a secret in pipeline.profile.env_from_secrets.CROSSOVER_REGISTRY_TOKEN" }}
{{- end }}
{{- if and (ne $v.pipeline.mode "none") (not $v.pipeline.workspace) (not $v.s3.bucket) }}
  {{- fail "s3.bucket: empty, and pipelines need an object store; set it, or pipeline.workspace=s3://BUCKET/PREFIX, or pipeline.mode=none" }}
{{- end }}
{{- if and $v.kserve.enabled $v.kserve.storageContainer.enabled (not $v.s3.bucket) }}
  {{- fail "s3.bucket: empty, and kserve.storageContainer is for one bucket; set it, or kserve.storageContainer.enabled=false" }}
{{- end }}
{{- with $v.ingress }}
  {{- if and .enabled (not .host) }}
    {{- fail "ingress.host: empty, and an Ingress for any host would take others' requests; set it" }}
  {{- end }}
  {{- if and .enabled (not .tlsSecret) (not .allowPlainHttp) }}
    {{- fail "ingress.tlsSecret: empty, and tokens would travel in clear; name a secret with a certificate, or set ingress.allowPlainHttp=true where TLS ends elsewhere" }}
  {{- end }}
{{- end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}
  {{- fail "httpRoute.parentRefs: empty; name the gateway, such as [{name: public, namespace: gateways}]" }}
{{- end }}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.clientNamespaces) }}
  {{- range $name, $on := dict "ingress.enabled" $v.ingress.enabled "httpRoute.enabled" $v.httpRoute.enabled "monitoring.serviceMonitor.enabled" $v.monitoring.serviceMonitor.enabled }}
    {{- if $on }}
      {{- fail (printf "networkPolicy.clientNamespaces: empty, and %s needs the namespace that the calls come from; name it, or set networkPolicy.enabled=false" $name) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- range $part := list "registry" "training" "predictor" }}
  {{- include "crossover.validateImage" (dict "name" (printf "images.%s" $part) "image" (index $v.images $part)) }}
{{- end }}
{{- include "crossover.validateImage" (dict "name" "kserve.storageContainer.image" "image" $v.kserve.storageContainer.image) }}
{{- $places := dict "registry" $v.registry.extraEnv "migration" $v.migration.extraEnv "pipeline" $v.pipeline.extraEnv "retention" $v.retention.extraEnv "trainer" $v.trainer.extraEnv "kserve.runtime" $v.kserve.runtime.extraEnv }}
{{- range $place, $variables := $places }}
  {{- range $variables }}
    {{- if hasKey . "value" }}
      {{- include "crossover.validateVariable" (dict "field" (printf "%s.extraEnv" $place) "name" .name "value" .value) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- range $name, $value := $v.pipeline.profile.env }}
  {{- include "crossover.validateVariable" (dict "field" "pipeline.profile.env" "name" $name "value" $value) }}
{{- end }}
{{- end }}

{{- define "crossover.validateImage" -}}
{{- if and (eq .image.tag "latest") (not .image.digest) }}
  {{- fail (printf "%s.tag: `latest` is another image tomorrow; name a version, or a digest" .name) }}
{{- end }}
{{- end }}

{{- define "crossover.validateVariable" -}}
{{- $secret := or (regexMatch "(PASSWORD|SECRET|SECRET_KEY|ACCESS_KEY|TOKEN)$" .name) (regexMatch "://[^/@]*:[^/@]+@" (toString .value)) }}
{{- if and $secret .value }}
  {{- fail (printf "%s: %s holds a secret, and values are stored and shown in clear; take it from a Secret by valueFrom.secretKeyRef, in a profile by env_from_secrets" .field .name) }}
{{- end }}
{{- end }}
