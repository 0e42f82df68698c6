/*
 * secure.c - malloc and free of the hardened build, in the place of alloc.c's.
 *
 * There is no fast path: every call comes here, and every pointer is asked about before it
 * is believed. Below are the same caches, pools and pages as in the default build.
 *
 *   malloc   a place of the class that has room for object and seal; its ends must read 0
 *            still; it is in use from now on (seal.h); sealed
 *   free     in use until now? the seal unbroken? its ends overwritten; waits in the cache
 *            (cache/cache.h), a longer one in the place of another that goes there (shelf.c)
 *
 * What is large goes through fence.c.
 */
#include "alloc/alloc.h"

#include "alloc/reap.h"
#include "alloc/seal.h"
#include "alloc/secure.h"
#include "pool/pool.h"

#include <errno.h>

#if MYM_SECURE

/* Longer classes are not zeroed before they are used. */
#define SHORT_MAX (MYM_PLACE_MAX - MYM_SEAL_BYTES)

#define WRONG_SIZE "sized free with a wrong size"
#define WRITTEN    "write to an object after it was freed"

/* As in alloc.c: life.c is linked because the heap is. */
__attribute__((used)) MYM_HIDDEN void (*const mym_with_life)(void) = mym_fork_register;

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* ---- places ---- */

#define LANE sizeof(mym_lane)

/*
 * What an object of this size and its red zone may have been written on, in whole lanes, two
 * at least; the seal is the last word of the place.
 */
MYM_INLINE size_t written(size_t size, size_t room)
{
    size_t bytes = mym_round_up((size | 1) + MYM_RED_ZONE, LANE);

    return bytes < room ? bytes : room;
}

#define ZEROES_ALL (MYM_SECURE_ZERO_ON_FREE == MYM_ZERO_ALL)

/* The bytes of an end: two lanes, for no branch on a size can be foretold. */
_Static_assert(MYM_ZERO_END == 2 * LANE, "an end is two lanes");
_Static_assert(MYM_REACH == 2 * MYM_ZERO_END, "before the last end is another");

MYM_INLINE mym_lane end_at(const void *ptr, size_t at)
{
    const mym_place_lane *end = (const void *)mym_lane_at(ptr, at);

    return end[0] | end[1];
}

MYM_INLINE void zero_end_at(void *ptr, size_t at)
{
    *mym_lane_at(ptr, at) = *mym_lane_at(ptr, at + LANE) = (mym_lane){0, 0};
}

/*
 * A place, and where its ends are: from tables, and with no branch. Sizes about ZERO_WHOLE are mixed
 * in most programs, and each wrong guess costs as much as all four ends.
 */
struct place {
    size_t room, second, third;
};

MYM_INLINE struct place place_of_class(size_t cls)
{
    return (struct place){mym_places.bytes[cls], mym_places.second[cls],
                          mym_places.third[cls]};
}

static __thread uint64_t turn __attribute__((tls_model("initial-exec")));

/*
 * A look where all of it was zeroed: at 64 bytes at either end, and two lanes anywhere. Reading
 * all costs as much as zeroing it did.
 */
MYM_INLINE mym_lane sample(const void *ptr, size_t bytes)
{
    size_t second = bytes < 4 * LANE ? bytes - 2 * LANE : 2 * LANE;
    size_t third = bytes < 4 * LANE ? 0 : bytes - 4 * LANE;
    size_t any = (mym_random(&turn) * (uint64_t)(bytes - LANE) >> 32) & ~(LANE - 1);

    return end_at(ptr, second) | end_at(ptr, any) | end_at(ptr, third) |
           end_at(ptr, bytes - 2 * LANE);
}

/* All of it, in whole lanes. */
static bool reads_zero(const void *ptr, size_t bytes)
{
    mym_lane seen = {0, 0};

    for (size_t at = 0; at + LANE <= bytes; at += LANE)
        seen |= *mym_lane_at(ptr, at);
    return mym_lane_is_zero(seen);
}

/* Nobody wrote there since it was freed, or ever; the last word is where the seal will be. */
MYM_INLINE bool is_untouched(const void *ptr, size_t size, struct place place)
{
    mym_lane seen = end_at(ptr, 0) | end_at(ptr, place.second) |
                    end_at(ptr, place.third) | end_at(ptr, place.room - MYM_ZERO_END);

    if (ZEROES_ALL && place.room > MYM_ZERO_WHOLE && place.room <= MYM_PLACE_MAX)
        seen |= sample(ptr, written(size, place.room));
    return mym_lane_is_zero(seen);
}

static _Noreturn MYM_SLOW void die_touched(const void *ptr, size_t room)
{
    mym_fatal(mym_is_sealed(ptr, room) ? MYM_TWICE : WRITTEN, ptr);
}

MYM_INLINE void *settle(void *object, size_t size, size_t cls)
{
    struct place place = place_of_class(cls);

    if (MYM_SECURE_WRITE_AFTER_FREE && MYM_UNLIKELY(!is_untouched(object, size, place)))
        die_touched(object, place.room);
    mym_seal(object, size, place.room, MYM_IN_PLACE, MYM_SECURE_WRITE_AFTER_FREE);
    return object;
}

/* There is none in the CPU's cache, or a heap profile is taken. */
static MYM_SLOW void *malloc_missed(size_t size, size_t cls)
{
    void *object = mym_class_take((unsigned)cls, 1, mym_classes[cls].size);

    return MYM_LIKELY(object != NULL) ? settle(object, size, cls) : no_memory();
}

/* The limits of malloc are open. Calls nothing that comes back. */
MYM_INLINE void *take_quick(size_t size, size_t cls)
{
    void *object = mym_rseq_pop(cls);

    return MYM_LIKELY(object != NULL) ? settle(object, size, cls)
                                      : malloc_missed(size, cls);
}

static void *take(size_t size, unsigned cls)
{
    return mym_is_unwatched() ? take_quick(size, cls) : malloc_missed(size, cls);
}

/* The last bytes of the object, wherever they are in the place. */
MYM_INLINE void zero_last(void *ptr, size_t size)
{
    zero_end_at(ptr, size > MYM_ZERO_END ? size - MYM_ZERO_END : 0);
}

/*
 * What was in use is over: it reads 0, and is somebody's again later. Or the ends of its place
 * do, lines that free and malloc touch anyway: where the object's last bytes are, mostly. To
 * overwrite these in a place of hundreds of bytes wherever they are would take a further line,
 * known no sooner than the seal is read; of long objects, which are fewer, it is done.
 */
MYM_INLINE void clean(void *ptr, size_t size, struct place place, bool is_long)
{
    if (ZEROES_ALL) {
        memset(ptr, 0, written(size, place.room));
        if (place.room > MYM_REACH) /* a red zone that is not right behind the object */
            zero_end_at(ptr, place.room - MYM_REACH);
    } else if (MYM_SECURE_ZERO_ON_FREE) {
        zero_end_at(ptr, 0);
        zero_end_at(ptr, place.second);
        zero_end_at(ptr, place.third);
        zero_end_at(ptr, place.room - MYM_ZERO_END);
        if (MYM_UNLIKELY(is_long))
            zero_last(ptr, size);
    }
}

/* The class of the objects where it points to; 0: there are none. */
MYM_INLINE size_t class_at(const void *ptr)
{
    uintptr_t offset = (uintptr_t)ptr - mym_hot.heap_base;

    return MYM_LIKELY(offset < MYM_RACY(mym_hot.heap_size))
               ? mym_hot.heap_class[offset >> MYM_UNIT_SHIFT]
               : 0;
}

/* Where the seal would be of a pointer into the last object there may be nothing. */
MYM_INLINE void check_reach(const void *ptr, size_t cls, size_t room)
{
    const void *seal = mym_seal_place(ptr, room);

    if (MYM_UNLIKELY(((uintptr_t)ptr & (MYM_UNIT - 1)) + room > MYM_UNIT)) {
        /* Else what class_at read is kept for this, in registers that would be saved. */
        __asm__ volatile("" : : : "memory");
        if (MYM_UNLIKELY(class_at(seal) != cls))
            mym_bad_pointer(ptr);
    }
}

#define ANY SIZE_MAX

/* size: what it was asked for with, or ANY. */
MYM_INLINE void put_small(void *ptr, size_t cls, size_t size)
{
    size_t room = mym_places.bytes[cls], has;

    __builtin_prefetch(ptr, 1); /* overwritten soon: both lines come at once */
    check_reach(ptr, cls, room);
    has = mym_seal_break(ptr, room);
    if (MYM_UNLIKELY(size != ANY && size != has))
        mym_fatal(WRONG_SIZE, ptr);
    clean(ptr, has, (struct place){room, mym_places.second[cls], mym_places.third[cls]},
          cls > MYM_WAIT_LAST); /* as mym_shelf_put asks: one branch */
    mym_shelf_put(cls, ptr);
}

/* Bytes of the place that the pointer is to, where its seal can be read; 0: it is to none. */
static size_t place_bytes(const void *ptr)
{
    size_t cls = class_at(ptr);

    if (cls == 0)
        return mym_in_heap(ptr) ? mym_sampled_bytes(ptr) : 0;
    check_reach(ptr, cls, mym_classes[cls].size);
    return mym_classes[cls].size;
}

/* The reap whose object it may be. */
static struct mym_reap *reap_at(const void *ptr)
{
    return mym_in_heap(ptr) ? mym_reap_of(ptr) : NULL;
}

/* ---- malloc and free ---- */

/* Before the start, while a heap profile is taken, or large. */
static MYM_APART void *malloc_closed(size_t size)
{
    bool zeroed = false;
    void *object;

    if (!mym_start())
        return no_memory();
    if (size <= MYM_CLASS_MAX - MYM_SEAL_BYTES)
        return malloc_missed(size, mym_class_of(size + MYM_SEAL_BYTES));
    object = mym_fence_take(size, 1, 0, &zeroed);
    return object != NULL ? object : no_memory();
}

/* Calls nothing that comes back, as free: so they save no register. */
MYM_APART void *mym_malloc_slow(size_t size)
{
    unsigned cls;

    return MYM_LIKELY(mym_quick_class(MYM_TO_TAKE, size, &cls)) ? take_quick(size, cls)
                                                                : malloc_closed(size);
}

MYM_APART void *mym_aligned_slow(size_t alignment, size_t size)
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
        return take(size, cls);
    object = mym_fence_take(size, alignment, 0, &zeroed);
    return object != NULL ? object : no_memory();
}

static MYM_SLOW void put_other(void *ptr)
{
    struct mym_reap *reap;
    size_t room;

    if (ptr == NULL)
        return;
    room = place_bytes(ptr); /* a sampled one */
    if (room != 0) {
        clean(ptr, mym_seal_break(ptr, room),
              (struct place){room, mym_zero_second(room), mym_zero_third(room)},
              room > MYM_SMALL_MAX + MYM_LINK);
        mym_sampled_put(ptr);
    } else if ((reap = reap_at(ptr)) != NULL) {
        mym_reap_put(reap, ptr);
    } else if (mym_usable(ptr), true) { /* which ends if it is no object at all */
        mym_fence_put(ptr);
    }
}

MYM_APART void mym_free_slow(void *ptr)
{
    size_t cls = class_at(ptr);

    if (MYM_LIKELY(cls != 0))
        put_small(ptr, cls, ANY);
    else
        put_other(ptr);
}

/*
 * An object of a reap has no seal: what its place may have been asked for, as the default build
 * has it. The shortest class is twice as long as what is asked for there.
 */
static bool is_size_of(const void *ptr, size_t size, size_t alignment)
{
    size_t has = mym_usable(ptr);

    if (MYM_SECURE_SEAL && reap_at(ptr) == NULL)
        return size == has;
    return size <= has &&
           (mym_fits(has, size) || MYM_RACY(mym_has_left) || has - size <= alignment ||
            has <= mym_classes[mym_class_of(0)].size);
}

MYM_APART void mym_free_sized_slow(void *ptr, size_t size, size_t alignment)
{
    size_t cls = class_at(ptr);

    if (ptr == NULL)
        return;
    if (MYM_UNLIKELY((uintptr_t)ptr & (alignment - 1)))
        mym_fatal("sized free with a wrong alignment", ptr);
    if (MYM_SECURE_SEAL && MYM_LIKELY(cls != 0)) {
        put_small(ptr, cls, size);
        return;
    }
    if (MYM_UNLIKELY(!is_size_of(ptr, size, alignment)))
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
        zeroed = MYM_SECURE_WRITE_AFTER_FREE && ZEROES_ALL;
        if (object != NULL && zeroed && !reads_zero(object, bytes))
            mym_fatal(WRITTEN, object);
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
    room = place_bytes(ptr);
    if (MYM_LIKELY(room != 0))
        return mym_sealed_size(ptr, room, MYM_IN_PLACE);
    reap = reap_at(ptr);
    if (reap != NULL)
        return mym_reap_bytes(reap, ptr);
    if (!mym_start() || mym_classless_bytes(ptr) == 0)
        mym_bad_pointer(ptr);
    return mym_fence_size(ptr);
}

/* Nothing is usable but what was asked for. */
size_t mym_good_size(size_t size)
{
    return mym_start() && size <= MYM_SIZE_MAX ? size : 0;
}

static void seal_anew(void *ptr, size_t old, size_t size, size_t room)
{
    if (MYM_SECURE_ZERO_ON_FREE && size < old)
        memset((char *)ptr + size, 0, old - size);
    mym_unseal(ptr, old, room, MYM_IN_PLACE);
    mym_seal(ptr, size, room, MYM_IN_PLACE, false);
}

/* Within its place; false: it has no room, or far too much. */
static bool resize_small(void *ptr, size_t old, size_t size, size_t room)
{
    size_t needs = size + MYM_SEAL_BYTES;

    if (needs < MYM_ALIGNMENT) /* there is no smaller place */
        needs = MYM_ALIGNMENT;
    if (size > MYM_SIZE_MAX || !mym_fits(room, needs))
        return false;
    seal_anew(ptr, old, size, room);
    return true;
}

MYM_COLD void *mym_leave(void *ptr, size_t size)
{
    size_t room = place_bytes(ptr);

    if (room == 0 && reap_at(ptr) == NULL)
        return mym_fence_leave(ptr, size);
    if (room == 0)
        __atomic_store_n(&mym_has_left, true, __ATOMIC_RELAXED);
    else
        seal_anew(ptr, mym_usable(ptr), size, room);
    return ptr;
}

/* What grows once grows again: a quarter more room, in which it is resized; or none more. */
static void *take_growing(size_t old, size_t size)
{
    size_t want = old + old / 4;
    bool zeroed = false;
    void *object = NULL;

    if (size < want && want <= SHORT_MAX)
        object = take(size, mym_class_of(want + MYM_SEAL_BYTES));
    else if (size < want && size > SHORT_MAX)
        object = mym_fence_take(size, 1, want, &zeroed);
    return object != NULL ? object : mym_malloc_slow(size);
}

/* One without a class, without a copy. */
static void *resize(void *ptr, size_t size)
{
    return size > SHORT_MAX ? mym_fence_resize(ptr, size) : NULL;
}

/* As in alloc.c. */
static MYM_COLD void *without_copy(void *ptr, size_t old, size_t size, size_t room)
{
    if (size <= old)
        return mym_leave(ptr, size);
    if (room != 0)
        return NULL;
    mym_relieve(size - old, 1);
    return resize(ptr, size);
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
    room = place_bytes(ptr);
    if (room == 0 && (reap = reap_at(ptr)) != NULL)
        return mym_reap_move(reap, ptr, size);
    old = mym_usable(ptr);
    if (room != 0 && resize_small(ptr, old, size, room))
        return ptr;
    fresh = room == 0 ? resize(ptr, size) : NULL;
    if (fresh != NULL)
        return fresh;
    fresh = size > old ? take_growing(old, size) : mym_malloc_slow(size);
    if (fresh == NULL)
        return without_copy(ptr, old, size, room);
    memcpy(fresh, ptr, size < old ? size : old);
    mym_free_slow(ptr);
    return fresh;
}

#endif
