/*
 * reap.h - what MyArenaCreate makes: a region whose objects go together, and a heap in
 * which each can be freed before (E. Berger, B. Zorn and K. McKinley, "Reconsidering Custom
 * Memory Allocation", OOPSLA 2002; they call it a reap). "Arena" is its public name alone:
 * inside, that is the pools of a group of CPUs.
 *
 * Objects up to MYM_PLACE_MAX, of the sizes of the classes, lie one behind the other in
 * windows (heap/window.h), taken by moving a pointer (Hanson 1990); longer ones are spans of
 * their own. One that was freed is in a list of its class, linked through its own words,
 * and is looked for when a window is full.
 *
 * The owner is the thread that made or last reset the reap: it moves the pointer of a window
 * of its own without a lock. All other threads share a second one, under the lock.
 *
 * Locking: reap->lock guards all but `owner` and `own.at`, which the owner alone writes
 * outside of it, and the starts in the own window. Reset and destroy are for a caller that
 * has the reap for himself. Order: list of all reaps, reap->lock, page heap.
 */
#ifndef MYM_ALLOC_REAP_H
#define MYM_ALLOC_REAP_H

#include "base/check.h"
#include "cache/cache.h"
#include "heap/window.h"
#include "mymalloc/arena.h"

struct mym_bump {
    uintptr_t at, end; /* the next object; 0: there is no window */
    uint32_t first;
};

/*
 * held == units in the windows and large spans of the reap
 * freed == bytes of the objects in free[], each of which has its bit in mym_heap.freed
 */
struct mym_reap {
    uintptr_t owner; /* its thread pointer */
    struct mym_bump own;
    struct mym_mutex lock;
    uint32_t
        windows; /* all of them, the latest first: linked by `next` of their records */
    uint32_t large;  /* large spans: by `next` and `prev` */
    uint32_t held;   /* units */
    uint32_t most;   /* units that it may hold */
    uint32_t peak;   /* the most it ever held */
    uint32_t length; /* units of the next window */
    bool alive;      /* false: destroyed */
    bool is_left;    /* to its objects: it is nobody's to leave, or to destroy */
    struct mym_bump shared;
    size_t freed;
    uint64_t filled[(MYM_CLASSES + 63) / 64]; /* bit set: the class has a freed one */
    void *free[MYM_CLASSES];      /* by class: a freed object of that size or longer */
    struct mym_reap *next, *prev; /* of all reaps; next of those destroyed */
    struct mym_reap *left;        /* next of those that were left */
} __attribute__((aligned(MYM_CACHELINE)));

MYM_INLINE void mym_reap_lock(struct mym_reap *reap) MYM_ACQUIRES(reap->lock)
{
    mym_mutex_lock(&reap->lock, MYM_RANK_REAP);
}

MYM_INLINE void mym_reap_unlock(struct mym_reap *reap) MYM_RELEASES(reap->lock)
{
    mym_mutex_unlock(&reap->lock, MYM_RANK_REAP);
}

#define MYM_DESTROYED "use of an arena that was destroyed"

MYM_INLINE void mym_reap_check_alive(const struct mym_reap *reap)
{
    if (MYM_UNLIKELY(!reap->alive))
        mym_fatal(MYM_DESTROYED, reap);
}

/* limit 0: none. NULL: no memory. */
struct mym_reap *mym_reap_create(size_t limit);

/* Those that return an object set errno when there is none. */
void *mym_reap_alloc_slow(struct mym_reap *reap, size_t size);
void *mym_reap_aligned(struct mym_reap *reap, size_t alignment, size_t size);
void *mym_reap_calloc(struct mym_reap *reap, size_t count, size_t size);
void mym_reap_reset(struct mym_reap *reap);
void mym_reap_destroy(struct mym_reap *reap);

/* Nobody takes from it any more; it ends after its last object, at a later call of this. */
void mym_reap_leave(struct mym_reap *reap);

MYM_INLINE bool mym_reap_is_left(const struct mym_reap *reap)
{
    return __atomic_load_n(&reap->is_left, __ATOMIC_RELAXED);
}

void mym_reap_info(struct mym_reap *reap, struct MyArenaInfo *info);

/* The reap of an object in it; NULL: it is malloc's, or none. */
MYM_INLINE struct mym_reap *mym_reap_of(const void *ptr)
{
    const struct mym_unit *span;
    uint32_t unit, first;

    if (!mym_in_heap(ptr))
        return NULL;
    unit = mym_unit_of(ptr);
    first = mym_heap.units[unit].first;
    span = &mym_heap.units[first];
    if (span->first != first || unit - first >= span->length)
        return NULL;
    return span->kind == MYM_WINDOW || (span->kind == MYM_LARGE && unit == first)
               ? span->reap
               : NULL;
}

/* For a pointer of which mym_reap_of tells the reap: */
size_t mym_reap_bytes(struct mym_reap *reap, const void *ptr);
void mym_reap_put(struct mym_reap *reap, void *ptr);
void *mym_reap_move(struct mym_reap *reap, void *ptr, size_t size);
/* Some object was to be smaller and stayed, for nothing was left, a reap's or malloc's. */
extern MYM_HIDDEN bool mym_has_left;

MYM_INLINE bool mym_reap_is_owner(const struct mym_reap *reap)
{
    return MYM_RACY(reap->owner) == (uintptr_t)__builtin_thread_pointer();
}

/* A start, under the lock. None in the owner's window by others: they may write to one word. */
MYM_INLINE void mym_reap_mark(const struct mym_reap *reap, uintptr_t at)
{
    MYM_ASSERT(mym_reap_is_owner(reap) ||
               mym_heap.units[mym_unit_of((void *)at)].first != /* NOLINT */
                   reap->own.first);
    mym_window_mark(at);
}

/* Move the pointer of the own window. NULL: this thread is not the owner, or no room. */
MYM_INLINE void *mym_reap_bump(struct mym_reap *reap, size_t bytes)
{
    uintptr_t at;

    if (!mym_reap_is_owner(reap))
        return NULL;
    at = reap->own.at; /* his alone */
    if (bytes > reap->own.end - at)
        return NULL;
    mym_window_mark(at);
    /* release: who reads `at`, under the lock, sees every start below it */
    __atomic_store_n(&reap->own.at, at + bytes, __ATOMIC_RELEASE);
    if (at == 0)
        __builtin_unreachable(); /* there was room: no second test */
    return (void *)at;           /* NOLINT */
}

MYM_INLINE void *mym_reap_alloc(struct mym_reap *reap, size_t size)
{
    void *object = NULL;

    if (MYM_LIKELY(size <= MYM_SMALL_MAX))
        object = mym_reap_bump(reap, mym_classes[mym_front.class_of[size]].size);
    return MYM_LIKELY(object != NULL) ? object : mym_reap_alloc_slow(reap, size);
}

/* ---- reaps.c: all of them ---- */

extern MYM_HIDDEN struct mym_reap *mym_reaps; /* by `next` */
size_t mym_reaps_bytes(void);                 /* that they hold */
size_t mym_reaps_verify(void);
void mym_reaps_fork(enum mym_fork_step step);

/* ---- shared by these files ---- */

/* The record of the span that a pointer into a reap is in. */
MYM_INLINE struct mym_unit *mym_reap_record(const void *ptr)
{
    return &mym_heap.units[mym_heap.units[mym_unit_of(ptr)].first];
}

/* holes.c: how far a window of it is in use. */
uintptr_t mym_reap_used(const struct mym_reap *reap, uint32_t window);

/* Bytes from where an object starts, freed or not, to the next one. */
size_t mym_reap_extent(const struct mym_reap *reap, const void *object);

/* For a link to an object of a class that was freed: it leads to one. */
bool mym_reap_is_hole(const struct mym_reap *reap, const void *object, unsigned cls);

/* What starts here is one; its bits are set. */
void mym_reap_add_hole(struct mym_reap *reap, uintptr_t at) MYM_REQUIRES(reap->lock);

/* An object of a class from the holes that there are; NULL: none fits. */
void *mym_reap_take_hole(struct mym_reap *reap, unsigned cls) MYM_REQUIRES(reap->lock);

/* Units of the window for one that holds so many. */
MYM_INLINE uint32_t mym_reap_length(uint32_t units)
{
    return units >= MYM_WINDOW_MAX ? MYM_WINDOW_MAX
                                   : 1u << (31 - __builtin_clz(units | 1));
}

#endif
