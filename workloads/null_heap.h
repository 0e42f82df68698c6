/*
 * null_heap.h - malloc and free replaced by almost nothing: what the harness costs.
 *
 * Included, by compiling the same workload files a second time, in front of their calls.
 * A call hands out the next place of a small pool of the calling thread, inline and in a
 * few instructions, for a call of a function would be counted as the harness's; live
 * objects share places, so payloads mean nothing and are not verified. What is left is
 * the cost of the harness: random numbers, queues, writing payloads to a cache-hot pool.
 */
#ifndef NULL_HEAP_H
#define NULL_HEAP_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* A pool fits the first-level cache; it is aligned to its size, so that a place tells it. */
enum { NULL_POOL = 1 << 14, NULL_LARGEST = 1 << 16, NULL_REGION = 1 << 30 };

extern _Thread_local unsigned char *null_place; /* NULL before a thread's first call */

/* Where every object above NULL_LARGEST lies, of all threads; NULL before the first. */
extern _Atomic(unsigned char *) null_region;

/* What is mapped or chosen first: a thread's pool, the region. NULL above the region's size. */
void *null_malloc_slow(size_t size);

static inline void *null_malloc(size_t size)
{
    unsigned char *place = null_place;
    uintptr_t at = (uintptr_t)place, next = at + ((size + 15) & ~(size_t)15);

    if (__builtin_expect(size > NULL_LARGEST, 0))
        return null_region && size <= NULL_REGION ? null_region
                                                  : null_malloc_slow(size);
    if (__builtin_expect(!place, 0))
        return null_malloc_slow(size);
    null_place = place - (at % NULL_POOL) + next % NULL_POOL;
    return place;
}

static inline void *null_calloc(size_t count, size_t size)
{
    return null_malloc(count * size);
}

static inline void *null_realloc(void *object, size_t size)
{
    (void)object;
    return null_malloc(size);
}

static inline void *null_aligned_alloc(size_t alignment, size_t size)
{
    (void)null_malloc(0); /* there is a pool */
    uintptr_t at = (uintptr_t)null_place;
    uintptr_t next = (at + alignment - 1) & ~(uintptr_t)(alignment - 1);

    null_place = null_place - at % NULL_POOL + next % NULL_POOL;
    return null_malloc(size);
}

static inline void null_free(void *object)
{
    (void)object;
}

#define malloc(size)                   null_malloc(size)
#define calloc(count, size)            null_calloc(count, size)
#define realloc(object, size)          null_realloc(object, size)
#define aligned_alloc(alignment, size) null_aligned_alloc(alignment, size)
#define free(object)                   null_free(object)

#endif
