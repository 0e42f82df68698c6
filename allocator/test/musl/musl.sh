#!/bin/bash
# The libraries for musl: built by the preset "musl", then tests that are linked by musl-gcc.
#   musl.sh build DIRECTORY            configure and build there
#   musl.sh archive DIRECTORY          tests of My*, dynamic programs and static ones
#   musl.sh preload DIRECTORY          tests of malloc, preloaded and linked statically
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
test=$here/..
root=$here/../../..
(($# == 2)) || { sed -n '3,5s/^# \{0,1\}//p' "$0"; exit 2; }
build=$2
command -v musl-gcc >/dev/null || { echo "SKIP: no musl-gcc"; exit 77; }
fail() {
    echo "FAILED: $*"
    exit 1
}

if [[ $1 == build ]]; then
    cd "$root"
    cmake --preset musl -B "$build" -DMYMALLOC_WERROR=ON >/dev/null
    cmake --build "$build" -j 2 | tail -3
    for library in libmymalloc.so libmymalloc_preload.so; do
        needed=$(readelf -d "$build/allocator/$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')
        [[ $needed == libc.so ]] || fail "$library needs $needed, not musl's libc.so alone"
    done
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
library=$build/allocator

# program NAME OPTION...: a test of that name, with its sources and what it needs.
program() {
    local name=$1 sources=("$test"/lib/{check,family}.c)
    shift
    case $name in
    stress) sources+=("$test"/stress/{stress,actors,object,shadow}.c) ;;
    area) sources+=("$test/lib/main.c" "$here/area.c") ;;
    *) sources+=("$test/lib/main.c" "$test/unit/$name.c") ;;
    esac
    musl-gcc -O1 -g -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fno-builtin -I "$test/lib" \
        -I "$test/../include" -o "$work/$name" "${sources[@]}" "$@" -pthread
}
churn=(--threads 8 --seconds 2 --lifetime 200 --all) # threads that end, above all

case $1 in
archive)
    for name in standard aligned realloc info life signals; do
        program "$name" -DTEST_MY "$library/libmymalloc.a"
        "$work/$name"
        MYMALLOC_FRONTEND=tls "$work/$name" >/dev/null
    done
    # fork_beside_stdio is not for musl: docs/safety.md.
    program fork -DTEST_MY "$library/libmymalloc.a"
    "$work/fork" own_handlers_allocate own_handlers_wait
    for how in "$library/libmymalloc.a" "-L$library -lmymalloc" "-static $library/libmymalloc.a"; do
        read -ra link <<<"$how"
        program area -DTEST_MY "${link[@]}"
        for mode in mm_cid cpu_id tls; do
            LD_LIBRARY_PATH=$library MYMALLOC_FRONTEND=$mode "$work/area"
        done
        program stress -DTEST_MY "${link[@]}"
        LD_LIBRARY_PATH=$library "$work/stress" "${churn[@]}"
    done
    ;;
preload)
    for name in standard realloc; do
        program "$name"
        TEST_EXPECT=mymalloc LD_PRELOAD=$library/libmymalloc_preload.so "$work/$name"
    done
    # musl has no malloc_trim or mallinfo2 to be replaced: My* of the same library.
    program stress -DTEST_MY "-L$library" -lmymalloc_preload
    LD_LIBRARY_PATH=$library "$work/stress" "${churn[@]}"
    LD_LIBRARY_PATH=$library MYMALLOC_FRONTEND=tls "$work/stress" "${churn[@]}"

    # In a static program dlsym finds nothing: that it is our malloc is seen by asking it.
    printf '#include <stdlib.h>\n#include <mymalloc/mymalloc.h>\n%s\n' \
        'int main(void) { void *p = malloc(100); return MyUsableSize(p) != 112 || MyVerify() != 0; }' >"$work/own.c"
    for how in -static -pthread; do
        musl-gcc "$how" -I "$test/../include" -o "$work/own" "$work/own.c" "$library/libmymalloc_preload.a"
        "$work/own" || fail "$how with the archive does not run on mymalloc"
    done
    ;;
*) fail "there is no '$1'; accepted: build, archive, preload" ;;
esac
