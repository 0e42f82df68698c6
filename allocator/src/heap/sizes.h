/*
 * sizes.h - size classes: 16-byte steps to 128, then 8 per doubling to 16 KiB (at most
 * 12 % lost inside), then 4 steps to 32 KiB (at most 20 %), then steps of 8 KiB to 128 KiB:
 * two pages, so that an object of which the ends are written finds those of the one before it
 * resident. From 1 to 4 KiB there is a class a little above each power of two: many programs
 * put a header in front of a page. It is as long as it can be: of 15 pages and headers one page
 * more is touched, whether the header has 16 bytes or 272. 1024 itself is of the first of them:
 * at multiples of 1 KiB the same place of each is in 4 of the 64 sets of a first-level cache, so
 * a column of 256 rows of 256 floats had 32 lines of it. Other multiples of 512 below a page are
 * about as long as lets as many fit into a unit: 1552, 2608, 3104 and 3616.
 *
 * Objects whose size is a multiple of a page have the same place of each in one set of the
 * first-level cache, and in few of the second: a column of a matrix whose rows are vectors of
 * 8,000 bytes was read at a third of the speed. (Afek, Dice, Morrison: "Cache index-aware memory
 * allocation", ISMM 2011.) So from 4 KiB on a class is an odd number of lines long: to 8 KiB as
 * many as let 14, 13, .. 8 objects share a unit, then one more than its step, or five. And its
 * slabs start their objects some lines behind their start, as many as they draw of what would
 * be lost at their end. Only 64 and 128 KiB fill their slabs.
 *
 * What is to be aligned to more than a line is served from classes that are multiples of more: to
 * 4 KiB malloc's, but for the powers of two, from there on two per doubling, most of which malloc
 * has no use for.
 *
 * Class 0 is no class. Every class size is a multiple of 16. The classes that malloc has no use
 * for are behind the others; else they ascend.
 */
#ifndef MYM_HEAP_SIZES_H
#define MYM_HEAP_SIZES_H

#include "base/config.h"
#include "base/secure.h"

struct mym_class {
    uint32_t size;    /* bytes of one object */
    uint16_t objects; /* per slab */
    uint8_t units;    /* 64 KiB units per slab */
    uint8_t capacity; /* objects that a magazine is made for */
    uint8_t room;     /* at most, when the class is busy */
    uint8_t entries;  /* that a magazine has at most: twice as many, where it is wide */
    uint8_t lines;    /* of a cache, that its objects may start behind their slab */
    uint64_t inverse; /* ceil(2^40 / size): exact division of any offset in a slab */
};

/* Magazines for up to so many objects are wide (pool/magazine.h): for twice as many, 1 KiB. */
#define MYM_WIDE 62u

extern MYM_HIDDEN struct mym_class mym_classes[MYM_CLASSES];
/*
 * What malloc and free know of a place, each by one load: by class its bytes, and where its
 * second and third end begin (base/secure.h); by the unused bytes before its seal, of more
 * MYM_UNUSED_TOLD, where the red zone's lane begins, counted from the seal, and which of
 * the lane's bytes are red (alloc/seal.h): 16 bytes from there on.
 */
#define MYM_UNUSED_TOLD (MYM_REACH - 8)
struct mym_places {
    uint32_t bytes[MYM_CLASSES], third[MYM_CLASSES];
    uint8_t second[MYM_CLASSES];
    int8_t zone[MYM_UNUSED_TOLD + 1];
    uint8_t mine[MYM_UNUSED_TOLD + 16];
};
extern MYM_HIDDEN struct mym_places mym_places; /* of the hardened build */
extern MYM_HIDDEN unsigned mym_class_count; /* classes are 1 .. mym_class_count - 1 */

/*
 * By (size + 15) / 16; by (size + 63) / 64, for what is to be aligned to at most a line: without
 * the classes above MYM_STEPS_MAX that are no multiples of it; and by (size + 127) / 128, for
 * what is to be aligned to more.
 */
extern MYM_HIDDEN uint8_t mym_class_of_16[MYM_CLASS_MAX / 16 + 1];
extern MYM_HIDDEN uint8_t mym_class_of_64[MYM_CLASS_MAX / 64 + 1];
extern MYM_HIDDEN uint8_t mym_class_of_128[MYM_CLASS_MAX / 128 + 1];

void mym_sizes_init(void);

/* The class of a size of at most MYM_CLASS_MAX. */
MYM_INLINE unsigned mym_class_of(size_t size)
{
    return mym_class_of_16[(size + 15) / 16];
}

/* The size of the class before, of which this one serves no more; 0: there is none. */
MYM_INLINE unsigned mym_class_before(unsigned cls)
{
    return mym_classes[cls - 1].size < mym_classes[cls].size ? mym_classes[cls - 1].size
                                                             : 0;
}

/* A class for the size whose objects all lie on multiples of alignment, or 0. */
unsigned mym_class_of_aligned(size_t alignment, size_t size);

#endif
