#!/bin/sh
# redis: a server under the allocator, its load generator without it. SET and GET of small
# and larger values and list and hash traffic; the run ends when the load has been served.
set -eu
socket=$PROGRAM_SCRATCH/socket # no port, which another process might hold
redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no --dir "$PROGRAM_SCRATCH" \
    --loglevel warning >"$PROGRAM_SCRATCH/log" 2>&1 &
server=$!
unset LD_PRELOAD LD_DEBUG LD_DEBUG_OUTPUT
tries=0
until redis-cli -s "$socket" ping >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || wait "$server"
    tries=$((tries + 1))
    [ "$tries" -lt 500 ] || { echo "redis-server does not answer" >&2; exit 1; }
    sleep 0.01
done
load() {
    redis-benchmark -s "$socket" -q -r 200000 -P 16 -c 20 "$@" >/dev/null
}
load -n 200000 -d 64 -t set,get,lpush,hset
load -n 20000 -d 2048 -t set,get
redis-cli -s "$socket" shutdown nosave >/dev/null 2>&1 || true
wait "$server"
