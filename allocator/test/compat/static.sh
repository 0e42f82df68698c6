#!/bin/bash
# A static program has no dynamic linker: the preload changes nothing. Linked with the
# archive it runs on mymalloc.
source "$(dirname "$0")/lib.sh"
need gcc
printf '#include <stdlib.h>\n#include <stdio.h>\nint main(void) { void *p = malloc(100); puts(p ? "ran" : "no"); free(p); return 0; }\n' \
    >"$work/t.c"
gcc -static -o "$work/t" "$work/t.c" 2>/dev/null || { echo "SKIP: no static libc"; exit 77; }
[[ $(with "$work/t") == ran ]] || fail "the static program"

archive=$(dirname "$MYMALLOC_PRELOAD")/libmymalloc_preload.a
[[ -f $archive ]] || fail "$archive is missing"
cat >"$work/own.c" <<'EOF'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
size_t MyUsableSize(const void *ptr);
static void *churn(void *unused)
{
    for (int i = 0; i < 20000; i++)
        free(malloc((size_t)i % 5000));
    return unused;
}
int main(void)
{
    pthread_t thread;
    void *p = malloc(100);
    size_t usable = MyUsableSize(p); /* aborts for an object of another allocator */
    pthread_create(&thread, NULL, churn, NULL);
    pthread_join(thread, NULL);
    printf("%zu\n", usable);
    free(p);
    return 0;
}
EOF
# Without -static too: the archive stands before libc either way.
for kind in -static -pthread; do
    gcc "$kind" -o "$work/own" "$work/own.c" "$archive" -pthread
    [[ $("$work/own") == 112 ]] || fail "$kind with the archive does not run on mymalloc"
done
