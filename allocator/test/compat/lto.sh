#!/bin/bash
# Link-time optimisation: a program with it takes the archives, and the library itself can be
# built with it: its sequences are the same.
source "$(dirname "$0")/lib.sh"
need gcc objdump
folder=$(dirname "$MYMALLOC_PRELOAD")
source=$(cd "$here/../../src" && pwd)
cat >"$work/t.c" <<'CODE'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
size_t MyUsableSize(const void *ptr);
size_t MyVerify(void);
static void *churn(void *unused)
{
    char *objects[500];
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 500; i++)
            memset(objects[i] = malloc((size_t)i * 7 + 1), i, (size_t)i * 7 + 1);
        for (int i = 0; i < 500; i++) {
            if (objects[i][i * 7] != (char)i)
                abort();
            free(objects[i]);
        }
    }
    return unused;
}
int main(void)
{
    pthread_t threads[3];
    void *object = malloc(100);
    size_t usable = MyUsableSize(object); /* aborts for an object of another allocator */
    for (int t = 0; t < 3; t++)
        pthread_create(&threads[t], NULL, churn, NULL);
    for (int t = 0; t < 3; t++)
        pthread_join(threads[t], NULL);
    printf("%zu %zu\n", usable, MyVerify());
    free(object);
    return 0;
}
CODE
# gcc's plugin does not tell the linker that the program wants malloc: -u does.
for kind in -static -pthread; do
    gcc -O2 -flto "$kind" -Wl,-u,malloc -o "$work/program" "$work/t.c" "$folder/libmymalloc_preload.a" -pthread
    [[ $("$work/program") == "112 0" ]] || fail "$kind with the archive does not run on mymalloc"
done
mapfile -t files < <(find "$source" -name '*.c' -not -name deepbind.c -not -name operators.c | sort)
mkdir "$work/objects"
(cd "$work/objects" && gcc -c -O2 -flto -D_GNU_SOURCE -DMYM_ARCHIVE -I"$source" -I"$source/../include" -fvisibility=hidden \
    -fexceptions -ftls-model=initial-exec -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free \
    "${files[@]}" && gcc-ar rcs ../whole.a ./*.o)
# From an archive the linker takes what it is told of: not what assembly alone names.
gcc -O2 -flto=2 -Wl,-u,malloc -o "$work/whole" "$work/t.c" "$work/whole.a" -pthread
[[ $("$work/whole") == "112 0" ]] || fail "built with it, program and library"
"$here/../disasm/disasm.py" "$work/whole" || fail "the sequences"
