# Run by `helm test` in a pod of its own: see templates/tests/reachable.yaml.
# The gateway must answer first, so that what can't be reached at all, or can't be tried, is no success.
set -eu

# Whether a connection is accepted, whatever is said on it. After it `-e` runs a program, whose success is nc's.
accepts() { nc -w 5 "$1" "$2" -e /bin/true </dev/null >/dev/null 2>&1; }

number=0
while [ "$number" -lt "$COUNT" ]; do
  pod="$PODS-$number.$DOMAIN"
  if ! accepts "$pod" "$GATEWAY_PORT"; then
    echo "FAILED: the gateway does not answer at $pod:$GATEWAY_PORT"
    exit 1
  fi
  echo "ok: the gateway answers at $pod:$GATEWAY_PORT"
  if [ "$APP_PORT" != 0 ]; then
    if accepts "$pod" "$APP_PORT"; then
      echo "FAILED: the application answers at $pod:$APP_PORT, around the gateway: let it listen on 127.0.0.1 only"
      exit 1
    fi
    echo "ok: the application does not answer at $pod:$APP_PORT"
  fi
  number=$((number + 1))
done
