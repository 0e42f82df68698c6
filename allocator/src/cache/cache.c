/*
 * cache.c - the cold half of the front end: misses, overflows, opening.
 *
 * A slow path may be moved to another CPU at any instruction. So it never assumes that
 * a slot is still what it was: it swaps on condition that the slot holds what it saw,
 * and when that fails it is left with a magazine of its own, which goes to the pool. In
 * either case the object it came for is in its hands already: no path loops.
 *
 * Reading through a slot's value without owning the magazine is allowed: magazines are
 * never unmapped. The swap decides whether what was read counted.
 *
 * Locking: mym_front_lock guards delta[] and mym_caches against others that open or drain.
 */
#include "cache/cache.h"

#include "base/check.h"
#include "heap/meta.h"
#include "os/os.h"
#include "pool/pool.h"

#include <string.h>

_Static_assert(offsetof(struct mym_cache, slot) == 0, "the sequences index the cache");

struct mym_front mym_front __attribute__((aligned(MYM_CACHELINE)));
struct mym_mutex mym_front_lock;
struct mym_caches mym_caches;

/* ---- a thread's way to its slots ---- */

struct door {
    struct mym_cache *own; /* the thread's cache; NULL: that of the CPU */
    unsigned id;           /* tells caches apart; a thread of CPUs may have moved on */
    bool open;             /* false: there is no cache to be had */
    bool exchanged;        /* a magazine, with a pool */
};

MYM_INLINE bool swap(struct door door, size_t index, void **old, void **fresh)
{
    if (door.own == NULL)
        return mym_rseq_swap(index, old, fresh);
    if (mym_slot_of(door.own, index) != old)
        return false;
    mym_slot_set(door.own, index, fresh);
    return true;
}

MYM_INLINE void **slot_of(struct door door, size_t index)
{
    struct mym_cache *cache = door.own != NULL ? door.own : mym_cache_of(mym_rseq_id());

    return mym_slot_of(cache, index);
}

/* Take the magazine out of a slot, leaving none. NULL: there is none to take. */
MYM_INLINE struct mym_magazine *take(struct door door, unsigned cls, size_t index,
                                     unsigned *used)
{
    void **top = slot_of(door, index);
    struct mym_magazine *magazine;

    if (top == MYM_NONE || top == MYM_CLOSED || !swap(door, index, top, MYM_NONE))
        return NULL;
    magazine = mym_magazine_of(cls, top);
    *used = (unsigned)(top - magazine->entry);
    return magazine;
}

/* ---- opening ---- */

struct mym_cache *mym_cache_make(void)
{
    struct mym_cache *cache = mym_meta_take(sizeof *cache, MYM_CACHELINE);

    if (cache != NULL)
        for (unsigned i = 0; i < MYM_SLOTS; i++)
            /* Class 0, the class of what is no object, stays closed everywhere. */
            cache->slot[i] = i % MYM_CLASSES == 0 ? MYM_CLOSED : MYM_NONE;
    for (unsigned i = 0; cache != NULL && i < MYM_SPAN_CLASSES; i++)
        cache->slot[MYM_SLOTS + i] = MYM_SPAN_CLOSED;
    return cache;
}

void mym_cache_empty(struct mym_cache *own, const struct mym_class_set *some)
{
    struct door door = {.own = own};

    for (unsigned i = 0; i < MYM_SLOTS; i++) {
        unsigned cls = i % MYM_CLASSES;
        unsigned used;
        struct mym_magazine *magazine =
            mym_class_set_has(some, cls) ? take(door, cls, i, &used) : NULL;

        if (magazine != NULL)
            mym_pool_unload(used == 0 ? mym_pool_of(0, cls)
                                      : mym_pool_owner(cls, magazine->entry[0]),
                            magazine, used);
    }
}

/*
 * The cache of an id that had none, or was asked to be emptied. Opening hands out nothing
 * and takes nothing: whoever finds delta 0 may do it, wherever he is by then. So may the
 * emptying be done; only, when the thread was moved meanwhile, it was another cache that
 * was emptied, and the bell is rung again.
 */
static MYM_COLD bool open_cache(uint32_t id)
{
    static const struct mym_class_set none;
    struct mym_class_set asked = none;
    struct mym_cache *cache;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    MYM_ASSERT(id < MYM_MAX_CPUS);
    cache = mym_cache_made(id);
    if (cache == NULL && (cache = mym_cache_make()) != NULL) {
        mym_caches.made[id] = (char *)cache - (char *)&mym_front;
        if (id >= mym_caches.top)
            mym_caches.top = id + 1;
    }
    if (cache != NULL) {
        asked = cache->asked;
        cache->asked = none;
        /* release: pairs with the address dependency of the sequences */
        __atomic_store_n(&mym_front.delta[id], mym_caches.made[id], __ATOMIC_RELEASE);
    }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    if (memcmp(&asked, &none, sizeof asked) != 0) {
        mym_spans_close_here();
        mym_cache_empty(NULL, &asked);
        if (mym_rseq_id() != id) {
            mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
            mym_cache_ring(id, &asked);
            mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
        }
    }
    return cache != NULL;
}

/*
 * The cache that this thread uses. No id is MYM_MAX_CPUS or more, in no kernel: the
 * sequences look at delta[id] without asking.
 */
static struct door enter(void)
{
    struct door door = {NULL, 0, false, false};

    if (mym_mode >= MYM_MODE_CPU_ID) {
        door.id = mym_rseq_id();
        if (door.id == MYM_NO_ID && mym_area_register())
            door.id = mym_rseq_id();
        door.open = door.id != MYM_NO_ID &&
                    (mym_cache_of(door.id) != &mym_front.closed || open_cache(door.id));
    } else if (mym_mode == MYM_MODE_TLS) {
        door.own = mym_thread_enter();
        door.open = door.own != NULL;
        door.id = (unsigned)((uintptr_t)door.own >> 10);
    }
    return door;
}

bool mym_cache_open_here(void)
{
    struct door door = enter();

    if (door.own != NULL)
        mym_thread_leave(door.own);
    return door.open;
}

/* A magazine was exchanged with a pool; the clock is looked at every so many times. */
static void count_exchange(struct door door)
{
    struct mym_cache *cache = door.own != NULL ? door.own : mym_cache_of(mym_rseq_id());
    uint32_t count = __atomic_load_n(&cache->exchanges, __ATOMIC_RELAXED) + 1;

    if (cache == &mym_front.closed)
        return;
    __atomic_store_n(&cache->exchanges, count, __ATOMIC_RELAXED);
    if ((count & mym_upkeep_pace()) == 0 || mym_pages_has_grown())
        mym_cache_upkeep();
}

/* The way out of a slow path. Upkeep may empty the thread's own cache: not before. */
static void leave(struct door door)
{
    if (door.own != NULL)
        mym_thread_leave(door.own);
    if (door.exchanged)
        count_exchange(door);
}

/* The pool of the arena that is near; which one it is matters for speed alone. */
MYM_INLINE struct mym_pool *near_pool(struct door door, unsigned cls)
{
    return MYM_LIKELY(mym_arena_count == 1) ? &mym_arenas[0]->pool[cls]
                                            : mym_pool_of(mym_mode_cpu(door.id), cls);
}

/* ---- misses ---- */

/* A magazine that this thread has no use for: the previous slot's, or the pool's. */
static void stash(struct door door, unsigned cls, struct mym_magazine *magazine,
                  unsigned used)
{
    if (!swap(door, MYM_CLASSES + cls, MYM_NONE, magazine->entry + used))
        mym_pool_unload(near_pool(door, cls), magazine, used);
}

/* Empty: the entry below is the floor, which stays where it is whoever has the magazine by
   now; that some entry was NULL would prove nothing. */
MYM_INLINE bool is_empty(void **top)
{
    return top != MYM_CLOSED && top[-1] == MYM_FLOOR(top - 1);
}

/*
 * A full previous magazine was filled by pushes: who pops now may well turn again, and
 * swapped for the empty one, he would find a wall at every second turn. So half of it moves
 * to the empty one, which becomes the current, and both have objects and room.
 */
static struct mym_magazine *halve(struct door door, unsigned cls, void ***seen,
                                  struct mym_magazine *full, unsigned *used)
{
    struct mym_magazine *empty;
    unsigned half = *used / 2;

    if (*seen == MYM_NONE || !is_empty(*seen) || !swap(door, cls, *seen, MYM_NONE))
        return full;
    empty = mym_magazine_of(cls, *seen);
    if (half > empty->capacity)
        half = empty->capacity;
    memcpy(empty->entry, full->entry + (*used - half), half * sizeof full->entry[0]);
    stash(door, cls, full, *used - half);
    *used = half;
    *seen = MYM_NONE;
    return empty;
}

MYM_INLINE void *pop(struct door *door, unsigned cls)
{
    struct mym_magazine *magazine;
    unsigned used;
    void **seen;
    void *object;

    if (!door->open)
        return mym_pool_take(near_pool(*door, cls));
    seen = slot_of(*door, cls);
    magazine = take(*door, cls, MYM_CLASSES + cls, &used);
    if (magazine == NULL || used == 0) {
        magazine = mym_pool_load(near_pool(*door, cls), door->id, magazine);
        if (magazine == NULL)
            return mym_pool_take(near_pool(*door, cls));
        used = magazine->used;
        door->exchanged = true;
    } else if (used > 1 && used == magazine->capacity) {
        magazine = halve(*door, cls, &seen, magazine, &used);
    }
    MYM_ASSERT(used > 0 && mym_magazine_is_whole(magazine, used));
    object = magazine->entry[--used];
    MYM_ASSERT(mym_in_heap(object) && mym_heap.cls[mym_unit_of(object)] == cls);
    if (is_empty(seen) && swap(*door, cls, seen, magazine->entry + used)) {
        if (seen != MYM_NONE)
            stash(*door, cls, mym_magazine_of(cls, seen), 0);
    } else {
        mym_pool_unload(near_pool(*door, cls), magazine, used);
    }
    return object;
}

MYM_SLOW void *mym_cache_pop_slow(unsigned cls)
{
    struct door door = enter();
    /* Twice, so that the compiler makes one for CPUs, which need not ask whose it is. */
    void *object = door.own == NULL ? pop(&door, cls) : pop(&door, cls);

    leave(door);
    return object;
}

/*
 * An empty magazine for a full one. That goes to the arena whose objects it holds, where
 * they will be wanted: a consumer hands its producer whole magazines, not objects.
 */
static struct mym_magazine *exchange(struct door *door, unsigned cls,
                                     struct mym_magazine *full, unsigned used)
{
    struct mym_pool *pool = full != NULL ? mym_pool_owner(cls, full->entry[used - 1])
                                         : near_pool(*door, cls);

    door->exchanged = true;
    return mym_pool_exchange(pool, door->id, full, used);
}

MYM_INLINE void push(struct door *door, unsigned cls, void *object)
{
    struct mym_magazine *magazine;
    unsigned used = 0;
    void **seen;

    if (!door->open) {
        mym_pool_put(near_pool(*door, cls), object);
        return;
    }
    seen = slot_of(*door, cls);
    magazine = take(*door, cls, MYM_CLASSES + cls, &used);
    if (magazine == NULL || used == magazine->capacity) {
        magazine = exchange(door, cls, magazine, used);
        used = 0;
    }
    if (magazine == NULL) {
        mym_pool_put(near_pool(*door, cls), object);
        return;
    }
    MYM_ASSERT(mym_magazine_is_whole(magazine, used) && used < magazine->capacity);
    MYM_ASSERT(mym_in_heap(object) && mym_heap.cls[mym_unit_of(object)] == cls);
    magazine->entry[used++] = object;
    /* The ceiling may be another's by now: what is swapped out is then not full, but
       how many objects it holds is told by the address. */
    if (seen != MYM_CLOSED && *seen == MYM_CEILING &&
        swap(*door, cls, seen, magazine->entry + used)) {
        if (seen != MYM_NONE) {
            struct mym_magazine *full = mym_magazine_of(cls, seen);

            stash(*door, cls, full, (unsigned)(seen - full->entry));
        }
    } else {
        mym_pool_unload(near_pool(*door, cls), magazine, used);
    }
}

MYM_SLOW void mym_cache_push_slow(unsigned cls, void *object)
{
    struct door door = enter();

    if (door.own == NULL)
        push(&door, cls, object);
    else
        push(&door, cls, object);
    leave(door);
}

void mym_cache_twice(const void *object)
{
    mym_fatal("double free", object);
}

/* ---- start ---- */

void mym_cache_init(void)
{
    mym_arenas_init();
    for (unsigned i = 0; i < MYM_SLOTS; i++)
        mym_front.closed.slot[i] = MYM_CLOSED;
    for (unsigned i = 0; i < MYM_SPAN_CLASSES; i++)
        mym_front.closed.slot[MYM_SLOTS + i] = MYM_SPAN_SHUT;
    for (size_t size = 0; size <= MYM_SMALL_MAX; size++)
        mym_front.class_of[size] = (uint8_t)mym_class_of(size);
    mym_mode_init();
}

/* ---- looking ---- */

typedef void visit_magazine(unsigned cls, void **entry, size_t count, void *context);

static void each_magazine(visit_magazine *visit, void *context,
                          const struct mym_cache *cache)
{
    for (unsigned i = 0; i < MYM_SLOTS; i++) {
        void **top = mym_slot_of(cache, i), **entry;
        unsigned cls = i % MYM_CLASSES;

        if (top == MYM_NONE || top == MYM_CLOSED)
            continue;
        entry = mym_magazine_of(cls, top)->entry;
        visit(cls, entry, (size_t)(top - entry), context);
    }
}

/* Of all caches; the bytes of the spans in them. */
static size_t each_cache(visit_magazine *visit, void *context)
{
    size_t spans = 0;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches.top; id++)
        if (mym_cache_made(id) != NULL) {
            each_magazine(visit, context, mym_cache_made(id));
            spans += mym_spans_in(mym_cache_made(id));
        }
    for (const struct mym_cache *cache = mym_thread_caches; cache != NULL;
         cache = cache->next) {
        each_magazine(visit, context, cache);
        spans += mym_spans_in(cache);
    }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    return spans;
}

static void add_objects(unsigned cls, void **entry, size_t count, void *objects)
{
    (void)entry;
    ((size_t *)objects)[cls] += count;
}

size_t mym_cache_count(size_t objects[MYM_CLASSES])
{
    return each_cache(add_objects, objects);
}

struct of_objects {
    void (*visit)(void *const *objects, size_t count, void *context);
    void *context;
};

static void visit_objects(unsigned cls, void **entry, size_t count, void *context)
{
    const struct of_objects *of = context;

    (void)cls;
    of->visit(entry, count, of->context);
}

void mym_cache_each_object(void (*visit)(void *const *objects, size_t count,
                                         void *context),
                           void *context)
{
    struct of_objects of = {visit, context};

    each_cache(visit_objects, &of);
}

/* Units that the open span words of all caches stand for. */
static uint32_t open_spans(void)
{
    uint32_t units = 0;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches.top; id++)
        if (mym_cache_made(id) != NULL)
            units += mym_spans_open_in(mym_cache_made(id));
    for (const struct mym_cache *cache = mym_thread_caches; cache != NULL;
         cache = cache->next)
        units += mym_spans_open_in(cache);
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    return units;
}

size_t mym_cache_verify(void)
{
    uint32_t held, open;
    size_t bad = 0;

    for (unsigned i = 0; i < MYM_SLOTS; i++)
        bad += mym_front.closed.slot[i] != MYM_CLOSED;
    for (unsigned i = 0; i < MYM_SPAN_CLASSES; i++)
        bad += mym_front.closed.slot[MYM_SLOTS + i] != (void **)MYM_SPAN_SHUT;
    bad += mym_front.delta[MYM_NO_ID] != 0;
    bad += mym_closed_magazine.floor != MYM_FLOOR(&mym_closed_magazine) ||
           mym_closed_magazine.ceiling != MYM_CEILING;
    bad += mym_none_magazine.floor != MYM_FLOOR(&mym_none_magazine) ||
           mym_none_magazine.ceiling != MYM_CEILING;
    if (bad > 0)
        mym_warn("cache check", "the closed cache was written to");
    held = mym_idle_held(MYM_HOLDS_SPANS);
    open = open_spans();
    /*
     * Who opens a word was granted it before, who closes one returns it after. Another
     * thread may do so meanwhile: then nothing can be told.
     */
    if (held == mym_idle_held(MYM_HOLDS_SPANS) && held < open) {
        mym_warn("cache check", "more span words are open than were granted");
        bad++;
    }
    return bad;
}

MYM_UNFOLLOWED void mym_cache_fork(bool prepare)
{
    if (prepare)
        mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    else
        mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

void mym_cache_fork_child(void)
{
    mym_mutex_reset(&mym_front_lock, MYM_RANK_FRONT);
    mym_thread_fork_child();
    /* A thread that the child does not have may have been about to open one, or to close it. */
    mym_idle_recount(MYM_HOLDS_SPANS, open_spans());
}
