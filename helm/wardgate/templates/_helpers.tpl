{{/* At most 53 characters, so that "-telemetry" still fits a Service's name. */}}
{{- define "wardgate.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 53 | trimSuffix "-" -}}
{{- end }}

{{- define "wardgate.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wardgate.labels" -}}
{{ include "wardgate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The port at the end of an address such as 0.0.0.0:8080 or [::]:8080. */}}
{{- define "wardgate.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end }}

{{/* "yes" where several gateways share their state. */}}
{{- define "wardgate.isReplicated" -}}
{{- $state := .Values.gateway.state | default dict -}}
{{- if and (eq (toString $state.store) "redis") (ne (int .Values.replicaCount) 1) -}}yes{{- end -}}
{{- end }}

{{/* What would render but not work is refused here. */}}
{{- define "wardgate.validate" -}}
{{- if include "wardgate.isReplicated" . -}}
{{- if not (dig "pseudonyms" "key_file" "" .Values.gateway.audit) -}}
{{- fail "with more than one replica, gateway.audit.pseudonyms.key_file must name a key that they share (`openssl rand -hex 32`, in keyFiles): else each would give the same person another pseudonym" -}}
{{- end -}}
{{- if dig "pseudonyms" "rotate" "" .Values.gateway.audit -}}
{{- fail "with more than one replica, gateway.audit.pseudonyms.rotate needs a directory that all pods share, and this chart mounts none: else each would make keys of its own" -}}
{{- end -}}
{{- else if ne (int .Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount must be 1, not %d, unless gateway.state.store is redis: what is revoked and what is used up is known to one gateway, so a second one would honour what the first has refused" (int .Values.replicaCount)) -}}
{{- end -}}
{{- $addresses := list (dict "of" "gateway.telemetry" "address" .Values.gateway.telemetry.address) -}}
{{- range .Values.gateway.listeners -}}
{{- $addresses = append $addresses (dict "of" (printf "listener `%s`" .name) "address" .address) -}}
{{- end -}}
{{- range $addresses -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" .address -}}
{{- fail (printf "%s listens on %s, which nothing outside the pod can reach: use 0.0.0.0:%s" .of .address (include "wardgate.port" .address)) -}}
{{- end -}}
{{- end -}}
{{- end }}
