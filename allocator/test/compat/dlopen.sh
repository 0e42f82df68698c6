#!/bin/bash
# dlopen of many libraries with thread-local storage, in threads, unloaded and loaded again;
# their constructors and destructors allocate. And a second C library in the process, as one
# for LD_AUDIT has it, whose pthread keys are the first one's numbers again, in the same threads.
source "$(dirname "$0")/lib.sh"
need gcc
cat >"$work/part.c" <<'CODE'
#include <stdlib.h>
#include <string.h>
static __thread char area[SIZE];
static __thread void *mine;
static void *from_constructor;
__attribute__((constructor)) static void begin(void) { from_constructor = malloc(SIZE); }
__attribute__((destructor)) static void end(void) { free(from_constructor); }
int use(int value)
{
    for (size_t i = 0; i < SIZE; i++)
        if (area[i] != 0 && area[i] != (char)(value - 1))
            return 1;
    memset(area, value, SIZE);
    free(mine);
    mine = calloc(1, SIZE);
    return mine == NULL || ((char *)mine)[SIZE - 1] != 0;
}
void leave(void) { free(mine); mine = NULL; }
CODE
cat >"$work/main.c" <<'CODE'
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static void *handles[COUNT];
static void *body(void *unused)
{
    for (int value = 1; value < 50; value++)
        for (int i = 0; i < COUNT; i++)
            if (((int (*)(int))dlsym(handles[i], "use"))(value)) {
                fprintf(stderr, "library %d, value %d\n", i, value);
                exit(1);
            }
    for (int i = 0; i < COUNT; i++)
        ((void (*)(void))dlsym(handles[i], "leave"))();
    return unused;
}
int main(int argc, char **argv)
{
    for (int round = 0; round < 3; round++) {
        pthread_t threads[6];
        for (int i = 0; i < COUNT; i++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/part%d.so", argv[1], i);
            handles[i] = dlopen(path, i % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_LOCAL);
            if (!handles[i]) {
                fprintf(stderr, "%s\n", dlerror());
                return 1;
            }
        }
        for (int t = 0; t < 6; t++)
            pthread_create(&threads[t], NULL, body, NULL);
        for (int t = 0; t < 6; t++)
            pthread_join(threads[t], NULL);
        for (int i = 0; i < COUNT; i++)
            dlclose(handles[i]);
    }
    puts(argc > 1 ? "done" : "");
    return 0;
}
CODE
count=40
for ((i = 0; i < count; i++)); do
    gcc -O1 -shared -fPIC -DSIZE=$((i * i * 5 + 8)) -o "$work/part$i.so" "$work/part.c"
done
gcc -O1 -pthread -DCOUNT=$count -o "$work/main" "$work/main.c" -ldl
same "$work/main" "$work"
[[ $(cat "$work/got") == "done" ]] || fail "the program: $(cat "$work/got")"
MYMALLOC_FRONTEND=tls same "$work/main" "$work"

cat >"$work/second.c" <<'CODE'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int (*set)(pthread_key_t, const void *);
static pthread_key_t keys[16];
static void *body(void *unused)
{
    static char other[4096];
    memset(other, 0x55, sizeof other);
    free(malloc(100));
    for (int i = 0; i < 16; i++)
        set(keys[i], other);
    free(malloc(5000));
    return unused;
}
int main(void)
{
    void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
    int (*create)(pthread_key_t *, void (*)(void *));
    pthread_t thread;
    if (!libc) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    create = (int (*)(pthread_key_t *, void (*)(void *)))dlsym(libc, "pthread_key_create");
    set = (int (*)(pthread_key_t, const void *))dlsym(libc, "pthread_setspecific");
    for (int i = 0; i < 16; i++)
        create(&keys[i], NULL);
    for (int i = 0; i < 10; i++)
        if (pthread_create(&thread, NULL, body, NULL) || pthread_join(thread, NULL))
            return 1;
    puts("done");
    return 0;
}
CODE
gcc -O1 -pthread -fno-builtin -o "$work/second" "$work/second.c" -ldl
same "$work/second"
MYMALLOC_FRONTEND=tls same "$work/second"
