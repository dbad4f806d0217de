{{/* At most 51 characters, so that "-telemetry" and a pod's number still fit. */}}
{{- define "wardgate.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 51 | trimSuffix "-" -}}
{{- end }}

{{- define "wardgate.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end }}

{{- define "wardgate.labels" -}}
{{ include "wardgate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "wardgate.metadata" -}}
name: {{ include "wardgate.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "wardgate.labels" . | nindent 2 }}
{{- end }}

{{- define "wardgate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* The port at the end of an address such as 0.0.0.0:8080 or [::]:8080. */}}
{{- define "wardgate.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end }}

{{/* The port of the listener of a name; of the first one where the name is empty. Takes (list ROOT NAME). */}}
{{- define "wardgate.listenerPort" -}}
{{- $name := index . 1 -}}
{{- $found := "" -}}
{{- range (index . 0).Values.gateway.listeners -}}
{{- if and (not $found) (or (not $name) (eq .name $name)) -}}
{{- $found = include "wardgate.port" .address -}}
{{- end -}}
{{- end -}}
{{- $found | required (printf "no listener of gateway.listeners is called `%s`" $name) -}}
{{- end }}

{{/* "yes" where there is or may be more than one gateway. */}}
{{- define "wardgate.isReplicated" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) -}}yes{{- end -}}
{{- end }}

{{/* The Secret with the listeners' certificate; empty where there is none. */}}
{{- define "wardgate.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "wardgate.fullname" .)) -}}
{{- else -}}
{{- .Values.tls.secretName -}}
{{- end -}}
{{- end }}

{{/*
A digest of what a running gateway can't take up from a changed gateway.yaml. The rest is left out: it is loaded while the
gateway runs, and no pod is replaced.
*/}}
{{- define "wardgate.restartDigest" -}}
{{- $fixed := pick .Values.gateway "telemetry" "operators" "proxy_status" "audit" "shutdown" "threads" -}}
{{- $state := omit (.Values.gateway.state | default dict) "encryption_keys" "single_replica" -}}
{{- $listeners := list -}}
{{- range .Values.gateway.listeners -}}
{{- $listeners = append $listeners (omit . "trusted_proxies") -}}
{{- end -}}
{{- list $fixed $state $listeners | toYaml | sha256sum -}}
{{- end }}
