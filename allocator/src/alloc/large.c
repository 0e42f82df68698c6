/*
 * large.c - objects without a size class: spans of the page heap, and from 32 MiB on
 * mappings of their own.
 */
#include "alloc/alloc.h"

#include "alloc/reap.h"
#include "base/check.h"
#include "os/os.h"
#include "profile/guarded.h"
#include "profile/profile.h"

static bool has_class(size_t size)
{
    return size > MYM_CLASS_MAX && size <= MYM_SPAN_MAX;
}

/* What can be cached has the size of its class; an object of no bytes has a unit, too. */
static uint32_t units_for(size_t size)
{
    return has_class(size)
               ? mym_span_round(size)
               : (uint32_t)(mym_round_up(size, MYM_UNIT) >> MYM_UNIT_SHIFT) +
                     (size == 0);
}

void *mym_large_take(size_t size, size_t alignment, bool *zeroed)
{
    size_t align = alignment <= MYM_UNIT ? 1 : alignment >> MYM_UNIT_SHIFT;
    uint32_t unit;

    if (has_class(size) && align == 1) {
        void *span = mym_span_take(mym_span_class(size));

        if (span != NULL) {
            *zeroed = false;
            return span;
        }
    }
    if (size > MYM_SIZE_MAX || alignment > MYM_SIZE_MAX / 2)
        return NULL;
    if (size >= MYM_HUGE_MIN && alignment <= mym_os_page()) {
        void *object = mym_mapping_take(size, zeroed);

        if (object != NULL)
            return object;
        /* There may be a free run for it, where address space is what is short. */
    }
    if ((size >> MYM_UNIT_SHIFT) + align >= UINT32_MAX / 2)
        return NULL;
    unit = mym_pages_take(units_for(size), (uint32_t)align, MYM_LARGE,
                          mym_chunk_is_dense(size), zeroed);
    if (unit == 0)
        return NULL;
    mym_heap.units[unit].cls = 0; /* was_freed: this is no slab's any more */
    mym_heap.units[unit].reap = NULL;
    return mym_unit_address(unit);
}

/* The span that starts at ptr, or 0. */
static uint32_t span_at(const void *ptr)
{
    uint32_t unit = mym_unit_of(ptr);
    const struct mym_unit *u = &mym_heap.units[unit];

    return u->kind == MYM_LARGE && u->first == unit && !u->cached &&
                   mym_unit_address(unit) == ptr
               ? unit
               : 0;
}

/*
 * An object, or one of a slab or a reap, started here, and no span covers it now. The record of the
 * first unit of a span tells so until there is another.
 */
static bool was_freed(const void *ptr)
{
    uint32_t first = mym_heap.units[mym_unit_of(ptr)].first;
    const struct mym_unit *span = &mym_heap.units[first];
    const struct mym_class *c = &mym_classes[span->cls];
    uintptr_t offset = (uintptr_t)ptr - (uintptr_t)mym_unit_address(first);

    return span->first == first &&
           (mym_is_free(span->kind) || span->kind == MYM_PURGING || span->cached) &&
           (offset == 0 || span->cls == MYM_REAPED ||
            (c->size != 0 && mym_slab_index(c, offset) < c->objects));
}

/* Of what was_freed: together with all of its reap. */
static bool was_reaped(const void *ptr)
{
    return mym_heap.units[mym_heap.units[mym_unit_of(ptr)].first].cls == MYM_REAPED;
}

MYM_FIXED void (*mym_explain_foreign)(void);

void mym_bad_pointer(const void *ptr)
{
    const struct mym_unit *span;
    bool inside;

    mym_guarded_blame(ptr);
    if (mym_in_heap(ptr)) {
        span = &mym_heap.units[mym_pages_find(mym_unit_of(ptr))];
        inside = span->kind == MYM_LARGE && !span->cached;
        if (!inside && was_freed(ptr))
            mym_fatal(was_reaped(ptr) ? "free of an object of an arena that was "
                                        "destroyed or reset"
                                      : "double free",
                      ptr);
    } else {
        inside = mym_mapping_has(ptr);
        if (!inside && mym_explain_foreign != NULL)
            mym_explain_foreign();
    }
    mym_fatal(inside ? "free of a pointer into the middle of an object"
                     : "free of a pointer that was never allocated",
              ptr);
}

/* What is no large object of malloc's. */
static MYM_COLD void put_other(void *ptr)
{
    struct mym_reap *reap;

    if (mym_sampled_put(ptr))
        return;
    reap = mym_reap_of(ptr);
    if (reap == NULL)
        mym_bad_pointer(ptr);
    mym_reap_put(reap, ptr);
}

void mym_large_mark(void *ptr, bool sampled)
{
    if (mym_in_heap(ptr))
        mym_heap.units[mym_unit_of(ptr)].sampled = sampled;
}

static MYM_COLD void forget(void *ptr)
{
    mym_profile_drop(ptr);
    mym_large_mark(ptr, false);
}

/* In the cache, which is opened if need be. */
static inline bool keep_span(unsigned cls, void *span)
{
    enum mym_push done = mym_span_push(cls, span);

    if (MYM_LIKELY(done == MYM_PUSH_KEPT))
        return true;
    return done == MYM_PUSH_SHUT && mym_cache_open_here() &&
           mym_span_push(cls, span) == MYM_PUSH_KEPT;
}

MYM_SLOW void mym_large_put(void *ptr)
{
    uint32_t unit, units;

    if (!mym_in_heap(ptr)) {
        if (MYM_RACY(mym_watch.epoch) != 0) {
            if (mym_sampled_put(ptr))
                return;
            mym_profile_drop(ptr);
        }
        if (mym_mapping_put(ptr) == 0)
            mym_bad_pointer(ptr);
        return;
    }
    unit = span_at(ptr);
    if (MYM_UNLIKELY(unit == 0 || mym_heap.units[unit].reap != NULL)) {
        put_other(ptr);
        return;
    }
    if (MYM_UNLIKELY(mym_heap.units[unit].sampled))
        forget(ptr);
    units = mym_heap.units[unit].length;
    if (mym_span_can_cache(units) &&
        keep_span(mym_span_class((size_t)units * MYM_UNIT), ptr))
        return;
    mym_chunk_learn(ptr, (size_t)units * MYM_UNIT);
    mym_pages_put(unit);
}

size_t mym_large_bytes(const void *ptr)
{
    struct mym_reap *reap;
    uint32_t unit;

    if (!mym_in_heap(ptr))
        return mym_mapping_bytes(ptr);
    unit = span_at(ptr);
    if (MYM_LIKELY(unit != 0 && mym_heap.units[unit].reap == NULL))
        return (size_t)mym_heap.units[unit].length * MYM_UNIT;
    reap = mym_reap_of(ptr);
    return reap != NULL ? mym_reap_bytes(reap, ptr) : 0;
}

size_t mym_large_good_size(size_t size)
{
    return size >= MYM_HUGE_MIN ? mym_round_up(size, mym_os_page())
                                : (size_t)units_for(size) * MYM_UNIT;
}

void *mym_large_resize(void *ptr, size_t size)
{
    bool dense = mym_chunk_is_dense(size);
    uint32_t unit;

    if (!mym_in_heap(ptr)) /* small enough to live in the page heap again: no */
        return size < MYM_HUGE_MIN / 2 ? NULL : mym_mapping_resize(ptr, size);
    unit = mym_unit_of(ptr);
    if (size >= MYM_HUGE_MIN && (size_t)mym_heap.units[unit].length * MYM_UNIT < size)
        return mym_mapping_adopt(unit, size);
    return mym_pages_resize(unit, units_for(size), dense) ? ptr : NULL;
}
