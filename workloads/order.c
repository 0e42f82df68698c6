/*
 * order.c - free in another order than taken: the last first, the first first, any.
 *
 * Source: the free orders that Wilson, Johnstone, Neely and Boles, "Dynamic Storage
 * Allocation: A Survey and Critical Review", IWMM 1995, show to decide fragmentation.
 *
 * One thread takes `objects` objects, frees them in the given order, and again. Taking is
 * always in sequence, so what one cycle's frees leave behind shapes the next cycle.
 */
#include "harness.h"
#include "sizes.h"

enum { ORDER, OBJECTS, CYCLES, MIN_SIZE, MAX_SIZE, SEED, VERIFY };

enum order { LIFO, FIFO, RANDOM };

static const struct option_spec options[] = {
    [ORDER] = {"order", OPTION_CHOICE, false, "lifo", 0, 0, "lifo fifo random",
               "of freeing, against that of taking"},
    [OBJECTS] = {"objects", OPTION_COUNT, false, "100000", 1, 1e8, NULL,
                 "taken before the first is freed"},
    [CYCLES] = {"cycles", OPTION_COUNT, true, "100", 1, 1e9, NULL,
                "of taking and freeing all"},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "16", 8, 1 << 30, NULL,
                  "smallest object"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "512", 8, 1 << 30, NULL,
                  "largest object"},
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"lifo", "", "the last taken is freed first"},
    {"fifo", "order=fifo", "the first taken is freed first"},
    {"random", "order=random cycles=50", "any"},
};

struct object {
    void *object;
    uint32_t size;
};

/* The order in which the objects are freed, once for all cycles. */
static void plan_order(uint32_t *turn, uint32_t count, enum order order,
                       struct rng *rng)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t other = order == RANDOM ? rng_below(rng, i + 1) : i;
        turn[i] = turn[other];
        turn[other] = order == LIFO ? count - 1 - i : i;
    }
}

static void run_order(struct run *run)
{
    uint32_t objects = (uint32_t)run_count(run, OBJECTS);
    enum verify verify = (enum verify)run_count(run, VERIFY);
    struct object *object = memory_map(objects * sizeof(*object));
    uint32_t *turn = memory_map(objects * sizeof(*turn));
    struct sizes sizes;
    struct rng rng;

    rng_seed(&rng, run_count(run, SEED), 0);
    plan_order(turn, objects, (enum order)run_count(run, ORDER), &rng);
    sizes_init(&sizes, SIZES_LOG, (uint32_t)run_count(run, MIN_SIZE),
               (uint32_t)run_count(run, MAX_SIZE));
    run_begin(run, false);
    struct count count = count_begin(&run->tally[0]);
    for (uint64_t cycle = 0; cycle < run_count(run, CYCLES); cycle++) {
        for (uint32_t i = 0; i < objects; i++) {
            uint32_t size = sizes_draw(&sizes, &rng);
            object[i] =
                (struct object){take_counted(&count, size, verify, false), size};
        }
        count_tell(&count);
        run_mark(run);
        for (uint32_t i = 0; i < objects; i++) {
            const struct object *o = &object[turn[i]];
            give_counted(&count, o->object, o->size, verify, false);
        }
        count.ops = objects;
        count_tell(&count);
    }
    run_end(run);
}

WORKLOAD(order) = {
    .name = "order",
    .summary = "freeing in reverse, in sequence, at random",
    .source = "after Wilson et al., IWMM 1995",
    .op = "malloc and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_order,
};
