/*
 * space.c - memory for the tool's own arrays.
 */
#include "space.h"
#include "tool.h"

#include <sys/mman.h>

void *space_take(size_t bytes)
{
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die(EXIT_TROUBLE, "out of memory: cannot map %zu bytes", bytes);
    return p;
}

void space_give(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes ? bytes : 1);
}

void *space_grow(struct space *s, size_t count, size_t size)
{
    size_t bytes = s->bytes ? s->bytes : 65536, need;

    if (__builtin_mul_overflow(count, size, &need) || need > SIZE_MAX / 4)
        die(EXIT_TROUBLE, "out of memory: %zu elements of %zu bytes", count, size);
    if (need <= s->bytes)
        return s->base;
    while (bytes < need)
        bytes *= 2;
    if (s->base)
        s->base = mremap(s->base, s->bytes, bytes, MREMAP_MAYMOVE);
    else
        s->base = space_take(bytes);
    if (s->base == MAP_FAILED)
        die(EXIT_TROUBLE, "out of memory: cannot map %zu bytes", bytes);
    s->bytes = bytes;
    return s->base;
}

void space_free(struct space *s)
{
    space_give(s->base, s->bytes);
    s->base = NULL;
    s->bytes = 0;
}
