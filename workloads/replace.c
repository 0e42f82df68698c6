/*
 * replace.c - a live set of middling to large objects, replaced one by one at random.
 *
 * Source: the caches and stores of servers, whose entries come and go in no order; the
 * replacement is that of Larson & Krishnan, ISMM 1998, with objects of many pages.
 *
 * `objects` objects of size/2 to 3 size/2 bytes are live, fewer where they would exceed
 * `bytes`. An operation frees a random one and takes a new one in its place, which is
 * written as a whole or at both ends. The clock runs while objects are replaced, not
 * while the set is filled or freed. A hole never fits its next object: where an allocator
 * puts it decides how many pages are faulted in again, and whether huge ones stay whole.
 */
#include "harness.h"
#include "sizes.h"

enum { OBJECTS, SIZE, BYTES, REPLACEMENTS, WRITE, SEED, VERIFY };

static const struct option_spec options[] = {
    [OBJECTS] = {"objects", OPTION_COUNT, false, "1000", 1, 1e8, NULL,
                 "live at a time, or as many as bytes allows"},
    [SIZE] = {"size", OPTION_BYTES, false, "64K", 16, 1 << 30, NULL,
              "of an object, on average: half of it to one and a half"},
    [BYTES] = {"bytes", OPTION_BYTES, false, "256M", 16, 1099511627776.0, NULL,
               "live at most, on average"},
    [REPLACEMENTS] = {"replacements", OPTION_COUNT, 100, "4000000", 1, 1e12, NULL,
                      "objects freed and taken"},
    [WRITE] = {"write", OPTION_CHOICE, false, "all", 0, 0, "all ends",
               "every byte of a new object, or its first word and its last byte"},
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"written", "", "each new object is written as a whole"},
    {"ends", "write=ends", "each new object is written at both ends"},
};

struct object {
    unsigned char *object;
    uint32_t size;
};

struct stock {
    struct count count;
    struct sizes sizes;
    struct rng rng;
    enum verify fill, verify;
};

static void take_one(struct stock *s, struct object *o)
{
    o->size = sizes_draw(&s->sizes, &s->rng);
    o->object = take_counted(&s->count, o->size, s->fill, false);
    if (s->fill != VERIFY_ALL)
        ((volatile unsigned char *)o->object)[o->size - 1] = 1;
}

static void run_replace(struct run *run)
{
    uint64_t size = run_count(run, SIZE), fit = run_count(run, BYTES) / size;
    uint64_t count =
        run_count(run, OBJECTS) < fit ? run_count(run, OBJECTS) : fit + !fit;
    struct object *object = memory_map(count * sizeof(*object));
    struct stock s = {.verify = (enum verify)run_count(run, VERIFY)};

    s.fill = run_count(run, WRITE) == 0 ? VERIFY_ALL : s.verify;
    rng_seed(&s.rng, run_count(run, SEED), 0);
    sizes_init(&s.sizes, SIZES_UNIFORM, (uint32_t)(size / 2),
               (uint32_t)(size + size / 2));
    run_begin(run, false);
    s.count = count_begin(&run->tally[0]);
    for (uint64_t i = 0; i < count; i++)
        take_one(&s, &object[i]);
    count_tell(&s.count);
    run_start_timing(run);
    for (uint64_t left = run_count(run, REPLACEMENTS); left > 0; left--) {
        struct object *o = &object[rng_below(&s.rng, (uint32_t)count)];
        give_counted(&s.count, o->object, o->size, s.verify, false);
        take_one(&s, o);
        if (++s.count.ops == COUNT_EVERY)
            count_tell(&s.count);
    }
    count_tell(&s.count);
    run_end(run);
    for (uint64_t i = 0; i < count; i++)
        give(&run->tally[0], object[i].object, object[i].size, s.verify);
}

WORKLOAD(replace) = {
    .name = "replace",
    .summary = "a live set of objects of 2 KiB to 6 MiB, replaced at random",
    .source = "the replacement of Larson & Krishnan, ISMM 1998, with large objects",
    .op = "free, malloc and writing of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_replace,
};
