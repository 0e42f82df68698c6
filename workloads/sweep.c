/*
 * sweep.c - one thread, one size: the price of malloc and free by size.
 *
 * Source: the micro-benchmarks that come with every allocator; `simple` of glibc's
 * bench-malloc-simple has the same two shapes.
 *
 * pair: take an object, write its first word, free it; the best case of every cache.
 * batch: take `batch` objects, then free them in the order taken; more than a cache
 * holds, so that its refill and overflow are part of the price. Only the first word is
 * written: a memset of 1 MiB would hide the allocator. Objects of 512 KiB and more come in
 * batches of 256 MiB.
 */
#include "harness.h"

enum { SHAPE, SIZE, PAIRS, BATCH, HELD, VERIFY, CALLS };

static const struct option_spec options[] = {
    [SHAPE] = {"shape", OPTION_CHOICE, false, "pair", 0, 0, "pair batch",
               "free at once, or after a batch"},
    [SIZE] = {"size", OPTION_BYTES, false, "64", 1, 1 << 30, NULL, "of an object"},
    [PAIRS] = {"pairs", OPTION_COUNT, true, "50000000", 1, 1e12, NULL,
               "objects taken and freed"},
    [BATCH] = {"batch", OPTION_COUNT, false, "1000", 1, 1e7, NULL,
               "objects taken before the first is freed"},
    [HELD] = {"held", OPTION_BYTES, false, "256M", 1, 1099511627776.0, NULL,
              "a batch is shorter where its objects are more than this"},
    [VERIFY] = OPTION_VERIFY("none"),
    [CALLS] = OPTION_CALLS,
};

static const struct variant variants[] = {
    {"pair", "", "malloc, write, free"},
    {"batch", "shape=batch",
     "1000 mallocs, of 256 MiB at most, then their frees in the same order"},
    {"cxx-pair", "calls=new", "pair, in C++: operator new and sized delete"},
    {"cxx-batch", "calls=new shape=batch", "batch, in C++"},
};

/* The loops. `calls` is a constant at every call. */
static inline __attribute__((always_inline)) void run_pairs(struct run *run,
                                                            size_t size, uint64_t pairs,
                                                            enum verify verify,
                                                            enum calls calls)
{
    struct count count = count_begin(&run->tally[0]);
    void *object = take_by(&count, size, verify, false, calls);

    count_tell(&count);
    run_mark(run);
    give_by(&count, object, size, verify, false, calls);
    for (count.ops = 1; count.ops < pairs; count.ops++) {
        object = take_by(&count, size, verify, false, calls);
        give_by(&count, object, size, verify, false, calls);
    }
    count_tell(&count);
}

static inline __attribute__((always_inline)) void
run_batches(struct run *run, void **slot, size_t size, uint64_t pairs, size_t batch,
            enum verify verify, enum calls calls)
{
    struct count count = count_begin(&run->tally[0]);

    for (uint64_t done = 0; done < pairs; done += batch) {
        size_t some = pairs - done < batch ? (size_t)(pairs - done) : batch;
        for (size_t i = 0; i < some; i++)
            slot[i] = take_by(&count, size, verify, false, calls);
        count_tell(&count);
        if (done == 0)
            run_mark(run);
        for (size_t i = 0; i < some; i++)
            give_by(&count, slot[i], size, verify, false, calls);
        count.ops = some;
        count_tell(&count);
    }
}

static inline __attribute__((always_inline)) void run_by(struct run *run,
                                                         enum calls calls)
{
    size_t size = run_count(run, SIZE), fit = run_count(run, HELD) / size;
    size_t batch = run_count(run, BATCH) < fit ? run_count(run, BATCH) : fit + !fit;
    enum verify verify = (enum verify)run_count(run, VERIFY);
    void **slot = memory_map(batch * sizeof(*slot));

    run_begin(run, false);
    if (run_count(run, SHAPE) == 0)
        run_pairs(run, size, run_count(run, PAIRS), verify, calls);
    else
        run_batches(run, slot, size, run_count(run, PAIRS), batch, verify, calls);
    run_end(run);
}

static void run_sweep(struct run *run)
{
    run_count(run, CALLS) == CALLS_NEW ? run_by(run, CALLS_NEW)
                                       : run_by(run, CALLS_MALLOC);
}

WORKLOAD(sweep) = {
    .name = "sweep",
    .summary = "one thread, one size: malloc and free in pairs or batches",
    .source = "after glibc's bench-malloc-simple",
    .op = "malloc and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_sweep,
};
