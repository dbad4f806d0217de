{{/* What would render but not work is refused here. */}}
{{- define "wardgate.validate" -}}
{{- $gateway := .Values.gateway -}}
{{- $state := $gateway.state | default dict -}}
{{- if include "wardgate.isReplicated" . -}}
{{- if ne (toString $state.store) "redis" -}}
{{- fail "more than one gateway needs gateway.state.store: redis (replicaCount must be 1, and autoscaling off, without it): what is revoked and what is used up is known to one gateway, so a second one would honour what the first has refused" -}}
{{- end -}}
{{- if not (dig "pseudonyms" "key_file" "" $gateway.audit) -}}
{{- fail "with more than one gateway, gateway.audit.pseudonyms.key_file must name a key that they share (`openssl rand -hex 32`, in keyFiles): else each would give the same person another pseudonym" -}}
{{- end -}}
{{- if dig "pseudonyms" "rotate" "" $gateway.audit -}}
{{- fail "with more than one gateway, gateway.audit.pseudonyms.rotate needs a directory that all pods share, and this chart mounts none: else each would make keys of its own" -}}
{{- end -}}
{{- if $state.single_replica -}}
{{- fail "gateway.state.single_replica says that there is one gateway, and replicaCount or autoscaling that there are more" -}}
{{- end -}}
{{- end -}}
{{- $addresses := list (dict "of" "gateway.telemetry" "address" $gateway.telemetry.address) -}}
{{- range $gateway.listeners -}}
{{- $addresses = append $addresses (dict "of" (printf "listener `%s`" .name) "address" .address) -}}
{{- end -}}
{{- $app := int .Values.app.port -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
{{- range $addresses -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" .address -}}
{{- fail (printf "%s listens on %s, which nothing outside the pod can reach: use 0.0.0.0:%s" .of .address (include "wardgate.port" .address)) -}}
{{- end -}}
{{- if and $sidecar (eq $app (int (include "wardgate.port" .address))) -}}
{{- fail (printf "%s has the application's port %d: they share a network, so give it another one" .of $app) -}}
{{- end -}}
{{- end -}}
{{- with $state.data_dir -}}
{{- if not (hasPrefix (printf "%s/" (trimSuffix "/" $gateway.audit.dir)) .) -}}
{{- fail (printf "gateway.state.data_dir is %s, which is on no volume: put it below gateway.audit.dir, as in %s/state" . (trimSuffix "/" $gateway.audit.dir)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.keyFiles.secretName .Values.keyFiles.secretProviderClass -}}
{{- fail "keyFiles has both a secretName and a secretProviderClass: leave one empty" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not (and .Values.tls.certManager.issuerRef.name .Values.tls.certManager.dnsNames)) -}}
{{- fail "tls.certManager needs issuerRef.name and dnsNames" -}}
{{- end -}}
{{- if $sidecar -}}
{{- if not .Values.app.image -}}
{{- fail "mode sidecar needs app.image, the application that the gateway protects" -}}
{{- end -}}
{{- $endpoints := list -}}
{{- range $gateway.upstreams -}}
{{- $endpoints = concat $endpoints (.endpoints | default list) -}}
{{- end -}}
{{- if .Values.app.socketDir -}}
{{- $socket := printf "unix:%s/" (trimSuffix "/" .Values.app.socketDir) -}}
{{- $found := false -}}
{{- range $endpoints -}}{{- if hasPrefix $socket . -}}{{- $found = true -}}{{- end -}}{{- end -}}
{{- if not $found -}}{{- fail (printf "no upstream of gateway.upstreams has an endpoint in app.socketDir, as in %sapp.sock" $socket) -}}{{- end -}}
{{- else if not (or (has (printf "127.0.0.1:%d" $app) $endpoints) (has (printf "[::1]:%d" $app) $endpoints)) -}}
{{- fail (printf "no upstream of gateway.upstreams has the application's endpoint 127.0.0.1:%d (app.port), and app.socketDir is empty" $app) -}}
{{- end -}}
{{- if or .Values.ingress.enabled .Values.httpRoute.enabled -}}
{{- fail "ingress and httpRoute are for mode edge: point yours to the release's Service" -}}
{{- end -}}
{{- end -}}
{{- end }}
