/*
 * sizes.c - the distributions behind sizes.h.
 */
#include "sizes.h"

#include <math.h>
#include <string.h>

struct part {
    double weight;
    uint32_t low, high; /* high excluded */
};

/*
 * "fleet": a shape, not a recording. Zhou et al., "Characterizing a Memory Allocator at
 * Warehouse Scale", ASPLOS 2024, report of a data-centre fleet that 98 % of the objects
 * are below 1 KiB and hold 28 % of the bytes, that objects above 8 KiB hold half of the
 * bytes, and above 256 KiB about a fifth. The weights give these shares, with small sizes
 * around 16 to 64 bytes and the bytes of the larger ones spread evenly over octaves; the
 * test of this file adds them up.
 */
static const struct part fleet[] = {
    {0.16, 8, 17},
    {0.37, 17, 33},
    {0.24, 33, 65},
    {0.113, 65, 129},
    {0.058, 129, 257},
    {0.027, 257, 513},
    {0.012, 513, 1024},
    {0.011, 1024, 2048},
    {0.00548, 2048, 4096},
    {0.00274, 4096, 8193},
    {0.00112, 8193, 16385},
    {0.000561, 16385, 32769},
    {0.00028, 32769, 65537},
    {0.00014, 65537, 131073},
    {7.01e-05, 131073, 262145},
    {5.84e-05, 262145, 524289},
    {2.92e-05, 524289, 1048577},
};

/* Walker's tables: every segment ends with average weight, shared by at most two. */
static void build_alias(struct sizes *s, const struct part *part, unsigned count)
{
    double share[SIZES_SEGMENTS] = {0}, total = 0;

    for (unsigned i = 0; i < count; i++)
        total += part[i].weight;
    for (unsigned i = 0; i < SIZES_SEGMENTS; i++) {
        const struct part *p = &part[i < count ? i : 0];
        share[i] = i < count ? p->weight / total * SIZES_SEGMENTS : 0;
        s->segment[i] = (struct segment){1u << 26, i, p->low, p->high - p->low};
    }
    for (unsigned settled = 0; settled < SIZES_SEGMENTS; settled++) {
        unsigned poor = SIZES_SEGMENTS, rich = SIZES_SEGMENTS;
        for (unsigned i = 0; i < SIZES_SEGMENTS; i++) {
            if (share[i] >= 0 && share[i] < 1 - 1e-9)
                poor = i;
            else if (share[i] > 1 + 1e-9)
                rich = i;
        }
        if (poor == SIZES_SEGMENTS || rich == SIZES_SEGMENTS)
            return;
        s->segment[poor].keep = (uint32_t)(share[poor] * (1 << 26));
        s->segment[poor].other = rich;
        share[rich] -= 1 - share[poor];
        share[poor] = -1; /* settled */
    }
}

void sizes_init(struct sizes *s, enum sizes_kind kind, uint32_t min, uint32_t max)
{
    struct part part[SIZES_SEGMENTS];
    unsigned count = 0;

    memset(s, 0, sizeof(*s));
    switch (kind) {
    case SIZES_FIXED:
        part[count++] = (struct part){1, max, max + 1};
        break;
    case SIZES_UNIFORM:
        part[count++] = (struct part){1, min, max + 1};
        break;
    case SIZES_LOG: { /* equal weight to equal ratios, uniform inside each */
        double ratio = pow((double)max / min, 1.0 / SIZES_SEGMENTS), edge = min;
        for (uint32_t low = min; count < SIZES_SEGMENTS; count++) {
            edge *= ratio;
            uint32_t high = count == SIZES_SEGMENTS - 1 ? max + 1 : (uint32_t)edge;
            high = high > low ? high : low + 1; /* narrower than one size */
            part[count] = (struct part){1, low, high};
            low = high <= max ? high : max;
        }
        break;
    }
    case SIZES_FLEET:
        for (; count < sizeof(fleet) / sizeof(fleet[0]); count++)
            part[count] = fleet[count];
        break;
    }
    build_alias(s, part, count);
}

static double segment_mean(const struct segment *seg)
{
    return seg->low + (seg->span - 1) / 2.0;
}

double sizes_mean(const struct sizes *s)
{
    double sum = 0;

    for (unsigned i = 0; i < SIZES_SEGMENTS; i++) {
        const struct segment *seg = &s->segment[i];
        double own = seg->keep / (double)(1 << 26);
        sum +=
            own * segment_mean(seg) + (1 - own) * segment_mean(&s->segment[seg->other]);
    }
    return sum / SIZES_SEGMENTS;
}
