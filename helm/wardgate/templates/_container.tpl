{{/* The gateway's container, in a pod of its own or as a native sidecar. */}}
{{- define "wardgate.container" -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
name: wardgate
image: {{ include "wardgate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: ["run", "--config", "/etc/wardgate/gateway.yaml"]
{{- if $sidecar }}
# An init container that stays: it is there before the application, and ends after it.
restartPolicy: Always
lifecycle:
  # Clients are sent elsewhere while the application still answers.
  preStop:
    exec: { command: [/usr/local/bin/wardgate, drain] }
{{- end }}
securityContext:
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
ports:
  {{- range .Values.gateway.listeners }}
  - containerPort: {{ include "wardgate.port" .address }}
    protocol: TCP
  {{- end }}
  - name: telemetry
    containerPort: {{ include "wardgate.port" .Values.gateway.telemetry.address }}
    protocol: TCP
startupProbe:
  httpGet: { path: /healthz, port: telemetry }
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: telemetry }
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: telemetry }
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  # The whole directory: a file mounted by `subPath` would never change.
  - { name: config, mountPath: /etc/wardgate, readOnly: true }
  - { name: audit, mountPath: {{ .Values.gateway.audit.dir | quote }} }
  {{- if or .Values.keyFiles.secretName .Values.keyFiles.secretProviderClass }}
  - { name: key-files, mountPath: {{ .Values.keyFiles.mountPath | quote }}, readOnly: true }
  {{- end }}
  {{- if include "wardgate.tlsSecret" . }}
  - { name: tls, mountPath: {{ .Values.tls.mountPath | quote }}, readOnly: true }
  {{- end }}
  {{- if .Values.gateway.operators }}
  - { name: run, mountPath: /run/wardgate }
  {{- end }}
  {{- if and $sidecar .Values.app.socketDir }}
  - { name: app-socket, mountPath: {{ .Values.app.socketDir | quote }} }
  {{- end }}
{{- end }}

{{/* The application beside it. No port of it is declared: nothing may be sent there. */}}
{{- define "wardgate.app" -}}
{{- $app := .Values.app -}}
name: app
image: {{ $app.image | quote }}
{{- with $app.command }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $app.args }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $app.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
lifecycle:
  # It answers while the gateway sends its clients elsewhere.
  preStop: { sleep: { seconds: 5 } }
{{- with $app.readinessPath }}
readinessProbe:
  # Through the gateway: a kubelet reaches neither loopback nor a socket.
  httpGet:
    path: {{ . }}
    port: {{ include "wardgate.listenerPort" (list $ "") }}
    scheme: {{ ternary "HTTPS" "HTTP" (hasKey (first $.Values.gateway.listeners) "tls") }}
  periodSeconds: 5
  timeoutSeconds: 2
{{- end }}
securityContext:
  {{- toYaml $app.securityContext | nindent 2 }}
resources:
  {{- toYaml $app.resources | nindent 2 }}
{{- if or $app.socketDir $app.volumeMounts }}
volumeMounts:
  {{- with $app.socketDir }}
  - { name: app-socket, mountPath: {{ . | quote }} }
  {{- end }}
  {{- with $app.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
