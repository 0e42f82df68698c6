#!/bin/bash
# gcc and clang: compile files of this repository; object files equal to those made on libc.
source "$(dirname "$0")/lib.sh"
need gcc
root=$here/../../..
compile() { # COMPILER SOURCE OUT
    "$1" -O2 -g0 -I "$root/allocator/src" -I "$root/allocator/include" -I "$here/../lib" \
        -D_GNU_SOURCE -c "$2" -o "$3"
}
export -f compile
export root here
compare() { # COMPILER SOURCE
    compile "$1" "$2" "$work/expected.o"
    with bash -c 'compile "$@"' - "$1" "$2" "$work/got.o"
    cmp "$work/expected.o" "$work/got.o" || fail "$1 made another object file of $2"
}
loads gcc
compare gcc "$root/allocator/src/pool/pool.c"
compare gcc "$here/../unit/standard.c"
command -v g++ >/dev/null && compare g++ "$here/../unit/operators.cc"
if command -v clang >/dev/null; then
    loads clang
    compare clang "$root/allocator/src/pool/pool.c"
fi
exit 0
