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

_Static_assert(POOL_STEP % NULL_POOL == 0, "every pool is aligned to its size");

_Thread_local unsigned char *null_place;
_Atomic(unsigned char *) null_region;

static _Alignas(NULL_POOL) unsigned char pools[POOLS][POOL_STEP];
static atomic_uint pools_given;

/* Two threads may both map it: one is wasted. */
static unsigned char *map_region(void)
{
    void *place = mmap(NULL, NULL_REGION, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return place == MAP_FAILED ? NULL : place;
}

void *null_malloc_slow(size_t size)
{
    if (size > NULL_REGION)
        return NULL;
    if (size > NULL_LARGEST) {
        unsigned char *region = null_region;
        if (!region)
            null_region = region = map_region();
        return region;
    }
    null_place = pools[pools_given++ % POOLS];
    return null_malloc(size);
}
