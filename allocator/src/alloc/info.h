/*
 * info.h - what the heap looks like, in numbers; and its checker.
 */
#ifndef MYM_ALLOC_INFO_H
#define MYM_ALLOC_INFO_H

#include "heap/heap.h"
#include "pool/pool.h"

struct mym_class_info {
    size_t slabs, places;
    /* places == used + cached + depot + free, and those on shelves; free: in slabs */
    size_t used, cached, depot, free;
    size_t whole, nonfull; /* slabs without an object; with some, and free places */
    uint64_t misses, overflows;
};

struct mym_info {
    struct mym_pages_info pages;
    struct mym_class_info cls[MYM_CLASSES];
    size_t small_used;            /* bytes handed out in objects of size classes */
    size_t small_free;            /* bytes of free places in slabs */
    size_t caches, spans, depots; /* bytes in caches, of large spans there, in depots */
    size_t cached;                /* the sum of these */
    size_t large;                 /* bytes in large spans */
    size_t reaps;                 /* bytes that reaps hold */
    size_t huge, huges;           /* bytes in own mappings, and how many */
    /* Bytes on shelves; of large ones what is granted to MYM_HOLDS_SHELF is resident. */
    size_t waiting, waiting_large;
    size_t guarded, guarded_bytes; /* guarded samples in use, and their bytes */
    size_t guarded_pages;          /* bytes of pages that these and some others have */
    size_t guarded_ever;           /* objects that were guarded */
    size_t meta;                   /* bytes of the allocator's own records */
    size_t rounding; /* bytes that rounding up to classes costs in objects at most */
    uint64_t minor_faults, major_faults; /* of the process; metrics alone read them */
};

/*
 * Beside other threads no moment has all of these: pools, caches and pages are read one
 * after the other. No number is negative for it; a difference that would be is 0.
 */
void mym_info_read(struct mym_info *info);

/* For who keeps what was read: a child of fork finds it whole. Outermost but for the start's. */
extern MYM_HIDDEN struct mym_mutex mym_info_lock;

/* Check every invariant that a walk can see; violations are told one a line. */
size_t mym_verify(void);

/*
 * Each object that the program holds, while nobody takes or frees any; until the function
 * returns something else than 0, which is then the result. *failed: there was no memory.
 */
int mym_walk(int (*function)(void *object, size_t bytes, void *argument),
             void *argument, bool *failed);

/* Bytes that a trim could give back, about; *live: those of objects in use. */
size_t mym_idle_bytes(size_t *live);

/* malloc_trim: true when pages went back to the kernel. */
bool mym_trim(size_t pad);

/* What caches and depots hold goes back to its slabs, and whole slabs to the page heap. */
void mym_flush_caches(void);

#endif
