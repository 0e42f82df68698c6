/*
 * known.c - large objects, and spans of reaps, that the heap profile knows: their record says
 * so. What has a class is in sampled.c.
 */
#include "alloc/alloc.h"

#include "profile/profile.h"

size_t mym_sampled_rate(size_t bytes, bool *known)
{
    size_t every = mym_sample_for(MYM_FOR_PROFILE, bytes);

    *known = every != 0;
    return *known ? every : mym_sample_for(MYM_FOR_PROBES, bytes);
}

static MYM_SLOW void know(void *object, size_t bytes)
{
    struct mym_trace trace;
    size_t every = mym_sampled_rate(bytes, &trace.known);

    if (every == 0)
        return;
    mym_trace_begin(&trace, trace.known);
    if (mym_profile_keep(object, bytes, every, &trace))
        mym_large_mark(object, true);
    mym_trace_end();
}

void mym_sampled_large(void *object)
{
    size_t bytes = mym_large_bytes(object);

    if (mym_sample_due(bytes))
        know(object, bytes);
}

void mym_sampled_span(uint32_t first)
{
    size_t bytes = mym_heap.units[first].length * MYM_UNIT;

    if (mym_sample_due(bytes))
        know(mym_unit_address(first), bytes);
}

void mym_sampled_end(uint32_t first)
{
    if (MYM_UNLIKELY(mym_heap.units[first].sampled)) {
        mym_profile_drop(mym_unit_address(first));
        mym_heap.units[first].sampled = false;
    }
}

void *mym_sampled_resize(void *ptr, size_t size)
{
    struct mym_sample sample;
    size_t bytes = mym_large_bytes(ptr);
    bool known = mym_profile_lift(ptr, &sample);
    void *object;

    if (known)
        mym_large_mark(ptr, false);
    object = mym_large_resize(ptr, size);
    if (known && object != NULL && mym_large_bytes(object) != bytes) {
        mym_profile_settle(&sample, false);
    } else if (known) {
        mym_large_mark(ptr, true);
        mym_profile_settle(&sample, true);
    }
    if (object != NULL && MYM_RACY(mym_watch.on) && mym_large_bytes(object) != bytes)
        mym_sampled_large(object);
    return object;
}
