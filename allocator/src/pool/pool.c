/*
 * pool.c - depot of magazines, slabs with free slots, one mutex.
 *
 * Reached only when a CPU's cache misses, about once per magazine.
 *
 * Locking: pool->lock guards every field of struct mym_pool, the magazines in its depot
 * and the records and bitmaps of its slabs. Order: pool->lock, then the page heap's or
 * the metadata's. Never two pools at once. Slabs that became empty are given to the
 * page heap after the lock is dropped: it may call madvise.
 */
#include "pool/pool.h"

#include "base/check.h"
#include "heap/meta.h"

#define BATCH_FIRST 8u

/*
 * A depot may hold this share of its pool's objects, but no less than the first and no
 * more than the second number of bytes. The upper bound also bounds magazines: emptied,
 * they stay, and for the smallest objects they are half as large as what they hold.
 */
#define DEPOT_SHARE 8u
#define DEPOT_LOW   (64u << 10)
#define DEPOT_HIGH  (4u << 20)

/* Free slots that a pool may keep resident in sparse slabs. */
#define SPARSE_BYTES (4u << 20)

#define LOCK(pool)   mym_mutex_lock(&(pool)->lock, MYM_RANK_POOL)
#define UNLOCK(pool) mym_mutex_unlock(&(pool)->lock, MYM_RANK_POOL)

/* ---- slabs with free slots ---- */

/* So few that at least half of the slab's pages hold no object. */
static bool is_sparse(unsigned used, unsigned objects)
{
    return used <= 8 && used * 8 <= objects;
}

static unsigned bin_of(const struct mym_unit *unit)
{
    unsigned objects = mym_classes[unit->class].objects;
    unsigned used = objects - unit->free;

    if (unit->free == 0)
        return MYM_NO_BIN;
    if (!is_sparse(used, objects))
        return MYM_BIN_THIRDS + (unit->free - 1u) * 3 / objects;
    /* Worth a second time only when far fewer objects are left than the first time. */
    return unit->purged == 0 || used <= (unit->purged - 1u) / 4 ? MYM_BIN_SPARSE
                                                                : MYM_BIN_PURGED;
}

static void unlink_slab(struct mym_pool *pool, uint32_t slab)
{
    struct mym_unit *unit = &mym_heap.units[slab];

    if (unit->bin == MYM_NO_BIN)
        return;
    if (unit->next != 0)
        mym_heap.units[unit->next].prev = unit->prev;
    if (unit->prev != 0)
        mym_heap.units[unit->prev].next = unit->next;
    else
        pool->bins[unit->bin] = unit->next;
}

static void link_slab(struct mym_pool *pool, uint32_t slab, unsigned bin)
{
    struct mym_unit *unit = &mym_heap.units[slab];

    unit->bin = (uint8_t)bin;
    if (bin == MYM_NO_BIN)
        return;
    unit->prev = 0;
    unit->next = pool->bins[bin];
    if (unit->next != 0)
        mym_heap.units[unit->next].prev = slab;
    pool->bins[bin] = slab;
}

static void rebin_slab(struct mym_pool *pool, uint32_t slab)
{
    unsigned bin = bin_of(&mym_heap.units[slab]);

    if (bin != mym_heap.units[slab].bin) {
        unlink_slab(pool, slab);
        link_slab(pool, slab, bin);
    }
}

static uint32_t pick_slab(struct mym_pool *pool)
{
    for (unsigned bin = 0; bin < MYM_SLAB_BINS; bin++)
        if (pool->bins[bin] != 0)
            return pool->bins[bin];
    return 0;
}

static bool add_slab(struct mym_pool *pool)
{
    uint32_t slab = mym_slab_make(pool->class, pool->arena);

    if (slab == 0)
        return false;
    pool->slabs++;
    pool->slots += mym_classes[pool->class].objects;
    pool->free += mym_classes[pool->class].objects;
    link_slab(pool, slab, bin_of(&mym_heap.units[slab]));
    return true;
}

/* A slab without an object, in no bin any more, leaves the pool. */
static void drop_slab(struct mym_pool *pool, uint32_t slab)
{
    unsigned objects = mym_heap.units[slab].free;

    pool->slabs--;
    pool->slots -= objects;
    pool->free -= objects;
}

/* Up to `want` objects, ascending within a slab; `fresh`: make a slab if need be. */
static unsigned carve(struct mym_pool *pool, void **out, unsigned want, bool fresh)
{
    unsigned got = 0;

    while (got < want) {
        uint32_t slab = pick_slab(pool);

        if (slab == 0) {
            /* What there is will do; one more slab only for an empty hand. */
            if (got > 0 || !fresh || !add_slab(pool))
                break;
            continue;
        }
        got += mym_slab_take(slab, out + got, want - got);
        rebin_slab(pool, slab);
    }
    pool->free -= got;
    return got;
}

/*
 * Put objects back into their slabs; those of other arenas are moved to the front and
 * counted. Slabs that become empty leave the pool, chained by `next` from *emptied.
 */
static unsigned reclaim(struct mym_pool *pool, void **objects, unsigned count,
                        uint32_t *emptied)
{
    unsigned left = 0;

    for (unsigned i = 0; i < count; i++) {
        uint32_t unit = mym_unit_of(objects[i]);
        uint32_t slab = mym_heap.units[unit].first;
        struct mym_unit *u = &mym_heap.units[slab];

        if (MYM_UNLIKELY(mym_heap.class[unit] != pool->class))
            mym_fatal("double free", objects[i]); /* its slab is gone already */
        if (u->arena != pool->arena) {
            objects[left++] = objects[i];
            continue;
        }
        mym_slab_put(slab, objects[i]);
        pool->free++;
        if (u->free == mym_classes[pool->class].objects) {
            unlink_slab(pool, slab);
            drop_slab(pool, slab);
            u->next = *emptied;
            *emptied = slab;
        } else {
            rebin_slab(pool, slab);
        }
    }
    return left;
}

static void release_slabs(uint32_t emptied)
{
    while (emptied != 0) {
        uint32_t next = mym_heap.units[emptied].next;

        mym_pages_put(emptied);
        emptied = next;
    }
}

/*
 * Free slots are worth keeping while the program is likely to come back for them; many
 * more than it uses are not. What stays is bounded: SPARSE_BYTES, or half of the pool.
 */
static bool has_slack(const struct mym_pool *pool)
{
    return pool->bins[MYM_BIN_SPARSE] != 0 && pool->free > pool->slots / 2 &&
           pool->free * mym_classes[pool->class].size > SPARSE_BYTES;
}

/* Give back the free pages of a slab that a few objects pin. The slots are hidden
   meanwhile: nobody carves from pages that are on their way to the kernel. */
static uint32_t purge_sparse(struct mym_pool *pool)
{
    uint32_t slab = pool->bins[MYM_BIN_SPARSE];
    struct mym_unit *unit = &mym_heap.units[slab];
    unsigned objects = mym_classes[pool->class].objects;
    unsigned hidden = unit->free;
    uint64_t pages;

    unlink_slab(pool, slab);
    unit->bin = MYM_NO_BIN;
    unit->purged = (uint8_t)(objects - unit->free + 1);
    pages = mym_slab_hide(slab);
    hidden -= unit->free;
    pool->free -= hidden;
    rebin_slab(pool, slab);
    UNLOCK(pool);
    mym_slab_purge(slab, pages);
    LOCK(pool);
    unlink_slab(pool, slab);
    unit->bin = MYM_NO_BIN;
    mym_slab_unhide(slab, pages);
    pool->free += hidden;
    if (unit->free < objects) {
        rebin_slab(pool, slab);
        return 0;
    }
    drop_slab(pool, slab);
    return slab;
}

/* Objects of whatever arena, back to their slabs. No pool lock is held. */
static void reclaim_all(struct mym_pool *pool, void **objects, unsigned count)
{
    while (count > 0) {
        uint32_t emptied = 0;

        LOCK(pool);
        count = reclaim(pool, objects, count, &emptied);
        while (has_slack(pool)) {
            uint32_t slab = purge_sparse(pool);

            if (slab != 0) {
                mym_heap.units[slab].next = emptied;
                emptied = slab;
            }
        }
        UNLOCK(pool);
        release_slabs(emptied);
        if (count > 0) {
            uint32_t slab = mym_heap.units[mym_unit_of(objects[0])].first;

            pool = &mym_arenas[mym_heap.units[slab].arena]->pool[pool->class];
        }
    }
}

/* ---- depot ---- */

static struct mym_magazine *pop_loaded(struct mym_pool *pool)
{
    struct mym_magazine *magazine = pool->loaded;

    if (magazine != NULL) {
        pool->loaded = magazine->next;
        pool->loaded_objects -= magazine->used;
        if (--pool->loaded_count < pool->loaded_low)
            pool->loaded_low = pool->loaded_count;
    }
    return magazine;
}

static void push_loaded(struct mym_pool *pool, struct mym_magazine *magazine,
                        unsigned used)
{
    magazine->used = (uint16_t)used;
    magazine->next = pool->loaded;
    pool->loaded = magazine;
    pool->loaded_objects += used;
    pool->loaded_count++;
}

static struct mym_magazine *pop_empty(struct mym_pool *pool)
{
    struct mym_magazine *magazine = pool->empty;

    if (magazine == NULL)
        return mym_magazine_make(pool->class);
    pool->empty = magazine->next;
    pool->empty_count--;
    return magazine;
}

static void push_empty(struct mym_pool *pool, struct mym_magazine *magazine)
{
    magazine->next = pool->empty;
    pool->empty = magazine;
    pool->empty_count++;
}

static void grow_batch(struct mym_pool *pool)
{
    unsigned capacity = mym_classes[pool->class].capacity;
    unsigned batch = pool->batch * 2u;

    pool->batch = (uint16_t)(batch < capacity ? batch : capacity);
}

static bool has_room(const struct mym_pool *pool, unsigned used)
{
    unsigned size = mym_classes[pool->class].size;
    uint64_t bytes = (uint64_t)(pool->loaded_objects + used) * size;
    uint64_t share = (pool->slots - pool->free) * size / DEPOT_SHARE;

    return bytes <= DEPOT_LOW || (bytes <= share && bytes <= DEPOT_HIGH);
}

/* The share shrinks with the pool: one more goes back for each that finds no room. */
static struct mym_magazine *pop_excess(struct mym_pool *pool)
{
    return has_room(pool, 0) ? NULL : pop_loaded(pool);
}

/* A loaded magazine that another arena can spare. */
static struct mym_magazine *borrow(struct mym_pool *pool)
{
    for (unsigned i = 1; i < mym_arena_count; i++) {
        struct mym_arena *arena = mym_arenas[(pool->arena + i) % mym_arena_count];
        struct mym_pool *other = arena == NULL ? NULL : &arena->pool[pool->class];
        struct mym_magazine *magazine;

        if (other == NULL || !mym_mutex_trylock(&other->lock, MYM_RANK_POOL))
            continue;
        magazine = pop_loaded(other);
        UNLOCK(other);
        if (magazine != NULL)
            return magazine;
    }
    return NULL;
}

/* Fill an empty magazine so that the lowest address is popped first. */
static unsigned fill(struct mym_pool *pool, struct mym_magazine *magazine, bool fresh)
{
    unsigned want = pool->batch;
    unsigned got;

    mym_magazine_set_capacity(magazine, want);
    got = carve(pool, magazine->entry, want, fresh);
    for (unsigned i = 0; i < got / 2; i++) {
        void *swap = magazine->entry[i];

        magazine->entry[i] = magazine->entry[got - 1 - i];
        magazine->entry[got - 1 - i] = swap;
    }
    magazine->used = (uint16_t)got;
    if (got > 0)
        grow_batch(pool);
    return got;
}

struct mym_magazine *mym_pool_load(struct mym_pool *pool, struct mym_magazine *empty)
{
    struct mym_magazine *loaded;

    LOCK(pool);
    pool->misses++;
    loaded = pop_loaded(pool);
    if (loaded == NULL && empty == NULL)
        empty = pop_empty(pool);
    if (loaded == NULL && empty != NULL &&
        fill(pool, empty, mym_arena_count == 1) > 0) {
        loaded = empty;
        empty = NULL;
    }
    if (loaded == NULL && empty != NULL && mym_arena_count > 1) {
        UNLOCK(pool);
        loaded = borrow(pool);
        LOCK(pool);
        if (loaded == NULL && fill(pool, empty, true) > 0) {
            loaded = empty;
            empty = NULL;
        }
    }
    if (empty != NULL)
        push_empty(pool, empty);
    UNLOCK(pool);
    return loaded;
}

/* Empty a magazine, and the one that the depot has too many, if there is one. */
static void reclaim_magazine(struct mym_pool *pool, struct mym_magazine *magazine,
                             unsigned used, struct mym_magazine *excess)
{
    reclaim_all(pool, magazine->entry, used);
    if (excess == NULL)
        return;
    reclaim_all(pool, excess->entry, excess->used);
    LOCK(pool);
    push_empty(pool, excess);
    UNLOCK(pool);
}

void mym_pool_unload(struct mym_pool *pool, struct mym_magazine *magazine,
                     unsigned used)
{
    struct mym_magazine *excess;

    LOCK(pool);
    if (used == 0)
        push_empty(pool, magazine);
    else if (has_room(pool, used))
        push_loaded(pool, magazine, used);
    else
        goto reclaim;
    UNLOCK(pool);
    return;
reclaim:
    excess = pop_excess(pool);
    UNLOCK(pool);
    reclaim_magazine(pool, magazine, used, excess);
    LOCK(pool);
    push_empty(pool, magazine);
    UNLOCK(pool);
}

struct mym_magazine *mym_pool_exchange(struct mym_pool *pool,
                                       struct mym_magazine *loaded, unsigned used)
{
    struct mym_magazine *empty = NULL;
    struct mym_magazine *excess = NULL;
    bool room;

    LOCK(pool);
    pool->overflows++;
    grow_batch(pool);
    room = loaded == NULL || has_room(pool, used);
    if (room)
        empty = pop_empty(pool);
    else
        excess = pop_excess(pool);
    if (room && loaded != NULL)
        push_loaded(pool, loaded, used);
    UNLOCK(pool);
    if (!room) {
        reclaim_magazine(pool, loaded, used, excess);
        empty = loaded;
    }
    if (empty != NULL)
        mym_magazine_set_capacity(empty, pool->batch);
    return empty;
}

void *mym_pool_take(struct mym_pool *pool)
{
    void *object = NULL;

    LOCK(pool);
    carve(pool, &object, 1, true);
    UNLOCK(pool);
    return object;
}

void mym_pool_put(struct mym_pool *pool, void *object)
{
    reclaim_all(pool, &object, 1);
}

void mym_pool_trim(struct mym_pool *pool, bool all)
{
    uint32_t goal;

    LOCK(pool);
    goal = all ? pool->loaded_count : pool->loaded_low;
    while (goal-- > 0 && pool->loaded != NULL) {
        struct mym_magazine *magazine = pop_loaded(pool);

        UNLOCK(pool);
        reclaim_all(pool, magazine->entry, magazine->used);
        LOCK(pool);
        push_empty(pool, magazine);
    }
    pool->loaded_low = pool->loaded_count;
    UNLOCK(pool);
}

/* ---- arenas ---- */

unsigned mym_arena_count = 1;
unsigned mym_arena_group = MYM_MAX_CPUS;
struct mym_arena *_Atomic mym_arenas[MYM_MAX_ARENAS];

static MYM_SLOW struct mym_arena *make_arena(unsigned index)
{
    struct mym_arena *none = NULL;
    struct mym_arena *arena = mym_meta_take(sizeof *arena, 128);

    if (arena == NULL)
        return NULL;
    for (unsigned class = 0; class < MYM_CLASSES; class ++) {
        arena->pool[class].class = (uint8_t) class;
        arena->pool[class].arena = (uint8_t)index;
        arena->pool[class].batch = BATCH_FIRST < mym_classes[class].capacity
                                       ? BATCH_FIRST
                                       : mym_classes[class].capacity;
    }
    /* A loser's block is lost: it happens at most once per arena and thread. */
    if (!atomic_compare_exchange_strong(&mym_arenas[index], &none, arena))
        return none;
    return arena;
}

struct mym_pool *mym_pool_of(unsigned id, unsigned class)
{
    unsigned index = mym_arena_count == 1 ? 0 : id / mym_arena_group % mym_arena_count;
    struct mym_arena *arena = mym_arenas[index];

    if (MYM_UNLIKELY(arena == NULL) && (arena = make_arena(index)) == NULL)
        return NULL;
    return &arena->pool[class];
}

void mym_pools_each(void (*visit)(struct mym_pool *pool, void *context), void *context)
{
    for (unsigned i = 0; i < mym_arena_count; i++)
        if (mym_arenas[i] != NULL)
            for (unsigned class = 1; class < mym_class_count; class ++)
                visit(&mym_arenas[i]->pool[class], context);
}

static void lock_visit(struct mym_pool *pool, void *prepare)
{
    if (*(bool *)prepare)
        LOCK(pool);
    else
        UNLOCK(pool);
}

void mym_pools_fork(bool prepare)
{
    mym_pools_each(lock_visit, &prepare);
}

static void reset_visit(struct mym_pool *pool, void *unused)
{
    (void)unused;
    mym_mutex_reset(&pool->lock, MYM_RANK_POOL);
}

void mym_pools_fork_child(void)
{
    mym_pools_each(reset_visit, NULL);
}

/* ---- checking ---- */

static size_t expect(bool fact, const char *what)
{
    if (!fact)
        mym_warn("pool check", what);
    return !fact;
}

static size_t verify_slab(const struct mym_pool *pool, uint32_t slab, unsigned bin)
{
    const struct mym_unit *unit = &mym_heap.units[slab];
    unsigned set = 0;
    size_t bad = 0;

    for (unsigned i = 0; i < (mym_classes[pool->class].objects + 63u) / 64; i++) {
        set += (unsigned)__builtin_popcountll(mym_heap.bits[slab][i]);
        bad += expect(i >= unit->scan || mym_heap.bits[slab][i] == 0,
                      "free slot below the scan mark");
    }
    bad += expect(set == unit->free, "free slots of a slab do not add up");
    bad += expect(unit->kind == MYM_SLAB && unit->class == pool->class &&
                      unit->arena == pool->arena && unit->first == slab,
                  "slab of another pool in a bin");
    bad += expect(unit->bin == bin && bin_of(unit) == bin, "slab in a wrong bin");
    return bad;
}

size_t mym_pool_verify(struct mym_pool *pool)
{
    size_t bad = 0;
    uint64_t free = 0, objects = 0;
    uint32_t loaded = 0, empty = 0;

    LOCK(pool);
    for (unsigned bin = 0; bin < MYM_SLAB_BINS; bin++)
        for (uint32_t slab = pool->bins[bin]; slab != 0;
             slab = mym_heap.units[slab].next) {
            bad += verify_slab(pool, slab, bin);
            free += mym_heap.units[slab].free;
        }
    bad += expect(free == pool->free, "free slots of a pool do not add up");
    bad +=
        expect(pool->slots == (uint64_t)pool->slabs * mym_classes[pool->class].objects,
               "slots of a pool do not add up");
    for (struct mym_magazine *m = pool->loaded; m != NULL; m = m->next, loaded++) {
        bad += expect(m->used > 0 && m->used <= m->capacity && m->floor == NULL &&
                          m->entry[m->capacity] == MYM_CEILING,
                      "magazine in the depot is damaged");
        objects += m->used;
        for (unsigned i = 0; i < m->used; i++)
            bad += expect(mym_heap.class[mym_unit_of(m->entry[i])] == pool->class,
                          "object of another class in the depot");
    }
    for (struct mym_magazine *m = pool->empty; m != NULL; m = m->next)
        empty++;
    bad += expect(loaded == pool->loaded_count && objects == pool->loaded_objects,
                  "loaded magazines do not add up");
    bad += expect(empty == pool->empty_count, "empty magazines do not add up");
    UNLOCK(pool);
    return bad;
}
