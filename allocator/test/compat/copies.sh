#!/bin/bash
# Several copies of mymalloc in one process: the preloaded one answers for libmymalloc.so too;
# copies hidden in plugins have heaps of their own, tell each other's objects, and stay when closed;
# so have those in a namespace of their own (dlmopen).
source "$(dirname "$0")/lib.sh"
need gcc
folder=$(dirname "$MYMALLOC_PRELOAD")
include=$(cd "$here/../../include" && pwd)
ulimit -c 0

cat >"$work/plugin.c" <<'CODE'
#include <mymalloc/mymalloc.h>
void *take(size_t size) { return MyMalloc(size); }
void give(void *object) { MyFree(object); }
size_t faults(void) { return MyVerify(); }
CODE
cat >"$work/host.c" <<'CODE'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#define OPEN(file) (APART ? dlmopen(LM_ID_NEWLM, file, RTLD_NOW) : dlopen(file, RTLD_NOW))
enum { COPIES = 2, OBJECTS = 3000 };
static struct copy {
    void *(*take)(size_t size);
    void (*give)(void *object);
    size_t (*faults)(void);
} copies[COPIES + 1] = {{malloc, free, NULL}};
static void *churn(void *unused)
{
    static __thread void *objects[COPIES + 1][OBJECTS];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < OBJECTS; i++)
            for (int c = 0; c <= COPIES; c++)
                memset(objects[c][i] = copies[c].take((size_t)i % 700 + 1), c, (size_t)i % 700 + 1);
        for (int i = 0; i < OBJECTS; i++)
            for (int c = 0; c <= COPIES; c++) {
                if (((char *)objects[c][i])[i % 700] != c)
                    abort();
                copies[c].give(objects[c][i]);
            }
    }
    return unused;
}
int main(int argc, char **argv)
{
    pthread_t threads[4];
    int status;
    for (int c = 1; c <= COPIES; c++) {
        void *plugin = OPEN(argv[c]);
        if (plugin == NULL) {
            puts(dlerror());
            return 9;
        }
        copies[c].take = (void *(*)(size_t))dlsym(plugin, "take");
        copies[c].give = (void (*)(void *))dlsym(plugin, "give");
        copies[c].faults = (size_t(*)(void))dlsym(plugin, "faults");
    }
    if (argc > 3) /* an object of one copy, given to another */
        copies[2].give(copies[1].take(100));
    for (int t = 0; t < 4; t++)
        pthread_create(&threads[t], NULL, churn, NULL);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            if (APART) /* no handler there was told of the fork */
                _exit(0);
            churn(NULL);
            _exit(copies[1].faults() + copies[2].faults() > 0);
        }
        if (waitpid(child, &status, 0) != child || status != 0)
            return 8;
    }
    for (int t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
    printf("%zu faults\n", copies[1].faults() + copies[2].faults());
    return 0;
}
CODE
for copy in one two; do
    gcc -O1 -shared -fPIC -fvisibility=hidden -I"$include" -o "$work/$copy.so" -Wl,--exclude-libs,ALL -x c - \
        -x none "$folder/libmymalloc.a" -pthread < <(sed 's/^\(void\|size_t\)/__attribute__((visibility("default"))) &/' "$work/plugin.c")
    [[ $(nm -D --defined-only "$work/$copy.so" | awk '{print $3}' | sort | tr '\n' ' ') == "faults give take " ]] ||
        fail "a hidden copy shows: $(nm -D --defined-only "$work/$copy.so")"
done
gcc -O1 -DAPART=0 -o "$work/host" "$work/host.c" -pthread -ldl
gcc -O1 -DAPART=1 -o "$work/apart" "$work/host.c" -pthread -ldl
# One that is linked with the preload library has its malloc there, though libc's is the namespace's own.
sed 's/MyMalloc(/malloc(/; 1s/^/#include <stdlib.h>\n/' "$work/plugin.c" >"$work/linked.c"
gcc -O1 -fno-builtin -Wno-mismatched-dealloc -shared -fPIC -I"$include" -o "$work/linked.so" "$work/linked.c" \
    -L"$folder" -lmymalloc_preload -Wl,-rpath,"$folder"
both() { # PROGRAM PLUGIN...: beside libc's malloc, and beside the preloaded copy
    local front
    for front in rseq tls; do
        [[ $(MYMALLOC_FRONTEND=$front "$@") == "0 faults" ]] || fail "${1##*/} beside libc, $front"
        [[ $(MYMALLOC_FRONTEND=$front with "$@") == "0 faults" ]] || fail "${1##*/} beside the preloaded copy, $front"
    done
}
both "$work/host" "$work/one.so" "$work/two.so"
both "$work/apart" "$work/one.so" "$work/linked.so"
status=0
with "$work/host" "$work/one.so" "$work/two.so" mixed 2>"$work/said" || status=$?
[[ $status == 134 && $(cat "$work/said") == *"never allocated"* ]] || fail "a mix-up was not seen: $(cat "$work/said")"

# A plugin is closed while a thread goes on that has used it: the kernel still reads where that
# thread's last sequence was, and what ends its cache is called after that.
cat >"$work/close.c" <<'CODE'
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void *(*take)(size_t size);
static void (*give)(void *object);
static pthread_barrier_t barrier;
static void *body(void *unused)
{
    give(take(100));
    pthread_barrier_wait(&barrier); /* closed here */
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 1000; i++)
        sched_yield();
    return unused;
}
int main(int argc, char **argv)
{
    void *plugin = dlopen(argv[1], RTLD_NOW);
    pthread_t thread;
    char *object;
    take = (void *(*)(size_t))dlsym(plugin, "take");
    give = (void (*)(void *))dlsym(plugin, "give");
    object = strcpy(take(100), "kept");
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, body, NULL);
    pthread_barrier_wait(&barrier);
    dlclose(plugin);
    if (dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) != plugin)
        return 7;
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    if (fork() == 0)
        _exit(0);
    wait(NULL);
    give(object);
    return argc < 2;
}
CODE
gcc -O1 -o "$work/close" "$work/close.c" -pthread -ldl
for front in rseq tls; do
    MYMALLOC_FRONTEND=$front "$work/close" "$work/one.so" || fail "closed, $front: status $?"
    (cd "$work" && MYMALLOC_FRONTEND=$front with ./close ./one.so) || fail "closed, preloaded, $front: status $?"
done

# libmymalloc.so is found second: one heap.
cat >"$work/both.c" <<'CODE'
#include <mymalloc/mymalloc.h>
#include <stdlib.h>
int main(void)
{
    free(MyMalloc(100));
    MyFree(malloc(100));
    return MyVerify() != 0;
}
CODE
gcc -O1 -fno-builtin -Wno-mismatched-dealloc -I"$include" -o "$work/both" "$work/both.c" -L"$folder" -lmymalloc -Wl,-rpath,"$folder"
with "$work/both" || fail "with libmymalloc.so under the preloaded library"

# Opened late: libmymalloc.so stays for good; the preload library takes nobody's place then.
cat >"$work/late.c" <<'CODE'
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL), *again;
    void *(*take)(size_t) = library ? (void *(*)(size_t))dlsym(library, "MyMalloc") : NULL;
    char *object, *own = malloc(100);
    if (take == NULL) {
        puts(dlerror());
        return 9;
    }
    object = strcpy(take(100), "kept");
    dlclose(library);
    again = dlopen(argv[1], RTLD_NOW);
    if (argc < 2 || strcmp(object, "kept") || dlsym(again, "MyMalloc") != (void *)take)
        return 8;
    ((void (*)(void *))dlsym(again, "MyFree"))(object);
    free(own);                                           /* libc's, as it was taken */
    return (void *)malloc == dlsym(again, "malloc") && strstr(argv[1], "preload"); /* libc's, still */
}
CODE
gcc -O1 -fno-builtin -o "$work/late" "$work/late.c" -ldl
for library in libmymalloc.so libmymalloc_preload.so; do
    "$work/late" "$folder/$library" || fail "$library opened late: status $?"
done
