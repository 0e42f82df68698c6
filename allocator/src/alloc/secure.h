/*
 * secure.h - the hardened build's large objects and what waits before it is free again.
 */
#ifndef MYM_ALLOC_SECURE_H
#define MYM_ALLOC_SECURE_H

#include "base/config.h"
#include "base/secure.h"

/* An object that is not live, or is no object: told, then abort. */
_Noreturn void mym_secure_die(const void *ptr);

/* ---- shelf.c: freed objects wait here for a random time ---- */

/* What is to be freed in its stead, of the same class; NULL: nothing yet. */
void *mym_shelf_swap(unsigned cls, void *object);
/* A large object that was given up; what is to be freed in its stead, or NULL. */
void *mym_shelf_swap_large(void *object);
/* Everything, by these. */
void mym_shelf_clear(void (*put)(unsigned cls, void *object),
                     void (*put_large)(void *object));

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

/* *zeroed: as mym_alloc_large has it. Nothing was reserved for growing but `reserve`. */
void *mym_fence_take(size_t size, size_t alignment, size_t reserve, bool *zeroed);
/* Live, or who calls dies of it; the size, and that and the alignment are right. */
size_t mym_fence_size(const void *ptr);
void mym_fence_put(void *ptr);
/* Without copying; NULL: not possible, it is as it was. */
void *mym_fence_resize(void *ptr, size_t size);
/* What mym_shelf_swap_large gave back. */
void mym_fence_release(void *ptr);

#endif
