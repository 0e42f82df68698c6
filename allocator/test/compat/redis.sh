#!/bin/bash
# redis: load by redis-benchmark, BGSAVE by fork, restart from the dump.
source "$(dirname "$0")/lib.sh"
need redis-server redis-cli redis-benchmark perl
socket=$work/socket # no port, which another test might take
# While it reads its dump, redis answers everything with LOADING.
answers() { redis-cli -s "$socket" ping | grep -x PONG >/dev/null; }
cli() { redis-cli -s "$socket" "$@"; }
start() {
    LD_PRELOAD=$MYMALLOC_PRELOAD redis-server --port 0 --unixsocket "$socket" --save '' --dir "$work" \
        --daemonize no >>"$work/log" 2>&1 &
    servers+=($!)
    until_true answers
    took "${servers[-1]}"
}
start
with redis-benchmark -s "$socket" -q -n 40000 -c 20 -P 8 -d 100 -r 50000 -t set,get,lpush,hset,zadd \
    >"$work/benchmark"
grep -c 'requests per second' "$work/benchmark" >/dev/null || fail "redis-benchmark"
cli set marker kept >/dev/null
keys=$(cli dbsize)
((keys > 10000)) || fail "only $keys keys"
cli bgsave >/dev/null
saved() { cli info persistence | grep 'rdb_bgsave_in_progress:0' >/dev/null; }
until_true saved
cli info persistence | grep 'rdb_last_bgsave_status:ok'  >/dev/null|| fail "BGSAVE"
cli shutdown nosave || true
wait "${servers[-1]}" || fail "redis-server ended badly: $(tail -3 "$work/log")"
start
[[ $(cli dbsize) == "$keys" && $(cli get marker) == kept ]] || fail "the dump lost keys"
cli flushall >/dev/null
cli shutdown nosave || true
wait "${servers[-1]}" || fail "redis-server ended badly: $(tail -3 "$work/log")"
