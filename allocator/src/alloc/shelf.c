/*
 * shelf.c - the hardened build's quarantine: freed objects wait, and leave at random.
 *
 * Each CPU has for each class so many places; an object that is freed takes one of them at
 * random, and who was there goes back to the caches. So nobody can tell which object malloc
 * returns next, and one that was just freed is not it.
 *
 * Bounded: WAIT_BYTES per class and CPU that the program runs on, and one object of a longer
 * class; large objects, which are not resident meanwhile, in LARGE_PLACES in all.
 *
 * Locking: none. A place changes hands by an exchange, whichever CPU it is of.
 */
#include "alloc/alloc.h"

#include "alloc/secure.h"

#if MYM_SECURE

#define WAIT_BYTES   (16u << 10)
#define PLACES       32u /* of a class at most, a power of two */
#define LARGE_PLACES 8u  /* of up to MYM_SPAN_MAX bytes */
#define SHELVES      64u

_Static_assert((PLACES & (PLACES - 1)) == 0 &&
                   (LARGE_PLACES & (LARGE_PLACES - 1)) == 0 &&
                   (SHELVES & (SHELVES - 1)) == 0,
               "powers of two");

struct shelf {
    uint64_t random;
    void *_Atomic place[MYM_CLASSES][PLACES];
} __attribute__((aligned(MYM_CACHELINE)));

static struct shelf shelves[SHELVES];
static void *_Atomic large[LARGE_PLACES];
static uint64_t large_random;

/* Of the CPU, or of some threads: a hint. */
static struct shelf *shelf_here(void)
{
    uint32_t id = mym_rseq_id();

    if (MYM_UNLIKELY(id == MYM_NO_ID))
        id = (uint32_t)((uintptr_t)__builtin_thread_pointer() * 0x9E3779B97F4A7C15u >>
                        58);
    return &shelves[id % SHELVES];
}

void *mym_shelf_swap(unsigned cls, void *object)
{
    struct shelf *shelf = shelf_here();
    uint64_t most =
        WAIT_BYTES * mym_classes[cls].inverse >> 40; /* without a division */
    uint32_t random = mym_random(&shelf->random);

    if (!MYM_SECURE_QUARANTINE)
        return object;
    most = most == 0 ? 1 : most < PLACES ? most : PLACES;
    return atomic_exchange_explicit(&shelf->place[cls][random * most >> 32], object,
                                    memory_order_acq_rel);
}

void *mym_shelf_swap_large(void *object)
{
    if (!MYM_SECURE_QUARANTINE)
        return object;
    return atomic_exchange_explicit(&large[mym_random(&large_random) % LARGE_PLACES],
                                    object, memory_order_acq_rel);
}

size_t mym_shelf_bytes(void)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < SHELVES; i++)
        for (unsigned cls = 1; shelves[i].random != 0 && cls < mym_class_count; cls++)
            for (unsigned place = 0; place < PLACES; place++)
                if (atomic_load_explicit(&shelves[i].place[cls][place],
                                         memory_order_relaxed) != NULL)
                    bytes += mym_classes[cls].size;
    return bytes;
}

void mym_shelf_clear(void (*put)(unsigned cls, void *object),
                     void (*put_large)(void *object))
{
    for (unsigned i = 0; i < SHELVES; i++) {
        if (shelves[i].random == 0) /* never used */
            continue;
        for (unsigned cls = 1; cls < mym_class_count; cls++)
            for (unsigned place = 0; place < PLACES; place++) {
                void *object = atomic_exchange(&shelves[i].place[cls][place], NULL);

                if (object != NULL)
                    put(cls, object);
            }
    }
    for (unsigned i = 0; i < LARGE_PLACES; i++) {
        void *object = atomic_exchange(&large[i], NULL);

        if (object != NULL)
            put_large(object);
    }
}

#endif
