/*
 * slabs.c - carving magazines from slabs and taking objects back into them.
 *
 * Reached when a depot is empty or full: once per several magazines at most.
 *
 * Locking: pool->lock guards the bins, the slabs' records and their bitmaps. Slabs that
 * became empty wait in pool->leaving and go to the page heap one by one, no lock held: it
 * may call madvise. A child of fork finds those that wait, but for one per thread.
 */
#include "pool/slabs.h"

#include "base/check.h"

/*
 * A pool with so many slabs fills the next one too: at most 1/8 more than it uses, if no
 * object is longer than a page. Of a longer one nobody may ever use the rest.
 */
#define POPULATE_FROM 8u

_Static_assert(MYM_SLAB_BINS < MYM_NO_BIN && MYM_NO_BIN <= UINT8_MAX,
               "a slab's bin is a byte");

/* What somebody freed and should not have. */
struct misuse {
    const char *what; /* NULL: nothing */
    const void *object;
};

/* For assertions: the record is a slab's of this pool, whose lock is held. */
__attribute__((unused)) MYM_INLINE bool is_own(const struct mym_pool *pool,
                                               uint32_t slab)
{
    const struct mym_unit *unit = &mym_heap.units[slab];

    return mym_mutex_is_held(&pool->lock) && unit->kind == MYM_SLAB &&
           unit->first == slab && unit->cls == mym_pool_class(pool) &&
           unit->arena == pool->arena &&
           unit->free <= mym_classes[mym_pool_class(pool)].objects;
}

/* So few objects that about half of the pages of a slab hold none. */
#define SPARSE_MOST 8u

_Static_assert(SPARSE_MOST <= MYM_NEVER_PURGED / 4u,
               "of a slab that was never purged no more than that are left");
_Static_assert(SPARSE_MOST * 2 <= MYM_UNIT / MYM_PAGE,
               "each on a page of its own, they leave half of a slab of a unit");

/* Of a few long objects one: the rest of the slab is most of it, or half. */
static bool is_sparse(unsigned used, unsigned objects)
{
    return used <= SPARSE_MOST && (used * 8 <= objects || (used == 1 && objects > 1));
}

unsigned mym_slabs_bin_of(const struct mym_unit *unit)
{
    unsigned objects = mym_classes[unit->cls].objects;
    unsigned used = objects - unit->free;

    if (unit->free == 0)
        return MYM_NO_BIN;
    if (used == 0)
        return MYM_BIN_WHOLE;
    /* Without a division: once per object at worst. */
    if (unit->purged == MYM_FRESH || !is_sparse(used, objects))
        return MYM_BIN_THIRDS + (unit->free * 3u > objects) +
               (unit->free * 3u > 2 * objects);
    /* Worth a second time only when far fewer objects are left than the first time. */
    return used <= unit->purged / 4u ? MYM_BIN_SPARSE : MYM_BIN_PURGED;
}

static void unlink_slab(struct mym_pool *pool, uint32_t slab) MYM_REQUIRES(pool->lock)
{
    struct mym_unit *unit = &mym_heap.units[slab];

    MYM_ASSERT(is_own(pool, slab));
    if (unit->bin == MYM_NO_BIN)
        return;
    MYM_ASSERT(unit->bin < MYM_SLAB_BINS);
    MYM_ASSERT(unit->prev != 0 || pool->bins[unit->bin] == slab);
    MYM_ASSERT(unit->bin != MYM_BIN_WHOLE || pool->whole > 0);
    MYM_ASSERT(unit->bin != MYM_BIN_SPARSE || pool->sparse > 0);
    if (unit->next != 0)
        mym_heap.units[unit->next].prev = unit->prev;
    if (unit->prev != 0)
        mym_heap.units[unit->prev].next = unit->next;
    else
        pool->bins[unit->bin] = unit->next;
    pool->nonfull -= unit->bin != MYM_BIN_WHOLE;
    if (unit->bin == MYM_BIN_WHOLE || unit->bin == MYM_BIN_SPARSE)
        mym_idle_return(MYM_HOLDS_SLABS, unit->length);
    if (unit->bin == MYM_BIN_PURGED)
        mym_idle_add_hollow(-(int32_t)unit->length);
    if (unit->bin == MYM_BIN_WHOLE && --pool->whole < pool->whole_low)
        pool->whole_low = pool->whole;
    if (unit->bin == MYM_BIN_SPARSE && --pool->sparse < pool->sparse_low)
        pool->sparse_low = pool->sparse;
    unit->bin = MYM_NO_BIN;
}

static void link_slab(struct mym_pool *pool, uint32_t slab, unsigned bin)
    MYM_REQUIRES(pool->lock)
{
    struct mym_unit *unit = &mym_heap.units[slab];

    MYM_ASSERT(is_own(pool, slab) && (bin < MYM_SLAB_BINS || bin == MYM_NO_BIN));
    unit->bin = (uint8_t)bin;
    if (bin == MYM_NO_BIN)
        return;
    pool->nonfull += bin != MYM_BIN_WHOLE;
    pool->whole += bin == MYM_BIN_WHOLE; /* its units have been granted */
    pool->sparse += bin == MYM_BIN_SPARSE;
    if (bin == MYM_BIN_SPARSE) /* purge_sparse sees whether it may stay */
        mym_idle_grant(MYM_HOLDS_SLABS, unit->length, 0);
    if (bin == MYM_BIN_PURGED)
        mym_idle_add_hollow((int32_t)unit->length);
    unit->prev = 0;
    unit->next = pool->bins[bin];
    if (unit->next != 0)
        mym_heap.units[unit->next].prev = slab;
    pool->bins[bin] = slab;
}

static void rebin_slab(struct mym_pool *pool, uint32_t slab) MYM_REQUIRES(pool->lock)
{
    unsigned bin = mym_slabs_bin_of(&mym_heap.units[slab]);

    if (bin != mym_heap.units[slab].bin) {
        unlink_slab(pool, slab);
        link_slab(pool, slab, bin);
    }
}

static uint32_t pick_slab(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    for (unsigned bin = 0; bin < MYM_SLAB_BINS; bin++)
        if (pool->bins[bin] != 0)
            return pool->bins[bin];
    return 0;
}

/*
 * From a slab of one's own, which others see afterwards: the kernel populates it while they go
 * on, and one more of them may need another meanwhile. The very first one may never hold more
 * than a few objects, and all its pages would stay resident if it were of dirty memory; nor does
 * it start its objects later, by which the first one would lie in a page more. Those of several
 * units, whose objects are longer than pages, gain nothing from that (z3 +0.4 MiB), nor do those
 * that come when the first one is gone: what it left is dirty.
 */
static unsigned carve_fresh(struct mym_pool *pool, void **out, unsigned want)
    MYM_REQUIRES(pool->lock)
{
    const struct mym_class *cls = &mym_classes[mym_pool_class(pool)];
    bool small = cls->size <= MYM_PAGE_CLASS;
    bool fresh = !pool->carved && (small || cls->units == 1);
    uint32_t slab = mym_slab_make(mym_pool_class(pool), pool->arena, &fresh);

    if (slab == 0)
        return 0;
    if (pool->slabs == 0)
        mym_heap.units[slab].lines = 0;
    if (!small || (fresh && pool->slabs >= POPULATE_FROM)) {
        mym_pool_unlock(pool);
        if (small) {
            mym_slab_populate(slab);
        } else {
            mym_dense_look_back(cls->size);
            mym_dense_taken((void *)mym_slab_start(slab), cls->size, /* NOLINT */
                            (size_t)cls->units * MYM_UNIT);
        }
        mym_pool_lock(pool);
    }
    pool->carved = true;
    pool->slabs++;
    pool->free += cls->objects;
    want = mym_slab_take(slab, out, want);
    pool->fresh |= mym_heap.units[slab].purged == MYM_FRESH;
    link_slab(pool, slab, mym_slabs_bin_of(&mym_heap.units[slab]));
    return want;
}

/* A slab without an object, in no bin any more, leaves the pool for release_slabs. */
static void drop_slab(struct mym_pool *pool, uint32_t slab) MYM_REQUIRES(pool->lock)
{
    unsigned objects = mym_heap.units[slab].free;

    MYM_ASSERT(is_own(pool, slab) &&
               objects == mym_classes[mym_pool_class(pool)].objects);
    MYM_ASSERT(mym_heap.units[slab].bin == MYM_NO_BIN);
    MYM_ASSERT(pool->slabs > 0 && pool->free >= objects);
    pool->slabs--;
    pool->free -= objects;
    /* Idle until it is there: many of them would look like a program that takes memory again. */
    mym_idle_grant(MYM_HOLDS_SLABS, mym_heap.units[slab].length, 0);
    mym_heap.units[slab].next = pool->leaving;
    pool->leaving = slab;
}

/* Slabs that left the pool go to the page heap. No pool lock is held. */
static void release_slabs(struct mym_pool *pool)
{
    for (;;) {
        uint32_t slab;

        mym_pool_lock(pool);
        slab = pool->leaving;
        if (slab != 0) {
            pool->leaving = mym_heap.units[slab].next;
            mym_idle_return(MYM_HOLDS_SLABS, mym_heap.units[slab].length);
        }
        mym_pool_unlock(pool);
        if (slab == 0)
            return;
        mym_dense_forget((void *)mym_slab_start(slab), /* NOLINT */
                         mym_classes[mym_pool_class(pool)].size);
        mym_pages_put(slab);
    }
}

unsigned mym_slabs_carve(struct mym_pool *pool, void **out, unsigned want, bool fresh)
{
    unsigned got = 0;

    while (got < want) {
        uint32_t slab = pick_slab(pool);
        bool purged;

        if (slab == 0) {
            /* What there is will do; one more slab only for an empty hand. */
            if (got > 0 || !fresh || (got = carve_fresh(pool, out, want)) == 0)
                break;
            continue;
        }
        purged = mym_heap.units[slab].bin == MYM_BIN_PURGED;
        got += mym_slab_take(slab, out + got, want - got);
        rebin_slab(pool, slab);
        if (purged)
            mym_idle_settle();
    }
    MYM_ASSERT(got <= want && pool->free >= got);
    pool->free -= got;
    return got;
}

/*
 * A slab without an object waits for the next of its class. Not for the next sampled one,
 * which is seldom: small programs would keep a slab for each class that had a sample. Nor
 * where the class is cold.
 */
static bool may_stay(const struct mym_pool *pool, const struct mym_unit *slab)
{
    return pool->arena != MYM_SAMPLED && !mym_pool_is_cold(pool) &&
           mym_idle_grant(MYM_HOLDS_SLABS, slab->length, 2);
}

/*
 * Put objects back into their slabs; those of other arenas are moved to the front and
 * counted. Slabs that become empty leave the pool.
 */
static unsigned reclaim(struct mym_pool *pool, void **objects, unsigned count,
                        struct misuse *misuse) MYM_REQUIRES(pool->lock)
{
    unsigned mark = pool->arena == MYM_SAMPLED ? 0 : mym_pool_class(pool);
    unsigned left = 0;

    for (unsigned i = 0; i < count && misuse->what == NULL;) {
        uint32_t unit = mym_unit_of(objects[i]);
        uint32_t slab = mym_heap.units[unit].first;
        struct mym_unit *u = &mym_heap.units[slab];
        unsigned put;

        if (MYM_UNLIKELY(mym_heap.cls[unit] != mark)) {
            *misuse = (struct misuse){MYM_TWICE, objects[i]}; /* its slab is gone */
            break;
        }
        if (u->arena != pool->arena) {
            objects[left++] = objects[i++];
            continue;
        }
        put = mym_slab_put(slab, objects + i, count - i, &misuse->what);
        MYM_ASSERT((put > 0 || misuse->what != NULL) && put <= mym_pool_used(pool));
        pool->free += put;
        i += put;
        misuse->object = objects[i < count ? i : 0]; /* if it is one */
        if (u->free == mym_classes[mym_pool_class(pool)].objects &&
            !may_stay(pool, u)) {
            unlink_slab(pool, slab);
            drop_slab(pool, slab);
        } else {
            rebin_slab(pool, slab);
        }
    }
    return left;
}

/* Up to `count` wholly free slabs leave the pool. */
static void drop_whole(struct mym_pool *pool, uint32_t count) MYM_REQUIRES(pool->lock)
{
    while (count-- > 0 && pool->bins[MYM_BIN_WHOLE] != 0) {
        uint32_t slab = pool->bins[MYM_BIN_WHOLE];

        unlink_slab(pool, slab);
        drop_slab(pool, slab);
    }
}

/*
 * Give back the free pages of a slab that a few objects pin. The pool's lock is let go while
 * the kernel has them, and the places on them are hidden: nobody carves from there, and the
 * slab cannot become wholly free, though it may change its bin. The caller holds the purge
 * lock: a fork waits until they are back.
 */
static void purge_slab(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    uint32_t slab = pool->bins[MYM_BIN_SPARSE];
    struct mym_unit *unit = &mym_heap.units[slab];
    unsigned objects = mym_classes[mym_pool_class(pool)].objects;
    unsigned hidden = unit->free;
    uint64_t pieces;

    unlink_slab(pool, slab);
    unit->purged = (uint8_t)(objects - unit->free);
    pieces = mym_slab_hide(slab);
    hidden -= unit->free;
    pool->free -= hidden;
    rebin_slab(pool, slab);
    /* Nothing to give back, and no hidden place that would hold the slab here. */
    if (pieces == 0)
        return;
    mym_pool_unlock(pool);
    mym_slab_purge(slab, pieces);
    mym_idle_settle();
    mym_pool_lock(pool);
    unlink_slab(pool, slab);
    mym_slab_unhide(slab, pieces);
    pool->free += hidden;
    if (unit->free < objects)
        rebin_slab(pool, slab);
    else
        drop_slab(pool, slab);
}

/*
 * The free pages of sparse slabs are worth keeping while the program is likely to come back
 * for them, and there is room for them in what may be kept. Slabs that were wholly free in
 * the end leave the pool. True: mym_purge_excess, for others may have left theirs meanwhile.
 */
static bool purge_sparse(struct mym_pool *pool, uint32_t count) MYM_REQUIRES(pool->lock)
{
    if (pool->sparse == 0 || (count == 0 && !mym_idle_is_overdrawn()))
        return false;
    mym_pool_unlock(pool);
    mym_purge_begin();
    mym_pool_lock(pool);
    while (pool->sparse > 0 && (mym_idle_is_overdrawn() || count-- > 0))
        purge_slab(pool);
    mym_purge_end();
    return true;
}

void mym_slabs_reclaim(struct mym_pool *pool, void **objects, unsigned count)
{
    while (count > 0) {
        struct misuse misuse = {NULL, NULL};
        bool leaving, purged;

        mym_pool_lock(pool);
        count = reclaim(pool, objects, count, &misuse);
        purged = !mym_pages_is_early() && purge_sparse(pool, 0);
        leaving = pool->leaving != 0;
        mym_pool_unlock(pool);
        if (leaving)
            release_slabs(pool);
        if (purged)
            mym_purge_excess();
        mym_idle_tell(0);
        if (MYM_UNLIKELY(misuse.what != NULL))
            mym_fatal(misuse.what, misuse.object);
        if (count > 0) {
            uint32_t slab = mym_heap.units[mym_unit_of(objects[0])].first;

            pool = &mym_arenas[mym_heap.units[slab].arena]->pool[mym_pool_class(pool)];
        }
    }
}

/*
 * Nobody takes what fresh slabs have: they may be sparse as others are. Into that bin they come only
 * as they are made, so of a class that stays quiet the bin is walked once.
 */
static void end_fresh(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    uint32_t next;

    if (!pool->fresh)
        return;
    pool->fresh = false;
    for (uint32_t slab = pool->bins[MYM_BIN_SPARSE - 1]; slab != 0; slab = next) {
        next = mym_heap.units[slab].next;
        if (mym_heap.units[slab].purged == MYM_FRESH) {
            mym_heap.units[slab].purged = MYM_NEVER_PURGED;
            rebin_slab(pool, slab);
        }
    }
}

void mym_slabs_trim(struct mym_pool *pool, bool all, bool grew, bool pages)
{
    bool purged;

    mym_pool_lock(pool);
    if (all)
        end_fresh(pool);
    all = all || grew;
    purged = pages && purge_sparse(pool, all ? pool->sparse : pool->sparse_low);
    drop_whole(pool, all ? pool->whole : pool->whole_low);
    pool->whole_low = pool->whole;
    pool->sparse_low = pool->sparse;
    mym_pool_unlock(pool);
    release_slabs(pool);
    if (purged)
        mym_purge_excess();
}

/* ---- defragmentation: where an object is, and whether it had better be elsewhere ---- */

bool mym_pool_place(const void *object, struct mym_place *place)
{
    const struct mym_class *cls;
    struct mym_pool *pool;
    uint32_t unit, slab;

    if (!mym_in_heap(object) || mym_heap.cls[mym_unit_of(object)] == 0)
        return false;
    unit = mym_unit_of(object);
    place->cls = mym_heap.cls[unit];
    cls = &mym_classes[place->cls];
    pool = mym_pool_owner(place->cls, object);
    mym_pool_lock(pool);
    slab = mym_heap.units[unit].first;
    place->slab = mym_unit_address(slab);
    place->free = mym_heap.units[slab].free;
    place->pool_places = (size_t)pool->slabs * cls->objects;
    place->pool_free = pool->free;
    place->nonfull = pool->nonfull;
    place->nonfull_used =
        (size_t)(pool->nonfull + pool->whole) * cls->objects - pool->free;
    slab = pick_slab(pool);
    place->next = slab == 0 ? NULL : mym_unit_address(slab);
    mym_pool_unlock(pool);
    return true;
}

bool mym_place_is_thin(const struct mym_place *place)
{
    size_t used = mym_classes[place->cls].objects - place->free;

    return place->free > 0 && place->slab != place->next && place->nonfull > 1 &&
           used * place->nonfull <= place->nonfull_used + place->nonfull_used / 8;
}
