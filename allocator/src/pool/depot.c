/*
 * depot.c - how much a pool's depot may hold.
 */
#include "pool/depot.h"

#include "os/os.h"

/*
 * A depot may hold this share of its pool's objects, up to so many bytes: magazines that
 * were emptied stay. Or as much as its pool was granted, of what the heap keeps free.
 */
#define DEPOT_SHARE 4u
#define DEPOT_HIGH  (2u << 20)

/* Cached objects pin pages: no more than so many where the pool's slabs have more pages. */
#define DEPOT_OBJECTS 2048u

/* Units that every depot is granted. */
#define GRANT_LEAST 2u

/* How many cached objects the depot may hold, whatever it was granted. */
static uint32_t most_objects(const struct mym_pool *pool)
{
    const struct mym_class *cls = &mym_classes[mym_pool_class(pool)];
    uint32_t units = (pool->slabs - pool->whole) * cls->units;

    return units > DEPOT_OBJECTS * MYM_PAGE / MYM_UNIT ? DEPOT_OBJECTS : UINT32_MAX;
}

/*
 * Bytes that so many objects in the depot keep resident. Where most places of the slabs are
 * free, each pins what would go back without it: a piece of its slab (slab.c), and what reaches
 * into the next. All of them pin no more than the slabs, but for objects of other arenas.
 */
static uint64_t pinned(const struct mym_pool *pool, uint32_t objects)
{
    const struct mym_class *cls = &mym_classes[mym_pool_class(pool)];
    uint64_t slabs = pool->slabs - pool->whole, slab = (uint64_t)cls->units * MYM_UNIT;
    uint64_t bytes = (uint64_t)objects * cls->size, pins;
    uint64_t each = cls->size + cls->units * mym_os_page();

    if (mym_pool_used(pool) >= objects + slabs * cls->objects / 4)
        return bytes;
    pins = objects * (each < slab ? each : slab);
    pins = pins < slabs * slab ? pins : slabs * slab;
    return pins > bytes ? pins : bytes;
}

bool mym_depot_has_room(const struct mym_pool *pool, unsigned used)
{
    unsigned size = mym_classes[mym_pool_class(pool)].size;
    uint32_t objects = pool->loaded_objects + used;
    uint64_t bytes = (uint64_t)objects * size;
    uint64_t share = mym_pool_used(pool) * size / DEPOT_SHARE;

    return (pinned(pool, objects) <= (uint64_t)pool->grant * MYM_UNIT &&
            objects <= most_objects(pool)) ||
           (bytes <= share && bytes <= DEPOT_HIGH);
}

bool mym_depot_find_room(struct mym_pool *pool, unsigned used)
{
    if (mym_depot_has_room(pool, used))
        return true;
    if (pool->grant >= GRANT_LEAST)
        return false;
    mym_idle_grant(MYM_HOLDS_DEPOTS, GRANT_LEAST - pool->grant, 0);
    pool->grant = GRANT_LEAST;
    return mym_depot_has_room(pool, used);
}

bool mym_depot_widen(struct mym_pool *pool, unsigned id, unsigned used)
{
    const struct mym_class *cls = &mym_classes[mym_pool_class(pool)];
    uint32_t units = (used * cls->size + MYM_UNIT - 1) / MYM_UNIT;
    uint32_t half = pool->grant / 2;

    if (pool->starved != id + 1 || pool->loaded_objects + used > most_objects(pool))
        return false;
    if (half > units && mym_idle_grant(MYM_HOLDS_DEPOTS, half, 1))
        units = half;
    else if (!mym_idle_grant(MYM_HOLDS_DEPOTS, units, 1))
        return false;
    pool->starved = 0;
    pool->grant += units;
    return mym_depot_has_room(pool, used);
}

void mym_depot_narrow(struct mym_pool *pool)
{
    mym_idle_return(MYM_HOLDS_DEPOTS, pool->grant);
    pool->grant = 0;
}
