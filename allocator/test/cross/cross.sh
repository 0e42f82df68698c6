#!/bin/bash
# aarch64: cross-compile the allocator, check its sequences, run the tests under qemu.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
prefix=aarch64-linux-gnu-
sysroot=/usr/aarch64-linux-gnu
for tool in "${prefix}gcc" qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "SKIP: no $tool"; exit 77; }
done
[[ -e $sysroot/include/stdlib.h ]] || { echo "SKIP: no libc headers for aarch64"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case ${1:-} in
disasm)
    if [[ ${2:-} == -fuse-ld=* ]]; then
        command -v "ld.${2#*=}" >/dev/null || { echo "SKIP: no ld.${2#*=}"; exit 77; }
        set -- "$1" "$2" -B"$(dirname "$(command -v "ld.${2#*=}")")"
    fi
    "${prefix}gcc" "${@:2}" -O2 -std=gnu11 -D_GNU_SOURCE -fPIC -shared -fvisibility=hidden -fno-builtin \
        -fexceptions -ftls-model=initial-exec -I "$root/src" -I "$root/include" -Wl,-z,defs \
        -o "$work/lib.so" "$root"/src/{base,os,heap,pool,cache,profile,alloc}/*.c \
        "$root"/src/face/{my,family,override}.c
    "$here/../disasm/disasm.py" --prefix "$prefix" --source "$root/src" "$work/lib.so"
    ;;
onefile)
    "$root/../ci/amalgamate" "$work" >/dev/null
    "${prefix}gcc" -O0 -Wall -Wextra -Wundef -Werror -DMYMALLOC_OVERRIDE -c -o "$work/one.o" "$work/mymalloc.c"
    ;;
standard | aligned | realloc | info | life | stress)
    program=$1
    shift
    RUN="qemu-aarch64 -L $sysroot" TEST_SLOW=1 \
        "$here/../variant/variant.sh" "$program" "${prefix}gcc -O2" "$@"
    ;;
*)
    echo "usage: cross.sh disasm [OPTION...] | onefile | standard | aligned | realloc | info | life | stress [OPTION...]"
    exit 2
    ;;
esac
