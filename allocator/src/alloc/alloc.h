/*
 * alloc.h - malloc and free, inlined into every face.
 *
 * Fast path, both ways: one limit test, one table look-up, one restartable sequence.
 * The limits are 0 until start-up is complete and while samples are taken, so the
 * same test sends these calls, large sizes, NULL and foreign pointers to the cold half.
 *
 * price on x86-64: malloc and operator new 22 instructions, free 28,
 * sized delete 34, aligned new 26, aligned and sized delete 39, malloc's half while
 * samples are taken 26 (ctest -L disasm counts them)
 */
#ifndef MYM_ALLOC_ALLOC_H
#define MYM_ALLOC_ALLOC_H

#include "base/secure.h"
#include "cache/cache.h"
#include "heap/sizes.h"

/* Sizes above are refused: PTRDIFF_MAX, less room for rounding up. */
#define MYM_SIZE_MAX ((size_t)PTRDIFF_MAX - MYM_MAPPING_MIN)

/* Cold halves (alloc.c; in the hardened build secure.c, all of it). Those that return an object set errno when there is none. */
void *mym_malloc_slow(size_t size);
void *mym_malloc_closed(size_t size); /* the same of a size that is above the limits */
void *mym_aligned_slow(size_t alignment, size_t size);
void mym_free_slow(void *ptr);
void mym_free_missed(void *ptr, size_t cls); /* there is no room, or it has none */
void mym_free_sized_slow(void *ptr, size_t size, size_t alignment);

/*
 * Limits of C++'s operators, closed until these have found out that nobody else's malloc, free or
 * operators are to be called (face/operators.c): so their fast paths need not ask. As malloc's
 * they are closed while samples are taken.
 */
struct mym_operators {
    size_t heap_size; /* no more than that of mym_hot */
    size_t small_end, aligned_end, class_end;
} __attribute__((aligned(MYM_CACHELINE)));
extern MYM_HIDDEN struct mym_operators mym_operators;
bool mym_operators_open(void); /* false: no memory to start with */

/* A size that is out of date by then costs who frees there another turn. */
MYM_INLINE void mym_operators_grow(void)
{
    size_t size = MYM_RACY(mym_hot.heap_size);

    if (MYM_RACY(mym_operators.heap_size) != size)
        __atomic_store_n(&mym_operators.heap_size, size, __ATOMIC_RELEASE);
}

/*
 * What a size is tested with. Of what is freed no limit is closed: sampled objects are told by
 * where they lie, and before the start nothing lies in the heap.
 */
enum mym_use { MYM_TO_TAKE, MYM_TO_NEW, MYM_TO_FREE };

MYM_INLINE size_t mym_small_end(enum mym_use use)
{
    return use == MYM_TO_TAKE  ? MYM_RACY(mym_hot.small_end)
           : use == MYM_TO_NEW ? MYM_RACY(mym_operators.small_end)
                               : MYM_SMALL_MAX + 1;
}

MYM_INLINE size_t mym_aligned_end(enum mym_use use)
{
    return use == MYM_TO_TAKE  ? MYM_RACY(mym_hot.aligned_end)
           : use == MYM_TO_NEW ? MYM_RACY(mym_operators.aligned_end)
                               : MYM_STEPS_MAX + 1;
}

MYM_INLINE size_t mym_class_end(enum mym_use use)
{
    return use == MYM_TO_TAKE  ? MYM_RACY(mym_hot.class_end)
           : use == MYM_TO_NEW ? MYM_RACY(mym_operators.class_end)
                               : MYM_CLASS_MAX + 1;
}

/* The class of a size; false: the limits are closed, or there is none. */
MYM_INLINE bool mym_quick_class(enum mym_use use, size_t size, unsigned *cls)
{
    if (MYM_LIKELY(size < mym_small_end(use)))
        *cls = mym_front.class_of[size + MYM_SEAL_BYTES];
    else if (size < mym_class_end(use))
        *cls = mym_class_of_16[(size + MYM_SEAL_BYTES + 15) / 16];
    else
        return false;
    return true;
}

/*
 * The same for an alignment too, as mym_class_of_aligned has it. The size rounded up is one
 * more than its last byte; a size of 0 has none and is not quick.
 */
MYM_INLINE bool mym_quick_class_aligned(enum mym_use use, size_t alignment, size_t size,
                                        unsigned *cls)
{
    size_t last = (size - 1) | (alignment - 1) | (MYM_ALIGNMENT - 1);

    if (MYM_LIKELY(last < mym_aligned_end(use)))
        *cls = mym_front.class_of[last + 1];
    else if (last < mym_class_end(use) && alignment <= MYM_UNIT)
        *cls = alignment <= MYM_CACHELINE ? mym_class_of_64[last / 64 + 1]
                                          : mym_class_of_128[last / 128 + 1];
    else
        return false;
    return true;
}

/*
 * An object without the cold half, or NULL: for who has a cold half of his own. In the
 * hardened build nothing is quick.
 */
MYM_INLINE void *mym_new_quick(size_t size)
{
    unsigned cls;

    return !MYM_SECURE && mym_quick_class(MYM_TO_NEW, size, &cls) ? mym_rseq_pop(cls)
                                                                  : NULL;
}

MYM_INLINE void *mym_aligned_quick(enum mym_use use, size_t alignment, size_t size)
{
    unsigned cls;

    return !MYM_SECURE && mym_quick_class_aligned(use, alignment, size, &cls)
               ? mym_rseq_pop(cls)
               : NULL;
}

MYM_INLINE void *mym_malloc(size_t size)
{
    unsigned cls;
    void *object;

    if (MYM_SECURE)
        return mym_malloc_slow(size);
    if (MYM_UNLIKELY(!mym_quick_class(MYM_TO_TAKE, size, &cls)))
        return mym_malloc_closed(size);
    object = mym_rseq_pop(cls);
    return MYM_LIKELY(object != NULL) ? object : mym_malloc_slow(size);
}

/* alignment is a power of two. */
MYM_INLINE void *mym_aligned(size_t alignment, size_t size)
{
    void *object = mym_aligned_quick(MYM_TO_TAKE, alignment, size);

    return MYM_LIKELY(object != NULL) ? object : mym_aligned_slow(alignment, size);
}

/* False: it is not below the end, and nothing was done. */
MYM_INLINE bool mym_free_quick(size_t end, void *ptr)
{
    uintptr_t offset = (uintptr_t)ptr - mym_hot.heap_base;
    size_t cls;

    if (MYM_SECURE || MYM_UNLIKELY(offset >= end))
        return false;
    cls = mym_hot.heap_class[offset >> MYM_UNIT_SHIFT];
    if (MYM_UNLIKELY(!mym_rseq_push(cls, ptr)))
        mym_free_missed(ptr, cls);
    return true;
}

MYM_INLINE void mym_free(void *ptr)
{
    if (!mym_free_quick(MYM_RACY(mym_hot.heap_size), ptr))
        mym_free_slow(ptr);
}

/* Whether the object lies below the end and is of this class. */
MYM_INLINE bool mym_is_below(size_t end, const void *ptr, unsigned cls)
{
    uintptr_t offset = (uintptr_t)ptr - mym_hot.heap_base;

    return MYM_LIKELY(offset < end) &&
           MYM_LIKELY(mym_hot.heap_class[offset >> MYM_UNIT_SHIFT] == cls);
}

MYM_INLINE bool mym_is_of_class(const void *ptr, unsigned cls)
{
    return mym_is_below(MYM_RACY(mym_hot.heap_size), ptr, cls);
}

/*
 * free, and the size is one that the object's class serves. Up to MYM_SMALL_MAX the class is
 * that of the size, which nothing is waited for: the table's is loaded from where the object
 * lies, which malloc has from the slot that the free before wrote to, at the place that the
 * class says. That chain is as long as a pair of new and delete. Above it, where to find the
 * class of the size is longer, the table's, and two comparisons. What realloc left in place, a
 * large object, misuse: the cold half looks closer.
 */
MYM_INLINE bool mym_free_sized_quick(size_t end, void *ptr, size_t size)
{
    uintptr_t offset = (uintptr_t)ptr - mym_hot.heap_base;
    size_t cls;

    if (MYM_SECURE || MYM_UNLIKELY(offset >= end))
        return false;
    cls = mym_hot.heap_class[offset >> MYM_UNIT_SHIFT];
    if (MYM_LIKELY(size <= MYM_SMALL_MAX)) {
        size_t of_size = mym_front.class_of[size], its = of_size;

        /* Else a compiler may take the other after the comparison, for it is the same. */
        __asm__("" : "+r"(its));
        if (MYM_UNLIKELY(cls != of_size))
            goto other;
        cls = its;
    } else if (MYM_UNLIKELY(size > mym_front.ends[cls + 1] ||
                            size <= mym_front.ends[cls])) {
        goto other;
    }
    if (MYM_UNLIKELY(!mym_rseq_push(cls, ptr)))
        mym_free_missed(ptr, cls);
    return true;
other:
    mym_free_sized_slow(ptr, size, MYM_ALIGNMENT);
    return true;
}

MYM_INLINE void mym_free_sized(void *ptr, size_t size)
{
    if (!mym_free_sized_quick(MYM_RACY(mym_hot.heap_size), ptr, size))
        mym_free_sized_slow(ptr, size, MYM_ALIGNMENT);
}

MYM_INLINE bool mym_free_aligned_sized_quick(size_t end, void *ptr, size_t alignment,
                                             size_t size)
{
    unsigned cls;

    if (MYM_SECURE ||
        !MYM_LIKELY(mym_quick_class_aligned(MYM_TO_FREE, alignment, size, &cls)) ||
        !mym_is_below(end, ptr, cls))
        return false;
    if (!MYM_LIKELY(mym_rseq_push(cls, ptr)))
        mym_free_slow(ptr);
    return true;
}

MYM_INLINE void mym_free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    if (!mym_free_aligned_sized_quick(MYM_RACY(mym_hot.heap_size), ptr, alignment,
                                      size))
        mym_free_sized_slow(ptr, size, alignment);
}

/* An object may stay where it is while it fills at least half of its place. */
MYM_INLINE bool mym_fits(size_t usable, size_t size)
{
    return size <= usable && (size >= usable / 2 || usable <= MYM_ALIGNMENT);
}

void *mym_calloc(size_t count, size_t size);
void *mym_realloc(void *ptr, size_t size);
/*
 * An object is made smaller and nothing is left for another: it stays where it lies, cut as far
 * as can be, as on glibc; few programs look whether that was refused. NULL: in the hardened
 * build the kernel would not have it.
 */
void *mym_leave(void *ptr, size_t size);
size_t mym_usable(const void *ptr);
size_t mym_good_size(size_t size);

/*
 * ---- classless.c: what is in no slab of malloc's. Here alone it is decided which pointer is
 * a large object, a sample, a guarded one, an object of a reap, or none. ----
 */

/*
 * A large object, or NULL; hard: everything is tried before. *zeroed: rather zeroed memory
 * than resident; then: it reads 0. errno is the caller's to set.
 */
void *mym_classless_take(size_t size, size_t alignment, bool hard, bool *zeroed);
void mym_classless_put(void *ptr);
void mym_span_put(void *ptr); /* the same of what is known to lie in the heap */
/* Bytes of the object at ptr, 0 when there is none. */
size_t mym_classless_bytes(const void *ptr);
/* Whether it can be an object of this heap's: no other allocator has that address. */
bool mym_is_own(const void *ptr);
/* A large object without copying; NULL: not possible, ptr is as it was. */
void *mym_classless_resize(void *ptr, size_t size);
/* What is wrong with a pointer that is no object in use: told, then abort. */
_Noreturn void mym_bad_pointer(const void *ptr);

/* ---- large.c: large objects of malloc's, known to be such ---- */

/*
 * One that is a span of the heap; else it is a mapping of its own, which may lie in a gap between
 * regions: where the kernel maps from below (setarch -L), or has no other room.
 */
MYM_INLINE bool mym_is_span(const void *ptr)
{
    const struct mym_unit *unit;

    if (!mym_in_heap(ptr))
        return false;
    unit = &mym_heap.units[mym_unit_of(ptr)];
    return unit->kind >= MYM_WINDOW && unit->first == mym_unit_of(ptr);
}

/*
 * Spans start at multiples of 64 KiB, and what lies at one place in each of a dozen of them is in
 * one set of the first cache, in huge pages of the second one, too: a loop over 12 vectors of
 * 800,000 bytes took 16 times as long as with glibc's objects. So an object of a size that leaves
 * so much of its last unit unused starts some cache lines behind the start of its span: how many
 * is drawn by the address.
 */
MYM_INLINE bool mym_has_lines(size_t size)
{
    return !MYM_SECURE && -size % MYM_UNIT >= MYM_LINES_ROOM;
}

/* Where in its span an object of so many bytes starts, for which no alignment was asked. */
MYM_INLINE void *mym_large_begin(void *span, size_t size)
{
    uint32_t number = (uint32_t)((uintptr_t)span >> MYM_UNIT_SHIFT);
    /* Of 16 spans of 2 to 512 units, one behind the other, at least 7 lines; without the shift 1. */
    uint32_t drawn = (number ^ number >> 5) * 0x9e3779b1u >> 27;
    unsigned lines = mym_has_lines(size) ? drawn << 1 | 1 : 0;

    mym_heap.units[mym_unit_of(span)].lines = (uint8_t)lines;
    return (char *)span + lines * MYM_CACHELINE;
}

/* Whether a large object of malloc's with this record starts there. */
MYM_INLINE bool mym_is_begin(const struct mym_unit *unit, const void *ptr)
{
    return (uintptr_t)ptr % MYM_UNIT == (size_t)unit->lines * MYM_CACHELINE;
}

/* Bytes of its span that it leaves for the lines; those that are its own. */
MYM_INLINE size_t mym_lines_room(const struct mym_unit *unit)
{
    return unit->lines != 0 ? MYM_LINES_ROOM : 0;
}

MYM_INLINE size_t mym_span_bytes(const struct mym_unit *unit)
{
    return (size_t)unit->length * MYM_UNIT - mym_lines_room(unit);
}

/* One that is not sampled, by what there is; or NULL. */
void *mym_large_take(size_t size, size_t alignment, bool *zeroed);
/* A span of the page heap, and its record. */
void mym_large_put(void *ptr, const struct mym_unit *span);
/* What of the heap cannot be used any more: it is unmapped, or else nobody's. */
void mym_large_give_up(void *ptr);
size_t mym_large_bytes(const void *ptr);
size_t mym_large_good_size(size_t size, size_t alignment);
/* mym_classless_resize of one that is not sampled. */
void *mym_large_resize(void *ptr, size_t size);
/* A span's record says whether the heap profile knows it; a mapping has none. */
void mym_large_mark(void *ptr, bool sampled);

/* ---- sampled.c: while samples are taken, and afterwards ---- */

/* An object of a class, counted, and sampled if it is its turn; or NULL. */
void *mym_watched_take(unsigned cls, size_t alignment, size_t size);
/* The ends of malloc's path then, which saves no register; both set errno. There is none in
   the CPU's cache; mym_sample_count says so, and samples are taken. */
void *mym_watched_miss(unsigned cls);
void *mym_watched_sample(unsigned cls, size_t size);
/* Bytes of a sampled or guarded object of a class; 0: it is none. */
size_t mym_sampled_bytes(const void *ptr);
/* Free one; false: it is none. */
bool mym_sampled_put(void *ptr);

/* ---- known.c: the same for what has no class ---- */

/* It is a sample of the profile's (known), or of a listener's alone: at which rate; or 0. */
size_t mym_sampled_rate(size_t bytes, bool *known);
/* Count one that was taken. */
void mym_sampled_large(void *object);
/*
 * The same for a span of a reap, a window or one of its large objects; it ends. The stack is
 * that of the call by which the reap grew: no lock is held.
 */
void mym_sampled_span(uint32_t first);
void mym_sampled_end(uint32_t first);
/* mym_large_resize; another size is another object to the profile. */
void *mym_sampled_resize(void *ptr, size_t size);

/* ---- start.c ---- */

/* Held while the heap starts, and while it changes which samples are taken. */
extern MYM_HIDDEN struct mym_mutex mym_start_lock;

/* Make the heap usable; idempotent. False: no memory for its first tables. */
bool mym_start(void);

/*
 * Take a heap profile, a sample each so many bytes; no longer. 0, or EINVAL, EBUSY (one is
 * being taken), ENOMEM, ENOSYS (nothing here can walk a stack).
 */
int mym_profile_start(size_t every);
int mym_profile_stop(void); /* EBUSY: none is taken */
/* Forget what was sampled; one that is taken goes on at this rate. EINVAL, ENOMEM. */
int mym_profile_reset(size_t every);
/* Guard a sample, once, for as long as the process lives. 0, or ENOMEM, ENOSYS. */
int mym_guarded_begin(size_t every, bool go_on);

/* When malloc counts for the guard: background.c. */
#define MYM_GUARD_SHARE 16u
enum mym_guard_time { MYM_GUARD_ALWAYS, MYM_GUARD_NOW, MYM_GUARD_REST };
void mym_guard_set(enum mym_guard_time time);
bool mym_guard_may_rest(void);
void mym_guard_fork_child(void) MYM_UNFOLLOWED;
/* Once a second: samples for a listener that has come, or none for one that has gone. */
void mym_probes_hear(void);

/* ---- limit.c ---- */

/* MYMALLOC_LIMIT; SIZE_MAX: none. */
void mym_limit_set(size_t bytes);
/* Read the container's limit, now and whenever it may have changed. */
void mym_limit_read(void);
/*
 * At start: where address space is counted, by RLIMIT_AS, RLIMIT_DATA or with overcommit off (of
 * which a file tells, if it may be read), what is freed is the program's again, to map something
 * else. How much of `keep` may stay then.
 */
size_t mym_limit_space(size_t keep, bool may_read);
/*
 * Called where a request of so many bytes failed: empty caches, purge, unmap, if what
 * they hold can make the difference. True when it is worth another try.
 */
bool mym_relieve(size_t size, size_t alignment);

/* ---- life.c: configuration, fork ---- */

/* Register the fork handlers, once: before any other handler that needs the heap. */
void mym_fork_register(void);
/*
 * Around a fork for which no handlers run, in a signal handler too. False: another thread
 * forks, or this one does; then all is left as it is, and nothing is to be done afterwards.
 */
bool mym_fork_bare(void);
void mym_fork_bare_done(bool child);

/* ---- below the fast paths, where these have been tried ---- */

/* An object of a class, or NULL. */
MYM_INLINE void *mym_small_take(unsigned cls)
{
    void *object = mym_thread_pop(cls);

    if (object != NULL)
        return object;
    object = mym_cache_pop_slow(cls);
    /* Caches and free runs may hold what one more object needs. */
    if (MYM_UNLIKELY(object == NULL) && mym_relieve(mym_classes[cls].size, 1))
        object = mym_cache_pop_slow(cls);
    return object;
}

/* Started, and nobody wants samples. */
MYM_INLINE bool mym_is_unwatched(void)
{
    return MYM_LIKELY(MYM_RACY(mym_hot.small_end) != 0);
}

/* The same while samples are taken, too; it is one if it is its turn. */
MYM_INLINE void *mym_class_take(unsigned cls, size_t alignment, size_t size)
{
    return mym_is_unwatched() ? mym_small_take(cls)
                              : mym_watched_take(cls, alignment, size);
}

#endif
