#!/bin/bash
# Who asks a library's handle for free, or RTLD_NEXT from a library that was opened, gets the
# process's, as Python's ctypes and Java's look-ups by name do; so malloc_trim gives back its memory.
source "$(dirname "$0")/lib.sh"
need gcc
cat >"$work/plugin.c" <<'CODE'
#include <dlfcn.h>
#include <string.h>
static void *early;
__attribute__((constructor)) static void begin(void) { early = dlsym(RTLD_NEXT, "free"); }
char *copy(const char *text) { return strdup(text); }
void put(void *object) { ((void (*)(void *))early)(object); }
CODE
cat >"$work/asks.c" <<'CODE'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define ASK(handle, name) ((__typeof__(&name))dlsym(handle, #name))
static long resident(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        abort();
    fclose(file);
    return pages * 4096 >> 20;
}
/* What one name gives goes back by all others. */
static void family(void *handle)
{
    __typeof__(&free) put = ASK(handle, free);
    void *object;
    put(malloc(100));
    free(ASK(handle, malloc)(100));
    put(ASK(handle, realloc)(calloc(1, 100), 5000));
    free(ASK(handle, realloc)(ASK(handle, calloc)(1, 100), 5000));
    free(ASK(handle, reallocarray)(strdup("text"), 100, 100));
    free(ASK(handle, aligned_alloc)(64, 128));
    free(ASK(handle, memalign)(64, 128));
    free(ASK(handle, valloc)(100));
    free(ASK(handle, pvalloc)(100));
    if (ASK(handle, posix_memalign)(&object, 64, 100) == 0)
        free(object);
    put(object = malloc(1 << 20));
    object = malloc(100);
    if (ASK(handle, malloc_usable_size)(object) < 100)
        puts("malloc_usable_size is of another heap");
    ((__typeof__(&free))dlvsym(handle, "free", VERSION))(object);
    free(((__typeof__(&malloc))dlsym(handle, "__libc_malloc"))(100));
}
static void figures(void *handle)
{
    enum { COUNT = 200000 };
    static void *objects[COUNT];
    for (int i = 0; i < COUNT; i++)
        objects[i] = memset(malloc(1000), 1, 1000);
    if (ASK(handle, mallinfo2)().uordblks < 190 << 20)
        puts("mallinfo2 is of another heap");
    for (int i = 0; i < COUNT; i++)
        free(objects[i]);
    ASK(handle, malloc_trim)(0);
    if (resident() > 30)
        printf("malloc_trim left %ld MiB\n", resident());
}
int main(int argc, char **argv)
{
    void *plugin = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL, *libc = dlopen("libc.so.6", RTLD_NOW);
    if (plugin == NULL || libc == NULL) {
        puts(dlerror());
        return 9;
    }
    family(libc);
    family(plugin);
    ASK(plugin, free)(((char *(*)(const char *))dlsym(plugin, "copy"))("text"));
    ((void (*)(void *))dlsym(plugin, "put"))(malloc(100));
    figures(libc);
    puts("done");
    return 0;
}
CODE
version=GLIBC_2.2.5
[[ $(uname -m) == x86_64 ]] || version=GLIBC_2.17
gcc -D_GNU_SOURCE -shared -fPIC -o "$work/plugin.so" "$work/plugin.c" -ldl
gcc -D"VERSION=\"$version\"" -fno-builtin -o "$work/asks" "$work/asks.c" -ldl
for front in rseq cpu_id tls; do
    MYMALLOC_FRONTEND=$front same "$work/asks" "$work/plugin.so"
    [[ $(cat "$work/got") == "done" ]] || fail "$front: $(cat "$work/got")"
done

# Who stands in front, and asks libc's handle for what he passes on to, is not given himself.
cat >"$work/front.c" <<'CODE'
#include <dlfcn.h>
#include <stddef.h>
static void *next(const char *name)
{
    static void *libc;
    if (libc == NULL)
        libc = dlopen("libc.so.6", RTLD_NOW);
    return dlsym(libc, name);
}
void *realloc(void *ptr, size_t size)
{
    static void *(*real)(void *, size_t);
    if (real == NULL)
        real = (void *(*)(void *, size_t))next("realloc");
    return real(ptr, size);
}
CODE
gcc -shared -fPIC -fno-builtin -o "$work/front.so" "$work/front.c" -ldl
LD_PRELOAD="$work/front.so:$MYMALLOC_PRELOAD" "$work/asks" "$work/plugin.so" >"$work/got" 2>&1 || true
[[ $(cat "$work/got") == "done" ]] || fail "one stands in front: $(cat "$work/got")"

command -v python3 >/dev/null || exit 0
cat >"$work/ask.py" <<'CODE'
import ctypes
libc, me = ctypes.CDLL("libc.so.6"), ctypes.CDLL(None)
for library in libc, me:
    library.strdup.restype = library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
libc.free(me.strdup(b"text"))
libc.free(libc.strdup(b"text"))
me.free(libc.malloc(100))
print(libc.malloc_trim(0) in (0, 1))
CODE
same python3 "$work/ask.py"
