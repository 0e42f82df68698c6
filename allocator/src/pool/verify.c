/*
 * verify.c - what must hold of a pool, its depot and its slabs: told where it does not.
 *
 * Locking: pool->lock is held throughout.
 */
#include "pool/slabs.h"

#include "base/check.h"

static size_t verify_slab(const struct mym_pool *pool, uint32_t slab, unsigned bin)
{
    const struct mym_unit *unit = &mym_heap.units[slab];
    unsigned set = 0;
    size_t bad = 0;

    for (unsigned i = 0; i < (mym_classes[mym_pool_class(pool)].objects + 63u) / 64;
         i++) {
        set += (unsigned)__builtin_popcountll(mym_heap.bits[slab][i]);
        bad += mym_expect("pool check", i >= unit->scan || mym_heap.bits[slab][i] == 0,
                          "free place below the scan mark");
    }
    bad += mym_expect("pool check", set == unit->free,
                      "free places of a slab do not add up");
    bad += mym_expect("pool check",
                      unit->kind == MYM_SLAB && unit->cls == mym_pool_class(pool) &&
                          unit->arena == pool->arena && unit->first == slab,
                      "slab of another pool in a bin");
    bad += mym_expect("pool check", unit->bin == bin && mym_slabs_bin_of(unit) == bin,
                      "slab in a wrong bin");
    bad += mym_expect("pool check",
                      bin != MYM_BIN_SPARSE - 1 || unit->purged != MYM_FRESH ||
                          pool->fresh,
                      "fresh slab of a pool that knows of none");
    return bad;
}

/* What a pool holds of idle memory, by the lists of its slabs. */
struct sums {
    uint32_t slabs, hollow, depots;
};

static uint32_t units_in(uint32_t slab)
{
    uint32_t units = 0;

    for (; slab != 0; slab = mym_heap.units[slab].next)
        units += mym_heap.units[slab].length;
    return units;
}

static void add_sums(struct mym_pool *pool, void *context)
{
    struct sums *sums = context;

    sums->slabs += units_in(pool->bins[MYM_BIN_WHOLE]);
    sums->slabs += units_in(pool->bins[MYM_BIN_SPARSE]) + units_in(pool->leaving);
    sums->hollow += units_in(pool->bins[MYM_BIN_PURGED]);
    sums->depots += pool->grant;
}

MYM_UNFOLLOWED static void lock_visit(struct mym_pool *pool, void *unused)
{
    (void)unused;
    mym_pool_lock(pool);
}

MYM_UNFOLLOWED static void unlock_visit(struct mym_pool *pool, void *unused)
{
    (void)unused;
    mym_pool_unlock(pool);
}

size_t mym_pools_verify_idle(void)
{
    struct sums sums = {0, 0, 0};
    size_t bad;

    mym_pools_each(lock_visit, NULL); /* all at once */
    mym_pools_each(add_sums, &sums);
    bad = mym_expect("pool check",
                     sums.slabs == mym_idle_held(MYM_HOLDS_SLABS) &&
                         sums.hollow == mym_idle_add_hollow(0),
                     "what slabs hold idle does not add up");
    bad += mym_expect("pool check", sums.depots == mym_idle_held(MYM_HOLDS_DEPOTS),
                      "what depots were granted does not add up");
    mym_pools_each(unlock_visit, NULL);
    return bad;
}

static size_t verify_loaded(const struct mym_pool *pool, struct mym_magazine *magazine)
{
    size_t bad = mym_expect("pool check",
                            magazine->used > 0 &&
                                mym_magazine_is_whole(magazine, magazine->used),
                            "magazine in the depot is damaged");

    for (unsigned i = 0; i < magazine->used; i++)
        bad += mym_expect("pool check",
                          mym_heap.cls[mym_unit_of(magazine->entry[i])] ==
                              mym_pool_class(pool),
                          "object of another class in the depot");
    return bad;
}

size_t mym_pool_verify(struct mym_pool *pool)
{
    size_t bad = 0;
    uint64_t free = 0, objects = 0;
    uint32_t loaded = 0, whole = 0, sparse = 0, nonfull = 0;

    mym_pool_lock(pool);
    for (unsigned bin = 0; bin < MYM_SLAB_BINS; bin++)
        for (uint32_t slab = pool->bins[bin]; slab != 0;
             slab = mym_heap.units[slab].next) {
            bad += verify_slab(pool, slab, bin);
            free += mym_heap.units[slab].free;
            whole += bin == MYM_BIN_WHOLE;
            sparse += bin == MYM_BIN_SPARSE;
            nonfull += bin != MYM_BIN_WHOLE;
        }
    for (uint32_t slab = pool->leaving; slab != 0; slab = mym_heap.units[slab].next)
        bad += mym_expect("pool check",
                          mym_heap.units[slab].kind == MYM_SLAB &&
                              mym_heap.units[slab].free ==
                                  mym_classes[mym_pool_class(pool)].objects,
                          "slab with objects leaves its pool");
    bad += mym_expect("pool check", free == pool->free,
                      "free places of a pool do not add up");
    bad += mym_expect("pool check",
                      whole == pool->whole && sparse == pool->sparse &&
                          nonfull == pool->nonfull,
                      "whole, sparse or nonfull slabs of a pool do not add up");
    for (unsigned i = 0; i < MYM_DEPOT_STACKS; i++)
        for (struct mym_magazine *m = pool->loaded[i]; m != NULL;
             m = m->next, loaded++) {
            bad += verify_loaded(pool, m);
            objects += m->used;
        }
    bad += mym_expect("pool check",
                      loaded == pool->loaded_count && objects == pool->loaded_objects,
                      "loaded magazines do not add up");
    mym_pool_unlock(pool);
    return bad;
}
