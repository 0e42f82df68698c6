/*
 * sizes.c - the table of size classes, made once at start.
 */
#include "heap/sizes.h"

#include "base/check.h"
#include "base/secure.h"

#include <string.h>

/*
 * What a magazine is made for: as many bytes for all classes, which bounds the memory
 * cached per CPU (97 classes, two magazines each, or a wide one: 3.7 MiB), and more for those that are
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
MYM_FIXED uint8_t mym_class_of_128[MYM_CLASS_MAX / 128 + 1];

static unsigned clamp(unsigned value, unsigned low, unsigned high)
{
    return value < low ? low : value > high ? high : value;
}

static bool is_odd(unsigned size)
{
    return size % (2 * MYM_CACHELINE) == MYM_CACHELINE;
}

/*
 * The shortest slab that loses at most 1/16 at its end and has at least 8 objects; of those
 * above MYM_PLACE_MAX one will do, for the less of them a slab has the sooner it is free. What
 * is lost is a page at least, which all may start behind, where objects are longer than three:
 * else the same few pages of each slab would have the starts. Up to 8 KiB one unit; but of the
 * class of a page, the commonest of them, that would be 15 objects, and two are 31.
 */
static unsigned slab_units(unsigned size)
{
    unsigned units = 1, objects = size > MYM_PLACE_MAX ? 1 : 8;
    unsigned left = is_odd(size) && size > 3 * MYM_PAGE ? MYM_PAGE : 0;

    if (size <= MYM_UNIT / 8)
        return size == MYM_PAGE_CLASS ? 2 : 1;
    while (units * MYM_UNIT / size < objects || units * MYM_UNIT % size < left ||
           units * MYM_UNIT % size > units * MYM_UNIT / 16)
        units++;
    return units;
}

/* Lines that a slab may leave at its start, of objects that need not be aligned to two. */
static unsigned spare_lines(const struct mym_class *cls)
{
    unsigned left = cls->units * (unsigned)MYM_UNIT - cls->objects * cls->size;

    return MYM_SECURE || cls->size % (2 * MYM_CACHELINE) == 0 ||
                   cls->size < MYM_SMALL_MAX
               ? 0
               : clamp(left / MYM_CACHELINE, 0, UINT8_MAX);
}

static unsigned add_class(unsigned size)
{
    struct mym_class *cls = &mym_classes[mym_class_count];
    unsigned most = size <= TINY ? MAGAZINE_TINY : MAGAZINE_OBJECTS;
    unsigned bytes = MYM_SECURE_QUARANTINE && size <= MYM_SMALL_MAX + MYM_LINK
                         ? MAGAZINE_WAITING
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
    cls->capacity = (uint8_t)clamp(bytes / size, size <= MYM_PAGE_CLASS ? 2 : 1, most);
    cls->room = (uint8_t)clamp(MAGAZINE_BUSY / size, BUSY_LEAST, most);
    cls->entries =
        (uint8_t)clamp(cls->room, 2 * clamp(cls->room, 0, MYM_WIDE), UINT8_MAX);
    cls->lines = (uint8_t)spare_lines(cls);
    cls->inverse = (((uint64_t)1 << 40) + size - 1) / size;
    return mym_class_count++;
}

struct table {
    uint8_t *class_of;
    unsigned granule, filled;
};

/* What has no class yet, up to this size, is of this one. */
static void fill(struct table *table, unsigned size, unsigned cls)
{
    unsigned end = size / table->granule + 1;

    memset(table->class_of + table->filled, (int)cls, end - table->filled);
    table->filled = end;
}

static void add(unsigned size)
{
    static struct table by_16 = {mym_class_of_16, 16, 1},
                        by_64 = {mym_class_of_64, 64, 1};
    unsigned cls = add_class(size);

    fill(&by_16, size, cls);
    if (size % 64 == 0 || size <= MYM_STEPS_MAX)
        fill(&by_64, size, cls);
}

static bool is_power(unsigned size)
{
    return (size & (size - 1)) == 0;
}

/* From 4 to 8 KiB as many as fit into a unit, and leave so much of it to start behind. */
#define SPARE (16u * MYM_CACHELINE)

/* What is at multiples of it is in 8 of 64 sets of a first-level cache, or fewer. */
#define FEW_SETS (8u * MYM_CACHELINE)

static unsigned odd_within(unsigned bytes)
{
    return ((bytes / MYM_CACHELINE - 1) | 1) * MYM_CACHELINE;
}

/* The longest of which as many fit into a unit, and leave some lines of it to start behind. */
static unsigned off_sets(unsigned size)
{
    unsigned unit = (unsigned)MYM_UNIT;

    return (unit - 5 * MYM_CACHELINE) / (unit / size) & ~(MYM_ALIGNMENT - 1);
}

/* The one for a step above MYM_SMALL_MAX. */
static void add_step(unsigned size)
{
    if (!is_power(size)) {
        add(size > MYM_PAGE        ? size + MYM_CACHELINE
            : size % FEW_SETS == 0 ? off_sets(size)
                                   : size);
    } else if (size == MYM_PAGE) {
        add(MYM_PAGE_CLASS);
        add(size + MYM_PAGE_HEADER);
    } else {
        add(size + (size < MYM_PAGE        ? MYM_HEADER
                    : size < MYM_PLACE_MAX ? MYM_PAGES_HEADER
                                           : 0));
    }
}

static unsigned power_within(unsigned size)
{
    return 1u << (31 - __builtin_clz(size));
}

/* For what is to be aligned to more than a line: 8 per doubling to a page, then 2. */
static void add_wide(void)
{
    struct table by_128 = {mym_class_of_128, 128, 0};

    for (unsigned size = MYM_SMALL_MAX; size <= MYM_CLASS_MAX;
         size += power_within(size) / (size < MYM_PAGE ? 8 : 2)) {
        unsigned cls = mym_class_of(size);

        if (mym_classes[cls].size != size)
            cls = add_class(size);
        fill(&by_128, size, cls);
    }
    /* For a line, too, where malloc's next that is a multiple of one is longer. */
    for (unsigned i = MYM_STEPS_MAX / 64; i <= MYM_PAGE / 64; i++)
        if (mym_classes[mym_class_of_128[(i + 1) / 2]].size <
            mym_classes[mym_class_of_64[i]].size)
            mym_class_of_64[i] = mym_class_of_128[(i + 1) / 2];
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
        add(size);
    for (unsigned step = 16, size = 128; size < MYM_SMALL_MAX; step *= 2)
        for (unsigned i = 0; i < 8; i++)
            if ((size += step) < MYM_SMALL_MAX)
                add(size);
    add(MYM_SMALL_MAX + MYM_LINK);
    add(MYM_SMALL_MAX + MYM_HEADER);
    for (unsigned size = MYM_SMALL_MAX; size < MYM_PAGE;)
        add_step(size += power_within(size) / 8);
    for (unsigned objects = 14; objects >= 8; objects--)
        add(odd_within((MYM_UNIT - SPARE) / objects));
    for (unsigned size = 2 * MYM_PAGE; size <= MYM_CLASS_MAX;
         size += size < MYM_FINE_MAX       ? power_within(size) / 8
                 : size < 2 * MYM_FINE_MAX ? MYM_FINE_MAX / 4
                                           : MYM_FINE_MAX / 2)
        add_step(size);
    add_wide();
#if MYM_SECURE
    /* It looks at two lanes of 16 bytes at once: nothing is shorter. */
    mym_class_of_16[0] = mym_class_of_16[1] = 2;
    fill_zones();
#endif
}

/*
 * Round up to the alignment, then to a class. Up to MYM_STEPS_MAX a class lies on multiples of
 * its step: a step of at least the alignment is a multiple of it (both are powers of two); with a
 * smaller one, the rounded size is a class itself. So it is with those of the third table. Above,
 * what is a multiple of a line is in the second. Nothing is aligned to more than a unit.
 */
unsigned mym_class_of_aligned(size_t alignment, size_t size)
{
    size_t rounded = mym_round_up(size + (size == 0), alignment);

    if (rounded < size || rounded > MYM_CLASS_MAX || alignment > MYM_UNIT)
        return 0;
    if (rounded <= MYM_STEPS_MAX)
        return mym_class_of_16[(rounded + 15) / 16];
    return alignment <= MYM_CACHELINE ? mym_class_of_64[(rounded + 63) / 64]
                                      : mym_class_of_128[(rounded + 127) / 128];
}
