/*
 * door.h - a thread's way to its slots in a slow path: by sequences to those of its CPU, or
 * to those of its own cache, which it holds.
 */
#ifndef MYM_CACHE_DOOR_H
#define MYM_CACHE_DOOR_H

#include "cache/cache.h"
#include "pool/pool.h"

struct mym_door {
    struct mym_cache *own; /* the thread's cache; NULL: that of the CPU */
    unsigned id;           /* tells caches apart; a thread of CPUs may have moved on */
    bool open;             /* false: there is no cache to be had */
    bool exchanged;        /* a magazine, with a pool */
};

/* By itself, for what is met at every wall to be short. */
bool mym_door_swap_again(size_t index, uintptr_t old, uintptr_t fresh);

/*
 * Once more, for the first swap may only have been interrupted: what is to be emptied for a
 * request that would fail, or by a trim, is not to be left behind for that.
 */
MYM_INLINE bool mym_door_swap(struct mym_door door, size_t index, void **old,
                              void **fresh)
{
    if (door.own == NULL)
        return MYM_LIKELY(mym_rseq_swap(index, (uintptr_t)old, (uintptr_t)fresh)) ||
               mym_door_swap_again(index, (uintptr_t)old, (uintptr_t)fresh);
    if (mym_slot_of(door.own, index) != old)
        return false;
    mym_slot_set(door.own, index, fresh);
    return true;
}

MYM_INLINE void **mym_door_slot(struct mym_door door, size_t index)
{
    struct mym_cache *cache = door.own != NULL ? door.own : mym_cache_of(mym_rseq_id());

    return mym_slot_of(cache, index);
}

/* Take the magazine out of a slot, leaving none. NULL: there is none to take. */
MYM_INLINE struct mym_magazine *mym_door_take(struct mym_door door, unsigned cls,
                                              size_t index, unsigned *used)
{
    void **top = mym_door_slot(door, index);
    struct mym_magazine *magazine;

    if (!mym_is_magazine(top) || !mym_door_swap(door, index, top, MYM_NONE))
        return NULL;
    magazine = mym_magazine_of(cls, top);
    *used = (unsigned)(top - magazine->entry);
    return magazine;
}

/* Of the cache, the thread's own or this CPU's. */
MYM_INLINE unsigned mym_door_id(const struct mym_cache *own)
{
    return own != NULL ? (unsigned)((uintptr_t)own >> MYM_CACHE_SHIFT) : mym_rseq_id();
}

/*
 * The cache that this thread uses. No id is MYM_MAX_CPUS or more, in no kernel: the
 * sequences look at open[id] without asking.
 */
MYM_INLINE struct mym_door mym_door_enter(void)
{
    struct mym_door door = {NULL, 0, false, false};

    if (mym_mode >= MYM_MODE_CPU_ID) {
        door.id = mym_rseq_id();
        if (door.id == MYM_NO_ID && mym_area_register())
            door.id = mym_rseq_id();
        door.open = door.id != MYM_NO_ID &&
                    (mym_cache_is_open(door.id) || mym_cache_open(door.id));
    } else if (mym_mode == MYM_MODE_TLS) {
        door.own = mym_thread_enter();
        door.open = door.own != NULL;
        door.id = mym_door_id(door.own);
    }
    return door;
}

#endif
