#!/bin/bash
# Fuzz each TARGET for its share of SECONDS, starting from the corpus; a new failing input is
# kept and named. Without a target all of them: calls, pages, ledger, spans, pool, mappings, table.
#   fuzz.sh SECONDS [TARGET]... [-- DIRECTORY-FOR-NEW-INPUTS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
usage="usage: fuzz.sh SECONDS [TARGET]... [-- DIRECTORY]"
seconds=${1:?$usage}
shift
targets=()
while (($#)) && [[ $1 != -- ]]; do
    [[ -f $here/$1.c && $1 != play ]] || { echo "fuzz.sh: no target '$1'; $usage" >&2; exit 2; }
    targets+=("$1")
    shift
done
((${#targets[@]})) || targets=(calls pages ledger spans pool mappings table)
command -v clang >/dev/null || { echo "SKIP: no clang"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grown=${2:-$work/grown}

# ASan is left out: it would put its own malloc under libFuzzer and the thread-local front
# end under the allocator. The models do its work.
options=(-g -O1 -std=gnu11 -D_GNU_SOURCE -DTEST_MY -DMYM_DEBUG=1 -fno-sanitize-recover=undefined
    -fno-builtin -fexceptions -I "$root/src" -I "$root/include" -I "$here/../lib")
echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n > 9; }' >"$work/none.c"
clang -fsanitize=fuzzer -o "$work/none" "$work/none.c" 2>/dev/null ||
    { echo "SKIP: no libFuzzer (libclang-rt-14-dev)"; exit 77; }
for layer in base os heap pool cache profile alloc face; do
    sources=("$root/src/$layer"/*.c)
    [[ $layer != face ]] || sources=("$root"/src/face/{my,arena,family}.c)
    mkdir -p "$work/objects/$layer"
    (cd "$work/objects/$layer" && clang -c "${options[@]}" -fsanitize=fuzzer-no-link,undefined "${sources[@]}")
done
for target in "${targets[@]}"; do
    mkdir -p "$grown/$target"
    extra=()
    [[ $target != pool ]] || extra=("$here/../lib/magazines.c" "-Wl,--wrap=mym_magazine_make")
    clang "${options[@]}" -fsanitize=fuzzer,undefined -o "$work/$target" "$here/$target.c" \
        "${extra[@]}" "$here"/../lib/{check,family,proc}.c "$work"/objects/*/*.o
    status=0
    "$work/$target" -max_total_time="$(((seconds + ${#targets[@]} - 1) / ${#targets[@]}))" -max_len=1200 \
        -rss_limit_mb=4096 -timeout=60 -artifact_prefix="$PWD/fuzz-$target-" "$grown/$target" \
        >"$work/log" 2>&1 "$here/corpus/$target" || status=$?
    grep -E 'DONE|Done|seed|INITED' "$work/log" | sed "s/^/$target: /" | tail -4
    ((status == 0)) || { tail -40 "$work/log"; exit 1; }
done
