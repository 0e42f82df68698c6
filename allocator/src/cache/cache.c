/*
 * cache.c - the cold half of the front end: misses and overflows.
 *
 * A slow path may be moved to another CPU at any instruction. So it never assumes that
 * a slot is still what it was: it swaps on condition that the slot holds what it saw,
 * and when that fails it is left with a magazine of its own, which goes to the pool. In
 * either case the object it came for is in its hands already: no path loops. A sequence
 * that was only interrupted is tried once more.
 *
 * Reading through a slot's value without owning the magazine is allowed: magazines are
 * never unmapped. The swap decides whether what was read counted.
 *
 * Locking: none; pools take their own.
 */
#include "cache/door.h"

#include "base/check.h"

#include <string.h>

/* A magazine was exchanged with a pool; the clock is looked at every so many times. */
static void count_exchange(struct mym_door door)
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
static void leave(struct mym_door door)
{
    if (door.own != NULL)
        mym_thread_leave(door.own);
    if (door.exchanged)
        count_exchange(door);
}

/* The pool of the arena that is near; which one it is matters for speed alone. */
MYM_INLINE struct mym_pool *near_pool(struct mym_door door, unsigned cls)
{
    return MYM_LIKELY(mym_arena_count == 1) ? &mym_arenas[0]->pool[cls]
                                            : mym_pool_of(mym_mode_cpu(door.id), cls);
}

/* Whose objects the magazine holds, as far as its last one tells: they will be wanted there. */
static struct mym_pool *pool_for(struct mym_door door, unsigned cls,
                                 const struct mym_magazine *magazine, unsigned used)
{
    return used > 0 ? mym_pool_owner(cls, magazine->entry[used - 1])
                    : near_pool(door, cls);
}

/* A magazine that this thread has no use for: that of the slot at index, or the pool's. */
static void stash(struct mym_door door, unsigned cls, size_t index,
                  struct mym_magazine *magazine, unsigned used)
{
    if (!mym_door_swap(door, index, MYM_NONE, magazine->entry + used))
        mym_pool_unload(pool_for(door, cls, magazine, used), door.id, magazine, used);
}

/* Empty: the entry below is the floor, which stays where it is whoever has the magazine by
   now; that some entry was NULL would prove nothing. */
MYM_INLINE bool is_empty(void **top)
{
    return top[-1] == MYM_FLOOR(top - 1);
}

/*
 * A full previous magazine was filled by pushes: who pops now may well turn again, and
 * swapped for the empty one, he would find a wall at every second turn. So half of it moves
 * to the empty one, which becomes the current, and both have objects and room.
 */
static struct mym_magazine *halve(struct mym_door door, unsigned cls, void ***seen,
                                  struct mym_magazine *full, unsigned *used)
{
    struct mym_magazine *empty;
    unsigned half = *used / 2;

    if (*seen == MYM_NONE || !is_empty(*seen) ||
        !mym_door_swap(door, cls, *seen, MYM_NONE))
        return full;
    empty = mym_magazine_of(cls, *seen);
    if (half > empty->capacity)
        half = empty->capacity;
    memcpy(empty->entry, full->entry + (*used - half), half * sizeof full->entry[0]);
    stash(door, cls, MYM_CLASSES + cls, full, *used - half);
    *used = half;
    *seen = MYM_NONE;
    return empty;
}

/* Of two lengths the pool gets the shorter, which comes back longer: a program that goes up and
   down would meet a short one's walls for good. */
MYM_INLINE bool is_shorter(unsigned cls, void **top, void **than)
{
    return mym_magazine_of(cls, top)->capacity < mym_magazine_of(cls, than)->capacity;
}

/* Out of the slot at index. */
MYM_INLINE struct mym_magazine *take_seen(struct mym_door door, unsigned cls,
                                          size_t index, void ***seen, unsigned *used)
{
    struct mym_magazine *current = mym_magazine_of(cls, *seen);

    if (!mym_door_swap(door, index, *seen, MYM_NONE))
        return NULL;
    *used = (unsigned)(*seen - current->entry);
    *seen = MYM_NONE;
    return current;
}

/* Enough was freed, or there is no room for more. */
MYM_INLINE bool has_waited(unsigned cls, void **top)
{
    return mym_is_magazine(top) &&
           (*top == MYM_CEILING ||
            top - mym_magazine_of(cls, top)->entry >= (ptrdiff_t)MYM_WAIT_OBJECTS);
}

/* The one to be filled and popped from: the previous one, or the current one if both are empty. */
MYM_INLINE struct mym_magazine *take_popped(struct mym_door door, unsigned cls,
                                            void ***seen, unsigned *used)
{
    void **previous = mym_door_slot(door, MYM_CLASSES + cls);
    bool empty = mym_is_magazine(*seen) && is_empty(*seen);

    if (mym_class_waits(cls)
            ? !has_waited(cls, previous)
            : empty && mym_is_magazine(previous) && is_empty(previous) &&
                  !is_shorter(cls, previous, *seen))
        return empty ? take_seen(door, cls, cls, seen, used) : NULL;
    return mym_door_take(door, cls, MYM_CLASSES + cls, used);
}

/* With objects: the previous one, or the pool's, for the current one if both are empty. */
MYM_INLINE struct mym_magazine *find_objects(struct mym_door *door, unsigned cls,
                                             void ***seen, unsigned *used)
{
    struct mym_magazine *magazine = take_popped(*door, cls, seen, used);

    if (magazine == NULL || *used == 0) {
        door->exchanged = true;
        magazine = mym_pool_load(near_pool(*door, cls), door->id, magazine);
        *used = magazine != NULL ? magazine->used : 0;
    } else if (!mym_class_waits(cls) && *used > 1 && *used == magazine->capacity) {
        magazine = halve(*door, cls, seen, magazine, used);
    }
    if (MYM_SECURE_RANDOM && magazine != NULL)
        mym_magazine_shuffle(magazine, *used);
    return magazine;
}

MYM_INLINE void *pop(struct mym_door *door, unsigned cls)
{
    struct mym_magazine *magazine;
    unsigned used = 0;
    void **seen;
    void *object;

    if (!door->open)
        return mym_pool_take(near_pool(*door, cls));
    seen = mym_door_slot(*door, cls);
    if (door->own == NULL && !is_empty(seen)) {
        object = mym_rseq_pop(cls);
        if (object != NULL)
            return object;
    }
    magazine = find_objects(door, cls, &seen, &used);
    if (magazine == NULL)
        return mym_pool_take(near_pool(*door, cls));
    MYM_ASSERT(used > 0 && mym_magazine_is_whole(magazine, used));
    object = magazine->entry[--used];
    MYM_ASSERT(mym_in_heap(object) && mym_heap.cls[mym_unit_of(object)] == cls);
    if (is_empty(seen) && mym_door_swap(*door, cls, seen, magazine->entry + used)) {
        if (seen != MYM_NONE)
            stash(*door, cls, MYM_CLASSES + cls, mym_magazine_of(cls, seen), 0);
    } else {
        mym_pool_unload(pool_for(*door, cls, magazine, used), door->id, magazine, used);
    }
    return object;
}

MYM_SLOW void *mym_cache_pop_slow(unsigned cls)
{
    struct mym_door door = mym_door_enter();
    /* Twice, so that the compiler makes one for CPUs, which need not ask whose it is. */
    void *object = door.own == NULL ? pop(&door, cls) : pop(&door, cls);

    leave(door);
    return object;
}

/*
 * The current one, made longer, where the previous one is empty: exchanged for that, it would be
 * met again by who goes up and down by more than it holds.
 */
static struct mym_magazine *lengthen(struct mym_door door, unsigned cls, void ***seen,
                                     unsigned *used)
{
    void **previous = mym_door_slot(door, MYM_CLASSES + cls);
    struct mym_magazine *magazine;

    if (mym_class_waits(cls) || !mym_is_magazine(*seen) || **seen != MYM_CEILING ||
        !mym_is_magazine(previous) || !is_empty(previous) ||
        !mym_magazine_is_short(cls, mym_magazine_of(cls, *seen)))
        return NULL;
    magazine = take_seen(door, cls, cls, seen, used);
    if (magazine != NULL)
        mym_magazine_lengthen(cls, magazine);
    return magazine;
}

/*
 * A wide one that is full: the half that was freed first goes to the pool. Who goes up and down at
 * random meets a wall after as many steps as the square of the way to it: in two magazines that hold
 * as many objects together and change places, four times as often.
 */
static struct mym_magazine *halve_wide(struct mym_door *door, unsigned cls,
                                       void ***seen, unsigned *used)
{
    struct mym_magazine *magazine;

    if (mym_class_waits(cls) || !mym_is_magazine(*seen) || **seen != MYM_CEILING ||
        !mym_magazine_of(cls, *seen)->is_wide)
        return NULL;
    magazine = take_seen(*door, cls, cls, seen, used);
    if (magazine == NULL || *used < magazine->capacity)
        return magazine;
    door->exchanged = true;
    magazine = mym_pool_exchange(pool_for(*door, cls, magazine, *used / 2), door->id,
                                 magazine, *used);
    *used = magazine != NULL ? magazine->used : 0;
    return magazine;
}

/* The one to be emptied and pushed to: the previous one, or the current one. */
MYM_INLINE struct mym_magazine *take_pushed(struct mym_door door, unsigned cls,
                                            void ***seen, unsigned *used)
{
    void **other = mym_door_slot(door, mym_other_slot(cls));
    bool full = mym_is_magazine(*seen) && **seen == MYM_CEILING;

    if (full && mym_is_magazine(other) && *other == MYM_CEILING &&
        is_shorter(cls, *seen, other))
        return take_seen(door, cls, mym_push_slot(cls), seen, used);
    if (mym_class_waits(cls) && !full) /* what was freed so far has not waited */
        return NULL;
    return mym_door_take(door, cls, mym_other_slot(cls), used);
}

/* With room: the previous one, or the pool's, for the previous one if both are full: what was
   freed longest ago goes first, and misuse of it is seen. */
MYM_INLINE struct mym_magazine *find_room(struct mym_door *door, unsigned cls,
                                          void ***seen, unsigned *used)
{
    struct mym_magazine *magazine = take_pushed(*door, cls, seen, used);

    if (magazine == NULL || *used == magazine->capacity) {
        /* A consumer hands its producer whole magazines, not objects. */
        struct mym_pool *pool = magazine != NULL ? pool_for(*door, cls, magazine, *used)
                                                 : near_pool(*door, cls);

        door->exchanged = true;
        magazine = mym_pool_exchange(pool, door->id, magazine, *used);
        *used = magazine != NULL ? magazine->used : 0;
    }
    return magazine;
}

/*
 * As the sequence tells that was interrupted. But the slot that was seen may be another CPU's by now:
 * of what is pushed there this one may see the word first, and below it what was there before, this
 * very object, for the commit is an ordinary store (arm64). What a sequence finds in its place was
 * pushed on its own CPU.
 */
static MYM_COLD bool is_freed(struct mym_door door, size_t index, void **seen,
                              const void *object)
{
    return mym_door_swap(door, index, seen, seen) && mym_is_on_top(seen, object);
}

MYM_INLINE void push(struct mym_door *door, unsigned cls, void *object)
{
    size_t index = mym_push_slot(cls);
    struct mym_magazine *magazine;
    unsigned used = 0;
    void **seen;

    if (!door->open) {
        mym_pool_put(near_pool(*door, cls), object);
        return;
    }
    seen = mym_door_slot(*door, index);
    if (MYM_UNLIKELY(mym_is_on_top(seen, object)) &&
        is_freed(*door, index, seen, object))
        mym_cache_twice(object);
    if (door->own == NULL && *seen != MYM_CEILING && mym_rseq_push(index, object))
        return;
    magazine = lengthen(*door, cls, &seen, &used);
    if (magazine == NULL)
        magazine = halve_wide(door, cls, &seen, &used);
    if (magazine == NULL)
        magazine = find_room(door, cls, &seen, &used);
    if (magazine == NULL) {
        mym_pool_put(near_pool(*door, cls), object);
        return;
    }
    MYM_ASSERT(mym_magazine_is_whole(magazine, used) && used < magazine->capacity);
    MYM_ASSERT(mym_in_heap(object) && mym_heap.cls[mym_unit_of(object)] == cls);
    magazine->entry[used++] = object;
    /* The ceiling may be another's by now: what is swapped out is then not full, but
       how many objects it holds is told by the address. */
    if (*seen == MYM_CEILING &&
        mym_door_swap(*door, index, seen, magazine->entry + used)) {
        if (seen != MYM_NONE) {
            struct mym_magazine *full = mym_magazine_of(cls, seen);
            unsigned objects = (unsigned)(seen - full->entry);

            if (MYM_SECURE_RANDOM && mym_class_waits(cls)) /* popped from next */
                mym_magazine_shuffle(full, objects);
            stash(*door, cls, mym_other_slot(cls), full, objects);
        }
    } else {
        mym_pool_unload(pool_for(*door, cls, magazine, used), door->id, magazine, used);
    }
}

MYM_SLOW void mym_cache_push_slow(unsigned cls, void *object)
{
    struct mym_door door = mym_door_enter();

    if (door.own == NULL)
        push(&door, cls, object);
    else
        push(&door, cls, object);
    leave(door);
}

void mym_cache_twice(const void *object)
{
    mym_fatal(MYM_TWICE, object);
}

void mym_cache_init(void)
{
    MYM_ASSERT(mym_class_of(MYM_SMALL_MAX) == MYM_WAIT_LAST);
    mym_front.caches = mym_heap.caches;
    for (unsigned i = 0; i < MYM_SLOTS; i++)
        mym_front.closed.slot[i] = MYM_CLOSED;
    mym_spans_init();
    for (unsigned cls = 0; cls < mym_class_count; cls++)
        mym_front.ends[cls + 1] = mym_classes[cls].size;
    mym_front.class_of[0] = mym_class_of_16[0];
    for (size_t size = 16; size <= MYM_SMALL_MAX; size += 16)
        memset(&mym_front.class_of[size - 15], mym_class_of_16[size / 16], 16);
    mym_mode_init();
}
