/*
 * sizes.h - request sizes drawn from a distribution, at the cost of one random number.
 *
 * A distribution is up to 64 segments [low, low + span) with a weight; Walker's alias
 * method (1977) picks the segment without a search, then the size is uniform inside.
 */
#ifndef SIZES_H
#define SIZES_H

#include "rng.h"

enum sizes_kind { SIZES_FIXED, SIZES_UNIFORM, SIZES_LOG, SIZES_FLEET };
#define SIZES_CHOICES "fixed uniform log fleet"
#define SIZES_HELP                                                                 \
    "max-size only, or between min-size and max-size evenly or log-uniformly, or " \
    "many "                                                                        \
    "small objects and few large ones that hold half of the bytes"

enum { SIZES_SEGMENTS = 64 };

struct sizes {
    struct segment {
        uint32_t keep; /* of 2^26: below it this segment, else `other` */
        uint32_t other;
        uint32_t low, span;
    } segment[SIZES_SEGMENTS];
};

/* Sizes from min to max, both included, 1 <= min <= max < 4 GiB. */
void sizes_init(struct sizes *s, enum sizes_kind kind, uint32_t min, uint32_t max);

/* The average size drawn. */
double sizes_mean(const struct sizes *s);

/*
 * Bits of one random number: 6 for the segment, 26 for the alias, 32 for the size. The
 * alias is chosen by a mask: a branch would be guessed wrong every third time or so.
 */
static inline uint32_t sizes_draw(const struct sizes *s, struct rng *r)
{
    uint64_t bits = rng_next(r);
    uint32_t at = (uint32_t)(bits >> 58);
    uint32_t away = -(uint32_t)((bits >> 32 & 0x3ffffff) >= s->segment[at].keep);
    const struct segment *seg = &s->segment[at ^ ((at ^ s->segment[at].other) & away)];

    return seg->low + (uint32_t)((bits & 0xffffffff) * seg->span >> 32);
}

#endif
