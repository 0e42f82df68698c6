#!/bin/sh
# gcc: one translation unit of many small functions, optimised.
set -eu
awk 'BEGIN {
    print "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nstruct s { int a[16]; char *p; };"
    for (i = 0; i < 300; i++)
        printf "int f%d(struct s *x, int n) { int t = %d; for (int i = 0; i < n; i++) { t += x->a[i %% 16] * i; if (t %% %d == 0) x->a[i %% 16] ^= t; } return t + (int)strlen(x->p); }\n", i, i, i + 2
    print "int main(void) { struct s x = { {1}, \"text\" }; int t = 0;"
    for (i = 0; i < 300; i++) printf "t += f%d(&x, %d);\n", i, i
    print "printf(\"%d\\n\", t); return 0; }"
}' >"$PROGRAM_SCRATCH/unit.c"
exec gcc -O2 -S -o "$PROGRAM_SCRATCH/unit.s" "$PROGRAM_SCRATCH/unit.c"
