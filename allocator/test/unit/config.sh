#!/bin/bash
# What is said of MYMALLOC_* variables that are not understood: one line, by name and value,
# with what is accepted or meant; nothing of others' variables.
#
#   config.sh LIBRARY      the preload library
set -euo pipefail
library=$1

# said VARIABLE=VALUE...: what a process says at its start
said() {
    env "$@" LD_PRELOAD="$library" /bin/true 2>&1
}

faults=0
# expect "TEXT" VARIABLE=VALUE...
expect() {
    local wanted=$1 got
    shift
    got=$(said "$@")
    [[ $got == "$wanted" ]] || {
        printf '%s\nsaid: %s\nnot:  %s\n' "$*" "$got" "$wanted"
        faults=1
    }
}
misspelt() { # ENTRY NEAREST
    expect "mymalloc: $1: ignored, there is no such variable; the nearest is $2" "$1"
}
wrong() { # ENTRY ACCEPTED [WHAT]
    expect "mymalloc: $1: ignored, ${3-the value} is not understood; accepted: $2" "$1"
}

misspelt MYMALLOC_KEPT=5M MYMALLOC_KEEP
misspelt MYMALLOC_KEE=5M MYMALLOC_KEEP
misspelt MYMALLOC_keep=5M MYMALLOC_KEEP
misspelt MYMALLOC_LIMITS=5G MYMALLOC_LIMIT
misspelt MYMALLOC_FRONT_END=tls MYMALLOC_FRONTEND
misspelt MYMALLOC_ARENA=cpu MYMALLOC_ARENAS
misspelt MYMALLOC_VEROBSE=1 MYMALLOC_VERBOSE
wrong MYMALLOC_KEEP=12Q "bytes, with K, M or G"
wrong MYMALLOC_KEEP=20000000000G "bytes, with K, M or G"
wrong MYMALLOC_LIMIT=0 "bytes above 0, with K, M or G"
wrong MYMALLOC_BACKGROUND=1 "on or off"
wrong MYMALLOC_FRONTEND=rsec "rseq, mm_cid, cpu_id or tls"
for value in 0 cpus 1000000; do
    wrong "MYMALLOC_ARENAS=$value" "all, llc, cpu or a number of CPUs"
done
for owner in 0 2147483648 me; do
    wrong "MYMALLOC_STATS=/x,of=$owner" "/PATH[,form=json|prometheus][,every=SECONDS]" "'of=$owner'"
done
# A path that is longer than one can be.
for name in MYMALLOC_PROFILE MYMALLOC_STATS; do
    got=$(said "$name=/$(printf '%04096d' 0)" || echo "status $?")
    [[ $got == "mymalloc: $name=/000"*": ignored, the value is not understood; accepted: "* ]] || {
        echo "$name, a long path: $got"
        faults=1
    }
done
guard="every=BYTES[,on-error=abort|continue]"
for value in on every= every=0 every=2048G on-error=continue; do
    wrong "MYMALLOC_GUARD=$value" "$guard"
done
for option in "" on-error=stop every=8M; do
    wrong "MYMALLOC_GUARD=every=8M,$option" "$guard" "'$option'"
done
# One line, whatever a value has, in which what is accepted is not missing.
expect "mymalloc: MYMALLOC_KEEP=5?M?[31m?: ignored, the value is not understood; accepted: bytes, with K, M or G" \
    MYMALLOC_KEEP=$'5\nM\e[31m\x7f'
long=$(printf '%0183d' 0)
expect "mymalloc: MYMALLOC_GUARD=o${long}ä...: ignored, the value is not understood; accepted: $guard" \
    "MYMALLOC_GUARD=o${long}äö${long}${long}${long}"
expect "mymalloc: MYMALLOC_GUARD=every=1,${long:0:177}...: ignored, '${long:0:39}' is not understood; accepted: $guard" \
    "MYMALLOC_GUARD=every=1,$long"
expect "" MYMALLOC_GUARD=every=8M,on-error=abort
expect "" MYMALLOC_GUARD=every=1,on-error=continue
expect "" MYMALLOC_KEEP= MYMALLOC_LIMIT=1G
expect "" MYMALLOC_RESULTS=/results MYMALLOC_COMMIT=unknown MYMALLOC_=1 MYMALLOC_A_NAME_LONGER_THAN_ANY_OF_OURS=1
expect "" MYMALLO_KEEP=1 XMYMALLOC_KEPT=1
# Each once, whatever else is right.
[[ $(said MYMALLOC_KEPT=1 MYMALLOC_KEEP=5M MYMALLOC_LIMIT=x | wc -l) == 2 ]] || {
    echo "not two lines: $(said MYMALLOC_KEPT=1 MYMALLOC_KEEP=5M MYMALLOC_LIMIT=x)"
    faults=1
}
# What is ignored has no effect: so small a limit would leave nothing.
for value in 0 0K x; do
    MYMALLOC_LIMIT=$value LD_PRELOAD="$library" sort <<<"line" 2>/dev/null | grep -q line || {
        echo "MYMALLOC_LIMIT=$value is not ignored"
        faults=1
    }
done
exit $faults
