/*
 * idle.c - a program that frees much and then does nothing: does memory go back?
 *
 * Source: the phases of long-running programs that motivate Maas et al., "Adaptive
 * Huge-Page Subrelease for Non-moving Memory Allocators", ISMM 2021.
 *
 * One thread takes small objects, `bytes` of them on average, frees all of them, `cycles`
 * times, and then makes no call at all for `settle` seconds: an allocator that gives
 * memory back only from within later calls shows its peak forever. With keep, one object
 * in so many of the last cycle survives until the end: what they pin down is not given back.
 */
#include "harness.h"
#include "sizes.h"

enum { BYTES, CYCLES, KEEP, ORDER, MIN_SIZE, MAX_SIZE, SETTLE, SEED, VERIFY };

static const struct option_spec options[] = {
    [BYTES] = {"bytes", OPTION_BYTES, false, "1G", 4096, 1099511627776.0, NULL,
               "live at the peak"},
    [CYCLES] = {"cycles", OPTION_COUNT, false, "1", 1, 1e6, NULL, "up and down"},
    [KEEP] = {"keep", OPTION_COUNT, false, "0", 0, 1e9, NULL,
              "one object in so many survives the idle time; 0: none"},
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
    {"survivors", "bytes=384000000 min-size=512 max-size=2K keep=20 settle=10",
     "300,000 objects of 0.5 to 2 KiB, every 20th stays, then 10 s of nothing"},
    {"aged", "bytes=128M max-size=2K order=random cycles=10 keep=20",
     "128 MiB up and down ten times, freed at random, every 20th stays, then 5 s of "
     "nothing"},
    {"updown", "cycles=4 settle=0", "1 GiB up and down four times, no pause"},
};

/* How many objects ahead the harness asks for its own record of one. */
enum { AHEAD = 16 };

struct object {
    void *object;
    uint32_t size;
};

/* The order of freeing, drawn before the clock starts: a shuffle misses at each step. */
static uint32_t *draw_order(uint64_t objects, bool random, struct rng *rng)
{
    uint32_t *turn = memory_map(objects * sizeof(*turn));

    for (uint64_t i = 0; i < objects; i++) {
        uint64_t other = random ? rng_below(rng, (uint32_t)i + 1) : i;
        turn[i] = turn[other];
        turn[other] = (uint32_t)i;
    }
    return turn;
}

struct stock {
    struct count count;
    struct sizes sizes;
    struct rng rng;
    enum verify verify;
    uint64_t objects;
    struct object *object;
    uint32_t *turn;
};

static void take_all(struct stock *s)
{
    for (uint64_t i = 0; i < s->objects; i++) {
        uint32_t size = sizes_draw(&s->sizes, &s->rng);
        void *object = take_counted(&s->count, size, s->verify, false);
        s->object[i] = (struct object){object, size};
    }
    count_tell(&s->count);
}

/* All but one in `keep`; all when it is 0. What was freed before is left out. */
static void free_others(struct stock *s, uint64_t keep)
{
    uint64_t until_kept = keep;

    for (uint64_t i = 0; i < s->objects; i++) {
        struct object *o = &s->object[s->turn[i]];
        if (i + AHEAD < s->objects)
            __builtin_prefetch(&s->object[s->turn[i + AHEAD]], 1);
        if (keep && --until_kept == 0) {
            until_kept = keep;
        } else if (o->object) {
            give_counted(&s->count, o->object, o->size, s->verify, false);
            o->object = NULL;
        }
    }
    count_tell(&s->count);
}

static void run_idle(struct run *run)
{
    struct stock s = {.verify = (enum verify)run_count(run, VERIFY)};
    uint64_t keep = run_count(run, KEEP);

    rng_seed(&s.rng, run_count(run, SEED), 0);
    sizes_init(&s.sizes, SIZES_UNIFORM, (uint32_t)run_count(run, MIN_SIZE),
               (uint32_t)run_count(run, MAX_SIZE));
    s.objects = (uint64_t)(run_number(run, BYTES) / sizes_mean(&s.sizes)) + 1;
    s.object = memory_map(s.objects * sizeof(*s.object));
    s.turn = draw_order(s.objects, run_count(run, ORDER) == 1, &s.rng);
    run_begin(run, false);
    s.count = count_begin(&run->tally[0]);
    for (uint64_t left = run_count(run, CYCLES); left > 0; left--) {
        take_all(&s);
        run_mark(run);
        free_others(&s, left == 1 ? keep : 0);
        tally_ops(&run->tally[0], s.objects);
    }
    run_end(run);
    run_settle(run, run_number(run, SETTLE));
    free_others(&s, 0);
}

WORKLOAD(idle) = {
    .name = "idle",
    .summary = "free much, then make no call: memory given back while idle",
    .source = "after Maas et al., ISMM 2021",
    .op = "malloc and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_idle,
};
