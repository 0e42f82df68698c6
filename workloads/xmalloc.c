/*
 * xmalloc.c - every object is freed by another thread than the one that took it.
 *
 * Source: C. Lever and D. Boreham, "malloc() Performance in a Multithreaded Linux
 * Environment", USENIX 2000, in the form of B. Kuszmaul's xmalloc-test (ISMM 2015).
 *
 * w producers fill batches of 4096 objects and push them on one shared stack that holds
 * at most 100 batches; w consumers pop batches and free their objects. The first
 * min(size, 128) bytes of an object are written, as in the source.
 *
 *   live <= (100 + 2 w) * 4096 * size, so that peak RSS means something
 *   order=fifo replaces the stack by a queue: memory comes back in the order it was taken
 *   sizes=mixed draws from 17 sizes between 8 and 2048 bytes with equal chance
 */
#include "handoff.h"
#include "harness.h"

#include <string.h>

enum { PAIRS, SECONDS, BATCHES, ROOM, SIZES, SIZE, ORDER, SEED, LATENCY, VERIFY };

enum { BATCH_OBJECTS = 4096, WRITTEN = 128 };

static const struct option_spec options[] = {
    [PAIRS] = {"pairs", OPTION_COUNT, false, "1", 1, 1024, NULL,
               "producers, and as many consumers"},
    [SECONDS] = OPTION_STOP_AFTER("0"),
    [BATCHES] = {"batches", OPTION_COUNT, 250, "5000", 1, 1e9, NULL,
                 "of 4096 objects by each producer, when seconds is 0"},
    [ROOM] = {"room", OPTION_COUNT, false, "100", 1, 1e6, NULL,
              "batches that the shared stack holds at most"},
    [SIZES] = {"sizes", OPTION_CHOICE, false, "one", 0, 0, "one mixed",
               "17 sizes from 8 to 2048 bytes when mixed"},
    [SIZE] = {"size", OPTION_BYTES, false, "64", 1, 1 << 30, NULL,
              "of an object when sizes is one"},
    [ORDER] = {"order", OPTION_CHOICE, false, "lifo", 0, 0, "lifo fifo",
               "which batch a consumer gets: the newest or the oldest"},
    [SEED] = OPTION_SEED("1"),
    [LATENCY] = OPTION_LATENCY,
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"64B", "", "64-byte objects, a stack of batches"},
    {"mixed", "sizes=mixed batches=1500", "17 sizes from 8 to 2048 bytes, a stack"},
    {"fifo", "order=fifo", "64-byte objects, a queue of batches"},
    {"mixed-fifo", "sizes=mixed batches=1500 order=fifo",
     "17 sizes, a queue of batches"},
    {"latency", "latency=on", "64B with sampled times of malloc and free"},
    {"stalls", "latency=all", "64B with the time of every malloc and free"},
};

static const uint16_t mixed_sizes[] = {8,   12,  16,  24,  32,  48,   64,   96,  128,
                                       192, 256, 384, 512, 768, 1024, 1536, 2048};
enum { MIXED_SIZES = sizeof(mixed_sizes) / sizeof(mixed_sizes[0]) };

struct batch {
    uint8_t which[BATCH_OBJECTS]; /* index into mixed_sizes; unused for one size */
    void *object[BATCH_OBJECTS];
};

struct exchange {
    struct handoff full, empty;
    unsigned pairs;
    uint64_t batches; /* per producer; UINT64_MAX when timed */
    uint32_t size;    /* 0: mixed */
    enum verify verify;
};

/*
 * As the source: write the head of the object. By pairs of words: of a memset of unknown
 * length gcc makes a `rep stos`, which took longer than all that an allocator does. The
 * first pair holds the payload's mark; a word that is left over stays as it is.
 */
typedef uint64_t pair __attribute__((vector_size(16), aligned(8), may_alias));

static inline void touch(void *object, size_t size, enum verify verify)
{
    volatile pair *place = object;
    size_t pairs = (size < WRITTEN ? size : WRITTEN) / sizeof(*place);

    if (verify != VERIFY_ALL)
        for (size_t i = 1; i < pairs; i++)
            place[i] = (pair){size, size};
}

static inline __attribute__((always_inline)) void fill_batch(struct member *self,
                                                             struct exchange *x,
                                                             struct batch *b,
                                                             bool mixed, bool timed)
{
    struct rng rng = self->rng;
    struct count count = count_begin(self->tally);
    enum verify verify = x->verify;
    uint32_t size = x->size;

    for (unsigned i = 0; i < BATCH_OBJECTS; i++) {
        if (mixed) {
            b->which[i] = (uint8_t)rng_below(&rng, MIXED_SIZES);
            size = mixed_sizes[b->which[i]];
        }
        b->object[i] = take_counted(&count, size, verify, timed);
        touch(b->object[i], size, verify);
    }
    count_tell(&count);
    self->rng = rng;
}

static inline __attribute__((always_inline)) void free_batch(struct member *self,
                                                             struct exchange *x,
                                                             struct batch *b,
                                                             bool mixed, bool timed)
{
    struct count count = count_begin(self->tally);
    enum verify verify = x->verify;
    uint32_t size = x->size;

    for (unsigned i = 0; i < BATCH_OBJECTS; i++) {
        if (mixed)
            size = mixed_sizes[b->which[i]];
        give_counted(&count, b->object[i], size, verify, timed);
    }
    count.remote = count.ops = BATCH_OBJECTS;
    count_tell(&count);
}

static void produce(struct member *self, struct exchange *x, bool timed)
{
    for (uint64_t i = 0; i < x->batches && !run_stopping(self->run); i++) {
        struct batch *b = handoff_take(&x->empty);
        if (x->size)
            fill_batch(self, x, b, false, timed);
        else
            fill_batch(self, x, b, true, timed);
        handoff_put(&x->full, b);
    }
    handoff_done(&x->full);
}

static void consume(struct member *self, struct exchange *x, bool timed)
{
    struct batch *b;

    while ((b = handoff_take(&x->full))) {
        if (x->size)
            free_batch(self, x, b, false, timed);
        else
            free_batch(self, x, b, true, timed);
        handoff_put(&x->empty, b);
    }
}

static void exchange_batches(struct member *self)
{
    struct exchange *x = self->shared;
    bool timed = self->run->result->has_latency;

    if (self->index < x->pairs)
        produce(self, x, timed);
    else
        consume(self, x, timed);
}

static void run_xmalloc(struct run *run)
{
    bool timed = run_number(run, SECONDS) > 0, mixed = run_count(run, SIZES) == 1;
    struct exchange x = {.pairs = (unsigned)run_count(run, PAIRS),
                         .batches = timed ? UINT64_MAX : run_count(run, BATCHES),
                         .size = mixed ? 0 : (uint32_t)run_count(run, SIZE),
                         .verify = (enum verify)run_count(run, VERIFY)};
    size_t room = run_count(run, ROOM), count = room + 2 * (size_t)x.pairs;
    struct batch *batch = memory_map(count * sizeof(*batch));
    struct crew_plan plan = {.threads = 2 * x.pairs,
                             .work = exchange_batches,
                             .shared = &x,
                             .seconds = run_number(run, SECONDS),
                             .latency = run_latency(run, LATENCY),
                             .seed = run_count(run, SEED)};

    handoff_init(&x.full, room, run_count(run, ORDER) == 0, false, x.pairs);
    handoff_init(&x.empty, count, true, false, 1);
    for (size_t i = 0; i < count; i++)
        handoff_put(&x.empty, &batch[i]);
    run->result->has_remote = true;
    crew_run(run, &plan);
}

WORKLOAD(xmalloc) = {
    .name = "xmalloc",
    .summary =
        "batches from producers to consumers over a bounded stack: all frees remote",
    .source = "Lever & Boreham, USENIX 2000; Kuszmaul, ISMM 2015",
    .op = "malloc and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_xmalloc,
};
