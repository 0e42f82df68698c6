#!/bin/bash
# Fuzz the family of calls for SECONDS, starting from the corpus; a new failing input is
# kept and named.
#   fuzz.sh SECONDS [DIRECTORY-FOR-NEW-INPUTS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
seconds=${1:?usage: fuzz.sh SECONDS [DIRECTORY]}
command -v clang >/dev/null || { echo "SKIP: no clang"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grown=${2:-$work/grown}
mkdir -p "$grown"
# ASan is left out: it would put its own malloc under libFuzzer and the thread-local front
# end under the allocator. The shadow model does its work.
if ! clang -g -O1 -std=gnu11 -D_GNU_SOURCE -DTEST_MY -fsanitize=fuzzer,undefined \
    -fno-sanitize-recover=undefined -fno-builtin -fexceptions -I "$root/src" -I "$root/include" \
    -I "$here/../lib" -o "$work/fuzz" "$root"/src/{base,os,heap,pool,cache,profile,alloc}/*.c \
    "$root"/src/face/{my,family}.c "$here/calls.c" "$here"/../lib/{check,family}.c 2>"$work/log"; then
    grep -q 'clang_rt.fuzzer' "$work/log" && { echo "SKIP: no libFuzzer (libclang-rt-14-dev)"; exit 77; }
    cat "$work/log"
    exit 1
fi
status=0
"$work/fuzz" -max_total_time="$seconds" -max_len=1200 -rss_limit_mb=4096 -timeout=20 \
    -artifact_prefix="$PWD/fuzz-" "$grown" "$here/corpus" >"$work/log" 2>&1 || status=$?
grep -E 'DONE|Done|seed|INITED' "$work/log" | tail -4
((status == 0)) || { tail -40 "$work/log"; exit 1; }
