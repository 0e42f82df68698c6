/*
 * large.c - large objects: mapped, kept, or given back at every free?
 *
 * Source: the buffers of servers and image programs; `blocks` has the shape of
 * mimalloc-bench's malloc-large.
 *
 * Each thread toggles random slots: an empty one gets an object of random size, of which
 * one word in every page is written, as a program that uses its buffer would; a filled
 * one is freed. Half of the slots are filled on average. Page faults are most of the
 * cost, and what an allocator keeps to avoid them is in its RSS.
 */
#include "harness.h"
#include "sizes.h"

enum { THREADS, SLOTS, TOGGLES, SIZES, MIN_SIZE, MAX_SIZE, SEED, VERIFY };

static const struct option_spec options[] = {
    [THREADS] = OPTION_THREADS("1"),
    [SLOTS] = {"slots", OPTION_COUNT, false, "32", 1, 1e6, NULL, "of each thread"},
    [TOGGLES] = {"toggles", OPTION_COUNT, true, "20000", 1, 1e12, NULL,
                 "objects taken or freed by each thread"},
    [SIZES] = {"sizes", OPTION_CHOICE, false, "log", 0, 0, SIZES_CHOICES, SIZES_HELP},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "64K", 8, 1 << 30, NULL,
                  "smallest object"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "8M", 8, 1 << 30, NULL,
                  "largest object"},
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("all"),
};

static const struct variant variants[] = {
    {"churn", "", "64 KiB to 8 MiB, log-uniform, 16 live on average"},
    {"blocks", "slots=100 sizes=uniform min-size=5M max-size=25M toggles=500",
     "0 to 100 live blocks of 5 to 25 MiB"},
};

enum { PAGE = 4096 };

struct slot {
    unsigned char *object;
    uint32_t size;
};

struct yard {
    uint32_t slots;
    uint64_t toggles;
    enum verify verify;
    struct sizes sizes;
    struct slot *slot; /* slots per thread */
};

/* The address of each page, in the page: overlapping objects would overwrite it. */
static void write_pages(struct slot *s)
{
    for (size_t at = 0; at + sizeof(uintptr_t) <= s->size; at += PAGE) {
        uintptr_t mark = (uintptr_t)(s->object + at);
        memcpy(s->object + at, &mark, sizeof(mark));
    }
}

static bool check_pages(const struct slot *s)
{
    for (size_t at = 0; at + sizeof(uintptr_t) <= s->size; at += PAGE) {
        uintptr_t mark;
        memcpy(&mark, s->object + at, sizeof(mark));
        if (mark != (uintptr_t)(s->object + at))
            return false;
    }
    return true;
}

static void empty_slot(struct tally *tally, struct slot *s, enum verify verify)
{
    if (verify != VERIFY_NONE)
        tally_check(tally, check_pages(s));
    tally_live(tally, -(int64_t)s->size);
    free(s->object);
    s->object = NULL;
}

static void toggle(struct member *self)
{
    struct yard *yard = self->shared;
    struct slot *slot = yard->slot + (size_t)self->index * yard->slots;

    for (uint64_t i = 0; i < yard->toggles; i++) {
        struct slot *s = &slot[rng_below(&self->rng, yard->slots)];
        if (s->object) {
            empty_slot(self->tally, s, yard->verify);
        } else {
            s->size = sizes_draw(&yard->sizes, &self->rng);
            s->object = malloc(s->size);
            if (!s->object)
                out_of_memory("malloc", s->size);
            tally_live(self->tally, s->size);
            write_pages(s);
        }
        tally_ops(self->tally, 1);
    }
    for (uint32_t i = 0; i < yard->slots; i++)
        if (slot[i].object)
            empty_slot(self->tally, &slot[i], yard->verify);
}

static void run_large(struct run *run)
{
    struct yard yard = {.slots = (uint32_t)run_count(run, SLOTS),
                        .toggles = run_count(run, TOGGLES),
                        .verify = (enum verify)run_count(run, VERIFY)};
    struct crew_plan plan = {.threads = (unsigned)run_count(run, THREADS),
                             .work = toggle,
                             .shared = &yard,
                             .seed = run_count(run, SEED)};

    sizes_init(&yard.sizes, (enum sizes_kind)run_count(run, SIZES),
               (uint32_t)run_count(run, MIN_SIZE), (uint32_t)run_count(run, MAX_SIZE));
    yard.slot = memory_map((size_t)plan.threads * yard.slots * sizeof(*yard.slot));
    crew_run(run, &plan);
}

WORKLOAD(large) = {
    .name = "large",
    .summary = "objects of 64 KiB to 25 MiB, every page used",
    .source = "after malloc-large of mimalloc-bench",
    .op = "malloc or free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_large,
};
