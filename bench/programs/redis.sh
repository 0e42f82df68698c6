#!/bin/sh
# redis: a server in memory: strings, a list, a hash, sets of small values, strings of 2 KiB; 20 clients with 16
# requests each under way, and 1,000 values that must still be what they were when all is done.
set -eu
# redis.sh serve | ready | load
socket=$PROGRAM_SCRATCH/socket # no port, which another process might hold
requests=$((200000 / ${PROGRAM_PART-1})) # the tests ask for a hundredth
long=$((requests > 20000 ? requests / 10 : 2000)) # what takes no millisecond has a rate of inf

ask() {
    redis-cli -s "$socket" "$@"
}

load() { # named as redis-benchmark names it, and what follows the name
    suffix=$1
    shift
    redis-benchmark -s "$socket" -r 200000 -P 16 -c 20 "$@" >"$PROGRAM_SCRATCH/told"
    tr '\r' '\n' <"$PROGRAM_SCRATCH/told" | sed "s/^====== \(.*\) ======/====== \1$suffix ======/"
}

values() { # what $1 has awk print of number i and its value
    awk 'BEGIN { for (i = 1; i <= 1000; i++) { value = sprintf("%0" (8 + i * 7 % 2000) "d", i); print '"$1"' } }'
}

same() { # $1: name; the rest: what was wanted, what is there
    [ "$2" = "$3" ] || { echo "redis: $1: $3 instead of $2" >&2; exit 1; }
}

case $1 in
serve)
    exec redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no --dir "$PROGRAM_SCRATCH" --loglevel warning ;;
ready)
    [ "$(ask ping 2>&1)" = PONG ] ;;
load)
    values '"SET check:" i " " value' | ask >"$PROGRAM_SCRATCH/set"
    same "values stored" 1000 "$(grep -c '^OK$' "$PROGRAM_SCRATCH/set")"
    load '' -n "$requests" -d 64 -t set,get,incr,lpush,sadd,hset,zadd
    load ' 2 KiB' -n "$long" -d 2048 -t set,get
    values value >"$PROGRAM_SCRATCH/wanted"
    values '"GET check:" i' | ask >"$PROGRAM_SCRATCH/found"
    cmp "$PROGRAM_SCRATCH/wanted" "$PROGRAM_SCRATCH/found" >&2 || { echo "redis: a value is not what was stored" >&2; exit 1; }
    same "length of the list" "$requests" "$(ask llen mylist)" ;;
esac
