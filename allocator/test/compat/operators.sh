#!/bin/bash
# C++ where another's malloc and free stand in front, a program's or a recorder's: new and delete
# come down to these, as the C++ library's do.
source "$(dirname "$0")/lib.sh"
need gcc g++
# A family of its own, in C: its objects lie in an array, and say so.
cat >"$work/own.c" <<'CODE'
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define SIZE (16UL << 20)
static char array[SIZE] __attribute__((aligned(4096)));
static size_t used;
long own_taken, own_freed, own_foreign, own_empty;
static int is_own(void *ptr) { return (char *)ptr >= array && (char *)ptr < array + SIZE; }
void *aligned_alloc(size_t alignment, size_t size)
{
    size_t at = (used + 2 * sizeof(size_t) + alignment - 1) / alignment * alignment;
    if (at > SIZE || size > SIZE - at)
        return NULL;
    used = at + size;
    own_taken++;
    own_empty += size == 0;
    ((size_t *)(array + at))[-1] = size;
    return array + at;
}
void *malloc(size_t size) { return aligned_alloc(16, size); }
int posix_memalign(void **out, size_t alignment, size_t size) { return (*out = aligned_alloc(alignment, size)) ? 0 : 12; }
void free(void *ptr)
{
    if (ptr != NULL)
        is_own(ptr) ? own_freed++ : own_foreign++;
}
size_t malloc_usable_size(void *ptr)
{
    own_foreign += !is_own(ptr);
    return is_own(ptr) ? ((size_t *)ptr)[-1] : 0;
}
void *calloc(size_t count, size_t size) { return memset(malloc(count * size), 0, count * size); }
void *realloc(void *ptr, size_t size)
{
    size_t old = ptr != NULL ? malloc_usable_size(ptr) : 0;
    void *object = memcpy(malloc(size), ptr, old < size ? old : size);
    free(ptr);
    return object;
}
CODE
cat >"$work/forms.cc" <<'CODE'
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <new>
extern "C" __attribute__((weak)) long own_taken, own_freed, own_foreign, own_empty;
struct alignas(64) wide { char bytes[100]; };
const std::nothrow_t none{};
void *volatile seen;
template <typename T> T *see(T *object)
{
    seen = object;
    if (malloc_usable_size(object) < sizeof(T))
        puts("too small");
    return object;
}
static void round()
{
    delete see(new int);
    delete[] see(new int[100]);
    delete see(new (none) int);
    delete[] see(new (none) int[100]);
    delete see(new wide);
    delete[] see(new wide[3]);
    delete see(new (none) wide);
    delete[] see(new (none) wide[3]);
    operator delete(see(static_cast<char *>(operator new(100))), none);
    operator delete(see(static_cast<char *>(operator new(100))), size_t(100));
    operator delete[](see(static_cast<char *>(operator new[](100))), none);
    operator delete[](see(static_cast<char *>(operator new[](100))), size_t(100));
    operator delete(see(static_cast<char *>(operator new(100, std::align_val_t(64)))), std::align_val_t(64), none);
    operator delete[](see(static_cast<char *>(operator new[](100, std::align_val_t(64)))), size_t(100), std::align_val_t(64));
    operator delete(operator new(0));
    operator delete(operator new(0, std::align_val_t(64)), std::align_val_t(64));
    free(see(new char[100])); /* not to be done, and done */
    delete static_cast<int *>(nullptr);
}
int main(int count, char **)
{
    long before = &own_taken != nullptr ? own_taken : 0, freed = &own_freed != nullptr ? own_freed : 0;
    for (int i = 0; i < 1000; i++)
        round();
    if (&own_taken != nullptr)
        printf("%ld taken, %ld freed, %ld foreign, %ld empty\n", own_taken - before, own_freed - freed, own_foreign, own_empty);
    if (&own_taken != nullptr && operator new(64 << 20, none) != nullptr)
        puts("more than there is");
    try {
        if (count > 1) /* which libstdc++ 12 rounds up to none */
            seen = operator new(~size_t(8), std::align_val_t(64));
        else
            seen = operator new(size_t(1) << 62);
        puts("more than there is");
    } catch (const std::bad_alloc &) {
        puts("thrown");
    }
    return 0;
}
CODE
gcc -O1 -fno-builtin -c -o "$work/own.o" "$work/own.c"
g++ -O1 -std=c++17 -fno-builtin -w -rdynamic -o "$work/own" "$work/forms.cc" "$work/own.o"
g++ -O1 -std=c++17 -fno-builtin -w -o "$work/forms" "$work/forms.cc"
for front in rseq cpu_id tls; do
    MYMALLOC_FRONTEND=$front same "$work/own"
    MYMALLOC_FRONTEND=$front same "$work/forms"
done
with "$work/own" much | grep "^thrown" >/dev/null || fail "a size that wraps is had"
MYMALLOC_PROFILE=$work/profile same "$work/own"

# The same without aligned_alloc: what that gives is not for this free. With posix_memalign, which
# libstdc++ 16 calls, aligned objects are the program's as well.
cat >"$work/plain.cc" <<'CODE'
#include <cstddef>
#include <cstdio>
#include <new>
extern "C" {
static char array[1 << 20];
static size_t used;
static long foreign;
void *malloc(size_t size)
{
    used = (used + size + 15) / 16 * 16;
    return used <= sizeof array ? array + used - (size + 15) / 16 * 16 : nullptr;
}
void free(void *ptr)
{
    foreign += ptr != nullptr && (ptr < array || ptr >= array + sizeof array);
}
#ifdef ALIGNED
static long aligned;
int posix_memalign(void **out, size_t alignment, size_t size)
{
    aligned++;
    used = (used + alignment - 1) / alignment * alignment;
    return (*out = malloc(size)) ? 0 : 12;
}
#else
static const long aligned = 3;
#endif
}
int main()
{
    const std::align_val_t to{64};
    operator delete(operator new(100));
    operator delete(operator new(100), size_t(100));
    operator delete[](operator new[](100), size_t(100));
    operator delete(operator new(100, to), to);
    operator delete(operator new(100, to), size_t(100), to);
    operator delete[](operator new[](100, to), size_t(100), to);
    printf("%ld foreign, %ld aligned\n", foreign, aligned);
    return 0;
}
CODE
for more in "" -DALIGNED; do
    # shellcheck disable=SC2086  # none, or one
    g++ -O1 -std=c++17 -fno-builtin -w -rdynamic $more -o "$work/plain" "$work/plain.cc"
    said=$(with "$work/plain") || fail "plain $more: $said"
    [[ $said == "0 foreign, 3 aligned" ]] || fail "plain $more: $said"
done

# A recorder sees all of new and delete, and they go on to mymalloc.
cat >"$work/recorder.c" <<'CODE'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
static long taken, freed;
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
void *malloc(size_t size) { taken++; return NEXT(malloc)(size); }
void *aligned_alloc(size_t alignment, size_t size) { taken++; return NEXT(aligned_alloc)(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) { taken++; return NEXT(posix_memalign)(out, alignment, size); }
void free(void *ptr) { freed += ptr != NULL; NEXT(free)(ptr); }
__attribute__((destructor)) static void tell(void)
{
    long calls = taken, ends = freed;
    fprintf(stderr, "%ld thousand taken, %ld freed\n", calls / 1000, ends / 1000);
}
CODE
gcc -O1 -fno-builtin -shared -fPIC -o "$work/recorder.so" "$work/recorder.c" -ldl
LD_PRELOAD=$work/recorder.so "$work/forms" >"$work/expected" 2>&1
LD_PRELOAD=$work/recorder.so:$MYMALLOC_PRELOAD "$work/forms" >"$work/got" 2>&1 || fail "recorded: $(cat "$work/got")"
cmp -s "$work/expected" "$work/got" || fail "recorded: $(cat "$work/got") instead of $(cat "$work/expected")"
grep "^17 thousand taken" "$work/got" >/dev/null || fail "recorded: $(cat "$work/got")"

# One of the operators sees each call once, not those that another form comes down to as well.
cat >"$work/wrapper.cc" <<'CODE'
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <new>
static long taken, freed;
template <typename Form> Form *next(const char *name) { return reinterpret_cast<Form *>(dlsym(RTLD_NEXT, name)); }
void *operator new(size_t size) { taken++; return next<void *(size_t)>("_Znwm")(size); }
void *operator new[](size_t size) { taken++; return next<void *(size_t)>("_Znam")(size); }
void operator delete(void *ptr) noexcept { freed++; next<void(void *)>("_ZdlPv")(ptr); }
void operator delete[](void *ptr) noexcept { freed++; next<void(void *)>("_ZdaPv")(ptr); }
__attribute__((destructor)) static void tell() { fprintf(stderr, "%ld taken, %ld freed\n", taken, freed); }
CODE
cat >"$work/wrapped.cc" <<'CODE'
#include <new>
int main()
{
    for (int i = 0; i < 100; i++) {
        operator delete(operator new(100));
        operator delete[](operator new[](100));
    }
}
CODE
g++ -O1 -std=c++17 -fno-builtin -w -shared -fPIC -o "$work/wrapper.so" "$work/wrapper.cc" -ldl
g++ -O1 -std=c++17 -fno-builtin -w -o "$work/wrapped" "$work/wrapped.cc"
said=$(LD_PRELOAD=$work/wrapper.so:$MYMALLOC_PRELOAD "$work/wrapped" 2>&1) || fail "wrapped: $said"
[[ $said == "200 taken, 200 freed" ]] || fail "wrapped: $said"
