#!/bin/sh
# Installs what a comparison runs beside us, from Debian's packages, each told as COMMAND:PACKAGE, or
# as :PACKAGE if it has no command; does nothing if all is there. Debian starts some of them as services when it installs them: that is held off here.
set -eu

missing=
for needed in "$@" gcc:gcc taskset:util-linux python3:python3; do
  case $needed in
    :*) dpkg -s "${needed#:}" >/dev/null 2>&1 ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "${needed%%:*}" >/dev/null 2>&1 ;;
  esac || missing="$missing ${needed#*:}"
done
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
