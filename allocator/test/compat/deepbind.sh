#!/bin/bash
# RTLD_DEEPBIND: such a library calls libc's malloc. Freed by the program its object ends it,
# with a line that names the library; linked with mymalloc it is like any other.
source "$(dirname "$0")/lib.sh"
need gcc
cat >"$work/plugin.c" <<'CODE'
#include <stdlib.h>
#include <string.h>
char *give(void) { return strcpy(malloc(100), "made by the plugin"); }
void take(char *object) { free(object); }
CODE
cat >"$work/host.c" <<'CODE'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    int deep = argc > 2 && strcmp(argv[2], "deep") == 0 ? RTLD_DEEPBIND : 0;
    void *plugin = dlopen(argv[1], RTLD_NOW | deep);
    char *(*give)(void) = plugin ? (char *(*)(void))dlsym(plugin, "give") : NULL;
    void (*take)(char *) = plugin ? (void (*)(char *))dlsym(plugin, "take") : NULL;
    static char nobodys[64];
    if (take == NULL) {
        puts(dlerror());
        return 9;
    }
    if (strcmp(argv[3], "give") == 0)
        free(give());
    else if (strcmp(argv[3], "take") == 0)
        take(malloc(100));
    else
        free(nobodys + 16);
    puts("done");
    return 0;
}
CODE
gcc -shared -fPIC -o "$work/plugin.so" "$work/plugin.c"
gcc -shared -fPIC -o "$work/linked.so" "$work/plugin.c" -Wl,--no-as-needed "$MYMALLOC_PRELOAD" \
    -Wl,-rpath,"$(dirname "$MYMALLOC_PRELOAD")"
gcc -Wno-free-nonheap-object -o "$work/host" "$work/host.c" -ldl
ulimit -c 0

# dies TEXT COMMAND...: it aborts and says so.
dies() {
    local text=$1 status=0
    shift
    with "$@" >"$work/got" 2>"$work/said" || status=$?
    [[ $status == 134 ]] || fail "$* ended with $status: $(cat "$work/got" "$work/said")"
    grep -F "$text" "$work/said" >/dev/null || fail "$* does not say '$text': $(cat "$work/said")"
}

for how in give take; do
    same "$work/host" "$work/plugin.so" plain $how
    [[ $(with "$work/host" "$work/linked.so" deep $how) == "done" ]] || fail "linked with mymalloc it is no other's: $how"
done
dies "never allocated" "$work/host" "$work/plugin.so" deep give
grep "RTLD_DEEPBIND.*docs/embedding.md: $work/plugin.so$" "$work/said" >/dev/null ||
    fail "the library is not named: $(cat "$work/said")"
(($(grep -c "^mymalloc: " "$work/said") == 2)) || fail "more than the two lines: $(cat "$work/said")"
# Nobody is blamed where nobody was opened so.
dies "never allocated" "$work/host" "$work/plugin.so" plain neither
(($(grep -c "^mymalloc: " "$work/said") == 1)) || fail "more than one line: $(cat "$work/said")"
# Nor does the end wait for a dlopen that waits for the thread that ends it.
cat >"$work/waits.c" <<'CODE'
#include <pthread.h>
#include <stdlib.h>
static char nobodys[64];
static void *misuse(void *object)
{
    free(object);
    return NULL;
}
__attribute__((constructor)) static void begin(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, misuse, nobodys + 16);
    pthread_join(thread, NULL);
}
CODE
gcc -Wno-free-nonheap-object -shared -fPIC -o "$work/waits.so" "$work/waits.c" -pthread
dies "never allocated" timeout --foreground 60 "$work/host" "$work/waits.so" plain neither
# The other way round it is libc that sees a pointer of another.
dies "invalid pointer" "$work/host" "$work/plugin.so" deep take
