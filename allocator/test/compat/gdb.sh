#!/bin/bash
# gdb: breakpoints in malloc, calls of it from the debugger; and step by step through a sequence,
# which the kernel aborts whenever it was interrupted: a software watchpoint does that.
source "$(dirname "$0")/lib.sh"
need gcc gdb
cat >"$work/t.c" <<'CODE'
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
volatile int watched;
int main(void)
{
    char *object = malloc(100);
    free(malloc(1000));
    watched = 1;
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
finish
delete
set can-use-hw-watchpoints 0
watch watched
continue
delete
continue
COMMANDS
# debug FRONT-END: what gdb prints.
debug() {
    timeout 100 gdb -q -nx -batch -ex "set environment LD_PRELOAD $MYMALLOC_PRELOAD" \
        -ex "set environment MYMALLOC_FRONTEND $1" -x "$work/commands" "$work/t" >"$work/got" 2>&1 ||
        fail "gdb: $(cat "$work/got")"
    for text in '= 112' 'malloc (.*) \(from .*libmymalloc_preload\|at .*override.c\)' 'New value = 1' 'ran to its end'; do
        grep -e "$text" "$work/got" >/dev/null || fail "gdb, $1, does not say '$text': $(cat "$work/got")"
    done
}
debug rseq
debug tls
