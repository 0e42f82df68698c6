/*
 * null_heap.c - the pools behind null_heap.h.
 *
 * A thread walks round and round in one of 64 static pools of 64 KiB; threads may share
 * one. A request that does not fit gets the start of one region that all threads share.
 */
#include "null_heap.h"

#undef malloc
#undef calloc
#undef realloc
#undef aligned_alloc
#undef free

#include <stdatomic.h>
#include <sys/mman.h>

enum { POOL_BYTES = 1 << 16, POOLS = 64 };
static const size_t huge_bytes = (size_t)1 << 30;

static unsigned char pools[POOLS][2 * POOL_BYTES]; /* an object may start at the end */
static atomic_uint pools_given;
static _Thread_local struct {
    size_t next;
    unsigned char *place;
} pool;

static void *huge_place(size_t size)
{
    static _Atomic(void *) region;
    void *place = region;

    if (size > huge_bytes)
        return NULL;
    if (!place) { /* two threads may both map it: one region is wasted */
        place = mmap(NULL, huge_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (place == MAP_FAILED)
            return NULL;
        region = place;
    }
    return place;
}

void *null_malloc(size_t size)
{
    if (size > POOL_BYTES)
        return huge_place(size);
    if (__builtin_expect(!pool.place, 0))
        pool.place = pools[pools_given++ % POOLS];
    void *object = pool.place + pool.next;
    pool.next = (pool.next + ((size + 15) & ~(size_t)15)) & (POOL_BYTES - 1);
    return object;
}

void *null_calloc(size_t count, size_t size)
{
    return null_malloc(count * size);
}

void *null_realloc(void *object, size_t size)
{
    (void)object;
    return null_malloc(size);
}

void *null_aligned_alloc(size_t alignment, size_t size)
{
    pool.next = (pool.next + alignment - 1) & ~(alignment - 1) & (POOL_BYTES - 1);
    return null_malloc(size);
}

void null_free(void *object)
{
    (void)object;
}
