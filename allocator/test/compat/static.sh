#!/bin/bash
# A static program has no dynamic linker: the preload changes nothing.
source "$(dirname "$0")/lib.sh"
need gcc
printf '#include <stdlib.h>\n#include <stdio.h>\nint main(void) { void *p = malloc(100); puts(p ? "ran" : "no"); free(p); return 0; }\n' \
    >"$work/t.c"
gcc -static -o "$work/t" "$work/t.c" 2>/dev/null || { echo "SKIP: no static libc"; exit 77; }
[[ $(with "$work/t") == ran ]] || fail "the static program"
