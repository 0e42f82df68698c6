/*
 * zeroed.c - calloc: who zeroes, and does it know when the kernel already has?
 *
 * Source: calloc of ISO C11 7.22.3.2, in the replacement pattern of larson.
 *
 * One thread replaces random slots of a live set. Objects are written to before they are
 * freed (small ones fully, large ones one word to the page), so that memory comes back
 * dirty; the first and last word of every new object is checked, sampled ones wholly.
 */
#include "harness.h"
#include "sizes.h"

enum { SLOTS, REPLACEMENTS, MIN_SIZE, MAX_SIZE, SEED, VERIFY };

static const struct option_spec options[] = {
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
    {"small", "", "16 B to 1 KiB, 10000 live"},
    {"large", "min-size=64K max-size=1M slots=100 replacements=20000",
     "64 KiB to 1 MiB, 100 live"},
};

enum { DIRTY = 0xa5, FULLY = 1024, PAGE = 4096 };

struct slot {
    unsigned char *object;
    uint32_t size;
};

static bool is_zero(struct count *count, const unsigned char *object, size_t size,
                    enum verify verify)
{
    if (verify == VERIFY_ALL || ++count->turn % PAYLOAD_EVERY == 0)
        return payload_is_filled(object, 0, size, 0);
    return payload_is_filled(object, 0, 8, 0) &&
           payload_is_filled(object, size - 8, size, 0);
}

static void dirty(unsigned char *object, size_t size)
{
    if (size <= FULLY)
        memset(object, DIRTY, size);
    else
        for (size_t at = 0; at < size; at += PAGE)
            object[at] = DIRTY;
    object[size - 1] = DIRTY;
}

static void run_zeroed(struct run *run)
{
    uint32_t slots = (uint32_t)run_count(run, SLOTS);
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
        free(s->object);
        count.live -= (int64_t)s->size;
        s->size = sizes_draw(&sizes, &rng);
        if (!(s->object = calloc(1, s->size)))
            out_of_memory("calloc", s->size);
        count.live += (int64_t)s->size;
        if (verify != VERIFY_NONE)
            tally_check(count.tally, is_zero(&count, s->object, s->size, verify));
        dirty(s->object, s->size);
    }
    count.ops = run_count(run, REPLACEMENTS);
    count_tell(&count);
    run_mark(run);
    for (uint32_t i = 0; i < slots; i++) {
        free(slot[i].object);
        tally_live(&run->tally[0], -(int64_t)slot[i].size);
    }
    run_end(run);
}

WORKLOAD(zeroed) = {
    .name = "zeroed",
    .summary = "random replacement of zeroed objects (calloc)",
    .source = "calloc of ISO C11 in the pattern of larson",
    .op = "free and calloc of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_zeroed,
};
