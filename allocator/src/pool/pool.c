/*
 * pool.c - the depot of one size class: loaded and empty magazines, one mutex.
 *
 * Reached only when a CPU's cache misses, about once per magazine.
 *
 * Locking: pool->lock guards every field of struct mym_pool and the magazines in its
 * depot. Order: pool->lock, then the page heap's or the metadata's. Never two pools at
 * once, but for fork.
 */
#include "pool/pool.h"

#include "base/check.h"
#include "base/secure.h"
#include "os/os.h"
#include "pool/slabs.h"

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

#define ASSERT_LOCKED(pool) MYM_ASSERT(mym_mutex_is_held(&(pool)->lock))

_Static_assert(MYM_CLASSES <= UINT8_MAX && MYM_MAX_ARENAS <= UINT8_MAX,
               "a pool's class and arena are bytes");

static struct mym_magazine *pop_loaded(struct mym_pool *pool, unsigned id)
    MYM_REQUIRES(pool->lock);
static void push_loaded(struct mym_pool *pool, unsigned id,
                        struct mym_magazine *magazine, unsigned used)
    MYM_REQUIRES(pool->lock);
static struct mym_magazine *pop_empty(struct mym_pool *pool) MYM_REQUIRES(pool->lock);
static void push_empty(struct mym_pool *pool, struct mym_magazine *magazine)
    MYM_REQUIRES(pool->lock);
static void lengthen(struct mym_pool *pool) MYM_REQUIRES(pool->lock);
static void narrow(struct mym_pool *pool) MYM_REQUIRES(pool->lock);
static void shorten(struct mym_pool *pool) MYM_REQUIRES(pool->lock);
static void grow_batch(struct mym_pool *pool) MYM_REQUIRES(pool->lock);
static bool find_room(struct mym_pool *pool, unsigned used) MYM_REQUIRES(pool->lock);
static bool widen(struct mym_pool *pool, unsigned id, unsigned used)
    MYM_REQUIRES(pool->lock);
static unsigned fill(struct mym_pool *pool, struct mym_magazine *magazine,
                     unsigned want, bool fresh) MYM_REQUIRES(pool->lock);
static struct mym_magazine *load_past_depot(struct mym_pool *pool, unsigned id,
                                            struct mym_magazine *empty, unsigned want)
    MYM_REQUIRES(pool->lock);
static void reclaim_for_room(struct mym_pool *pool, struct mym_magazine *magazine,
                             unsigned used) MYM_RELEASES(pool->lock);

/* What the cache brought itself, while there is any: that is in its CPU's lines still. */
static struct mym_magazine *pop_loaded(struct mym_pool *pool, unsigned id)
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

static struct mym_magazine *pop_empty(struct mym_pool *pool)
{
    struct mym_magazine *magazine = pool->empty;

    ASSERT_LOCKED(pool);
    MYM_ASSERT((magazine == NULL) == (pool->empty_count == 0));
    if (magazine == NULL)
        return mym_magazine_make(mym_pool_class(pool));
    pool->empty = magazine->next;
    pool->empty_count--;
    return magazine;
}

static void push_empty(struct mym_pool *pool, struct mym_magazine *magazine)
{
    ASSERT_LOCKED(pool);
    MYM_ASSERT(mym_magazine_is_whole(magazine, 0));
    magazine->next = pool->empty;
    pool->empty = magazine;
    pool->empty_count++;
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

static void lengthen(struct mym_pool *pool)
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

static void narrow(struct mym_pool *pool)
{
    mym_idle_return(MYM_HOLDS_DEPOTS, pool->grant);
    pool->grant = 0;
}

static void shorten(struct mym_pool *pool)
{
    if (pool->busy < BUSY / 4 && pool->extra > 0) {
        atomic_fetch_add(&budget, (int32_t)pool->extra);
        pool->extra = 0;
        pool->batch = mym_classes[mym_pool_class(pool)].capacity;
    }
    if (pool->busy < BUSY / 4)
        narrow(pool);
    pool->busy = 0;
}

/* Objects that the first miss of a pool moves that is not cold; doubles with each. */
#define BATCH_FIRST 16u

static void grow_batch(struct mym_pool *pool)
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

    if (pool->places - pool->free >= objects + slabs * cls->objects / 4)
        return bytes;
    pins = objects * (each < slab ? each : slab);
    pins = pins < slabs * slab ? pins : slabs * slab;
    return pins > bytes ? pins : bytes;
}

static bool has_room(const struct mym_pool *pool, unsigned used)
{
    unsigned size = mym_classes[mym_pool_class(pool)].size;
    uint32_t objects = pool->loaded_objects + used;
    uint64_t bytes = (uint64_t)objects * size;
    uint64_t share = (pool->places - pool->free) * size / DEPOT_SHARE;

    return (pinned(pool, objects) <= (uint64_t)pool->grant * MYM_UNIT &&
            objects <= most_objects(pool)) ||
           (bytes <= share && bytes <= DEPOT_HIGH);
}

/* has_room, after the depot was granted what every depot is, if it was not yet. */
static bool find_room(struct mym_pool *pool, unsigned used)
{
    if (has_room(pool, used))
        return true;
    if (pool->grant >= GRANT_LEAST)
        return false;
    mym_idle_grant(MYM_HOLDS_DEPOTS, GRANT_LEAST - pool->grant, 0);
    pool->grant = GRANT_LEAST;
    return has_room(pool, used);
}

/*
 * A depot that one cache finds empty and then brings more than it has room for is too small
 * for the program's swing: some of the free memory that may be kept is kept here instead,
 * half as much again each time.
 * Not so when one cache takes and another brings: what the latter freed is in its lines.
 */
static bool widen(struct mym_pool *pool, unsigned id, unsigned used)
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
    return has_room(pool, used);
}

/* The pool of the same class so many arenas further. */
static struct mym_pool *beside(const struct mym_pool *pool, unsigned distance)
{
    unsigned arena = (pool->arena + distance) % mym_arena_count;

    return &mym_arenas[arena]->pool[mym_pool_class(pool)];
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
                     unsigned want, bool fresh)
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

/*
 * There is no room for a magazine: its objects go back to their slabs, and those of the one
 * that the depot has too many by now, for its share shrinks with the pool. No lock is held
 * afterwards.
 */
static void reclaim_for_room(struct mym_pool *pool, struct mym_magazine *magazine,
                             unsigned used)
{
    struct mym_magazine *excess = has_room(pool, 0) ? NULL : pop_loaded(pool, 0);

    mym_pool_unlock(pool);
    mym_slabs_reclaim(pool, magazine->entry, used);
    if (excess == NULL)
        return;
    mym_slabs_reclaim(pool, excess->entry, excess->used);
    mym_pool_lock(pool);
    push_empty(pool, excess);
    mym_pool_unlock(pool);
}

void mym_pool_unload(struct mym_pool *pool, unsigned id, struct mym_magazine *magazine,
                     unsigned used)
{
    mym_pool_lock(pool);
    if (used > 0 && find_room(pool, used)) {
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

struct mym_magazine *mym_pool_exchange(struct mym_pool *pool, unsigned id,
                                       struct mym_magazine *full, unsigned used)
{
    struct mym_magazine *empty;
    unsigned capacity;

    mym_pool_lock(pool);
    grow_batch(pool);
    capacity = ration(pool);
    if (full != NULL && full->capacity < capacity) {
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
    if (full == NULL || find_room(pool, used) || widen(pool, id, used)) {
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

static void trim(struct mym_pool *pool, bool all, bool grew)
{
    uint32_t goal;

    mym_pool_lock(pool);
    if (all)
        narrow(pool);
    goal = all ? pool->loaded_count : pool->loaded_low;
    /* Also what has no room any more, for the grant is less, or the slabs have less in use. */
    while (pool->loaded_count > 0 && (goal > 0 || !find_room(pool, 0))) {
        struct mym_magazine *magazine = pop_loaded(pool, 0);

        goal -= goal > 0;
        mym_pool_unlock(pool);
        mym_slabs_reclaim(pool, magazine->entry, magazine->used);
        mym_pool_lock(pool);
        push_empty(pool, magazine);
    }
    pool->loaded_low = pool->loaded_count;
    /* A slab of a cold pool has one object because no more were asked for yet. */
    all = all || (grew && !mym_pool_is_cold(pool));
    mym_pool_unlock(pool);
    mym_slabs_trim(pool, all);
}

void mym_pool_trim(struct mym_pool *pool, bool all)
{
    trim(pool, all, false);
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

void mym_pool_upkeep(struct mym_pool *pool, bool age, bool grew)
{
    bool quiet;

    mym_pool_lock(pool);
    quiet = is_quiet_locked(pool);
    pool->at_upkeep = pool->misses + pool->overflows;
    if (age)
        shorten(pool);
    mym_pool_unlock(pool);
    trim(pool, quiet, grew);
}
