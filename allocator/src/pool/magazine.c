/*
 * magazine.c - making magazines, and how much they may hold.
 */
#include "pool/magazine.h"

#include "base/check.h"
#include "base/secure.h"
#include "heap/meta.h"

#include <stdatomic.h>

struct mym_no_magazine mym_closed_magazine = {
    MYM_CEILING, MYM_FLOOR(&mym_closed_magazine.floor), MYM_CEILING};
struct mym_no_magazine mym_none_magazine = {
    MYM_CEILING, MYM_FLOOR(&mym_none_magazine.floor), MYM_CEILING};

/*
 * At a limit every object that is freed asks for a magazine; the kernel is not asked for each.
 * Without one an object goes to its slab.
 */
#define REFUSED_AT_ONCE 255u

struct mym_magazine *mym_magazine_make(unsigned cls)
{
    static _Atomic unsigned refused; /* a hint */
    unsigned left = atomic_load_explicit(&refused, memory_order_relaxed);
    size_t bytes = mym_magazine_bytes(cls);
    struct mym_magazine *magazine = left > 0 ? NULL : mym_meta_take(bytes, bytes);

    if (magazine == NULL)
        atomic_store_explicit(&refused, left > 0 ? left - 1 : REFUSED_AT_ONCE,
                              memory_order_relaxed);
    if (magazine != NULL) {
        magazine->floor = MYM_FLOOR(&magazine->floor);
        mym_magazine_set_capacity(magazine, mym_classes[cls].capacity);
    }
    return magazine;
}

void mym_magazine_set_capacity(struct mym_magazine *magazine, unsigned objects)
{
    MYM_ASSERT(objects > 0 && objects <= UINT16_MAX / 2);
    MYM_ASSERT(magazine->floor == MYM_FLOOR(&magazine->floor));
    magazine->entry[magazine->capacity] = NULL;
    magazine->is_wide = objects <= MYM_WIDE;
    magazine->capacity = (uint16_t)mym_magazine_entries(objects);
    magazine->entry[magazine->capacity] = MYM_CEILING;
}

/*
 * Caches of threads can be many, and those of sleeping ones are emptied by nobody. So from
 * CACHES on the next one's magazines are shorter, by the square of how many there are: all
 * together hold what 2 CACHES full ones would (the sum of 1/N^2 has a bound, that of 1/N
 * has none).
 */
#define CACHES ((uint64_t)128)

static _Atomic uint32_t part = 1 << 16; /* of a magazine, in 65,536ths */

void mym_magazines_share(uint32_t caches)
{
    uint64_t all = caches > CACHES ? caches : CACHES;

    atomic_store_explicit(&part, (uint32_t)((CACHES * CACHES << 16) / (all * all)),
                          memory_order_relaxed);
}

unsigned mym_magazine_ration(unsigned objects)
{
    return objects * atomic_load_explicit(&part, memory_order_relaxed) >> 16;
}

bool mym_magazine_is_short(unsigned cls, const struct mym_magazine *magazine)
{
    return magazine->capacity <
           mym_magazine_entries(mym_magazine_ration(mym_classes[cls].capacity));
}

void mym_magazine_lengthen(unsigned cls, struct mym_magazine *magazine)
{
    unsigned most = mym_magazine_ration(mym_classes[cls].capacity);
    unsigned twice = magazine->capacity * 2u;

    /* A thread that started since it was found to be short may have made the ration less. */
    if (magazine->capacity < mym_magazine_entries(most))
        mym_magazine_set_capacity(magazine, twice < most ? twice : most);
}

#define NEIGHBOURS 16u

/* Fisher and Yates, from the last one downwards: four bits of `lots` say with which of those that
   have been it changes places. By so few bits not every one is quite as likely. */
MYM_INLINE void shuffle_group(void **last, unsigned count, uint64_t lots)
{
    for (unsigned i = 1; i < count; i++, lots /= NEIGHBOURS) {
        void **one = last - i, *swap = *one;
        void **other = one + lots % NEIGHBOURS * (i + 1) / NEIGHBOURS;

        *one = *other;
        *other = swap;
    }
}

/*
 * Among neighbours: objects that are used one after the other share lines and pages then. From all
 * over a slab each was waited for. One number serves a group; where that is whole, no loop is left.
 */
void mym_magazine_shuffle(struct mym_magazine *magazine, unsigned used)
{
    static __thread uint64_t state __attribute__((tls_model("initial-exec")));
    void **last = magazine->entry + used - 1;

    for (; used >= NEIGHBOURS; used -= NEIGHBOURS, last -= NEIGHBOURS)
        shuffle_group(last, NEIGHBOURS, mym_random_word(&state));
    shuffle_group(last, used, mym_random_word(&state));
}
