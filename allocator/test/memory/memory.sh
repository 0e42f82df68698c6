#!/bin/bash
# Compare what a case of memory.c needs on mymalloc with a bound, or with libc's figure.
#   memory.sh PROGRAM LIBRARY trivial | mappings | idle | bounded | crowd | outgrown
set -euo pipefail
program=$1 library=$2 case=$3
figure() { sed -n "s/^$case \(-\{0,1\}[0-9]*\).*/\1/p"; }
least() { # of so many runs: which pages of a file the kernel maps along is chance, and which CPUs
    # a thread visits, each with a cache of its own
    for _ in $(seq "$1"); do "${@:2}" | figure; done | sort -n | head -n 1
}
export TEST_SEED=${TEST_SEED:-$RANDOM} # the same calls on both sides
runs=1
case $case in trivial | outgrown) runs=5 ;; esac
ours=$(least $runs env "LD_PRELOAD=$library" TEST_EXPECT=mymalloc "$program" "$case")
libc=$(least $runs "$program" "$case") || libc=0
case $case in
trivial) # without the line that names the front end, which stdio buffers
    bound=$((libc + 614)) ;;
mappings) bound=99 ;;
idle) bound=65536 ;;
crowd) bound=$((libc * 110 / 100)) ;;
outgrown) bound=$((libc * 113 / 100)) ;; # 1.10 seen, 1.25 without looking at growth
bounded) bound=$ours ;; # the program has checked it
esac
echo "$case: $ours on mymalloc, $libc on libc, at most $bound"
((ours <= bound))
