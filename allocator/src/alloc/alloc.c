/*
 * alloc.c - the cold halves of malloc and free, and what is built on the two.
 */
#include "alloc/alloc.h"

#include "alloc/reap.h"
#include "base/check.h"
#include "profile/guarded.h"
#include "profile/profile.h"

#include <errno.h>
#include <string.h>

#if !MYM_SECURE /* what follows is in secure.c there */

/*
 * Nothing else refers to life.c, whose constructor chooses the front end: of an archive it
 * is linked because malloc is.
 */
__attribute__((used)) MYM_HIDDEN void (*const mym_with_life)(void) = mym_fork_register;

static bool is_started(void)
{
    return mym_is_unwatched() || mym_start();
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static MYM_SLOW void *malloc_colder(size_t size)
{
    void *object;
    bool zeroed = false;

    if (!is_started())
        return no_memory();
    object = size <= MYM_CLASS_MAX ? mym_class_take(mym_class_of(size), 1, size)
                                   : mym_classless_take(size, 1, true, &zeroed);
    return MYM_LIKELY(object != NULL) ? object : no_memory();
}

static MYM_SLOW void *malloc_span_colder(size_t size)
{
    void *span = mym_span_pop(mym_span_class(size));

    return span != NULL ? mym_large_begin(span, size) : malloc_colder(size);
}

/* Saves no register either. */
static MYM_APART void *malloc_span(size_t size)
{
    void *span = mym_span_quick_pop(size);

    return MYM_LIKELY(span != NULL) ? mym_large_begin(span, size)
                                    : malloc_span_colder(size);
}

/* A sample point was reached; or nobody samples: each countdown is over. */
static MYM_SLOW void *malloc_sample(size_t size)
{
    return MYM_LIKELY(MYM_RACY(mym_watch.on))
               ? mym_watched_sample(mym_class_of(size), size)
               : mym_malloc_slow(size);
}

MYM_INLINE void *malloc_counted(size_t cls, size_t size)
{
    size_t bytes = mym_front.ends[cls + 1];
    void *object;

    __asm__("" : "+r"(bytes)); /* else gcc 12 loads the count, and stores it */
    if (MYM_UNLIKELY(mym_sample_count(bytes)))
        return malloc_sample(size);
    object = mym_rseq_pop(cls);
    return MYM_LIKELY(object != NULL) ? object : mym_watched_miss((unsigned)cls);
}

/* By itself, for the other to have its registers. */
static MYM_APART void *malloc_counted_medium(size_t size)
{
    return malloc_counted(mym_class_of(size), size);
}

/* The limits are 0 before the start, and while samples are taken. Saves no register. */
MYM_APART void *mym_malloc_closed(size_t size)
{
    if (size <= MYM_SMALL_MAX)
        return malloc_counted(mym_front.class_of[size], size);
    if (size <= MYM_CLASS_MAX)
        return malloc_counted_medium(size);
    return size < MYM_RACY(mym_hot.span_end) ? malloc_span(size) : malloc_colder(size);
}

/* Calls nothing that comes back: so it saves no register. */
MYM_APART void *mym_malloc_slow(size_t size)
{
    if (size < MYM_RACY(mym_hot.class_end)) {
        void *object = mym_thread_pop(mym_class_of(size));

        if (MYM_LIKELY(object != NULL))
            return object;
    } else if (size > MYM_CLASS_MAX) {
        if (size < MYM_RACY(mym_hot.span_end))
            return malloc_span(size);
    } else if (MYM_RACY(mym_watch.on)) {
        return mym_malloc_closed(size);
    }
    return malloc_colder(size);
}

MYM_INLINE void free_missed(void *ptr, size_t cls)
{
    if (cls == 0)
        mym_span_put(ptr);
    else if (!mym_thread_push((unsigned)cls, ptr))
        mym_cache_push_slow((unsigned)cls, ptr);
}

MYM_APART void mym_free_missed(void *ptr, size_t cls)
{
    free_missed(ptr, cls);
}

MYM_APART void mym_free_slow(void *ptr)
{
    if (mym_in_heap(ptr))
        free_missed(ptr, mym_heap.cls[mym_unit_of(ptr)]);
    else if (ptr != NULL)
        mym_classless_put(ptr);
}

void *mym_calloc(size_t count, size_t size)
{
    bool zeroed = false;
    void *object;
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        return no_memory();
    if (bytes <= MYM_PLACE_MAX) {
        object = mym_malloc(bytes);
    } else {
        zeroed = true; /* as a wish */
        object = is_started() ? mym_classless_take(bytes, 1, true, &zeroed) : NULL;
        if (object == NULL)
            return no_memory();
    }
    if (object != NULL && !zeroed)
        memset(object, 0, bytes);
    return object;
}

/* Bytes of the object of a size class that starts at ptr; 0: ptr is in no slab. */
static inline size_t small_bytes(const void *ptr)
{
    const struct mym_class *c;
    uint32_t unit;
    uintptr_t start;

    if (!mym_in_heap(ptr))
        return mym_guarded_bytes(ptr);
    unit = mym_unit_of(ptr);
    c = &mym_classes[mym_heap.cls[unit]];
    if (c->size == 0) /* class 0 */
        return mym_sampled_bytes(ptr);
    start = mym_slab_start(mym_heap.units[unit].first);
    if (MYM_UNLIKELY(mym_slab_index(c, start, ptr) >= c->objects))
        mym_fatal(MYM_INSIDE, ptr);
    return c->size;
}

static size_t large_bytes(const void *ptr)
{
    size_t bytes = is_started() ? mym_classless_bytes(ptr) : 0;

    if (bytes == 0)
        mym_bad_pointer(ptr);
    return bytes;
}

size_t mym_usable(const void *ptr)
{
    size_t bytes = ptr == NULL ? 0 : small_bytes(ptr);

    return bytes != 0 || ptr == NULL ? bytes : large_bytes(ptr);
}

/* What an object of `size` bytes has where it is not guarded. */
static size_t place_size(size_t size)
{
    return size <= MYM_CLASS_MAX ? mym_classes[mym_class_of(size)].size
                                 : mym_large_good_size(size, 1);
}

/* Of one that may be guarded no byte more than was asked for can be used. */
size_t mym_good_size(size_t size)
{
    if (!is_started() || size > MYM_SIZE_MAX)
        return 0;
    return mym_guarded_may_be(size) ? size + (size == 0) : place_size(size);
}

/*
 * What grows once grows again: a quarter more saves most of the copies, and a span can
 * grow where it is. Never so much that the size would no longer fit its place: a sized
 * free must recognise it.
 */
static void *take_growing(size_t usable, size_t size)
{
    size_t room = usable + usable / 4;
    bool zeroed = false;
    void *object;

    /* Where memory is short no more than was asked for. */
    if (size <= MYM_PLACE_MAX) {
        object = size >= room ? NULL
                              : mym_malloc(room < MYM_PLACE_MAX ? room : MYM_PLACE_MAX);
        return object != NULL ? object : mym_malloc(size);
    }
    /* All of its units, so no lines before it: it may become a mapping of its own. */
    object = size < room && mym_fits(mym_round_up(room, MYM_UNIT), size)
                 ? mym_classless_take(mym_round_up(room, MYM_UNIT), 1, false, &zeroed)
                 : NULL;
    if (object == NULL)
        object = mym_classless_take(size, 1, true, &zeroed);
    return object != NULL ? object : no_memory();
}

/* Afterwards a sized free is believed which is of less than its object's place. */
MYM_COLD void *mym_leave(void *ptr, size_t size)
{
    size_t usable = mym_usable(ptr);
    size_t least = usable < MYM_MAPPING_MIN ? MYM_PLACE_MAX + 1 : MYM_MAPPING_MIN / 2;
    size_t rest = size > least ? size : least;
    void *cut = usable > rest && mym_reap_of(ptr) == NULL
                    ? mym_classless_resize(ptr, rest)
                    : NULL;

    __atomic_store_n(&mym_has_left, true, __ATOMIC_RELAXED);
    return cut != NULL ? cut : ptr;
}

/* One without a class, without a copy. */
static void *resize(void *ptr, size_t size)
{
    return size > MYM_PLACE_MAX && size <= MYM_SIZE_MAX
               ? mym_classless_resize(ptr, size)
               : NULL;
}

/*
 * Nothing is left for a copy. For more of a large object what is free can be enough, or what was
 * given back for the copy.
 */
static MYM_COLD void *without_copy(void *ptr, size_t usable, size_t size)
{
    if (size <= usable)
        return mym_leave(ptr, size);
    if (small_bytes(ptr) != 0)
        return NULL;
    mym_relieve(size - usable, 1);
    return resize(ptr, size);
}

void *mym_realloc(void *ptr, size_t size)
{
    struct mym_reap *reap;
    size_t usable;
    void *fresh;

    if (ptr == NULL)
        return mym_malloc(size);
    if (size == 0) { /* as glibc: the object is gone, there is no new one */
        mym_free(ptr);
        return NULL;
    }
    usable = small_bytes(ptr);
    if (usable != 0) {
        if (mym_fits(usable, size))
            return ptr;
    } else if ((reap = mym_reap_of(ptr)) != NULL) {
        return mym_reap_move(reap, ptr, size);
    } else {
        usable = large_bytes(ptr);
        if (mym_fits(usable, size) && usable - size < MYM_UNIT && size > MYM_PLACE_MAX)
            return ptr;
        fresh = resize(ptr, size);
        if (fresh != NULL)
            return fresh;
    }
    fresh = size > usable ? take_growing(usable, size) : mym_malloc(size);
    if (MYM_UNLIKELY(fresh == NULL))
        return without_copy(ptr, usable, size);
    memcpy(fresh, ptr, size < usable ? size : usable);
    mym_free(ptr);
    return fresh;
}

static MYM_SLOW void *aligned_colder(size_t alignment, size_t size)
{
    unsigned cls;
    bool zeroed = false;
    void *object;

    if (!is_started() || size > MYM_SIZE_MAX)
        return no_memory();
    cls = mym_class_of_aligned(alignment, size);
    object = cls != 0 ? mym_class_take(cls, alignment, size)
                      : mym_classless_take(size, alignment, true, &zeroed);
    return MYM_LIKELY(object != NULL) ? object : no_memory();
}

MYM_APART void *mym_aligned_slow(size_t alignment, size_t size)
{
    void *object = NULL;
    unsigned cls;

    if (alignment <= MYM_ALIGNMENT)
        return mym_malloc_slow(size);
    if (mym_quick_class_aligned(MYM_TO_TAKE, alignment, size, &cls))
        object = mym_thread_pop(cls);
    return MYM_LIKELY(object != NULL) ? object : aligned_colder(alignment, size);
}

/*
 * Who looks for an aligned object while the limits are opened after samples may see the first
 * one closed and the second one open, and takes the class of the second table.
 */
static bool was_opening(size_t usable, size_t size)
{
    return mym_was_watched() && !MYM_RACY(mym_watch.on) && size <= MYM_SMALL_MAX &&
           usable == mym_classes[mym_class_of_64[(size + 63) / 64]].size;
}

static MYM_APART void free_sized_colder(void *ptr, size_t size, size_t alignment)
{
    size_t usable;

    if (ptr == NULL)
        return;
    if (mym_guarded_has(ptr) && mym_guarded_bytes(ptr) == 0) {
        mym_free(ptr); /* it tells what is wrong, and may go on */
        return;
    }
    usable = mym_usable(ptr);
    if (size > usable && mym_guarded_has(ptr)) /* others have more than was asked for */
        usable = place_size(usable);
    if ((uintptr_t)ptr & (alignment - 1))
        mym_fatal("sized free with a wrong alignment", ptr);
    /*
     * What realloc leaves in place may be down to half the size of its place; an
     * alignment may have chosen a place up to `alignment` bytes larger.
     */
    if (size > usable || (!mym_fits(usable, size) && !MYM_RACY(mym_has_left) &&
                          usable - size > alignment && usable != place_size(size) &&
                          !was_opening(usable, size)))
        mym_fatal("sized free with a wrong size", ptr);
    mym_free(ptr);
}

/* A large object of malloc's for this size, if it is one in use: the one who puts it looks. */
static inline bool is_span_for(const void *ptr, size_t size)
{
    const struct mym_unit *unit;

    if (size <= MYM_CLASS_MAX || size >= MYM_MAPPING_MIN || !mym_in_heap(ptr))
        return false;
    unit = &mym_heap.units[mym_unit_of(ptr)];
    if (unit->state != MYM_IN_USE || (unit->lines != 0 && !mym_has_lines(size)))
        return false;
    if (size > MYM_SPAN_MAX)
        return unit->length == mym_round_up(size, MYM_UNIT) >> MYM_UNIT_SHIFT;
    return unit->length <= MYM_SPAN_MAX / MYM_UNIT &&
           mym_span_word[unit->length] == mym_span_word_for(size);
}

MYM_APART void mym_free_sized_slow(void *ptr, size_t size, size_t alignment)
{
    if (MYM_LIKELY(is_span_for(ptr, size)) && alignment <= MYM_UNIT)
        mym_span_put(ptr);
    else
        free_sized_colder(ptr, size, alignment);
}

#endif
