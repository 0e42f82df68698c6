/*
 * secure.h - the hardened build's large objects and what waits before it is free again.
 */
#ifndef MYM_ALLOC_SECURE_H
#define MYM_ALLOC_SECURE_H

#include "base/config.h"
#include "base/secure.h"

/* ---- shelf.c: freed objects wait here for a random time ---- */

/* It waits; another one of its class, if there is one, goes back to the cache in its stead. */
void mym_shelf_put(unsigned cls, void *object);
/* The same of a span of the page heap that nobody has access to. */
void mym_shelf_put_large(void *span);
/* Nothing waits any longer. */
void mym_shelf_clear(void);

/* Adds those of each class that wait; returns the bytes of large ones. */
size_t mym_shelf_count(size_t objects[MYM_CLASSES]);

#define MYM_SHELVES      64u
#define MYM_SHELF_PLACES 32u /* of a class at most, a power of two */

struct mym_shelf {
    uint64_t random; /* 0: never used */
    void *_Atomic place[MYM_CLASSES][MYM_SHELF_PLACES];
} __attribute__((aligned(MYM_CACHELINE)));
extern MYM_HIDDEN struct mym_shelf mym_shelves[MYM_SHELVES];

#define MYM_SHELF_LARGE 8u /* places for objects of up to MYM_SPAN_MAX bytes */
extern MYM_HIDDEN void *_Atomic mym_shelf_large[MYM_SHELF_LARGE];

/* ---- fence.c: objects without a size class ---- */

/* *zeroed: as mym_classless_take has it. Nothing was reserved for growing but `reserve`. */
void *mym_fence_take(size_t size, size_t alignment, size_t reserve, bool *zeroed);
/* Live, or who calls dies of it; the size, and that and the alignment are right. */
size_t mym_fence_size(const void *ptr);
void mym_fence_put(void *ptr);
/* Without copying; NULL: not possible, it is as it was. */
void *mym_fence_resize(void *ptr, size_t size);

#endif
