/*
 * broken.c - an allocator for LD_PRELOAD that makes the mistake that BROKEN names, so
 * that a replay which does not notice is a failed test. Memory is never used again.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LARGE = 3000 }; /* smaller ones are right, for libc and the tool */

static char *_Atomic memory;
static _Atomic size_t used;
static const size_t whole = (size_t)8 << 30;

static int is_broken(const char *how, size_t size)
{
    const char *asked = getenv("BROKEN");

    return size >= LARGE && asked && strcmp(asked, how) == 0;
}

static char *take(size_t alignment, size_t size)
{
    size_t step = is_broken("overlap", size) ? size / 2 : size;
    char *base = atomic_load(&memory), *none = NULL;
    uintptr_t at;

    if (is_broken("null", size)) {
        errno = ENOMEM;
        return NULL;
    }
    if (!base) {
        base = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (!atomic_compare_exchange_strong(&memory, &none, base))
            base = none;
    }
    at = (uintptr_t)base + atomic_fetch_add(&used, step + alignment + 16);
    at = (at + 16 + alignment - 1) & ~(alignment - 1);
    at += is_broken("align", size) && alignment > 16 ? 16 : 0;
    memcpy((char *)at - 8, &size, 8);
    return (char *)at;
}

void *malloc(size_t size)
{
    return take(16, size);
}

void *calloc(size_t count, size_t size)
{
    char *p = take(16, count * size);

    if (p && is_broken("zero", count * size))
        p[count * size - 1] = 1;
    return p;
}

void *realloc(void *old, size_t size)
{
    char *p = take(16, size);
    size_t before = 0;

    if (old)
        memcpy(&before, (char *)old - 8, 8);
    if (p && old && !is_broken("copy", size))
        memcpy(p, old, before < size ? before : size);
    return p;
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    *out = take(alignment < 16 ? 16 : alignment, size);
    return *out ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return take(alignment < 16 ? 16 : alignment, size);
}

void free(void *p)
{
    (void)p;
}
