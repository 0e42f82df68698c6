/*
 * shelf.c - the hardened build's quarantine of objects above MYM_SMALL_MAX: they wait when they
 * are freed, and leave at random. Shorter ones wait in the caches' magazines (cache/cache.h).
 *
 * Each CPU has so many places, of which an object that is freed takes one at random; who was
 * there, of whatever class, goes back to the caches. So nobody can tell which object malloc
 * returns next, and one that was just freed is not it.
 *
 * Bounded: 1 MiB per CPU that the program runs on; large objects, which are not resident
 * meanwhile or granted (fence.c), MYM_SHELF_LARGE in all. What has a mapping of its own waits in
 * heap/mapping.c.
 *
 * Invariant: what is granted to MYM_HOLDS_SHELF is what the records of those that wait say, and at
 * most those on the way there or from there.
 *
 * Locking: none. A place changes hands by an exchange, whichever CPU it is of.
 */
#include "alloc/alloc.h"

#include "alloc/secure.h"
#include "base/check.h"
#include "heap/mapping.h"
#include "os/os.h"

#if MYM_SECURE

_Static_assert((MYM_SHELF_PLACES & (MYM_SHELF_PLACES - 1)) == 0 &&
                   (MYM_SHELF_LARGE & (MYM_SHELF_LARGE - 1)) == 0 &&
                   (MYM_SHELVES & (MYM_SHELVES - 1)) == 0,
               "powers of two");

struct mym_shelf mym_shelves[MYM_SHELVES];
void *_Atomic mym_shelf_large[MYM_SHELF_LARGE];
static uint64_t large_random;

MYM_SLOW void mym_shelf_let_go(size_t cls, void *object)
{
    if (!mym_thread_push((unsigned)cls, object))
        mym_cache_push_slow((unsigned)cls, object);
}

/* Who waits, in its record's `next`: are its pages there, and since before the last cool? */
enum { GONE, THERE, COOL };

static struct mym_unit *record_of(const void *span)
{
    return &mym_heap.units[mym_unit_of(span)];
}

static void give_up_grant(void *span)
{
    if (record_of(span)->next != GONE)
        mym_idle_return(MYM_HOLDS_SHELF, record_of(span)->length);
    record_of(span)->next = GONE;
}

/* At RLIMIT_DATA the kernel does not open it again: what has no access is not counted there. */
static void let_go_large(void *span)
{
    if (span == NULL)
        return;
    give_up_grant(span);
    if (mym_os_protect(span, mym_large_bytes(span), true))
        mym_large_put(span, record_of(span));
    else
        mym_large_give_up(span);
}

void mym_shelf_put_large(void *span, bool stays)
{
    uint32_t units = record_of(span)->length;

    record_of(span)->next = stays ? THERE : GONE;
    let_go_large(atomic_exchange_explicit(
        &mym_shelf_large[mym_random(&large_random) % MYM_SHELF_LARGE], span,
        memory_order_acq_rel));
    if (stays)
        mym_idle_left(units);
}

void mym_shelf_cool(void)
{
    for (unsigned i = 0; i < MYM_SHELF_LARGE; i++) {
        void *span = atomic_exchange(&mym_shelf_large[i], NULL), *none = NULL;

        if (span == NULL)
            continue;
        if (record_of(span)->next == THERE)
            record_of(span)->next = COOL;
        else if (record_of(span)->next == COOL &&
                 mym_os_purge(span, mym_large_bytes(span)))
            give_up_grant(span);
        if (!atomic_compare_exchange_strong(&mym_shelf_large[i], &none, span))
            let_go_large(span);
    }
}

static uint32_t granted(void)
{
    uint32_t units = 0;

    for (unsigned i = 0; i < MYM_SHELF_LARGE; i++) {
        const void *span =
            atomic_load_explicit(&mym_shelf_large[i], memory_order_acquire);

        if (span != NULL && MYM_RACY(record_of(span)->next) != GONE)
            units += MYM_RACY(record_of(span)->length);
    }
    return units;
}

/* Another thread may put one there, or take it, meanwhile: then nothing can be told. */
size_t mym_shelf_verify(void)
{
    uint32_t held = mym_idle_held(MYM_HOLDS_SHELF), there = granted();

    return mym_expect("quarantine check",
                      held != mym_idle_held(MYM_HOLDS_SHELF) || held >= there,
                      "more large objects stay than were granted");
}

/* A thread that the child does not have may have been about to put one there. */
void mym_shelf_fork_child(void)
{
    mym_idle_recount(MYM_HOLDS_SHELF, granted());
}

static size_t count_large(void)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < MYM_SHELF_LARGE; i++) {
        const void *object =
            atomic_load_explicit(&mym_shelf_large[i], memory_order_relaxed);

        if (object != NULL)
            bytes +=
                (size_t)MYM_RACY(mym_heap.units[mym_unit_of(object)].length) * MYM_UNIT;
    }
    return bytes;
}

size_t mym_shelf_count(size_t objects[MYM_CLASSES])
{
    for (unsigned i = 0; i < MYM_SHELVES * MYM_SHELF_PLACES; i++) {
        const void *object = atomic_load_explicit(
            &mym_shelves[i / MYM_SHELF_PLACES].place[i % MYM_SHELF_PLACES],
            memory_order_relaxed);

        if (object != NULL)
            objects[mym_heap.cls[mym_unit_of(object)]]++;
    }
    return count_large();
}

void mym_shelf_clear(void)
{
    for (unsigned i = 0; i < MYM_SHELVES * MYM_SHELF_PLACES; i++) {
        void *_Atomic *place =
            &mym_shelves[i / MYM_SHELF_PLACES].place[i % MYM_SHELF_PLACES];
        void *object = *place != NULL ? atomic_exchange(place, NULL) : NULL;

        if (object != NULL)
            mym_shelf_let_go(mym_heap.cls[mym_unit_of(object)], object);
    }
    for (unsigned i = 0; i < MYM_SHELF_LARGE; i++)
        let_go_large(atomic_exchange(&mym_shelf_large[i], NULL));
#if MYM_SECURE_QUARANTINE
    mym_mapping_clear_away();
#endif
}

#endif
