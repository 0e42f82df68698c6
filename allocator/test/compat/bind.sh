#!/bin/bash
# BIND: it is linked with jemalloc, takes all objects by mallocx and gives them back by sdallocx.
source "$(dirname "$0")/lib.sh"
need named dig
port=$((20000 + RANDOM % 12000))
cat >"$work/named.conf" <<EOF
options {
    directory "$work";
    listen-on port $port { 127.0.0.1; };
    listen-on-v6 { none; };
    pid-file none;
    session-keyfile "$work/key";
    recursion no;
    allow-transfer { any; };
    dnssec-validation no;
};
controls { };
zone "test" { type primary; file "$work/zone"; };
EOF
{
    echo "\$TTL 60"
    echo '@ SOA ns.test. root.test. 1 60 60 60 60'
    echo '@ NS ns.test.'
    echo 'ns A 127.0.0.1'
    for i in $(seq 5000); do echo "host$i A 10.1.$((i / 256)).$((i % 256))"; done
} >"$work/zone"
LD_PRELOAD=$MYMALLOC_PRELOAD named -g -c "$work/named.conf" -n 2 >"$work/log" 2>&1 &
servers+=($!)
asks() { dig @127.0.0.1 -p $port +short +tries=1 +time=60 "$@"; }
until_true asks ns.test
took "${servers[-1]}"
for i in 1 2500 5000; do
    [[ $(asks "host$i.test") == "10.1.$((i / 256)).$((i % 256))" ]] || fail "host$i by UDP"
    [[ $(asks +tcp "host$i.test") == "10.1.$((i / 256)).$((i % 256))" ]] || fail "host$i by TCP"
done
lines=$(asks +tcp test axfr | wc -l)
((lines == 5004)) || fail "a transfer of the zone has $lines lines, not 5004"
kill "${servers[-1]}"
wait "${servers[-1]}" || fail "named ended badly: $(tail -3 "$work/log")"
grep ' exiting$' "$work/log" >/dev/null || fail "named did not end: $(tail -3 "$work/log")"
