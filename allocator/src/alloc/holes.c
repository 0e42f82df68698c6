/*
 * holes.c - objects of a reap that were freed, and the room that is left over: in lists by
 * class, linked through their own memory.
 *
 * Locking: the reap's.
 */
#include "alloc/reap.h"

#include "alloc/alloc.h"
#include "base/check.h"

#include <string.h>

uintptr_t mym_reap_used(const struct mym_reap *reap, uint32_t window)
{
    if (window == reap->own.first)
        return __atomic_load_n(&reap->own.at, __ATOMIC_ACQUIRE);
    if (window == reap->shared.first)
        return reap->shared.at;
    return (uintptr_t)mym_unit_address(window) + mym_heap.units[window].used;
}

size_t mym_reap_extent(const struct mym_reap *reap, const void *object)
{
    uintptr_t used = mym_reap_used(reap, mym_reap_record(object)->first);

    return mym_window_after((uintptr_t)object, used) - (uintptr_t)object;
}

/* ---- holes: objects that were freed ---- */

/* The longest class that fits. */
static unsigned class_within(size_t bytes)
{
    unsigned cls;

    if (bytes >= MYM_CLASS_MAX)
        return mym_class_count - 1;
    cls = mym_class_of(bytes);
    return mym_classes[cls].size > bytes ? cls - 1 : cls;
}

/* Its bits are set. */
void mym_reap_add_hole(struct mym_reap *reap, uintptr_t at)
{
    void *object = (void *)at; /* NOLINT */
    size_t bytes = mym_reap_extent(reap, object);
    unsigned cls = class_within(bytes);

    memcpy(object, &reap->free[cls], sizeof(void *));
    reap->free[cls] = object;
    reap->filled[cls / 64] |= (uint64_t)1 << cls % 64;
    reap->freed += bytes;
}

/* The links are in memory that the program could write to: nothing is believed. */
bool mym_reap_is_hole(const struct mym_reap *reap, const void *object, unsigned cls)
{
    return (uintptr_t)object % MYM_ALIGNMENT == 0 && mym_reap_of(object) == reap &&
           mym_reap_record(object)->kind == MYM_WINDOW &&
           (uintptr_t)object < mym_reap_used(reap, mym_reap_record(object)->first) &&
           mym_window_is_start((uintptr_t)object) &&
           mym_window_is_freed(mym_reap_record(object), (uintptr_t)object) &&
           class_within(mym_reap_extent(reap, object)) == cls;
}

/*
 * The rest of a longer one becomes a hole of its own. Not by others in the owner's open
 * window: he may be marking a start in the same word.
 */
void *mym_reap_take_hole(struct mym_reap *reap, unsigned cls)
{
    size_t bytes = mym_classes[cls].size;

    for (; (cls = mym_next_bit(reap->filled, cls, MYM_CLASSES)) < MYM_CLASSES; cls++) {
        void *object = reap->free[cls];
        size_t has;

        if (MYM_UNLIKELY(!mym_reap_is_hole(reap, object, cls))) {
            mym_mutex_unlock(&reap->lock, MYM_RANK_REAP);
            mym_fatal("an object of an arena was written to after it was freed",
                      object);
        }
        has = mym_reap_extent(reap, object);
        if (has > bytes && !mym_reap_is_owner(reap) &&
            mym_reap_record(object)->first == reap->own.first)
            continue;
        memcpy(&reap->free[cls], object, sizeof(void *));
        if (reap->free[cls] == NULL)
            reap->filled[cls / 64] &= ~((uint64_t)1 << cls % 64);
        reap->freed -= has;
        mym_window_clear_freed((uintptr_t)object);
        if (has > bytes) {
            mym_reap_mark(reap, (uintptr_t)object + bytes);
            mym_window_set_freed(mym_reap_record(object), (uintptr_t)object + bytes);
            mym_reap_add_hole(reap, (uintptr_t)object + bytes);
        }
        return object;
    }
    return NULL;
}
