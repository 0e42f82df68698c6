/*
 * idle.c - a program that frees much and then does nothing: does memory go back?
 *
 * Source: the phases of long-running programs that motivate Maas et al., "Adaptive
 * Huge-Page Subrelease for Non-moving Memory Allocators", ISMM 2021.
 *
 * One thread takes small objects, `bytes` of them on average, frees all of them, `cycles`
 * times, and then makes no call at all for `settle` seconds: an allocator that gives
 * memory back only from within later calls shows its peak forever.
 */
#include "harness.h"
#include "sizes.h"

enum { BYTES, CYCLES, ORDER, MIN_SIZE, MAX_SIZE, SETTLE, SEED, VERIFY };

static const struct option_spec options[] = {
    [BYTES] = {"bytes", OPTION_BYTES, false, "1G", 4096, 1099511627776.0, NULL,
               "live at the peak"},
    [CYCLES] = {"cycles", OPTION_COUNT, false, "1", 1, 1e6, NULL, "up and down"},
    [ORDER] = {"order", OPTION_CHOICE, false, "fifo", 0, 0, "fifo random",
               "in which the objects are freed"},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "16", 8, 1 << 30, NULL,
                  "smallest object"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "512", 8, 1 << 30, NULL,
                  "largest object"},
    [SETTLE] = OPTION_SETTLE("5"),
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"1GiB", "", "1 GiB of small objects, freed in sequence, then 5 s of nothing"},
    {"random", "order=random", "the same, freed at random"},
    {"64MiB", "bytes=64M", "64 MiB, freed in sequence, then 5 s of nothing"},
    {"updown", "cycles=4 settle=0", "1 GiB up and down four times, no pause"},
};

struct object {
    void *object;
    uint32_t size;
};

static void shuffle(struct object *object, uint64_t count, struct rng *rng)
{
    for (uint64_t i = 1; i < count; i++) {
        uint64_t other = rng_below(rng, (uint32_t)i + 1);
        struct object swap = object[i];
        object[i] = object[other];
        object[other] = swap;
    }
}

static void run_idle(struct run *run)
{
    enum verify verify = (enum verify)run_count(run, VERIFY);
    struct sizes sizes;
    struct rng rng;

    rng_seed(&rng, run_count(run, SEED), 0);
    sizes_init(&sizes, SIZES_UNIFORM, (uint32_t)run_count(run, MIN_SIZE),
               (uint32_t)run_count(run, MAX_SIZE));
    uint64_t objects = (uint64_t)(run_number(run, BYTES) / sizes_mean(&sizes)) + 1;
    struct object *object = memory_map(objects * sizeof(*object));
    run_begin(run, false);
    struct count count = count_begin(&run->tally[0]);
    for (uint64_t cycle = 0; cycle < run_count(run, CYCLES); cycle++) {
        for (uint64_t i = 0; i < objects; i++) {
            uint32_t size = sizes_draw(&sizes, &rng);
            object[i] =
                (struct object){take_counted(&count, size, verify, false), size};
        }
        count_tell(&count);
        run_mark(run);
        if (run_count(run, ORDER) == 1)
            shuffle(object, objects, &rng);
        for (uint64_t i = 0; i < objects; i++)
            give_counted(&count, object[i].object, object[i].size, verify, false);
        count.ops = objects;
        count_tell(&count);
    }
    run_end(run);
    run_settle(run, run_number(run, SETTLE));
}

WORKLOAD(idle) = {
    .name = "idle",
    .summary = "free much, then make no call: memory given back while idle",
    .source = "after Maas et al., ISMM 2021",
    .op = "malloc and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_idle,
};
