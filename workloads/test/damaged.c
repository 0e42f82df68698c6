/*
 * damaged.c - an allocator with a fault, to show that the workloads notice.
 *
 * Preloaded over glibc. DAMAGED=overlap hands the same object of 64 bytes out twice,
 * every 1000th time; DAMAGED=dirty gives memory from calloc that is not zero, every 300th.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void __libc_free(void *object);

static const char *fault(void)
{
    static const char *name;

    if (!name)
        name = getenv("DAMAGED") ? getenv("DAMAGED") : "";
    return name;
}

static void *twice; /* handed out twice, so freed twice */

void *malloc(size_t size)
{
    static unsigned calls;
    static void *last;

    if (size == 64 && !strcmp(fault(), "overlap") && ++calls % 1000 == 0 && !twice)
        return twice = last;
    void *object = __libc_malloc(size);
    if (size == 64)
        last = object;
    return object;
}

void *calloc(size_t count, size_t size)
{
    static unsigned calls;
    unsigned char *object = __libc_calloc(count, size);

    if (object && count == 1 && size > 20 && !strcmp(fault(), "dirty") &&
        ++calls % 300 == 0)
        object[size - 1] = 1;
    return object;
}

void free(void *object)
{
    if (object && object == twice)
        twice = NULL; /* the first of two frees */
    else
        __libc_free(object);
}
