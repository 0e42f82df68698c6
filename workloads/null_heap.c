/*
 * null_heap.c - the pools behind null_heap.h.
 *
 * A thread walks round and round in one of 64 static pools; threads may share one. An
 * object may start at the end of its pool: as much as the largest has lies behind it. A
 * request that does not fit gets the start of one region that all threads share.
 */
#include "null_heap.h"

#undef malloc
#undef calloc
#undef realloc
#undef aligned_alloc
#undef free

#include <stdatomic.h>
#include <sys/mman.h>

enum { POOLS = 64, POOL_STEP = NULL_POOL + NULL_LARGEST };
static const size_t huge_bytes = (size_t)1 << 30;

_Static_assert(POOL_STEP % NULL_POOL == 0, "every pool is aligned to its size");

_Thread_local unsigned char *null_place;

static _Alignas(NULL_POOL) unsigned char pools[POOLS][POOL_STEP];
static atomic_uint pools_given;

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

void *null_malloc_slow(size_t size)
{
    if (size > NULL_LARGEST)
        return huge_place(size);
    null_place = pools[pools_given++ % POOLS];
    return null_malloc(size);
}
