#!/bin/bash
# heaptrack stands in front of mymalloc: it counts the calls, mymalloc serves them.
source "$(dirname "$0")/lib.sh"
need gcc g++ heaptrack heaptrack_print
cat >"$work/t.c" <<'CODE'
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    char *volatile object = malloc(100);
    size_t usable = malloc_usable_size(object);
    for (int i = 1; i < 1000; i++) {
        object = malloc(1000);
        if (i % 10)
            free(object);
    }
    fprintf(stderr, "%zu bytes usable\n", usable);
    return 0;
}
CODE
gcc -g -O0 -o "$work/t" "$work/t.c"
with heaptrack -o "$work/trace" "$work/t" >"$work/got" 2>&1 || fail "heaptrack: $(cat "$work/got")"
grep '^112 bytes usable' "$work/got" >/dev/null || fail "it does not run on mymalloc: $(cat "$work/got")"
heaptrack_print -f "$(ls "$work"/trace*)" >"$work/report" 2>&1 || fail "heaptrack_print: $(tail -3 "$work/report")"
calls=$(sed -n 's/^calls to allocation functions: \([0-9]*\).*/\1/p' "$work/report")
((calls >= 1000 && calls < 1100)) || fail "$calls calls instead of 1000"

# C++: the operators come down to the malloc that stands in front.
printf 'char *volatile seen; int main() { for (int i = 0; i < 1000; i++) { seen = new char[100]; delete[] seen; } }' >"$work/t.cc"
g++ -g -O0 -o "$work/cxx" "$work/t.cc"
with heaptrack -o "$work/operators" "$work/cxx" >"$work/got" 2>&1 || fail "heaptrack: $(cat "$work/got")"
heaptrack_print -f "$(ls "$work"/operators*)" >"$work/report" 2>&1 || fail "heaptrack_print: $(tail -3 "$work/report")"
calls=$(sed -n 's/^calls to allocation functions: \([0-9]*\).*/\1/p' "$work/report")
((calls >= 1000 && calls < 1100)) || fail "$calls calls of new instead of 1000"
