/* magazines.c - they are counted where they are made, and where they are. */
#include "magazines.h"

#include "cache/cache.h"
#include "check.h"
#include "pool/pool.h"

static _Atomic size_t made;

struct mym_magazine *__real_mym_magazine_make(unsigned cls);
struct mym_magazine *__wrap_mym_magazine_make(unsigned cls);

struct mym_magazine *__wrap_mym_magazine_make(unsigned cls)
{
    struct mym_magazine *magazine = __real_mym_magazine_make(cls);

    made += magazine != NULL;
    return magazine;
}

static void count_cached(void *const *objects, size_t count, void *magazines)
{
    (void)objects;
    (void)count;
    ++*(size_t *)magazines;
}

static void count_in_depot(struct mym_pool *pool, void *magazines)
{
    *(size_t *)magazines += pool->loaded_count;
    for (const struct mym_magazine *empty = pool->empty; empty != NULL;
         empty = empty->next)
        ++*(size_t *)magazines;
}

void check_magazines(size_t in_hands)
{
    size_t cached = 0, depots = 0;

    mym_cache_each_object(count_cached, &cached);
    mym_pools_each(count_in_depot, &depots);
    CHECKF(cached + depots + in_hands == made,
           "%zu magazines were made: %zu are in caches, %zu in depots, %zu in hands",
           made, cached, depots, in_hands);
}
