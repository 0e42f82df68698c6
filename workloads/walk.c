/*
 * walk.c - what placement and huge pages do to the program's own speed.
 *
 * Source: pointer chasing as in mcf and health of the Olden and SPEC suites; the ageing
 * is the random replacement of Larson & Krishnan, ISMM 1998.
 *
 * Small objects, `bytes` in all, are taken; `age` times as many are replaced at random by
 * others of random size; then all are linked into one ring in random order. Timed is only
 * what follows: `reads` steps along the ring, each of which reads an object's link and its
 * mark and cannot begin before the one before has ended. No call of the allocator is in it.
 */
#include "harness.h"
#include "sizes.h"

#include <string.h>

enum { BYTES, AGE, READS, MIN_SIZE, MAX_SIZE, SEED, VERIFY };

static const struct option_spec options[] = {
    [BYTES] = {"bytes", OPTION_BYTES, false, "256M", 4096, 1099511627776.0, NULL,
               "live, on average"},
    [AGE] = {"age", OPTION_COUNT, false, "1", 0, 1e6, NULL,
             "random replacements before the walk, in multiples of the objects"},
    [READS] = {"reads", OPTION_COUNT, 1000000, "10000000", 1, 1e12, NULL,
               "objects read"},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "32", 16, 65535, NULL,
                  "smallest object"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "256", 16, 65535, NULL,
                  "largest object"},
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"aged", "", "small objects, each replaced once on average, then read"},
    {"fresh", "age=0", "the same, read without any replacement"},
};

/* How an object begins once it is linked; before, it is filled as every payload. */
struct node {
    struct node *next;
    uint64_t mark;
};

/*
 * An object in one word, size << 48 | address, so that the harness's own memory stays
 * small beside what it measures, and its own cache misses few.
 */
static void *address_of(uint64_t word)
{
    return (void *)(uintptr_t)(word << 16 >> 16);
}

static size_t size_of(uint64_t word)
{
    return word >> 48;
}

struct heap {
    struct count count;
    struct sizes sizes;
    struct rng rng;
    enum verify verify;
    uint64_t objects;
    uint64_t *object;
};

static void take_one(struct heap *h, uint64_t at)
{
    uint32_t size = sizes_draw(&h->sizes, &h->rng);
    void *object = take_counted(&h->count, size, VERIFY_ALL, false);

    if ((uintptr_t)object >> 48)
        die(1, "walk: an address above 2^48 has no room for a size");
    h->object[at] = (uint64_t)size << 48 | (uintptr_t)object;
}

static void build(struct heap *h)
{
    for (uint64_t i = 0; i < h->objects; i++)
        take_one(h, i);
    count_tell(&h->count);
}

static void grow_old(struct heap *h, uint64_t replacements)
{
    while (replacements-- > 0) {
        uint64_t at = rng_below(&h->rng, (uint32_t)h->objects), old = h->object[at];
        give_counted(&h->count, address_of(old), size_of(old), h->verify, false);
        take_one(h, at);
    }
    count_tell(&h->count);
}

static void link_at_random(struct heap *h)
{
    for (uint64_t i = 1; i < h->objects; i++) {
        uint64_t other = rng_below(&h->rng, (uint32_t)i + 1), swap = h->object[i];
        h->object[i] = h->object[other];
        h->object[other] = swap;
    }
    for (uint64_t i = 0; i < h->objects; i++) {
        struct node *node = address_of(h->object[i]);
        node->mark = payload_mark(node, size_of(h->object[i]));
        node->next = address_of(h->object[i + 1 < h->objects ? i + 1 : 0]);
    }
}

/* The sum of the marks that `reads` steps must meet. */
static uint64_t sum_of_marks(const struct heap *h, uint64_t reads)
{
    uint64_t all = 0, part = 0;

    for (uint64_t i = 0; i < h->objects; i++) {
        uint64_t mark = payload_mark(address_of(h->object[i]), size_of(h->object[i]));
        all += mark;
        part += i < reads % h->objects ? mark : 0;
    }
    return reads / h->objects * all + part;
}

static uint64_t walk(const struct node *node, uint64_t reads)
{
    uint64_t sum = 0;

    for (; reads > 0; reads--, node = node->next)
        sum += node->mark;
    return sum;
}

static void check_and_free(struct heap *h, struct tally *tally)
{
    for (uint64_t i = 0; i < h->objects; i++) {
        struct node *node = address_of(h->object[i]);
        size_t size = size_of(h->object[i]);
        if (h->verify == VERIFY_ALL)
            tally_check(tally, node->mark == payload_mark(node, size));
        node->mark = 0; /* a second owner of this object is noticed */
        give(tally, node, size, VERIFY_NONE);
    }
}

static void run_walk(struct run *run)
{
    struct heap h = {.verify = (enum verify)run_count(run, VERIFY)};
    uint64_t reads = run_count(run, READS), sum;

    rng_seed(&h.rng, run_count(run, SEED), 0);
    sizes_init(&h.sizes, SIZES_UNIFORM, (uint32_t)run_count(run, MIN_SIZE),
               (uint32_t)run_count(run, MAX_SIZE));
    h.objects = (uint64_t)(run_number(run, BYTES) / sizes_mean(&h.sizes)) + 1;
    h.object = memory_map(h.objects * sizeof(*h.object));
    run_begin(run, false);
    h.count = count_begin(&run->tally[0]);
    build(&h);
    run_mark(run);
    grow_old(&h, run_count(run, AGE) * h.objects);
    link_at_random(&h);
    run_start_timing(run);
    sum = walk(address_of(h.object[0]), reads);
    tally_ops(&run->tally[0], reads);
    run_end(run);
    if (h.verify != VERIFY_NONE)
        tally_check(&run->tally[0], sum == sum_of_marks(&h, reads));
    check_and_free(&h, &run->tally[0]);
}

WORKLOAD(walk) = {
    .name = "walk",
    .summary = "a heap of small objects is built, aged, and read in random order",
    .source = "pointer chasing as in Olden and SPEC, over a heap aged as by larson",
    .op = "read of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_walk,
};
