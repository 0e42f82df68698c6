#!/bin/bash
# Build allocator and test program from source with other flags, and run it.
#
#   variant.sh [--delay] PROGRAM "COMPILER FLAGS..." [ARGUMENT...]
#
# PROGRAM: stress, or a unit test (standard, aligned, realloc, info, life). --delay
# lengthens every restartable sequence (delay.py). Environment: RUN is put in front of
# the program (valgrind); OBJECTS names a directory to keep the objects in.
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

build() { # SOURCE FLAGS...: an object, with the sequences lengthened if asked for
    local source=$1 object
    shift
    object=$work/$(echo "${source#"$root"}" | tr / _).o
    if [[ $delay && $source == "$root"/src/* ]]; then
        "${compile[@]}" "$@" -ffixed-r14 -ffixed-r15 -S -o "$object.s" "$source"
        "$here/delay.py" "$object.s"
        "${compile[@]}" -c -o "$object" "$object.s"
    else
        [[ ! $delay ]] || set -- "$@" -ffixed-r14 -ffixed-r15
        "${compile[@]}" "$@" -c -o "$object" "$source"
    fi
}

for source in "${sources[@]}"; do
    build "$source" "${common[@]}" "${library[@]}" &
    (($(jobs -rp | wc -l) < 3)) || wait -n
done
for source in "${tests[@]}"; do
    build "$source" "${common[@]}" -fno-builtin &
done
[[ ! $delay ]] || build "$here/rseq_delay.c" "${common[@]}" &
wait
expected=$((${#sources[@]} + ${#tests[@]} + (delay ? 1 : 0)))
objects=("$work"/*.o)
if ((${#objects[@]} != expected)); then
    echo "variant.sh: ${#objects[@]} of $expected files compiled"
    exit 1
fi
"${compile[@]}" -g -pthread -o "$work/program" "${objects[@]}" -ldl
${RUN:-} "$work/program" "$@"
