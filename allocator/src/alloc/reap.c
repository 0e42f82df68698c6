/*
 * reap.c - objects of a reap: taken, resized, freed one by one and all together.
 *
 * Nothing here is reached by malloc and free of other objects. Locking: see reap.h. Spans go
 * back to the page heap with no lock held, for that may call madvise.
 */
#include "alloc/reap.h"

#include "alloc/alloc.h"
#include "base/check.h"
#include "profile/profile.h"

#include <errno.h>
#include <string.h>

/* What there was no memory for: the reap's limit, or the heap's or the kernel's. */
enum lack { NOTHING, ROOM, MEMORY };

bool mym_has_left;

static void hold(struct mym_reap *reap, uint32_t units)
{
    reap->held += units;
    if (reap->held > reap->peak)
        reap->peak = reap->held;
}

/* ---- windows ---- */

/* What is left of it becomes a hole; where there is no memory for that, it is lost. */
static void close_window(struct mym_reap *reap, struct mym_bump *bump)
    MYM_REQUIRES(reap->lock)
{
    struct mym_unit *window = &mym_heap.units[bump->first];
    uintptr_t at = bump->at;

    if (bump->first == 0)
        return;
    window->used = (uint32_t)(at - (uintptr_t)mym_unit_address(bump->first));
    bump->first = 0;
    if (at == bump->end || !mym_window_set_freed(window, at))
        return;
    mym_reap_mark(reap, at);
    window->used = (uint32_t)(window->length * MYM_UNIT);
    mym_reap_add_hole(reap, at);
}

/* As long as all there is, so that there are few; shorter where there is no room for it. */
static enum lack open_window(struct mym_reap *reap, struct mym_bump *bump)
    MYM_REQUIRES(reap->lock)
{
    enum lack lack = ROOM;
    uint32_t length = reap->length, first = 0;

    for (; length > 0 && first == 0; length /= 2)
        if (length <= reap->most - reap->held) {
            lack = MEMORY;
            first = mym_window_make(length, reap);
        }
    if (first == 0)
        return lack;
    close_window(reap, bump);
    length = mym_heap.units[first].length;
    mym_heap.units[first].next = reap->windows;
    reap->windows = first;
    hold(reap, length);
    reap->length = mym_reap_length(reap->held);
    bump->first = first;
    bump->end = (uintptr_t)mym_unit_address(first) + length * MYM_UNIT;
    __atomic_store_n(&bump->at, (uintptr_t)mym_unit_address(first), __ATOMIC_RELEASE);
    return NOTHING;
}

/* What the alignment skips becomes a hole. */
static void *bump_aligned(struct mym_reap *reap, struct mym_bump *bump,
                          size_t alignment, size_t bytes) MYM_REQUIRES(reap->lock)
{
    uintptr_t at = bump->at;
    uintptr_t object = mym_round_up(at, alignment);

    if (object > bump->end || bytes > bump->end - object)
        return NULL;
    if (object > at && !mym_window_set_freed(&mym_heap.units[bump->first], at))
        return NULL;
    mym_reap_mark(reap, at);
    mym_reap_mark(reap, object);
    __atomic_store_n(&bump->at, object + bytes, __ATOMIC_RELEASE);
    if (object > at)
        mym_reap_add_hole(reap, at);
    return (void *)object; /* NOLINT */
}

/* ---- taking ---- */

static void *take_small(struct mym_reap *reap, size_t alignment, unsigned cls,
                        enum lack *lack) MYM_REQUIRES(reap->lock)
{
    struct mym_bump *bump = mym_reap_is_owner(reap) ? &reap->own : &reap->shared;
    size_t bytes = mym_classes[cls].size;
    void *object = bump_aligned(reap, bump, alignment, bytes);

    if (object == NULL && alignment <= MYM_ALIGNMENT)
        object = mym_reap_take_hole(reap, cls);
    if (object != NULL)
        return object;
    *lack = open_window(reap, bump);
    return *lack == NOTHING ? bump_aligned(reap, bump, alignment, bytes) : NULL;
}

static void *take_large(struct mym_reap *reap, size_t alignment, size_t size,
                        enum lack *lack) MYM_REQUIRES(reap->lock)
{
    size_t align = alignment <= MYM_UNIT ? 1 : alignment >> MYM_UNIT_SHIFT;
    bool zeroed = false;
    uint32_t units, unit;

    *lack = (size >> MYM_UNIT_SHIFT) + align >= UINT32_MAX / 2 ? MEMORY : NOTHING;
    if (*lack != NOTHING)
        return NULL;
    units = mym_units_for(size == 0 ? 1 : size);
    *lack = units > reap->most - reap->held ? ROOM : MEMORY;
    if (*lack == ROOM)
        return NULL;
    unit =
        mym_pages_take(units, (uint32_t)align, MYM_LARGE, mym_is_dense(size), &zeroed);
    if (unit == 0)
        return NULL;
    mym_heap.units[unit].cls = 0;
    mym_heap.units[unit].lines = 0;
    mym_heap.units[unit].reap = reap;
    mym_heap.units[unit].prev = 0;
    mym_heap.units[unit].next = reap->large;
    if (reap->large != 0)
        mym_heap.units[reap->large].prev = unit;
    reap->large = unit;
    hold(reap, units);
    return mym_unit_address(unit);
}

/* Windows start at a unit: what is aligned to one fits into a fresh one. */
static bool is_small(size_t alignment, size_t size)
{
    return size <= MYM_PLACE_MAX && alignment <= MYM_UNIT;
}

static void *take_once(struct mym_reap *reap, size_t alignment, size_t size,
                       enum lack *lack)
{
    bool small = is_small(alignment, size);
    uint32_t windows, made = 0;
    void *object;

    mym_reap_lock(reap);
    windows = reap->windows;
    object = small ? take_small(reap, alignment, mym_class_of(size), lack)
                   : take_large(reap, alignment, size, lack);
    if (reap->windows != windows)
        made = reap->windows;
    else if (!small && object != NULL)
        made = mym_unit_of(object);
    mym_reap_unlock(reap);
    if (MYM_UNLIKELY(MYM_RACY(mym_watch.on)) && made != 0)
        mym_sampled_span(made);
    return object;
}

/* hard: whatever can be done for it is done. errno is the caller's to set. */
static void *take(struct mym_reap *reap, size_t alignment, size_t size, bool hard)
{
    enum lack lack = NOTHING;
    void *object;

    mym_reap_check_alive(reap);
    if (size > MYM_SIZE_MAX || alignment > MYM_SIZE_MAX / 2)
        return NULL;
    object = take_once(reap, alignment, size, &lack);
    if (MYM_UNLIKELY(object == NULL) && hard && lack == MEMORY &&
        mym_relieve(size, alignment))
        object = take_once(reap, alignment, size, &lack);
    if (mym_pages_has_grown()) /* before what was taken is touched */
        mym_cache_upkeep();
    return object;
}

static void *or_no_memory(void *object)
{
    if (MYM_UNLIKELY(object == NULL))
        errno = ENOMEM;
    return object;
}

MYM_SLOW void *mym_reap_alloc_slow(struct mym_reap *reap, size_t size)
{
    void *object = NULL;

    if (size > MYM_SMALL_MAX && size <= MYM_PLACE_MAX)
        object = mym_reap_bump(reap, mym_classes[mym_class_of(size)].size);
    return object != NULL ? object
                          : or_no_memory(take(reap, MYM_ALIGNMENT, size, true));
}

void *mym_reap_aligned(struct mym_reap *reap, size_t alignment, size_t size)
{
    if (alignment <= MYM_ALIGNMENT)
        return mym_reap_alloc(reap, size);
    return or_no_memory(take(reap, alignment, size, true));
}

/* ---- freeing one ---- */

/* What is wrong with a pointer into a window; NULL: it is an object. */
static const char *wrong_with(const struct mym_reap *reap, const void *ptr)
{
    uintptr_t at = (uintptr_t)ptr;

    if (at >= mym_reap_used(reap, mym_reap_record(ptr)->first))
        return MYM_NEVER;
    if (!mym_window_is_start(at))
        return MYM_INSIDE;
    return mym_window_is_freed(mym_reap_record(ptr), at) ? MYM_TWICE : NULL;
}

static const char *put_small(struct mym_reap *reap, void *ptr) MYM_REQUIRES(reap->lock)
{
    const char *wrong = wrong_with(reap, ptr);

    /* No memory for the bit: it stays where it is until all go. */
    if (wrong == NULL && mym_window_set_freed(mym_reap_record(ptr), (uintptr_t)ptr))
        mym_reap_add_hole(reap, (uintptr_t)ptr);
    return wrong;
}

static bool put_large(struct mym_reap *reap, uint32_t unit) MYM_REQUIRES(reap->lock)
{
    struct mym_unit *span = &mym_heap.units[unit];

    if (span->reap != reap) /* somebody else freed it meanwhile */
        return false;
    if (span->next != 0)
        mym_heap.units[span->next].prev = span->prev;
    if (span->prev != 0)
        mym_heap.units[span->prev].next = span->next;
    else
        reap->large = span->next;
    reap->held -= span->length;
    span->reap = NULL;
    return true;
}

void mym_reap_put(struct mym_reap *reap, void *ptr)
{
    uint32_t unit = mym_unit_of(ptr);
    bool small = mym_reap_record(ptr)->kind == MYM_WINDOW;
    const char *wrong = NULL;

    mym_reap_lock(reap);
    if (small)
        wrong = put_small(reap, ptr);
    else if (mym_unit_address(unit) != ptr)
        wrong = MYM_INSIDE;
    else if (!put_large(reap, unit))
        wrong = MYM_TWICE;
    mym_reap_unlock(reap);
    if (MYM_UNLIKELY(wrong != NULL))
        mym_fatal(wrong, ptr);
    if (small)
        return;
    mym_sampled_end(unit);
    mym_pages_put(unit);
}

/* ---- sizes ---- */

size_t mym_reap_bytes(struct mym_reap *reap, const void *ptr)
{
    const char *wrong;
    size_t bytes = 0;

    if (mym_reap_record(ptr)->kind == MYM_LARGE) {
        wrong = (uintptr_t)ptr % MYM_UNIT != 0 ? MYM_INSIDE : NULL;
        bytes = mym_reap_record(ptr)->length * MYM_UNIT;
    } else {
        mym_reap_lock(reap);
        wrong = wrong_with(reap, ptr);
        if (wrong == NULL)
            bytes = mym_reap_extent(reap, ptr);
        mym_reap_unlock(reap);
    }
    if (wrong != NULL)
        mym_fatal(wrong, ptr);
    return bytes;
}

/* The last object of a window that this thread may take from ends further on. */
static bool grow_last(struct mym_reap *reap, void *ptr, size_t size)
    MYM_REQUIRES(reap->lock)
{
    struct mym_bump *bump = mym_reap_is_owner(reap) ? &reap->own : &reap->shared;
    uintptr_t end;

    if (mym_reap_record(ptr)->first != bump->first || size > MYM_PLACE_MAX)
        return false;
    end = (uintptr_t)ptr + mym_classes[mym_class_of(size)].size;
    if (end > bump->end || (uintptr_t)ptr + mym_reap_extent(reap, ptr) != bump->at)
        return false;
    __atomic_store_n(&bump->at, end, __ATOMIC_RELEASE);
    return true;
}

static bool resize_large(struct mym_reap *reap, uint32_t unit, size_t size)
    MYM_REQUIRES(reap->lock)
{
    uint32_t had = mym_heap.units[unit].length, units;

    if (size <= MYM_PLACE_MAX || size > MYM_SIZE_MAX ||
        size >> MYM_UNIT_SHIFT >= UINT32_MAX / 2)
        return false;
    units = mym_units_for(size);
    if (units > had && units - had > reap->most - reap->held)
        return false;
    if (!mym_pages_resize(unit, units, mym_is_dense(size)))
        return false;
    reap->held -= had;
    hold(reap, units);
    return true;
}

static bool resize(struct mym_reap *reap, void *ptr, size_t size)
{
    uint32_t span = mym_reap_record(ptr)->first, had = mym_heap.units[span].length,
             units;
    bool done;

    mym_reap_lock(reap);
    done = mym_reap_record(ptr)->kind == MYM_LARGE
               ? resize_large(reap, mym_unit_of(ptr), size)
               : grow_last(reap, ptr, size);
    mym_reap_unlock(reap);
    units = mym_heap.units[span].length;
    if (mym_pages_has_grown())
        mym_cache_upkeep();
    if (units < had)
        mym_idle_left(had - units);
    if (units != had) { /* another one, to the profile */
        mym_sampled_end(span);
        if (MYM_RACY(mym_watch.on))
            mym_sampled_span(span);
    }
    return done;
}

/* As mym_realloc; the object is one of the reap, and so is what becomes of it. */
void *mym_reap_move(struct mym_reap *reap, void *ptr, size_t size)
{
    size_t usable = mym_reap_bytes(reap, ptr), room = usable + usable / 4;
    void *fresh = NULL;

    if (size == 0) {
        mym_reap_put(reap, ptr);
        return NULL;
    }
    if (usable <= MYM_PLACE_MAX && mym_fits(usable, size))
        return ptr;
    if (size > usable || usable > MYM_PLACE_MAX)
        if (resize(reap, ptr, size))
            return ptr;
    /* A place above these is twice as long: a sized free must recognise it. */
    if (size <= MYM_PLACE_MAX && room > MYM_PLACE_MAX)
        room = MYM_PLACE_MAX;
    /* What grows grows again; where memory is short no more than was asked for. */
    if (size > usable && size < room)
        fresh = take(reap, MYM_ALIGNMENT, room, false);
    if (fresh == NULL)
        fresh = or_no_memory(take(reap, MYM_ALIGNMENT, size, true));
    if (fresh == NULL && size > usable)
        return NULL;
    if (fresh == NULL) {
        __atomic_store_n(&mym_has_left, true, __ATOMIC_RELAXED);
        return ptr;
    }
    memcpy(fresh, ptr, size < usable ? size : usable);
    mym_reap_put(reap, ptr);
    return fresh;
}

void *mym_reap_calloc(struct mym_reap *reap, size_t count, size_t size)
{
    size_t bytes;
    void *object = NULL;

    if (!__builtin_mul_overflow(count, size, &bytes))
        object = mym_reap_alloc(reap, bytes);
    else
        or_no_memory(NULL);
    return object != NULL ? memset(object, 0, bytes) : NULL;
}
