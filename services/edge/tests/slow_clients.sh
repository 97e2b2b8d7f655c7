#!/bin/sh
# 10,000 slow clients of each kind against an edge, and honest visitors beside them.
#
#   services/edge/tests/slow_clients.sh target/debug/headroom [CLIENTS]
#
# Starts an edge and an origin on loopback, then one kind of slow client after the other: some send
# the head of a request slowly, some its content, some take a large response slowly. Meanwhile an
# honest visitor asks for a stored page and for one that comes from the origin each time. Prints how
# long it waited. Fails if it was not served once, or if half of the slow clients were not there.
#
# Needs slowhttptest, curl and python3, and installs them from Debian's packages if it may.
set -eu
here=$(dirname "$0")
binary=$1
clients=${2:-10000}
requests=100
host=www.own.example

missing=
need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need slowhttptest slowhttptest
need curl curl
need python3 python3
if [ -n "$missing" ]; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "error: these packages are missing:$missing" >&2
    echo "       install them with your system's tool; apt-get needs root" >&2
    exit 1
  fi
  echo "installing:$missing"
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi

# An edge takes as many connections as it has pairs of descriptors, one to the visitor and one to an
# origin, less 256 that it keeps. Where it has fewer than there are slow clients, those that have
# kept it waiting the longest make room for the honest visitor.
ulimit -n "$(ulimit -H -n)"
held=$(ulimit -n)
if [ "$held" != unlimited ]; then
  if [ "$held" -lt $((clients + 100)) ]; then
    echo "error: a process may open $held files here; slowhttptest needs $((clients + 100)) (ulimit -n)" >&2
    exit 1
  fi
  fit=$(((held - 256) / 2))
  if [ "$fit" -lt "$clients" ]; then
    echo "note: a process may open $held files here, so that the edge has room for $fit visitors"
  fi
fi

folder=$(mktemp -d)
edge= origin= slow=
end() {
  for process in $slow $edge $origin; do
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT TERM

# Waits up to 20 s, or a little longer, until a command succeeds.
until_so() {
  tries=200
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.1
  done
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

ask() { # PATH: how long it took, in seconds
  curl -sf -o /dev/null -m 10 -H "Host: $host" -w '%{time_total}\n' "http://127.0.0.1:$port$1"
}

# Connections to the edge that are open now (proc(5): state 01).
connections() {
  awk -v port="$(printf '%04X' "$port")" '$4 == "01" && $2 ~ ":" port "$" { n++ } END { print n + 0 }' /proc/net/tcp
}

are_there() { [ "$(connections)" -ge $((clients * 9 / 10)) ]; }
have_stayed() { [ "$(connections)" -ge $((clients / 2)) ]; }
are_gone() { [ "$(connections)" -lt 10 ]; }

python3 "$here/slow_origin.py" "$folder/port" &
origin=$!
until_so test -s "$folder/port" || { echo "error: the origin does not start" >&2; exit 1; }
port=$(free_port)
cat >"$folder/headroom.toml" <<END
[network]
zone = "cdn.example"
[[name_servers]]
id = "ns1"
host = "ns1.cdn.example"
addresses = ["127.0.0.1"]
[[regions]]
id = "east"
[[regions.edges]]
id = "east-1"
addresses = ["127.0.0.1"]
capacity = "500 units"
[edge]
port = $port
connections_per_client = 0
allow_private_origins = true
# Longer than the visits take: slow clients are to stay, not to be sent away.
head_timeout = "60s"
send_timeout = "60s"
origin_response_timeout = "60s"
END
cat >"$folder/plan.json" <<END
{ "generation": 1, "made_at": "2026-01-01T00:00:00Z", "zone": "cdn.example", "ttl_seconds": 20,
  "default_region": "east",
  "name_servers": [{ "id": "ns1", "host": "ns1.cdn.example", "addresses": ["127.0.0.1"] }],
  "regions": [{ "id": "east", "client_prefixes": [],
    "edges": [{ "id": "east-1", "addresses": ["127.0.0.1"], "healthy": true }] }],
  "sites": [{ "id": "own", "hosts": ["$host"], "origins": ["127.0.0.1:$(cat "$folder/port")"],
    "over_share": "pass-through", "fallback": "$host", "entitlements": [],
    "remainder": { "policy": "return", "name": "$host" } }] }
END
"$binary" edge --config "$folder/headroom.toml" --id east-1 --plan "$folder/plan.json" 2>"$folder/edge.log" &
edge=$!
if ! until_so ask /large >/dev/null || ! ask /stored >/dev/null; then
  echo "error: the edge does not serve:" >&2
  cat "$folder/edge.log" >&2
  exit 1
fi

# One honest visitor asks for PATH, again and again: a line for each, the seconds or "failed".
visit() {
  count=0
  while [ "$count" -lt "$requests" ]; do
    if took=$(ask "$1"); then echo "$took"; else echo failed; fi
    count=$((count + 1))
    sleep 0.02
  done
}

row() { # FIRST-COLUMNS FILE
  grep -v failed "$2" | sort -n | awk -v first="$1" -v failed="$(grep -c failed "$2")" '
    { t[NR] = $1 * 1000 }
    END { printf "%s %6d %6d %8.1f ms %8.1f ms %8.1f ms\n", first, NR, failed, \
          t[int((NR + 1) / 2)], t[int((NR * 99 + 99) / 100)], t[NR] }'
}

wrong=0
printf '%-14s %7s %-9s %6s %6s %11s %11s %11s\n' \
  "slow in" clients visitor served failed median p99 most
for kind in none -H -B -X; do
  # The most bytes at a time. With less content than that, the edge would send them away too soon.
  piece=24
  case $kind in
  none) name="(nobody)" ;;
  -H) name="head" ;;
  -B) name="content" piece=1200 ;;
  -X) name="taking 1 MiB" ;;
  esac
  if [ "$kind" != none ]; then
    # As through a proxy, so that the edge is asked for a host that it serves.
    slowhttptest -c "$clients" "$kind" -i 5 -r 2000 -l 90 -x "$piece" -s 65536 \
      -d "127.0.0.1:$port" -u "http://$host/large" >"$folder/slow.log" 2>&1 &
    slow=$!
    until_so are_there || true
  fi
  for page in stored fetched; do
    there=$(connections)
    visit "/$page" >"$folder/$page"
    row "$(printf '%-14s %7d %-9s' "$name" "$there" "$page")" "$folder/$page"
    if [ "$kind" != none ] && ! have_stayed; then
      echo "error: only $(connections) of $clients slow clients stayed: this shows nothing ($name, $page)" >&2
      wrong=1
    fi
  done
  if grep -q failed "$folder/stored" "$folder/fetched"; then
    echo "error: the honest visitor was not served while others were slow in: $name" >&2
    wrong=1
  fi
  if [ "$kind" != none ]; then
    kill "$slow" 2>/dev/null || true
    wait "$slow" 2>/dev/null || true
    slow=
    until_so are_gone || true
  fi
done
if ! kill -0 "$edge" 2>/dev/null; then
  echo "error: the edge ended:" >&2
  cat "$folder/edge.log" >&2
  wrong=1
fi
exit "$wrong"
