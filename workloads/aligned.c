/*
 * aligned.c - objects aligned to cache lines, vectors, pages.
 *
 * Source: aligned_alloc of ISO C11 7.22.3.1, in the replacement pattern of larson.
 *
 * One thread replaces random slots of a live set; every address is checked. mixed draws
 * the alignment from the powers of two between 16 and `alignment` with equal chance.
 * (mimalloc 2.0.9 fails here: 256 bytes aligned to 256 may come at half of that.)
 */
#include "harness.h"
#include "sizes.h"

enum { MIXED, ALIGNMENT, SLOTS, REPLACEMENTS, MIN_SIZE, MAX_SIZE, SEED, VERIFY };

static const struct option_spec options[] = {
    [MIXED] = {"mixed", OPTION_CHOICE, false, "no", 0, 0, "no yes",
               "alignments from 16 to alignment, instead of that one"},
    [ALIGNMENT] = {"alignment", OPTION_BYTES, false, "64", 16, 1 << 26, NULL,
                   "a power of two; other numbers are rounded down to one"},
    [SLOTS] = {"slots", OPTION_COUNT, false, "10000", 1, 1e8, NULL, "live objects"},
    [REPLACEMENTS] = {"replacements", OPTION_COUNT, true, "10000000", 1, 1e12, NULL,
                      "objects freed and taken"},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "16", 8, 1 << 30, NULL,
                  "smallest object"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "1024", 8, 1 << 30, NULL,
                  "largest object"},
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"64", "", "cache lines"},
    {"4096", "alignment=4096 replacements=3000000", "pages"},
    {"mixed", "mixed=yes alignment=4096 replacements=5000000", "16 to 4096"},
};

struct slot {
    void *object;
    uint32_t size;
};

static inline void *take_aligned(struct count *count, size_t alignment, size_t size,
                                 enum verify verify)
{
    void *object = aligned_alloc(alignment, size);

    if (!object)
        out_of_memory("aligned_alloc", size);
    if (verify != VERIFY_NONE)
        tally_check(count->tally, ((uintptr_t)object & (alignment - 1)) == 0);
    count->live += (int64_t)size;
    payload_write(object, size, verify);
    return object;
}

static void run_aligned(struct run *run)
{
    uint32_t slots = (uint32_t)run_count(run, SLOTS);
    unsigned most = 31u - (unsigned)__builtin_clz((unsigned)run_count(run, ALIGNMENT));
    bool mixed = run_count(run, MIXED) == 1;
    enum verify verify = (enum verify)run_count(run, VERIFY);
    struct slot *slot = memory_map(slots * sizeof(*slot));
    struct sizes sizes;
    struct rng rng;

    rng_seed(&rng, run_count(run, SEED), 0);
    sizes_init(&sizes, SIZES_LOG, (uint32_t)run_count(run, MIN_SIZE),
               (uint32_t)run_count(run, MAX_SIZE));
    run_begin(run, false);
    struct count count = count_begin(&run->tally[0]);
    for (uint64_t left = run_count(run, REPLACEMENTS); left > 0; left--) {
        struct slot *s = &slot[rng_below(&rng, slots)];
        if (s->object)
            give_counted(&count, s->object, s->size, verify, false);
        s->size = sizes_draw(&sizes, &rng);
        unsigned shift = mixed ? 4 + rng_below(&rng, most - 3) : most;
        s->object = take_aligned(&count, (size_t)1 << shift, s->size, verify);
    }
    count.ops = run_count(run, REPLACEMENTS);
    count_tell(&count);
    run_hold(run);
    for (uint32_t i = 0; i < slots; i++)
        if (slot[i].object)
            give(&run->tally[0], slot[i].object, slot[i].size, verify);
    run_end(run);
}

WORKLOAD(aligned) = {
    .name = "aligned",
    .summary = "random replacement of aligned objects",
    .source = "aligned_alloc of ISO C11 in the pattern of larson",
    .op = "free and aligned_alloc of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_aligned,
};
