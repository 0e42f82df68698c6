/*
 * secure.h - the hardened build's large objects and what waits before it is free again.
 */
#ifndef MYM_ALLOC_SECURE_H
#define MYM_ALLOC_SECURE_H

#include "base/config.h"
#include "base/secure.h"
#include "cache/cache.h"

#include <stdatomic.h>

/* ---- shelf.c: freed objects wait here for a random time ---- */

/* The cold half of mym_shelf_put: the cache has no room. */
void mym_shelf_let_go(size_t cls, void *object);
/*
 * The same of a span of the page heap that nobody has access to; stays: its pages are there, and
 * granted to MYM_HOLDS_SHELF.
 */
void mym_shelf_put_large(void *span, bool stays);
/* The helper's: what waits for a second gives its pages back. */
void mym_shelf_cool(void);
void mym_shelf_fork_child(void);
size_t mym_shelf_verify(void);
/* Nothing waits any longer. */
void mym_shelf_clear(void);

/* Adds those of each class that wait; returns the bytes of large ones. */
size_t mym_shelf_count(size_t objects[MYM_CLASSES]);

#define MYM_SHELVES      64u
#define MYM_SHELF_PLACES 8u /* of a CPU, a power of two */

struct mym_shelf {
    uint64_t random;
    void *_Atomic place[MYM_SHELF_PLACES];
} __attribute__((aligned(MYM_CACHELINE)));
extern MYM_HIDDEN struct mym_shelf mym_shelves[MYM_SHELVES];

/* Of the CPU, or of some threads: a hint. */
MYM_INLINE struct mym_shelf *mym_shelf_here(void)
{
    uint32_t id = mym_rseq_id();
    struct mym_shelf *shelf;

    if (MYM_UNLIKELY(id == MYM_NO_ID))
        id = (uint32_t)((uintptr_t)__builtin_thread_pointer() * MYM_GOLDEN >> 58);
    shelf = &mym_shelves[id % MYM_SHELVES];
    __asm__("" : "+r"(shelf)); /* else gcc finds each of its members from the id anew */
    return shelf;
}

/* It waits; another one, if there is one, goes back to the cache in its stead. */
MYM_INLINE void mym_shelf_put(size_t cls, void *object)
{
    struct mym_shelf *shelf;
    uint32_t random;

    if (MYM_SECURE_QUARANTINE && MYM_UNLIKELY(!mym_class_waits(cls))) {
        shelf = mym_shelf_here();
        random = mym_random(&shelf->random);
        object = atomic_exchange_explicit(&shelf->place[random % MYM_SHELF_PLACES],
                                          object, memory_order_acq_rel);
        if (object == NULL)
            return;
        cls =
            mym_hot
                .heap_class[((uintptr_t)object - mym_hot.heap_base) >> MYM_UNIT_SHIFT];
    }
    if (MYM_UNLIKELY(!mym_rseq_push(mym_push_slot(cls), object)))
        mym_shelf_let_go(cls, object);
}

#define MYM_SHELF_LARGE 8u /* places for spans of the page heap */
extern MYM_HIDDEN void *_Atomic mym_shelf_large[MYM_SHELF_LARGE];

/* ---- fence.c: objects without a size class ---- */

/* *zeroed: as mym_classless_take has it. Nothing was reserved for growing but `reserve`. */
void *mym_fence_take(size_t size, size_t alignment, size_t reserve, bool *zeroed);
/* Live, or who calls dies of it; the size, and that and the alignment are right. */
size_t mym_fence_size(const void *ptr);
void mym_fence_put(void *ptr);
/* Without copying; NULL: not possible, it is as it was. */
void *mym_fence_resize(void *ptr, size_t size);
/* Of at most its size, where it is. */
void *mym_fence_leave(void *ptr, size_t size);

#endif
