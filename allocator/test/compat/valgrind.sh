#!/bin/bash
# valgrind: memcheck puts its own malloc in the place of the preloaded one, so it finds what it
# finds on libc; told not to, it runs the program on mymalloc.
source "$(dirname "$0")/lib.sh"
need gcc valgrind
cat >"$work/t.c" <<'CODE'
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    volatile char *object = malloc(100);
    printf("%zu bytes usable\n", malloc_usable_size((void *)object));
    if (argc > 1) {
        object[100] = 1;
        object = NULL;
        object = malloc(10);
    }
    free((void *)object);
    return argv == NULL;
}
CODE
gcc -g -O0 -o "$work/t" "$work/t.c"
with valgrind --leak-check=full "$work/t" wrong >"$work/got" 2>"$work/said" || fail "memcheck: $(tail -3 "$work/said")"
for text in 'Invalid write of size 1' '0 bytes after a block of size 100' 'definitely lost: 100 bytes in 1 blocks'; do
    grep -F "$text" "$work/said" >/dev/null || fail "memcheck does not say '$text': $(cat "$work/said")"
done
[[ $(with valgrind -q --error-exitcode=9 --soname-synonyms=somalloc=nouserintercepts "$work/t") == "112 bytes usable" ]] ||
    fail "with nouserintercepts it does not run on mymalloc"
with valgrind -q --tool=massif --massif-out-file="$work/out" "$work/t" >"$work/got" || fail "massif"
grep 'mem_heap_B=[1-9]' "$work/out" >/dev/null || fail "massif counts nothing"
for tool in helgrind drd; do
    [[ $(with valgrind -q --tool=$tool "$work/t" 2>&1) == "100 bytes usable" ]] || fail "$tool"
done
