#!/bin/bash
# stress-ng: its malloc stressors verify what they wrote.
source "$(dirname "$0")/lib.sh"
need stress-ng
loads stress-ng
cd "$work"
with stress-ng --malloc 4 --malloc-ops 40000 --malloc-bytes 64M --malloc-pthreads 2 --malloc-touch \
    --verify --timeout 5 >"$work/log" 2>&1 || { cat "$work/log"; fail "stress-ng"; }
grep -vE 'failed: 0$' "$work/log" | grep -E 'fail|abort|terminated on signal' && fail "stress-ng"
grep -q 'successful run completed' "$work/log" || fail "stress-ng did not complete"
