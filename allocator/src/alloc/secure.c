/*
 * secure.c - malloc and free of the hardened build, in the place of alloc.c's.
 *
 * There is no fast path: every call comes here, and every pointer is asked about before it
 * is believed. Below are the same caches, pools and pages as in the default build.
 *
 *   malloc   a slot of the class that has room for object and seal; it must read 0 still;
 *            it is in use from now on (seal.h); sealed
 *   free     in use until now? the seal unbroken? overwritten; changes places with one that
 *            was freed before (shelf.c), which goes back to the cache
 *
 * What is large goes through fence.c.
 */
#include "alloc/alloc.h"

#include "alloc/reap.h"
#include "alloc/seal.h"
#include "alloc/secure.h"
#include "os/os.h"
#include "pool/pool.h"

#include <errno.h>

#if MYM_SECURE

/* What has a slot of several in a slab; longer classes are not zeroed before they are used. */
#define SHORT_MAX (MYM_SLOT_MAX - MYM_SEAL_BYTES)

#define WRONG_SIZE "sized free with a wrong size"

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void mym_secure_die(const void *ptr)
{
    unsigned cls = mym_in_heap(ptr) ? mym_heap.cls[mym_unit_of(ptr)] : 0;

    if (cls != 0) {
        uint32_t slab = mym_heap.units[mym_unit_of(ptr)].first;
        uintptr_t start = (uintptr_t)mym_unit_address(slab);

        if (mym_slab_index(&mym_classes[cls], (uintptr_t)ptr - start) >=
            mym_classes[cls].objects)
            mym_fatal("free of a pointer into the middle of an object", ptr);
    } else if (!mym_in_heap(ptr) ||
               (mym_sampled_bytes(ptr) == 0 && mym_large_bytes(ptr) == 0)) {
        mym_bad_pointer(ptr);
    }
    mym_fatal("double free", ptr);
}

/* ---- slots ---- */

typedef uint64_t lane __attribute__((vector_size(16), may_alias));

#define STRIDE 64 /* bytes that a turn of the loops below reads or writes: four lanes */
#define BEYOND(bytes) \
    ((ptrdiff_t)(bytes)-STRIDE) /* the last four lanes come by themselves */

/*
 * What an object of this size and its red zone may have been written on, in whole lanes; the seal is
 * the slot's last word.
 */
MYM_INLINE size_t written(size_t size, size_t room)
{
    size_t bytes = (size + MYM_RED_ZONE + sizeof(lane) - 1) & ~(sizeof(lane) - 1);

    return bytes < room ? bytes : room;
}

/*
 * The lane that ends so many bytes before the last one does, or the first. So the end of a
 * loop takes the same four lanes whatever is left of them: its length is one branch that
 * nobody can foretell, not three.
 */
MYM_INLINE lane *lane_before(void *ptr, size_t bytes, size_t before)
{
    size_t end = before + sizeof(lane);

    return (lane *)((char *)ptr + (bytes > end ? bytes - end : 0));
}

MYM_INLINE bool reads_zero(void *ptr, size_t bytes)
{
    const lane *at = ptr;
    lane seen = {0, 0};

    for (ptrdiff_t more = BEYOND(bytes); more > 0; more -= STRIDE, at += 4)
        seen |= (at[0] | at[1]) | (at[2] | at[3]);
    seen |= *lane_before(ptr, bytes, 48) | *lane_before(ptr, bytes, 32);
    seen |= *lane_before(ptr, bytes, 16) | *lane_before(ptr, bytes, 0);
    return (seen[0] | seen[1]) == 0;
}

MYM_INLINE void make_zero(void *ptr, size_t bytes)
{
    const lane zero = {0, 0};
    lane *at = ptr;

    for (ptrdiff_t more = BEYOND(bytes); more > 0; more -= STRIDE, at += 4)
        at[0] = at[1] = at[2] = at[3] = zero;
    *lane_before(ptr, bytes, 48) = *lane_before(ptr, bytes, 32) = zero;
    *lane_before(ptr, bytes, 16) = *lane_before(ptr, bytes, 0) = zero;
}

/*
 * The lines that are written to next are asked for together, before the atomic instruction
 * that all later ones wait for. Longer objects are read ahead by the processor.
 */
MYM_INLINE void fetch(void *ptr, size_t room)
{
    for (size_t i = 0; i < 8; i++)
        __builtin_prefetch((char *)ptr + (i * STRIDE < room ? i * STRIDE : 0), 1);
}

/* Where object and seal are to be written nobody wrote since it was freed, or ever. */
MYM_INLINE void check_untouched(void *ptr, size_t size, size_t room)
{
    if (MYM_SECURE_WRITE_AFTER_FREE &&
        MYM_UNLIKELY(!reads_zero(ptr, written(size, room)) ||
                     mym_seal_load(mym_seal_place(ptr, room)) != 0))
        mym_fatal("write to an object after it was freed", ptr);
}

MYM_INLINE void *settle(void *object, size_t size, unsigned cls)
{
    size_t room = mym_classes[cls].size;

    if (MYM_UNLIKELY(object == NULL))
        return no_memory();
    if (MYM_LIKELY(room <= MYM_SLOT_MAX))
        check_untouched(object, size, room);
    mym_live_set(object);
    mym_seal(object, size, room);
    return object;
}

static MYM_SLOW void *take_slow(unsigned cls)
{
    return mym_alloc_class(cls);
}

/* After the start, while no heap profile is taken, caches are asked first. */
MYM_INLINE void *take(unsigned cls)
{
    void *object =
        MYM_LIKELY(MYM_RACY(mym_hot.small_end) != 0) ? mym_rseq_pop(cls) : NULL;

    return MYM_LIKELY(object != NULL) ? object : take_slow(cls);
}

/* What was in use is over: it reads 0, and is somebody's again later. */
MYM_INLINE void clean(void *ptr, size_t size, size_t room)
{
    if (MYM_SECURE_ZERO_ON_FREE) {
        make_zero(ptr, written(size, room));
        mym_seal_store(mym_seal_place(ptr, room), 0);
    }
}

static void put_raw(unsigned cls, void *object)
{
    if (!mym_rseq_push(cls, object) && !mym_thread_push(cls, object))
        mym_cache_push_slow(cls, object);
}

#define ANY SIZE_MAX

/* size: what it was asked for with, or ANY. */
MYM_INLINE void put_small(void *ptr, unsigned cls, size_t size)
{
    size_t room = mym_classes[cls].size, has;

    fetch(ptr, room);
    if (MYM_UNLIKELY(!mym_live_clear(ptr)))
        mym_secure_die(ptr);
    has = mym_sealed_size(ptr, room);
    if (MYM_UNLIKELY(size != ANY && size != has))
        mym_fatal(WRONG_SIZE, ptr);
    clean(ptr, has, room);
    ptr = mym_shelf_swap(cls, ptr);
    if (ptr != NULL)
        put_raw(cls, ptr);
}

void mym_secure_flush(void)
{
    mym_shelf_clear(put_raw, mym_fence_release);
}

/* The slot that the pointer is in; 0: it is in none. */
static size_t room_at(const void *ptr)
{
    unsigned cls;

    if (!mym_in_heap(ptr))
        return 0;
    cls = mym_heap.cls[mym_unit_of(ptr)];
    return cls != 0 ? mym_classes[cls].size : mym_sampled_bytes(ptr);
}

/* The reap whose object it may be. */
static struct mym_reap *reap_at(const void *ptr)
{
    return mym_in_heap(ptr) ? mym_reap_of(ptr) : NULL;
}

/* ---- malloc and free ---- */

MYM_SLOW void *mym_malloc_slow(size_t size)
{
    bool zeroed = false;
    void *object;

    if (MYM_LIKELY(size <= MYM_CLASS_MAX - MYM_SEAL_BYTES)) {
        unsigned cls;

        if (MYM_UNLIKELY(MYM_RACY(mym_hot.small_end) == 0) && !mym_start())
            return no_memory();
        cls = mym_class_of(size + MYM_SEAL_BYTES);
        return settle(take(cls), size, cls);
    }
    object = mym_start() ? mym_fence_take(size, 1, 0, &zeroed) : NULL;
    return object != NULL ? object : no_memory();
}

MYM_SLOW void *mym_aligned_slow(size_t alignment, size_t size)
{
    bool zeroed = false;
    unsigned cls;
    void *object;

    if (alignment <= MYM_ALIGNMENT)
        return mym_malloc_slow(size);
    if (size > MYM_SIZE_MAX || !mym_start())
        return no_memory();
    cls = mym_class_of_aligned(alignment, size + MYM_SEAL_BYTES);
    if (cls != 0)
        return settle(take(cls), size, cls);
    object = mym_fence_take(size, alignment, 0, &zeroed);
    return object != NULL ? object : no_memory();
}

static MYM_SLOW void put_other(void *ptr)
{
    struct mym_reap *reap;
    size_t room;

    if (ptr == NULL)
        return;
    room = room_at(ptr); /* a sampled one */
    if (room != 0) {
        if (!mym_live_clear(ptr))
            mym_secure_die(ptr);
        clean(ptr, mym_sealed_size(ptr, room), room);
        mym_sampled_put(ptr);
    } else if ((reap = reap_at(ptr)) != NULL) {
        mym_reap_put(reap, ptr);
    } else if (mym_usable(ptr), true) { /* which ends if it is no object at all */
        mym_fence_put(ptr);
    }
}

MYM_SLOW void mym_free_slow(void *ptr)
{
    unsigned cls;

    if (MYM_LIKELY(mym_in_heap(ptr)) &&
        MYM_LIKELY((cls = mym_heap.cls[mym_unit_of(ptr)]) != 0))
        put_small(ptr, cls, ANY);
    else
        put_other(ptr);
}

/* An object of a reap has no seal: what its place may have been asked for. */
static bool is_size_of(const void *ptr, size_t size)
{
    size_t has = mym_usable(ptr);

    return MYM_SECURE_SEAL && reap_at(ptr) == NULL
               ? size == has
               : size <= has && (mym_fits(has, size) || has == mym_good_size(size));
}

MYM_SLOW void mym_free_sized_slow(void *ptr, size_t size, size_t alignment)
{
    unsigned cls;

    if (ptr == NULL)
        return;
    if (MYM_UNLIKELY((uintptr_t)ptr & (alignment - 1)))
        mym_fatal("sized free with a wrong alignment", ptr);
    if (MYM_SECURE_SEAL && MYM_LIKELY(mym_in_heap(ptr)) &&
        MYM_LIKELY((cls = mym_heap.cls[mym_unit_of(ptr)]) != 0)) {
        put_small(ptr, cls, size);
        return;
    }
    if (MYM_UNLIKELY(!is_size_of(ptr, size)))
        mym_fatal(WRONG_SIZE, ptr);
    mym_free_slow(ptr);
}

/* ---- the rest of the family ---- */

void *mym_calloc(size_t count, size_t size)
{
    bool zeroed = true;
    void *object;
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        return no_memory();
    if (bytes <= SHORT_MAX) {
        object = mym_malloc_slow(bytes);
        zeroed = MYM_SECURE_WRITE_AFTER_FREE;
    } else {
        object = mym_start() ? mym_fence_take(bytes, 1, 0, &zeroed) : NULL;
        if (object == NULL)
            return no_memory();
    }
    if (object != NULL && !zeroed)
        memset(object, 0, bytes);
    return object;
}

size_t mym_usable(const void *ptr)
{
    struct mym_reap *reap;
    size_t room;

    if (ptr == NULL)
        return 0;
    room = room_at(ptr);
    if (MYM_LIKELY(room != 0)) {
        if (MYM_UNLIKELY(!mym_is_live(ptr)))
            mym_secure_die(ptr);
        return mym_sealed_size(ptr, room);
    }
    reap = reap_at(ptr);
    if (reap != NULL)
        return mym_reap_bytes(reap, ptr);
    if (!mym_start() || mym_large_bytes(ptr) == 0)
        mym_bad_pointer(ptr);
    return mym_fence_size(ptr);
}

/* Nothing is usable but what was asked for. */
size_t mym_good_size(size_t size)
{
    return mym_start() && size <= MYM_SIZE_MAX ? size : 0;
}

/* Within its slot; false: it has no room, or far too much. */
static bool resize_small(void *ptr, size_t old, size_t size, size_t room)
{
    if (size > MYM_SIZE_MAX || !mym_fits(room, size + MYM_SEAL_BYTES))
        return false;
    if (MYM_SECURE_ZERO_ON_FREE && size < old)
        memset((char *)ptr + size, 0, old - size);
    mym_unseal(ptr, old, room);
    mym_seal(ptr, size, room);
    return true;
}

/* What grows once grows again: a quarter more room, in which it is resized. */
static void *take_growing(size_t old, size_t size)
{
    size_t want = old + old / 4;
    bool zeroed = false;
    void *object = NULL;

    if (size < want && want <= SHORT_MAX) {
        unsigned cls = mym_class_of(want + MYM_SEAL_BYTES);

        return settle(take(cls), size, cls);
    }
    if (size < want && size > SHORT_MAX)
        object = mym_fence_take(size, 1, want, &zeroed);
    return object != NULL ? object : mym_malloc_slow(size);
}

void *mym_realloc(void *ptr, size_t size)
{
    struct mym_reap *reap;
    size_t old, room;
    void *fresh;

    if (ptr == NULL)
        return mym_malloc_slow(size);
    if (size == 0) { /* as glibc: the object is gone, there is no new one */
        mym_free_slow(ptr);
        return NULL;
    }
    room = room_at(ptr);
    if (room == 0 && (reap = reap_at(ptr)) != NULL)
        return mym_reap_move(reap, ptr, size);
    old = mym_usable(ptr);
    if (room != 0 && resize_small(ptr, old, size, room))
        return ptr;
    fresh = room == 0 && size > SHORT_MAX ? mym_fence_resize(ptr, size) : NULL;
    if (fresh != NULL)
        return fresh;
    fresh = size > old ? take_growing(old, size) : mym_malloc_slow(size);
    if (fresh == NULL)
        return NULL;
    memcpy(fresh, ptr, size < old ? size : old);
    mym_free_slow(ptr);
    return fresh;
}

#endif
