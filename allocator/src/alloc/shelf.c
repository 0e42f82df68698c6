/*
 * shelf.c - the hardened build's quarantine: freed objects wait, and leave at random.
 *
 * Each CPU has for each class so many places; an object that is freed takes one of them at
 * random, and who was there goes back to the caches. So nobody can tell which object malloc
 * returns next, and one that was just freed is not it.
 *
 * Bounded: as many as a magazine of the class holds at first (8 KiB, one object at least), per
 * CPU that the program runs on; large objects, which are not resident meanwhile, in MYM_SHELF_LARGE in all.
 *
 * Locking: none. A place changes hands by an exchange, whichever CPU it is of.
 */
#include "alloc/alloc.h"

#include "alloc/secure.h"
#include "os/os.h"

#if MYM_SECURE

_Static_assert((MYM_SHELF_PLACES & (MYM_SHELF_PLACES - 1)) == 0 &&
                   (MYM_SHELF_LARGE & (MYM_SHELF_LARGE - 1)) == 0 &&
                   (MYM_SHELVES & (MYM_SHELVES - 1)) == 0,
               "powers of two");

struct mym_shelf mym_shelves[MYM_SHELVES];
void *_Atomic mym_shelf_large[MYM_SHELF_LARGE];
static uint64_t large_random;

/* Of the CPU, or of some threads: a hint. */
static struct mym_shelf *shelf_here(void)
{
    uint32_t id = mym_rseq_id();

    if (MYM_UNLIKELY(id == MYM_NO_ID))
        id = (uint32_t)((uintptr_t)__builtin_thread_pointer() * 0x9E3779B97F4A7C15u >>
                        58);
    return &mym_shelves[id % MYM_SHELVES];
}

static void let_go(unsigned cls, void *object)
{
    if (object != NULL && !mym_rseq_push(cls, object) && !mym_thread_push(cls, object))
        mym_cache_push_slow(cls, object);
}

/* A span that the kernel would not open again stays nobody's. */
static void let_go_large(void *span)
{
    if (span != NULL && mym_os_protect(span, mym_large_bytes(span), true))
        mym_large_put(span, &mym_heap.units[mym_unit_of(span)]);
}

void mym_shelf_put(unsigned cls, void *object)
{
    struct mym_shelf *shelf = shelf_here();
    uint64_t most = mym_classes[cls].capacity;
    uint32_t random = mym_random(&shelf->random);

    most = most < MYM_SHELF_PLACES ? most : MYM_SHELF_PLACES;
    if (MYM_SECURE_QUARANTINE)
        object = atomic_exchange_explicit(&shelf->place[cls][random * most >> 32],
                                          object, memory_order_acq_rel);
    let_go(cls, object);
}

void mym_shelf_put_large(void *span)
{
    let_go_large(atomic_exchange_explicit(
        &mym_shelf_large[mym_random(&large_random) % MYM_SHELF_LARGE], span,
        memory_order_acq_rel));
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
    for (unsigned i = 0; i < MYM_SHELVES; i++) {
        if (mym_shelves[i].random == 0)
            continue;
        for (unsigned cls = 1; cls < mym_class_count; cls++)
            for (unsigned place = 0; place < MYM_SHELF_PLACES; place++)
                objects[cls] += atomic_load_explicit(&mym_shelves[i].place[cls][place],
                                                     memory_order_relaxed) != NULL;
    }
    return count_large();
}

void mym_shelf_clear(void)
{
    for (unsigned i = 0; i < MYM_SHELVES; i++) {
        if (mym_shelves[i].random == 0) /* never used */
            continue;
        for (unsigned cls = 1; cls < mym_class_count; cls++)
            for (unsigned place = 0; place < MYM_SHELF_PLACES; place++)
                let_go(cls, atomic_exchange(&mym_shelves[i].place[cls][place], NULL));
    }
    for (unsigned i = 0; i < MYM_SHELF_LARGE; i++)
        let_go_large(atomic_exchange(&mym_shelf_large[i], NULL));
}

#endif
