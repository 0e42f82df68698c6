/*
 * crowd.c - many threads alive at once, each holding a little: memory per thread.
 *
 * Source: thread-per-connection servers, as in Dice and Garthwaite, "Mostly Lock-Free
 * Malloc", ISMM 2002, whose point is the cost of per-thread caches under many threads.
 *
 * Every thread takes `objects` objects of `size` bytes, frees and takes them again
 * `rounds` times, and then holds them, asleep. RSS is read while all hold.
 */
#include "harness.h"

enum { THREADS, OBJECTS, SIZE, ROUNDS, VERIFY };

static const struct option_spec options[] = {
    [THREADS] = OPTION_THREADS("1000"),
    [OBJECTS] = {"objects", OPTION_COUNT, false, "4", 1, 1e6, NULL, "held by a thread"},
    [SIZE] = {"size", OPTION_BYTES, false, "100", 1, 1 << 30, NULL, "of an object"},
    [ROUNDS] = {"rounds", OPTION_COUNT, false, "10", 1, 1e9, NULL,
                "times that a thread takes its objects"},
    [VERIFY] = OPTION_VERIFY("all"),
};

static const struct variant variants[] = {
    {"1k", "", "1000 threads of 4 objects of 100 bytes"},
    {"10k", "threads=10000", "10000 of them"},
};

struct hall {
    size_t objects, size;
    uint64_t rounds;
    enum verify verify;
    void **slot; /* objects per thread */
};

static void take_places(struct member *self)
{
    struct hall *hall = self->shared;
    void **slot = hall->slot + self->index * hall->objects;

    struct count count = count_begin(self->tally);

    for (uint64_t round = 0; round < hall->rounds; round++) {
        for (size_t i = 0; round && i < hall->objects; i++)
            give_counted(&count, slot[i], hall->size, hall->verify, false);
        for (size_t i = 0; i < hall->objects; i++)
            slot[i] = take_counted(&count, hall->size, hall->verify, false);
    }
    count.ops = hall->rounds * hall->objects;
    count_tell(&count);
}

static void leave_places(struct member *self)
{
    struct hall *hall = self->shared;
    void **slot = hall->slot + self->index * hall->objects;

    for (size_t i = 0; i < hall->objects; i++)
        give(self->tally, slot[i], hall->size, hall->verify);
}

static void run_crowd(struct run *run)
{
    struct hall hall = {.objects = run_count(run, OBJECTS),
                        .size = run_count(run, SIZE),
                        .rounds = run_count(run, ROUNDS),
                        .verify = (enum verify)run_count(run, VERIFY)};
    struct crew_plan plan = {.threads = (unsigned)run_count(run, THREADS),
                             .work = take_places,
                             .finish = leave_places,
                             .shared = &hall,
                             .stack_size = 64 << 10,
                             .hold = true};

    hall.slot = memory_map(plan.threads * hall.objects * sizeof(*hall.slot));
    crew_run(run, &plan);
}

WORKLOAD(crowd) = {
    .name = "crowd",
    .summary = "thousands of threads that each hold a few hundred bytes",
    .source = "after Dice & Garthwaite, ISMM 2002",
    .op = "malloc of one object, its free included",
    WORKLOAD_TABLES(options, variants),
    .run = run_crowd,
};
