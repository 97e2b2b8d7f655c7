#!/bin/sh
# Installs what the comparison runs beside the edge, from Debian's packages; does nothing if all is
# there. Debian starts some of them as services when it installs them: that is held off here.
set -eu

missing=
need() { # COMMAND PACKAGE
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need nginx nginx-light
need haproxy haproxy
need varnishd varnish
need wrk wrk
need h2load nghttp2-client
need gcc gcc
need openssl openssl
need taskset util-linux
need python3 python3
[ -z "$missing" ] && exit 0

echo "installing:$missing"
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "error: these packages are missing:$missing" >&2
  echo "       install them with your system's tool; apt-get needs root" >&2
  exit 1
fi
# Without this file, or with it saying 101, invoke-rc.d starts nothing.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing libc6-dev
