#!/bin/bash
# gdb: breakpoints in malloc, calls of it from the debugger. Step by step through a sequence only
# on the front end per thread: the kernel starts a sequence over whenever it was interrupted.
source "$(dirname "$0")/lib.sh"
need gcc gdb
cat >"$work/t.c" <<'CODE'
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    char *object = malloc(100);
    free(object);
    puts("ran to its end");
    return malloc_usable_size(NULL) != 0;
}
CODE
gcc -g -O0 -o "$work/t" "$work/t.c"
cat >"$work/commands" <<'COMMANDS'
set pagination off
set startup-with-shell off
set disable-randomization off
break main
run
print (long)malloc_usable_size((void *)malloc(100))
call (void)free((void *)malloc(10))
break malloc
continue
delete
stepi 200
info symbol $pc
continue
COMMANDS
# debug FRONT-END: what gdb prints.
debug() {
    timeout 100 gdb -q -nx -batch -ex "set environment LD_PRELOAD $MYMALLOC_PRELOAD" \
        -ex "set environment MYMALLOC_FRONTEND $1" -x "$work/commands" "$work/t" >"$work/got" 2>&1 ||
        fail "gdb: $(cat "$work/got")"
    for text in '= 112' 'malloc (.*) \(from .*libmymalloc_preload\|at .*override.c\)' 'ran to its end'; do
        grep -e "$text" "$work/got" >/dev/null || fail "gdb, $1, does not say '$text': $(cat "$work/got")"
    done
}
debug rseq
debug tls
! grep -e '^malloc + .* in section' "$work/got" >/dev/null || fail "200 steps did not leave malloc: $(cat "$work/got")"
