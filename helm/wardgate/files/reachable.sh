# Run by `helm test` in a pod of its own: see templates/tests/reachable.yaml.
# Tells an address that does not answer from one that was never reached: the gateway must answer first.
set -eu
number=0
while [ "$number" -lt "$COUNT" ]; do
  pod="$PODS-$number.$DOMAIN"
  if ! nc -w 5 "$pod" "$GATEWAY_PORT" </dev/null >/dev/null; then
    echo "FAILED: the gateway does not answer at $pod:$GATEWAY_PORT"
    exit 1
  fi
  echo "ok: the gateway answers at $pod:$GATEWAY_PORT"
  if [ "$APP_PORT" != 0 ]; then
    if nc -w 5 "$pod" "$APP_PORT" </dev/null >/dev/null; then
      echo "FAILED: the application answers at $pod:$APP_PORT, around the gateway: let it listen on 127.0.0.1 only"
      exit 1
    fi
    echo "ok: the application does not answer at $pod:$APP_PORT"
  fi
  number=$((number + 1))
done
