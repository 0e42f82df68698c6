/*
 * sampled.c - the cold halves while samples are taken, and sampled objects.
 *
 * The limits that malloc tests are 0 then: each request comes here, is counted, and goes on
 * to the same caches. What is sampled goes another way:
 *
 *   of a class   into a slab of the arena MYM_SAMPLED, one lock; a free finds class byte 0
 *   a span       as ever; its record says `sampled`; so of a reap, whose objects are not
 *   a mapping    as ever; each free of one asks the profile
 *   a guarded one of a class  into the guard's pages, which are not in the heap
 *
 * An object is known to the profile from before its address is returned until before its
 * memory can be another's.
 */
#include "alloc/alloc.h"

#include "base/check.h"
#include "pool/pool.h"
#include "profile/guarded.h"
#include "profile/profile.h"

#include <errno.h>

/* ---- small objects ---- */

/* The slab of sampled objects that the pointer is in, or 0. */
static uint32_t slab_of(const void *ptr)
{
    uint32_t unit, slab;
    const struct mym_unit *u;

    if (!mym_in_heap(ptr) || mym_arenas[MYM_SAMPLED] == NULL)
        return 0;
    unit = mym_unit_of(ptr);
    slab = mym_heap.units[unit].first; /* of whatever was there last */
    u = &mym_heap.units[slab];
    return mym_heap.cls[unit] == 0 && u->kind == MYM_SLAB && u->first == slab &&
                   u->arena == MYM_SAMPLED && unit - slab < u->length
               ? slab
               : 0;
}

MYM_SLOW size_t mym_sampled_bytes(const void *ptr)
{
    uint32_t slab = slab_of(ptr);
    const struct mym_class *c = &mym_classes[mym_heap.units[slab].cls];

    if (slab == 0)
        return mym_guarded_bytes(ptr); /* in a gap of the heap */
    if (mym_slab_index(c, mym_slab_start(slab), ptr) >= c->objects)
        mym_fatal(MYM_INSIDE, ptr);
    return c->size;
}

MYM_SLOW bool mym_sampled_put(void *ptr)
{
    uint32_t slab;

    if (mym_guarded_has(ptr)) {
        mym_profile_drop(ptr);
        mym_guarded_put(ptr);
        return true;
    }
    slab = slab_of(ptr);
    if (slab == 0)
        return false;
    if (!mym_profile_drop(ptr)) {
        mym_sampled_bytes(ptr); /* the middle of one, or: */
        mym_fatal(MYM_TWICE, ptr);
    }
    mym_pool_put(&mym_arenas[MYM_SAMPLED]->pool[mym_heap.units[slab].cls], ptr);
    return true;
}

/* Where there is no memory to remember it, it is an object like others. */
static void *take_known(unsigned cls, size_t every, struct mym_trace *trace)
{
    struct mym_pool *pool = &mym_arenas[MYM_SAMPLED]->pool[cls];
    void *object = mym_pool_take(pool);

    /* Without a slab of its own the pool takes from other arenas. */
    if (object != NULL && mym_heap.cls[mym_unit_of(object)] == 0 &&
        !mym_profile_keep(object, mym_classes[cls].size, every, trace)) {
        mym_pool_put(pool, object);
        object = NULL;
    }
    return object;
}

static MYM_SLOW void *take_sample(unsigned cls, size_t alignment, size_t size)
{
    size_t bytes = mym_classes[cls].size;
    bool guarded = mym_sample_for(MYM_FOR_GUARD, bytes) != 0;
    struct mym_trace trace;
    size_t every = mym_sampled_rate(bytes, &trace.known);
    void *object = NULL;

    if (!guarded && every == 0)
        return NULL;
    mym_trace_begin(&trace, trace.known || guarded);
    if (guarded)
        object = mym_guarded_take(alignment, size, &trace);
    if (every != 0 && object != NULL)
        mym_profile_keep(object, bytes, every, &trace);
    else if (every != 0)
        object = take_known(cls, every, &trace);
    mym_trace_end();
    if (guarded)
        mym_idle_ask(); /* the helper, for the guard to rest */
    return object;
}

void *mym_watched_take(unsigned cls, size_t alignment, size_t size)
{
    void *object = MYM_UNLIKELY(mym_sample_due(mym_classes[cls].size))
                       ? take_sample(cls, alignment, size)
                       : mym_rseq_pop(cls);

    return MYM_LIKELY(object != NULL) ? object : mym_small_take(cls);
}

#if !MYM_SECURE /* where every malloc comes by mym_watched_take */

static MYM_SLOW void *class_colder(unsigned cls)
{
    void *object = mym_small_take(cls);

    if (MYM_UNLIKELY(object == NULL))
        errno = ENOMEM;
    return object;
}

MYM_SLOW void *mym_watched_miss(unsigned cls)
{
    void *object = mym_thread_pop(cls);

    return MYM_LIKELY(object != NULL) ? object : class_colder(cls);
}

MYM_SLOW void *mym_watched_sample(unsigned cls, size_t size)
{
    void *object = mym_sample_reached(mym_classes[cls].size) ? take_sample(cls, 1, size)
                                                             : mym_rseq_pop(cls);

    return MYM_LIKELY(object != NULL) ? object : mym_watched_miss(cls);
}

#endif
