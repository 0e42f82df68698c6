/*
 * magazine.c - making magazines.
 */
#include "pool/magazine.h"

#include "base/check.h"
#include "heap/meta.h"

#include <stdatomic.h>

struct mym_no_magazine mym_closed_magazine = {MYM_FLOOR(&mym_closed_magazine),
                                              MYM_CEILING};
struct mym_no_magazine mym_none_magazine = {MYM_FLOOR(&mym_none_magazine), MYM_CEILING};

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

void mym_magazine_set_capacity(struct mym_magazine *magazine, unsigned capacity)
{
    MYM_ASSERT(capacity > 0 && capacity <= UINT16_MAX);
    MYM_ASSERT(magazine->floor == MYM_FLOOR(&magazine->floor));
    magazine->entry[magazine->capacity] = NULL;
    magazine->capacity = (uint16_t)capacity;
    magazine->entry[capacity] = MYM_CEILING;
}
