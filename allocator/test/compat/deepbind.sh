#!/bin/bash
# RTLD_DEEPBIND: such a library has the malloc of all others, and its own of all other names;
# also where the program, and the library, are linked with another allocator.
source "$(dirname "$0")/lib.sh"
need gcc
cat >"$work/plugin.c" <<'CODE'
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
const char *name(void) { return "the plugin"; }
const char *whose(void) { return name(); }
static char *early;
__attribute__((constructor)) static void begin(void) { early = strcpy(malloc(100), "made early"); }
char *give(int how)
{
    char *object = how == 0   ? early
                   : how == 1 ? calloc(1, 100)
                   : how == 2 ? realloc(NULL, 100)
                   : how == 3 ? reallocarray(NULL, 10, 10)
                   : how == 4 ? aligned_alloc(64, 128)
                   : how == 5 ? memalign(64, 100)
                   : how == 6 ? valloc(100)
                   : how == 7 ? pvalloc(100)
                              : NULL;
    if (how == 8 && posix_memalign((void **)&object, 64, 100) != 0)
        return NULL;
    return object;
}
void take(char *object, int how)
{
    if (malloc_usable_size(object) < 100)
        abort();
    free(how == 0 ? realloc(object, 200) : object);
}
CODE
cat >"$work/host.c" <<'CODE'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
const char *name(void) { return "the program"; }
/* mprotect fails where something is to be written to, as the loader never does it */
static void refuse(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PROT_READ | PROT_WRITE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        exit(77);
}
int main(int argc, char **argv)
{
    int deep = strcmp(argv[2], "deep") == 0 ? RTLD_DEEPBIND : 0;
    void *plugin;
    char *(*give)(int);
    const char *(*whose)(void);
    void (*take)(char *, int);
    if (argc > 3)
        refuse();
    plugin = dlopen(argv[1], RTLD_NOW | deep);
    if (plugin == NULL) {
        puts(dlerror());
        return 9;
    }
    give = (char *(*)(int))dlsym(plugin, "give");
    take = (void (*)(char *, int))dlsym(plugin, "take");
    whose = (const char *(*)(void))dlsym(plugin, "whose");
    puts(whose());
    for (int how = 0; how < 9 && argc == 3; how++) {
        char *object = give(how);
        puts(how == 0 ? object : object != NULL ? "given" : "NULL");
        free(object);
        take(malloc(100), how);
    }
    return 0;
}
CODE
gcc -D_GNU_SOURCE -shared -fPIC -o "$work/plugin.so" "$work/plugin.c"
gcc -rdynamic -o "$work/host" "$work/host.c" -ldl

for how in deep plain; do
    same "$work/host" "$work/plugin.so" $how
done
[[ $(with "$work/host" "$work/plugin.so" deep | head -n 1) == "the plugin" ]] || fail "the flag lost its meaning"
[[ $(with "$work/host" "$work/plugin.so" plain | head -n 1) == "the program" ]] || fail "the flag is always set"

# A library's RUNPATH is where its dlopen looks, whoever passes the call on.
mkdir "$work/inner"
gcc -D_GNU_SOURCE -shared -fPIC -o "$work/inner/inner.so" "$work/plugin.c"
cat >"$work/opens.c" <<'CODE'
#include <dlfcn.h>
void *opens(int mode) { return dlopen("inner.so", mode); }
CODE
gcc -shared -fPIC -o "$work/libopens.so" "$work/opens.c" -Wl,-rpath,"$work/inner" -Wl,--enable-new-dtags -ldl
cat >"$work/caller.c" <<'CODE'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
void *opens(int mode);
int main(void)
{
    return puts(opens(RTLD_NOW) && opens(RTLD_NOW | RTLD_DEEPBIND) ? "opened" : dlerror()) < 0;
}
CODE
gcc -o "$work/caller" "$work/caller.c" -L"$work" -lopens -Wl,-rpath,"$work"
same "$work/caller"

# What is refused is told, and costs nobody his library.
[[ $(with "$work/host" "$work/plugin.so" deep refused 2>"$work/said") == "the plugin" ]] || fail "refused: $(cat "$work/said")"
grep "RTLD_DEEPBIND.*mprotect.*docs/embedding.md" "$work/said" >/dev/null || fail "nothing is said: $(cat "$work/said")"
(($(wc -l <"$work/said") == 1)) || fail "more than a line: $(cat "$work/said")"

cat >"$work/linked.c" <<'CODE'
#include <stdlib.h>
#include <string.h>
void *TAKE(size_t size, int flags);
void PUT(void *ptr, int flags);
void *give(int how) { return how == 0 ? malloc(100) : how == 1 ? TAKE(100, 0) : how == 2 ? strdup("text") : realloc(TAKE(5, 0), 5000); }
void take(void *object, int how) { if (how == 0) free(object); else PUT(object, 0); }
#ifdef HEAP
void *mi_heap_new(void);
void *mi_heap_malloc(void *heap, size_t size);
void *mi_realloc(void *ptr, size_t size);
void mi_heap_destroy(void *heap);
void inner(void)
{
    void *heap = mi_heap_new();
    PUT(mi_heap_malloc(heap, 100), 0);
    free(mi_realloc(mi_heap_malloc(heap, 100), 5000));
    mi_heap_destroy(heap);
}
#else
void inner(void) { PUT(TAKE(100, 0), 0); }
#endif
CODE
cat >"$work/opener.c" <<'CODE'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    void *plugin = dlopen(argv[argc - 1], RTLD_NOW | RTLD_DEEPBIND);
    void *(*give)(int);
    void (*take)(void *, int), (*inner)(void);
    if (plugin == NULL) {
        puts(dlerror());
        return 9;
    }
    give = (void *(*)(int))dlsym(plugin, "give");
    take = (void (*)(void *, int))dlsym(plugin, "take");
    inner = (void (*)(void))dlsym(plugin, "inner");
    for (int how = 0; how < 4; how++) {
        inner();
        free(give(how));
        take(malloc(100), how);
    }
    puts("done");
    return 0;
}
CODE
# All with flags, which two of them do not look at.
for linked in jemalloc/mallocx/dallocx tcmalloc_minimal/tc_malloc/tc_free mimalloc/mi_malloc/mi_free; do
    IFS=/ read -r library take put <<<"$linked"
    flags=(-D"TAKE=$take" -D"PUT=$put")
    [[ $library != mimalloc ]] || flags+=(-DHEAP)
    if ! gcc -o "$work/opener" "$work/opener.c" -Wl,--no-as-needed "-l$library" -ldl 2>"$work/log"; then
        grep "cannot find -l" "$work/log" >/dev/null || fail "$(cat "$work/log")"
        echo "$library is not installed: left out"
        continue
    fi
    gcc -shared -fPIC -fno-builtin "${flags[@]}" -o "$work/linked.so" "$work/linked.c" "-l$library"
    for front in rseq tls; do
        MYMALLOC_FRONTEND=$front same "$work/opener" "$work/linked.so"
        [[ $(cat "$work/got") == "done" ]] || fail "$library: $(cat "$work/got")"
    done
done
