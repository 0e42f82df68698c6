#!/bin/bash
# Compare what a case of memory.c needs on mymalloc with a bound, or with libc's figure.
#   memory.sh PROGRAM LIBRARY trivial | mappings | idle... | bounded | crowd | crowd-tls | outgrown | beside | few | seldom | instead | ends
set -euo pipefail
program=$1 library=$2 case=$3
figure() { sed -n "s/^$case \(-\{0,1\}[0-9]*\).*/\1/p"; }
ranked() { # RANK RUNS COMMAND...: which CPUs a thread visits, each with a cache of its own, is chance
    for _ in $(seq "$2"); do "${@:3}" | figure; done | sort -n | sed -n "$1p"
}
export TEST_SEED=${TEST_SEED:-$RANDOM} # the same calls on both sides
rank=1 runs=1
case $case in
trivial) rank=2 runs=3 ;; # the median
outgrown) runs=5 ;;
idle-moved) export MYMALLOC_FRONTEND=cpu_id ;; # a cache for each CPU that the thread was on
crowd-tls) export MYMALLOC_FRONTEND=tls ;; # caches of threads
esac
ours=$(ranked $rank $runs env "LD_PRELOAD=$library" TEST_EXPECT=mymalloc "$program" "$case")
libc=$(ranked $rank $runs env TEST_EXPECT=libc "$program" "$case") || libc=0
case $case in
trivial)
    bound=$((libc + 288)) ;; # 244 to 264 more in 30 runs
mappings) bound=99 ;;
idle*) bound=65536 ;;
crowd-tls) bound=$((libc * 3)) ;; # 1.8 to 2.0; 15 when each thread had full magazines
crowd) bound=$((libc * 110 / 100)) ;;
outgrown) bound=$((libc * 116 / 100)) ;; # 1.14 at most in 16 runs, 1.25 without looking at growth
ends) bound=5000 ;; # pages, of 1000 objects; 4000 in 10 runs, 9900 with two classes there
bounded | beside | few | seldom | instead) bound=$ours ;; # the program has checked it
esac
echo "$case: $ours on mymalloc, $libc on libc, at most $bound"
((ours <= bound))
