#!/bin/bash
# What is resident with huge pages where they pay is no more than without, but for 2 % and noise.
#   huge.sh PROGRAM CASE...
set -euo pipefail
program=$1
export TEST_SEED=${TEST_SEED:-$RANDOM} # the same calls on both sides
for case in "${@:2}"; do
    figure() { MYMALLOC_HUGE=$1 TEST_HUGE=$1 "$program" "$case" | sed -n "s/^$case \([0-9]*\)$/\1/p"; }
    never=$(figure never) auto=$(figure auto)
    [[ $never && $auto ]] || exit 1
    bound=$((never * 102 / 100 + 1024))
    echo "$case: $auto KiB with huge pages, $never without, at most $bound"
    ((auto <= bound))
done
