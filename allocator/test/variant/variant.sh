#!/bin/bash
# Build allocator and test program from source with other flags, and run it.
#
#   variant.sh [--delay] PROGRAM "COMPILER FLAGS..." [ARGUMENT...]
#
# PROGRAM: stress, or a unit test (standard, aligned, realloc, info, life, signals). --delay
# lengthens every restartable sequence (delay.py). Environment: RUN is put in front of
# the program (valgrind); OBJECTS names a directory that keeps the allocator's objects
# for the next program of the same flags, one at a time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
delay=
if [[ ${1:-} == --delay ]]; then
    delay=1
    shift
fi
if (($# < 2)); then
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
fi
program=$1
read -ra compile <<<"$2"
shift 2
command -v "${compile[0]}" >/dev/null || { echo "SKIP: no ${compile[0]}"; exit 77; }
if [[ -n ${RUN:-} ]]; then
    read -ra run <<<"$RUN"
    command -v "${run[0]}" >/dev/null || { echo "SKIP: no ${run[0]}"; exit 77; }
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kept=${OBJECTS:-$work/allocator}
mkdir -p "$kept"

common=(-g -std=gnu11 -D_GNU_SOURCE -DTEST_MY -pthread -I "$root/src" -I "$root/include"
    -I "$here/../lib" -Wall -Wextra -Wno-psabi)
library=(-fvisibility=hidden -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc
    -fno-builtin-free -fexceptions -ftls-model=initial-exec)
sources=("$root"/src/{base,os,heap,pool,cache,profile,alloc}/*.c "$root"/src/face/my.c "$root"/src/face/family.c)
tests=("$here"/../lib/{check,family}.c)
if [[ $program == stress ]]; then
    tests+=("$here"/../stress/{stress,actors,object,shadow}.c)
else
    tests+=("$here/../lib/main.c" "$here/../unit/$program.c")
fi

build() { # DIRECTORY SOURCE FLAGS...: an object, with the sequences lengthened if asked for
    local source=$2 object
    object=$1/$(echo "${source#"$root"}" | tr / _).o
    shift 2
    if [[ $delay && $source == "$root"/src/* ]]; then
        "${compile[@]}" "$@" -ffixed-r14 -ffixed-r15 -S -o "$object.s" "$source"
        "$here/delay.py" "$object.s"
        "${compile[@]}" -c -o "$object" "$object.s"
    else
        [[ ! $delay ]] || set -- "$@" -ffixed-r14 -ffixed-r15
        "${compile[@]}" "$@" -c -o "$object" "$source"
    fi
}

built() { # DIRECTORY NUMBER: as many objects are there
    local objects=("$1"/*.o)
    ((${#objects[@]} == $2)) || { echo "variant.sh: ${#objects[@]} of $2 files compiled"; exit 1; }
}

# What was made, and when it was begun: anything that is newer makes it again.
how="${compile[*]} $delay"
if [[ $(cat "$kept/made" 2>/dev/null) != "$how" ||
    -n $(find "$root/src" "$root/include" "$here" -newer "$kept/made" -print -quit) ]]; then
    rm -f "$kept"/*
    echo "$how" >"$kept/making"
    for source in "${sources[@]}"; do
        build "$kept" "$source" "${common[@]}" "${library[@]}" &
        (($(jobs -rp | wc -l) < 3)) || wait -n
    done
    wait
    built "$kept" ${#sources[@]}
    mv "$kept/making" "$kept/made"
fi
for source in "${tests[@]}"; do
    build "$work" "$source" "${common[@]}" -fno-builtin &
done
[[ ! $delay ]] || build "$work" "$here/rseq_delay.c" "${common[@]}" &
wait
built "$work" $((${#tests[@]} + (delay ? 1 : 0)))
"${compile[@]}" -g -pthread -o "$work/program" "$kept"/*.o "$work"/*.o -ldl
${RUN:-} "$work/program" "$@"
