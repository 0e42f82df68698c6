/*
 * classless.c - objects that are in no slab of malloc's: large ones, samples, guarded ones,
 * those of reaps. Here alone it is decided which of them a pointer is, or what is wrong
 * with it.
 *
 * Locking: none; an object's record is its owner's.
 */
#include "alloc/alloc.h"

#include "alloc/reap.h"
#include "alloc/seal.h"
#include "base/check.h"
#include "heap/mapping.h"
#include "profile/guarded.h"
#include "profile/profile.h"

/* Now and then: the clock costs as much as a take. */
static bool is_time_for_upkeep(void)
{
    static _Atomic uint32_t takes;
    uint32_t now = atomic_load_explicit(&takes, memory_order_relaxed) + 1;

    atomic_store_explicit(&takes, now, memory_order_relaxed);
    return (now & mym_upkeep_pace()) == 0;
}

MYM_SLOW void *mym_classless_take(size_t size, size_t alignment, bool hard,
                                  bool *zeroed)
{
    void *object;

    if (mym_idle_is_swinging() && is_time_for_upkeep())
        mym_cache_upkeep();
    object = mym_large_take(size, alignment, zeroed);
    if (MYM_UNLIKELY(object == NULL) && hard && mym_relieve(size, alignment))
        object = mym_large_take(size, alignment, zeroed);
    if (mym_pages_has_grown()) /* before what was taken is touched */
        mym_cache_upkeep();
    if (MYM_UNLIKELY(MYM_RACY(mym_watch.on)) && object != NULL)
        mym_sampled_large(object);
    return object;
}

MYM_SLOW void *mym_classless_resize(void *ptr, size_t size)
{
    void *object = MYM_UNLIKELY(mym_was_watched()) ? mym_sampled_resize(ptr, size)
                                                   : mym_large_resize(ptr, size);

    if (mym_pages_has_grown())
        mym_cache_upkeep();
    return object;
}

/* The record of the span that starts there and is an object of malloc's, or NULL. */
static const struct mym_unit *span_at(const void *ptr)
{
    uint32_t unit = mym_unit_of(ptr);
    const struct mym_unit *u = &mym_heap.units[unit];

    return u->kind == MYM_LARGE && u->first == unit && !u->cached && u->reap == NULL &&
                   mym_is_begin(u, ptr)
               ? u
               : NULL;
}

/* What is not in the heap, or in a gap of it. */
static MYM_COLD void put_outside(void *ptr)
{
    if (mym_was_watched()) {
        if (mym_sampled_put(ptr))
            return;
        mym_profile_drop(ptr);
    }
    if (mym_mapping_put(ptr) == 0)
        mym_bad_pointer(ptr);
}

/* What is in the heap, and no large object of malloc's there. */
static MYM_COLD void put_other(void *ptr)
{
    struct mym_reap *reap;

    if (mym_sampled_put(ptr))
        return;
    reap = mym_reap_of(ptr);
    if (reap != NULL)
        mym_reap_put(reap, ptr);
    else
        put_outside(ptr);
}

/* What is more, or less, than an object that is in use. */
static MYM_SLOW void put_span_colder(void *ptr)
{
    const struct mym_unit *span = span_at(ptr);

    if (MYM_LIKELY(span != NULL))
        mym_large_put(ptr, span);
    else
        put_other(ptr);
}

/* Saves no register. */
MYM_APART void mym_span_put(void *ptr)
{
    uint32_t number = mym_unit_of(ptr);
    struct mym_unit *unit = &mym_heap.units[number];

    if (MYM_UNLIKELY(unit->state != MYM_IN_USE || unit->first != number ||
                     unit->reap != NULL || !mym_is_begin(unit, ptr)))
        put_span_colder(ptr);
    else if (!mym_span_quick_push(unit, (char *)ptr - (uintptr_t)ptr % MYM_UNIT))
        mym_large_put(ptr, unit);
}

MYM_APART void mym_classless_put(void *ptr)
{
    if (mym_in_heap(ptr))
        mym_span_put(ptr);
    else
        put_outside(ptr);
}

MYM_SLOW size_t mym_classless_bytes(const void *ptr)
{
    struct mym_reap *reap;

    if (!mym_in_heap(ptr) || MYM_LIKELY(span_at(ptr) != NULL))
        return mym_large_bytes(ptr);
    reap = mym_reap_of(ptr);
    return reap != NULL ? mym_reap_bytes(reap, ptr) : mym_mapping_bytes(ptr);
}

bool mym_is_own(const void *ptr)
{
    return mym_in_heap(ptr) || mym_guarded_has(ptr) || mym_mapping_bytes(ptr) != 0;
}

/* ---- no object ---- */

/*
 * An object, or one of a slab or a reap, started here, and no span covers it now. The record of the
 * first unit of a span tells so until there is another.
 */
static bool was_freed(const void *ptr)
{
    uint32_t first = mym_heap.units[mym_unit_of(ptr)].first;
    const struct mym_unit *span = &mym_heap.units[first];
    const struct mym_class *c = &mym_classes[span->cls];

    return span->first == first &&
           (mym_is_free(span->kind) || span->kind == MYM_PURGING || span->cached) &&
           (mym_is_begin(span, ptr) || span->cls == MYM_REAPED ||
            (c->size != 0 &&
             mym_slab_index(c, mym_slab_start(first), ptr) < c->objects));
}

/* Of what was_freed: together with all of its reap. */
static bool was_reaped(const void *ptr)
{
    return mym_heap.units[mym_heap.units[mym_unit_of(ptr)].first].cls == MYM_REAPED;
}

/* Of a pointer into a slab: whether no object starts there. */
static bool is_interior(const void *ptr)
{
    uint32_t unit = mym_unit_of(ptr);
    const struct mym_class *c = &mym_classes[mym_heap.cls[unit]];
    uintptr_t start = mym_slab_start(mym_heap.units[unit].first);

    return c->size != 0 && mym_slab_index(c, start, ptr) >= c->objects;
}

/* The hardened build knows of each place whether it is in use: this one, of any object, is not. */
static const char *wrong_with_place(const void *ptr)
{
    if (mym_heap.cls[mym_unit_of(ptr)] != 0)
        return is_interior(ptr) ? MYM_INSIDE : MYM_TWICE;
    return mym_sampled_bytes(ptr) != 0 || mym_classless_bytes(ptr) != 0 ? MYM_TWICE
                                                                        : NULL;
}

static const char *wrong_in_heap(const void *ptr)
{
    const struct mym_unit *span = &mym_heap.units[mym_pages_find(mym_unit_of(ptr))];
    const char *wrong = MYM_SECURE ? wrong_with_place(ptr) : NULL;

    if (wrong != NULL)
        return wrong;
    if (span->kind == MYM_LARGE && !span->cached)
        return MYM_INSIDE;
    if (!was_freed(ptr))
        return MYM_NEVER;
    return was_reaped(ptr) ? "free of an object of an arena that was destroyed or reset"
                           : MYM_TWICE;
}

void mym_bad_pointer(const void *ptr)
{
    mym_guarded_blame(ptr);
    if (mym_mapping_has(ptr))
        mym_fatal(MYM_INSIDE, ptr);
    if (mym_in_heap(ptr))
        mym_fatal(wrong_in_heap(ptr), ptr);
    mym_fatal(MYM_NEVER, ptr);
}

#if MYM_SECURE

/* A place that was freed reads 0; of a large object it is known before that it was not. */
void mym_seal_broken(const void *ptr, size_t room)
{
    bool place = room <= MYM_CLASS_MAX;

    if (MYM_SECURE_FREE_CHECK && place && mym_in_heap(ptr) &&
        (*mym_seal_place(ptr, room) == 0 || is_interior(ptr)))
        mym_bad_pointer(ptr);
    mym_fatal("write beyond the end of an object", ptr);
}

#endif
