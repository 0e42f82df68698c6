/*
 * sizes.c - the table of size classes, made once at start.
 */
#include "heap/sizes.h"

#include "base/check.h"
#include "base/secure.h"

#include <string.h>

/*
 * What a full magazine holds: as many bytes for all classes, which bounds the memory
 * cached per CPU (87 classes, two magazines each: 3.3 MiB), and more for those that are
 * found to be busy, out of a common budget (pool.c): 2 MiB at most in two magazines each.
 * With 4 of the largest, batches of 64 spend half of their time on exchanges.
 */
#define MAGAZINE_BYTES   (8u << 10)
#define MAGAZINE_BUSY    (128u << 10)
#define BUSY_LEAST       8u
#define MAGAZINE_OBJECTS 124u /* with the header and two walls: 1 KiB */
#define MAGAZINE_TINY    252u /* of those up to TINY bytes: 2 KiB */
#define TINY             256u

/*
 * In the hardened build's quarantine one of a cache's two magazines waits while the other is
 * emptied, so up and down by more than a magazine, not two, ends at the depot. How often that
 * is goes with the square of what they hold: with 8 KiB larson's two threads on two CPUs took
 * a quarter longer.
 */
#define MAGAZINE_WAITING (32u << 10)

_Static_assert(MAGAZINE_TINY <= UINT8_MAX, "capacity and room are bytes");
_Static_assert(MYM_UNIT / MYM_ALIGNMENT <= UINT16_MAX,
               "objects of a slab, and the free ones, are two bytes");
_Static_assert(MYM_CLASSES <= UINT8_MAX, "a class is a byte");

MYM_FIXED struct mym_class mym_classes[MYM_CLASSES];
#if MYM_SECURE
MYM_FIXED struct mym_places mym_places;
#endif
MYM_FIXED unsigned mym_class_count;
MYM_FIXED uint8_t mym_class_of_16[MYM_CLASS_MAX / 16 + 1];
MYM_FIXED uint8_t mym_class_of_64[MYM_CLASS_MAX / 64 + 1];

static unsigned clamp(unsigned value, unsigned low, unsigned high)
{
    return value < low ? low : value > high ? high : value;
}

/*
 * The shortest slab that loses at most 1/16 at its end and has at least 8 objects; of those
 * above MYM_PLACE_MAX one will do, for the less of them a slab has the sooner it is free.
 */
static unsigned slab_units(unsigned size)
{
    unsigned units = 1, least = size > MYM_PLACE_MAX ? 1 : 8;

    if (size <= MYM_UNIT / 8)
        return 1;
    while (units * MYM_UNIT / size < least ||
           units * MYM_UNIT % size > units * MYM_UNIT / 16)
        units++;
    return units;
}

/* What has no class yet, up to this entry, is of this one. */
static void fill(uint8_t *class_of, unsigned *filled, unsigned last)
{
    memset(class_of + *filled, (int)mym_class_count, last + 1 - *filled);
    *filled = last + 1;
}

static void add_class(unsigned size)
{
    static unsigned filled_16 = 1, filled_64 = 1;
    struct mym_class *cls = &mym_classes[mym_class_count];
    unsigned most = size <= TINY ? MAGAZINE_TINY : MAGAZINE_OBJECTS;
    unsigned bytes = MYM_SECURE_QUARANTINE && size <= MYM_SMALL_MAX ? MAGAZINE_WAITING
                                                                    : MAGAZINE_BYTES;

    MYM_CHECK(mym_class_count < MYM_CLASSES - 1); /* MYM_REAPED is none */
    cls->size = size;
#if MYM_SECURE
    mym_places.bytes[mym_class_count] = size;
    mym_places.second[mym_class_count] = (uint8_t)mym_zero_second(size);
    mym_places.third[mym_class_count] = (uint32_t)mym_zero_third(size);
#endif
    MYM_CHECK(slab_units(size) <= UINT8_MAX);
    cls->units = (uint8_t)slab_units(size);
    cls->objects = (uint16_t)(cls->units * MYM_UNIT / size);
    cls->capacity = (uint8_t)clamp(bytes / size, size <= 4096 ? 2 : 1, most);
    cls->room = (uint8_t)clamp(MAGAZINE_BUSY / size, BUSY_LEAST, most);
    cls->inverse = (((uint64_t)1 << 40) + size - 1) / size;
    fill(mym_class_of_16, &filled_16, size / 16);
    if (size <= MYM_SMALL_MAX || size % 64 == 0)
        fill(mym_class_of_64, &filled_64, size / 64);
    mym_class_count++;
}

#if MYM_SECURE
static void fill_zones(void)
{
    for (int unused = 0; unused <= (int)MYM_UNUSED_TOLD; unused++)
        mym_places.zone[unused] = (int8_t) - (unused > 16 ? unused : 16);
    for (unsigned i = 16; i < sizeof mym_places.mine; i++)
        mym_places.mine[i] = UINT8_MAX;
}
#endif

void mym_sizes_init(void)
{
    mym_class_count = 1;
    mym_class_of_16[0] = mym_class_of_64[0] = 1;
    for (unsigned size = 16; size <= 128; size += 16)
        add_class(size);
    for (unsigned step = 16, size = 128; size < MYM_SMALL_MAX; step *= 2)
        for (unsigned i = 0; i < 8; i++)
            add_class(size += step);
    add_class(MYM_SMALL_MAX + MYM_LINK);
    for (unsigned step = 128, size = MYM_SMALL_MAX; size < MYM_FINE_MAX; step *= 2) {
        add_class(size + (size < MYM_PAGE ? MYM_HEADER : MYM_PAGE_HEADER));
        for (unsigned i = 0; i < 8; i++)
            add_class(size += step);
    }
    add_class(MYM_FINE_MAX + MYM_PAGE_HEADER);
    for (unsigned i = 1; i <= 4; i++)
        add_class(MYM_FINE_MAX + i * (MYM_FINE_MAX / 4));
    add_class(2 * MYM_FINE_MAX + MYM_PAGE_HEADER);
    for (unsigned step = MYM_FINE_MAX / 2, size = 2 * MYM_FINE_MAX;
         size < MYM_CLASS_MAX;)
        add_class(size += step);
#if MYM_SECURE
    /* It looks at two lanes of 16 bytes at once: nothing is shorter. */
    mym_class_of_16[0] = mym_class_of_16[1] = 2;
    fill_zones();
#endif
}

/*
 * Round up to the alignment, then to a class. The class lies on multiples of its step: a
 * step of at least the alignment is a multiple of it (both are powers of two); with a
 * smaller one, the rounded size is a class itself. Nothing is aligned to more than a unit.
 * Of headers, those are left out that the second table leaves out.
 */
unsigned mym_class_of_aligned(size_t alignment, size_t size)
{
    size_t rounded = mym_round_up(size + (size == 0), alignment);

    return rounded >= size && rounded <= MYM_CLASS_MAX && alignment <= MYM_UNIT
               ? rounded <= MYM_SMALL_MAX ? mym_class_of_16[(rounded + 15) / 16]
                                          : mym_class_of_64[(rounded + 63) / 64]
               : 0;
}
