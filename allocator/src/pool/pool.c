/*
 * pool.c - the magazines of one size class: loaded and empty ones, one mutex.
 *
 * Reached only when a CPU's cache misses, about once per magazine.
 *
 * Locking: pool->lock guards every field of struct mym_pool and the magazines in its
 * depot. Order: pool->lock, then the page heap's or the metadata's. Never two pools at
 * once, but for fork and the checker.
 */
#include "pool/pool.h"

#include "base/check.h"
#include "pool/depot.h"
#include "pool/slabs.h"

#define ASSERT_LOCKED(pool) MYM_ASSERT(mym_mutex_is_held(&(pool)->lock))

_Static_assert(MYM_MAX_ARENAS <= UINT8_MAX, "a pool's arena is a byte");

/* What the cache brought itself, while there is any: that is in its CPU's lines still. */
static struct mym_magazine *pop_loaded(struct mym_pool *pool, unsigned id)
    MYM_REQUIRES(pool->lock)
{
    struct mym_magazine **stack, *magazine = NULL;

    ASSERT_LOCKED(pool);
    for (unsigned i = 0; i < MYM_DEPOT_STACKS && magazine == NULL; i++) {
        stack = &pool->loaded[(id + i) % MYM_DEPOT_STACKS];
        magazine = *stack;
    }
    MYM_ASSERT((magazine == NULL) == (pool->loaded_count == 0));
    if (magazine != NULL) {
        MYM_ASSERT(mym_magazine_is_whole(magazine, magazine->used));
        MYM_ASSERT(magazine->used > 0 && magazine->used <= pool->loaded_objects);
        *stack = magazine->next;
        pool->loaded_objects -= magazine->used;
        if (--pool->loaded_count < pool->loaded_low)
            pool->loaded_low = pool->loaded_count;
    }
    return magazine;
}

static void push_loaded(struct mym_pool *pool, unsigned id,
                        struct mym_magazine *magazine, unsigned used)
    MYM_REQUIRES(pool->lock)
{
    struct mym_magazine **stack = &pool->loaded[id % MYM_DEPOT_STACKS];

    ASSERT_LOCKED(pool);
    MYM_ASSERT(used > 0 && mym_magazine_is_whole(magazine, used));
    magazine->used = (uint16_t)used;
    magazine->next = *stack;
    *stack = magazine;
    pool->loaded_objects += used;
    pool->loaded_count++;
}

/* The pool of the same class so many arenas further. */
static struct mym_pool *beside(const struct mym_pool *pool, unsigned distance)
{
    unsigned arena = (pool->arena + distance) % mym_arena_count;

    return &mym_arenas[arena]->pool[mym_pool_class(pool)];
}

/* NULL: it has none. */
static struct mym_magazine *take_empty(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    struct mym_magazine *magazine = pool->empty;

    ASSERT_LOCKED(pool);
    if (magazine != NULL)
        pool->empty = magazine->next;
    return magazine;
}

/*
 * What another arena has is better used than one more, which stays for good: where magazines wander
 * one way (a drain gives them to the first arena, who borrows keeps them) there would be no end to
 * it. The pool's lock is let go meanwhile.
 */
static struct mym_magazine *pop_empty(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    struct mym_magazine *magazine = take_empty(pool);

    for (unsigned i = 1; magazine == NULL && i < mym_arena_count; i++) {
        struct mym_pool *other = beside(pool, i);

        mym_pool_unlock(pool);
        mym_pool_lock(other);
        magazine = take_empty(other);
        mym_pool_unlock(other);
        mym_pool_lock(pool);
    }
    return magazine != NULL ? magazine : mym_magazine_make(mym_pool_class(pool));
}

static void push_empty(struct mym_pool *pool, struct mym_magazine *magazine)
    MYM_REQUIRES(pool->lock)
{
    ASSERT_LOCKED(pool);
    MYM_ASSERT(mym_magazine_is_whole(magazine, 0));
    magazine->next = pool->empty;
    pool->empty = magazine;
}

/*
 * A pool that exchanges BUSY magazines between two upkeeps gets longer ones, while the
 * budget lasts: for all pools together, in bytes per magazine of what the objects in it can
 * keep resident, a page each at least. A quiet one returns them. One that the budget is not
 * enough for is as busy as others: it tries again after the next upkeep.
 */
#define BUSY   64u
#define BUDGET (1 << 20)

static _Atomic int32_t budget = BUDGET;

static void lengthen(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    const struct mym_class *cls = &mym_classes[mym_pool_class(pool)];
    unsigned step =
        pool->batch < cls->room / 2u ? pool->batch : cls->room - pool->batch;
    int32_t cost = (int32_t)(step * (cls->size > MYM_PAGE ? cls->size : MYM_PAGE));

    if (atomic_fetch_sub(&budget, cost) < cost) {
        atomic_fetch_add(&budget, cost);
        return;
    }
    pool->busy = 0;
    pool->extra += (uint32_t)cost;
    pool->batch = (uint16_t)(pool->batch + step);
    MYM_ASSERT(pool->batch <= cls->room);
}

/* True: its magazines are not to be as long as they were any more. */
static bool shorten(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    bool quiet = pool->busy < BUSY / 4, shorter = quiet && pool->extra > 0;

    if (shorter) {
        atomic_fetch_add(&budget, (int32_t)pool->extra);
        pool->extra = 0;
        pool->batch = mym_classes[mym_pool_class(pool)].capacity;
    }
    if (quiet)
        mym_depot_narrow(pool);
    pool->busy = 0;
    return shorter;
}

/* Objects that the first miss of a pool moves that is not cold; doubles with each. */
#define BATCH_FIRST 16u

static void grow_batch(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    const struct mym_class *cls = &mym_classes[mym_pool_class(pool)];
    unsigned batch = pool->batch > 0 ? pool->batch * 2u : BATCH_FIRST;

    if (mym_pool_is_cold(pool))
        return;
    if (pool->batch < cls->capacity)
        pool->batch = (uint16_t)(batch < cls->capacity ? batch : cls->capacity);
    else if (pool->busy < BUSY && ++pool->busy == BUSY && pool->batch < cls->room)
        lengthen(pool);
}

/* Objects for the next magazine that goes out; 0: none does. */
static unsigned ration(const struct mym_pool *pool)
{
    return mym_magazine_ration(pool->batch);
}

/* A loaded magazine that another arena can spare. */
static struct mym_magazine *borrow(struct mym_pool *pool, unsigned id)
{
    for (unsigned i = 1; i < mym_arena_count; i++) {
        struct mym_pool *other = beside(pool, i);
        struct mym_magazine *magazine;

        if (!mym_mutex_trylock(&other->lock, MYM_RANK_POOL))
            continue;
        magazine = pop_loaded(other, id);
        mym_pool_unlock(other);
        if (magazine != NULL)
            return magazine;
    }
    return NULL;
}

/* Fill an empty magazine so that the lowest address is popped first. */
static unsigned fill(struct mym_pool *pool, struct mym_magazine *magazine,
                     unsigned want, bool fresh) MYM_REQUIRES(pool->lock)
{
    unsigned got;

    mym_magazine_set_capacity(magazine, want);
    got = mym_slabs_carve(pool, magazine->entry, want, fresh);
    for (unsigned i = 0; i < got / 2; i++) {
        void *swap = magazine->entry[i];

        magazine->entry[i] = magazine->entry[got - 1 - i];
        magazine->entry[got - 1 - i] = swap;
    }
    magazine->used = (uint16_t)got;
    return got;
}

/* A magazine of slabs' objects, where the depot has none; NULL: no memory. */
static struct mym_magazine *load_past_depot(struct mym_pool *pool, unsigned id,
                                            struct mym_magazine *empty, unsigned want)
    MYM_REQUIRES(pool->lock)
{
    bool alone = mym_arena_count == 1;
    struct mym_magazine *borrowed = NULL;

    if (empty == NULL)
        empty = pop_empty(pool);
    if (empty == NULL)
        return NULL;
    if (fill(pool, empty, want, alone) > 0)
        return empty;
    if (!alone) { /* what another has too much is better used than a new slab */
        mym_pool_unlock(pool);
        borrowed = borrow(pool, id);
        mym_pool_lock(pool);
        if (borrowed == NULL && fill(pool, empty, want, true) > 0)
            return empty;
    }
    push_empty(pool, empty);
    return borrowed;
}

struct mym_magazine *mym_pool_load(struct mym_pool *pool, unsigned id,
                                   struct mym_magazine *empty)
{
    struct mym_magazine *loaded = NULL;
    unsigned want;

    mym_pool_lock(pool);
    pool->misses++;
    grow_batch(pool);
    want = ration(pool); /* once: a thread that starts makes it less at any time */
    if (want > 0)
        loaded = pop_loaded(pool, id);
    if (want > 0 && loaded == NULL) {
        pool->starved = id + 1;
        loaded = load_past_depot(pool, id, empty, want);
    } else if (empty != NULL) {
        push_empty(pool, empty);
    }
    mym_pool_unlock(pool);
    return loaded;
}

static struct mym_magazine *pop_excess(struct mym_pool *pool) MYM_REQUIRES(pool->lock)
{
    return mym_depot_has_room(pool, 0) ? NULL : pop_loaded(pool, 0);
}

/*
 * There is no room for a magazine: its objects go back to their slabs, and as many of those that
 * the depot has too many by now, for its share shrinks with the pool. They may be in magazines
 * that are shorter, of a time when all were. No lock is held afterwards.
 */
static void reclaim_for_room(struct mym_pool *pool, struct mym_magazine *magazine,
                             unsigned used) MYM_RELEASES(pool->lock)
{
    struct mym_magazine *excess = pop_excess(pool);

    mym_pool_unlock(pool);
    mym_slabs_reclaim(pool, magazine->entry, used);
    for (unsigned gone = 0; excess != NULL;) {
        gone += excess->used;
        mym_slabs_reclaim(pool, excess->entry, excess->used);
        mym_pool_lock(pool);
        push_empty(pool, excess);
        excess = gone < used ? pop_excess(pool) : NULL;
        mym_pool_unlock(pool);
    }
}

void mym_pool_unload(struct mym_pool *pool, unsigned id, struct mym_magazine *magazine,
                     unsigned used)
{
    mym_pool_lock(pool);
    if (used > 0 && mym_depot_find_room(pool, used)) {
        push_loaded(pool, id, magazine, used);
    } else {
        if (used > 0) {
            reclaim_for_room(pool, magazine, used);
            mym_pool_lock(pool);
        }
        push_empty(pool, magazine);
    }
    mym_pool_unlock(pool);
}

/* Of a full wide one the half that was freed first. */
static struct mym_magazine *leave_half(struct mym_pool *pool, unsigned id,
                                       struct mym_magazine *full, unsigned used,
                                       unsigned capacity) MYM_RELEASES(pool->lock)
{
    unsigned rest = used / 2, half = used - rest;
    struct mym_magazine *carrier = NULL;

    if (mym_depot_find_room(pool, half) || mym_depot_widen(pool, id, half))
        carrier = pop_empty(pool);
    if (carrier != NULL) {
        mym_magazine_set_capacity(carrier, capacity);
        for (unsigned i = 0; i < half; i++)
            carrier->entry[i] = full->entry[i];
        push_loaded(pool, id, carrier, half);
        mym_pool_unlock(pool);
    } else {
        reclaim_for_room(pool, full, half);
    }
    for (unsigned i = 0; i < rest; i++)
        full->entry[i] = full->entry[half + i];
    full->used = (uint16_t)rest;
    mym_magazine_set_capacity(full, capacity);
    return full;
}

struct mym_magazine *mym_pool_exchange(struct mym_pool *pool, unsigned id,
                                       struct mym_magazine *full, unsigned used)
{
    struct mym_magazine *empty;
    unsigned capacity;

    mym_pool_lock(pool);
    grow_batch(pool);
    capacity = ration(pool);
    if (full != NULL && full->capacity < mym_magazine_entries(capacity)) {
        mym_pool_unlock(pool);
        mym_magazine_set_capacity(full, capacity);
        full->used = (uint16_t)used;
        return full;
    }
    pool->overflows++;
    if (capacity == 0) {
        mym_pool_unlock(pool);
        if (full != NULL)
            mym_pool_unload(pool, id, full, used);
        return NULL;
    }
    /* One that is longer by far than may be now goes whole: with a half it would stay so. */
    if (full != NULL && full->is_wide && used / 2 <= capacity)
        return leave_half(pool, id, full, used, capacity);
    if (full == NULL || mym_depot_find_room(pool, used) ||
        mym_depot_widen(pool, id, used)) {
        empty = pop_empty(pool);
        if (full != NULL)
            push_loaded(pool, id, full, used);
        mym_pool_unlock(pool);
    } else {
        reclaim_for_room(pool, full, used);
        empty = full;
    }
    if (empty != NULL) {
        mym_magazine_set_capacity(empty, capacity);
        empty->used = 0;
    }
    return empty;
}

void *mym_pool_take(struct mym_pool *pool)
{
    void *object = NULL;

    mym_pool_lock(pool);
    mym_slabs_carve(pool, &object, 1, true);
    mym_pool_unlock(pool);
    /* No memory for a slab: others may have free places. */
    for (unsigned i = 1; object == NULL && i < mym_arena_count; i++) {
        struct mym_pool *other = beside(pool, i);

        mym_pool_lock(other);
        mym_slabs_carve(other, &object, 1, false);
        mym_pool_unlock(other);
    }
    return object;
}

void mym_pool_put(struct mym_pool *pool, void *object)
{
    mym_slabs_reclaim(pool, &object, 1);
}

static void trim(struct mym_pool *pool, bool all, bool grew, bool pages)
{
    uint32_t goal;

    mym_pool_lock(pool);
    if (all)
        mym_depot_narrow(pool);
    goal = all ? pool->loaded_count : pool->loaded_low;
    /* Also what has no room any more, for the grant is less, or the slabs have less in use. */
    while (pool->loaded_count > 0 && (goal > 0 || !mym_depot_find_room(pool, 0))) {
        struct mym_magazine *magazine = pop_loaded(pool, 0);

        goal -= goal > 0;
        mym_pool_unlock(pool);
        mym_slabs_reclaim(pool, magazine->entry, magazine->used);
        mym_pool_lock(pool);
        push_empty(pool, magazine);
    }
    pool->loaded_low = pool->loaded_count;
    /* A slab of a cold pool has one object because no more were asked for yet. */
    grew = grew && !mym_pool_is_cold(pool);
    mym_pool_unlock(pool);
    mym_slabs_trim(pool, all, grew, pages);
}

void mym_pool_trim(struct mym_pool *pool, bool all)
{
    trim(pool, all, false, true);
}

static bool is_quiet_locked(const struct mym_pool *pool)
{
    return pool->misses + pool->overflows == pool->at_upkeep &&
           pool->free + pool->loaded_objects >=
               mym_classes[mym_pool_class(pool)].objects;
}

bool mym_pool_is_quiet(struct mym_pool *pool)
{
    bool quiet;

    mym_pool_lock(pool);
    quiet = is_quiet_locked(pool);
    mym_pool_unlock(pool);
    return quiet;
}

bool mym_pool_upkeep(struct mym_pool *pool, bool age, bool grew)
{
    bool quiet, shorter;

    mym_pool_lock(pool);
    quiet = is_quiet_locked(pool);
    pool->at_upkeep = pool->misses + pool->overflows;
    shorter = age && shorten(pool);
    mym_pool_unlock(pool);
    trim(pool, quiet, grew, !mym_pages_is_early());
    return shorter;
}
