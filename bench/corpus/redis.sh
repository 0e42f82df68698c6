#!/bin/sh
# redis-long: A cache with 32 MB at most, under commands of nine kinds and values of 16 B to 5 KB; an I/O thread, and frees
# of whole lists and hashes by a helper.
set -eu
socket=$PROGRAM_SCRATCH/socket
redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no --dir "$PROGRAM_SCRATCH" --loglevel warning \
    --io-threads 2 --io-threads-do-reads yes --maxmemory 32mb --maxmemory-policy allkeys-lru \
    --lazyfree-lazy-eviction yes --lazyfree-lazy-user-del yes --lazyfree-lazy-user-flush yes \
    >"$PROGRAM_SCRATCH/log" 2>&1 &
server=$!
unset LD_PRELOAD
tries=0
until redis-cli -s "$socket" ping >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 1000 ] || ! kill -0 "$server" 2>/dev/null; then
        echo "redis-server does not answer" >&2
        exit 1
    fi
    sleep 0.02
done
end=$(($(date +%s) + PROGRAM_SECONDS)) size=16
while [ "$(date +%s)" -lt "$end" ]; do
    redis-benchmark -s "$socket" -q -r 50000 -c 20 -n 2000 -d "$size" -t set,get,incr,lpush,rpop,sadd,hset,zadd,spop \
        >"$PROGRAM_SCRATCH/load" 2>&1
    size=$((size * 3 % 5000 + 16))
    redis-cli -s "$socket" del mylist myset myhash myzset >>"$PROGRAM_SCRATCH/load"
done
redis-cli -s "$socket" set answer 42 >/dev/null
[ "$(redis-cli -s "$socket" get answer)" = 42 ] || { tail -n 3 "$PROGRAM_SCRATCH/load" >&2; exit 1; }
redis-cli -s "$socket" shutdown nosave >/dev/null 2>&1 || true
wait "$server"
