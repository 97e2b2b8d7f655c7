#!/bin/sh
# 10,000 slow clients of each kind against a running edge, and one honest visitor beside them.
#
#   services/edge/tests/slow_clients.sh 127.0.0.1:8080 www.own.example [connections]
#
# The edge needs `connections_per_client = 0`: all of them come from one address. Needs slowhttptest
# and curl. Prints how long the honest visitor waited, in seconds; fails if it was not served.
set -eu
edge=$1
host=$2
connections=${3:-10000}
log=$(mktemp)
slow=
trap 'test -z "$slow" || kill "$slow" 2>/dev/null || true; rm -f "$log"' EXIT

ulimit -n "$(ulimit -H -n)"
for kind in -H -B -X; do
  slowhttptest -c "$connections" "$kind" -i 5 -r 2000 -l 40 -x 24 -u "http://$edge/" >/dev/null 2>&1 &
  slow=$!
  sleep 10
  : >"$log"
  count=0
  while [ "$count" -lt 200 ]; do
    curl -sf -o /dev/null -m 10 -H "Host: $host" -w '%{time_total}\n' "http://$edge/" >>"$log"
    count=$((count + 1))
    sleep 0.05
  done
  wait "$slow" || true
  slow=
  sort -n "$log" | awk -v kind="$kind" '{ t[NR] = $1 }
    END { print "slowhttptest " kind ": honest visitor: median", t[int(NR / 2)], "p99", t[int(NR * 0.99)], "max", t[NR] }'
done
