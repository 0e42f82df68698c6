/*
 * large.c - objects without a size class: spans of the page heap, and from 32 MiB on
 * mappings of their own.
 */
#include "alloc/alloc.h"

#include "heap/mapping.h"
#include "os/os.h"
#include "profile/profile.h"

static bool has_class(size_t size)
{
    return size > MYM_CLASS_MAX && size <= MYM_SPAN_MAX;
}

/* A span as others are, but for that it has no class. */
static bool is_long(size_t size)
{
    return size > MYM_SPAN_MAX && size < MYM_MAPPING_MIN;
}

static bool may_map(size_t size)
{
    return size >= MYM_MAPPING_MIN && !mym_pages_is_early();
}

/* In units; more than any heap has are not. */
static bool is_countable(size_t size, size_t more)
{
    return (size >> MYM_UNIT_SHIFT) + more < UINT32_MAX / 2;
}

/* What can be cached has the size of its class; an object of no bytes has a unit, too. */
static uint32_t units_for(size_t size)
{
    return has_class(size)
               ? mym_span_units(mym_span_class(size))
               : (uint32_t)(mym_round_up(size, MYM_UNIT) >> MYM_UNIT_SHIFT) +
                     (size == 0);
}

/* What is longer is a mapping of its own, and starts where its pages do. */
static bool may_begin_later(size_t size, size_t alignment)
{
    return size > MYM_CLASS_MAX && size < MYM_MAPPING_MIN &&
           alignment <= MYM_ALIGNMENT && mym_has_lines(size);
}

static void *begin(void *span, size_t size, size_t alignment)
{
    return mym_large_begin(span, may_begin_later(size, alignment) ? size : 0);
}

static inline void *take_cached(size_t size)
{
    if (has_class(size))
        return mym_span_take(mym_span_class(size));
    return is_long(size) ? mym_span_take_long(units_for(size)) : NULL;
}

void *mym_large_take(size_t size, size_t alignment, bool *zeroed)
{
    size_t align = alignment <= MYM_UNIT ? 1 : alignment >> MYM_UNIT_SHIFT;
    void *object = align == 1 ? take_cached(size) : NULL;
    uint32_t units, unit;

    if (object != NULL) {
        *zeroed = false;
        return begin(object, size, alignment);
    }
    if (size > MYM_SIZE_MAX || alignment > MYM_SIZE_MAX / 2)
        return NULL;
    if (may_map(size) && alignment <= mym_os_page()) {
        object = mym_mapping_take(size, zeroed);
        if (object != NULL)
            return object;
        /* There may be a free run for it, where address space is what is short. */
    }
    if (!is_countable(size, align))
        return NULL;
    units = units_for(size);
    mym_dense_look_back(size);
    unit =
        mym_pages_take(units, (uint32_t)align, MYM_LARGE, mym_is_dense(size), zeroed);
    if (unit == 0)
        return NULL;
    mym_heap.units[unit].cls = 0; /* was_freed: this is no slab's any more */
    mym_heap.units[unit].reap = NULL;
    object = begin(mym_unit_address(unit), size, alignment);
    if (size > 0)
        mym_dense_taken(object, size, (size_t)units * MYM_UNIT);
    return object;
}

void mym_large_mark(void *ptr, bool sampled)
{
    if (mym_is_span(ptr))
        mym_heap.units[mym_unit_of(ptr)].sampled = sampled;
}

static bool has_word(uint32_t units)
{
    return units <= MYM_SPAN_MAX / MYM_UNIT && mym_span_word[units] != MYM_SPAN_NO_WORD;
}

static inline enum mym_push push_span(void *span, uint32_t units)
{
    return units <= MYM_SPAN_MAX / MYM_UNIT
               ? mym_span_push(mym_span_word[units] - MYM_SLOTS, span)
               : mym_span_push_long(span);
}

/* In the cache, which is opened if need be. */
static inline bool keep_span(void *span, uint32_t units)
{
    enum mym_push done = push_span(span, units);

    if (MYM_LIKELY(done == MYM_PUSH_KEPT))
        return true;
    return done == MYM_PUSH_SHUT && mym_cache_open_here() &&
           push_span(span, units) == MYM_PUSH_KEPT;
}

static void put_loose(void *span)
{
    mym_span_mark(&mym_heap.units[mym_unit_of(span)], true);
    mym_pages_put_loose((uintptr_t)span + MYM_SPAN_HELD);
}

MYM_APART void mym_large_put(void *ptr, const struct mym_unit *span)
{
    uint32_t units = span->length;
    void *start = mym_unit_address(span->first);

    if (MYM_UNLIKELY(span->sampled)) {
        mym_profile_drop(ptr);
        mym_large_mark(ptr, false);
    }
    if ((has_word(units) || is_long((size_t)units * MYM_UNIT)) &&
        keep_span(start, units))
        return;
    mym_dense_ended(ptr, (size_t)units * MYM_UNIT);
    if (has_word(units))
        put_loose(start);
    else
        mym_pages_put(span->first);
}

void mym_large_give_up(void *ptr)
{
    uint32_t unit = mym_unit_of(ptr);

    if (mym_heap.units[unit].sampled)
        mym_profile_drop(ptr);
    mym_large_mark(ptr, false);
    mym_pages_give_up(unit);
}

size_t mym_large_bytes(const void *ptr)
{
    return mym_is_span(ptr) ? mym_span_bytes(&mym_heap.units[mym_unit_of(ptr)])
                            : mym_mapping_bytes(ptr);
}

size_t mym_large_good_size(size_t size, size_t alignment)
{
    if (size >= MYM_MAPPING_MIN)
        return mym_round_up(size, may_map(size) ? mym_os_page() : MYM_UNIT);
    return (size_t)units_for(size) * MYM_UNIT -
           (may_begin_later(size, alignment) ? MYM_LINES_ROOM : 0);
}

static bool resize_span(uint32_t unit, size_t size)
{
    uint32_t had = mym_heap.units[unit].length, units = units_for(size);
    bool done = mym_pages_resize(unit, units, mym_is_dense(size));

    if (units < had)
        mym_idle_left(had - units);
    return done;
}

void *mym_large_resize(void *ptr, size_t size)
{
    uint32_t unit;
    size_t lines;

    if (!mym_is_span(ptr)) /* small enough to live in the page heap again: no */
        return size < MYM_MAPPING_MIN / 2 ? NULL : mym_mapping_resize(ptr, size);
    unit = mym_unit_of(ptr);
    lines = mym_lines_room(&mym_heap.units[unit]);
    if (may_map(size) && (size_t)mym_heap.units[unit].length * MYM_UNIT < size)
        return lines != 0 ? NULL : mym_mapping_adopt(unit, size);
    if (!is_countable(size + lines, 1))
        return NULL;
    /* What has two units for the sake of the lines would be too large for a sized free. */
    if (lines != 0 &&
        !mym_fits((size_t)units_for(size + lines) * MYM_UNIT - lines, size))
        return NULL;
    return resize_span(unit, size + lines) ? ptr : NULL;
}
