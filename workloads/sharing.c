/*
 * sharing.c - false sharing: does the allocator put two threads on one cache line?
 *
 * Source: cache-thrash (active) and cache-scratch (passive) of Berger et al., ASPLOS 2000.
 *
 * Each thread takes a small object, writes to it `writes` times, frees it, and again. A
 * cache line that serves two threads at once makes every write a miss.
 *   active    the allocator itself hands out parts of one line to several threads
 *   passive   one thread took neighbouring objects and gave one to each thread, which
 *             frees it first: an allocator that reuses it there keeps the line shared
 */
#include "harness.h"

enum { THREADS, KIND, OBJECTS, WRITES, SIZE };

static const struct option_spec options[] = {
    [THREADS] = OPTION_THREADS("2"),
    [KIND] = {"kind", OPTION_CHOICE, false, "active", 0, 0, "active passive",
              "passive: start by freeing an object that neighbours the other threads'"},
    [OBJECTS] = {"objects", OPTION_COUNT, true, "10000000", 1, 1e12, NULL,
                 "taken by each thread, one after the other"},
    [WRITES] = {"writes", OPTION_COUNT, false, "50", 1, 1e9, NULL, "to each object"},
    [SIZE] = {"size", OPTION_BYTES, false, "8", 8, 1 << 20, NULL, "of an object"},
};

static const struct variant variants[] = {
    {"active", "", "8-byte objects taken by the threads themselves"},
    {"passive", "kind=passive",
     "the same, after freeing neighbours that came from one thread"},
};

struct room {
    uint64_t objects, writes;
    size_t size;
    uint64_t **given; /* passive: one per thread, taken by the main thread */
};

/* The count must be there at the end: an object shared in earnest would lose some. */
static void scribble(struct tally *tally, volatile uint64_t *object, uint64_t writes)
{
    *object = 0;
    for (uint64_t i = 0; i < writes; i++)
        *object = *object + 1;
    tally_check(tally, *object == writes);
}

static void write_objects(struct member *self)
{
    struct room *room = self->shared;
    struct count count = count_begin(self->tally);

    if (room->given)
        give(self->tally, room->given[self->index], room->size, VERIFY_NONE);
    for (uint64_t done = 0; done < room->objects; done += count.ops) {
        uint64_t left = room->objects - done;
        count_tell(&count);
        for (; count.ops < COUNT_EVERY && count.ops < left; count.ops++) {
            uint64_t *object = take_counted(&count, room->size, VERIFY_NONE, false);
            scribble(self->tally, object, room->writes);
            give_counted(&count, object, room->size, VERIFY_NONE, false);
        }
    }
    count_tell(&count);
}

static void run_sharing(struct run *run)
{
    struct room room = {.objects = run_count(run, OBJECTS),
                        .writes = run_count(run, WRITES),
                        .size = run_count(run, SIZE)};
    struct crew_plan plan = {.threads = (unsigned)run_count(run, THREADS),
                             .work = write_objects,
                             .shared = &room};

    if (run_count(run, KIND) == 1) {
        room.given = memory_map(plan.threads * sizeof(*room.given));
        run_prepare(run, plan.threads, false);
        for (unsigned i = 0; i < plan.threads; i++)
            room.given[i] = take(&run->tally[i], room.size, VERIFY_NONE);
    }
    crew_run(run, &plan);
}

WORKLOAD(sharing) = {
    .name = "sharing",
    .summary = "false sharing of cache lines between threads, active and passive",
    .source = "cache-thrash and cache-scratch of Berger et al., ASPLOS 2000",
    .op = "malloc, writes and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_sharing,
};
