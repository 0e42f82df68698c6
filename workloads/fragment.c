/*
 * fragment.c - memory that is free but of no use: three ways to get there.
 *
 * Source: Robson's bound as told by Wilson et al., IWMM 1995 (swiss); phases and mixed
 * lifetimes as in Johnstone and Wilson, "The Memory Fragmentation Problem: Solved?",
 * ISMM 1998.
 *
 *   swiss      small objects up to `bytes`; all are freed but every `keep`th; then large
 *              ones take up the bytes freed. Holes inside pages cannot serve them.
 *   phase      a live set of `bytes`, replaced at random by the objects of the next size,
 *              for 8 sizes: what belonged to one size must come to serve another.
 *   lifetimes  one object in `keep` lives to the end, the others die after `window`
 *              further mallocs; `bytes` are taken of the long-lived. At the end all
 *              short-lived ones are freed.
 *
 * "held" is RSS against the live bytes at that moment, before everything is freed.
 */
#include "harness.h"
#include "sizes.h"

enum { SHAPE, BYTES, KEEP, WINDOW, MIN_SIZE, MAX_SIZE, SEED, VERIFY };

enum { AHEAD = 8 };

enum { FIRST_PHASE = 48, PHASES = 8 };

enum shape { SWISS, PHASE, LIFETIMES };

static const struct option_spec options[] = {
    [SHAPE] = {"shape", OPTION_CHOICE, false, "swiss", 0, 0, "swiss phase lifetimes",
               "how the holes come about"},
    [BYTES] = {"bytes", OPTION_BYTES, false, "256M", 1 << 20, 1099511627776.0, NULL,
               "live at the peak; of long-lived objects with lifetimes"},
    [KEEP] = {"keep", OPTION_COUNT, false, "10", 2, 1e6, NULL,
              "one object in so many stays"},
    [WINDOW] = {"window", OPTION_COUNT, false, "10000", 1, 1e8, NULL,
                "short-lived objects alive at a time, with lifetimes"},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "16", 8, 1 << 30, NULL,
                  "smallest of the small objects"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "256", 8, 1 << 30, NULL,
                  "largest of the small objects"},
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"swiss", "", "256 MiB of small objects, nine of ten freed, then large ones"},
    {"phase", "shape=phase",
     "256 MiB live, replaced through 8 sizes from 48 B to 6 KiB"},
    {"lifetimes", "shape=lifetimes",
     "256 MiB of long-lived objects among nine times as many short-lived"},
};

struct object {
    void *object;
    uint32_t size;
};

/* A set of objects, in no order once one was put out. */
struct set {
    struct object *object;
    uint64_t count, bytes;
};

struct pieces {
    struct run *run;
    struct count count;
    enum verify verify;
    uint64_t bytes, keep;
    size_t window;
    struct rng rng;
    uint32_t draw[AHEAD], turn; /* which objects go next, of 2^32 */
    struct sizes small;
    struct set set;
    uint64_t room; /* of set.object */
};

static void put_in(struct pieces *p, uint32_t size)
{
    if (p->set.count == p->room)
        die(1, "fragment: more objects than expected: the harness's array is full");
    struct object fresh = {take_counted(&p->count, size, p->verify, false), size};
    payload_touch(fresh.object, size, p->verify);
    p->set.object[p->set.count++] = fresh;
    p->set.bytes += size;
}

static void free_one(struct pieces *p, struct object o)
{
    give_counted(&p->count, o.object, o.size, p->verify, false);
    p->set.bytes -= o.size;
    p->count.ops++;
}

static void mark(struct pieces *p)
{
    count_tell(&p->count);
    run_mark(p->run);
}

static void put_out_at_random(struct pieces *p)
{
    uint32_t *draw = &p->draw[p->turn++ % AHEAD];
    uint64_t at = *draw * p->set.count >> 32;
    struct object old = p->set.object[at];

    /* a later one's record is asked for now, or it would be waited for as long as malloc */
    *draw = (uint32_t)rng_next(&p->rng);
    __builtin_prefetch(&p->set.object[*draw * p->set.count >> 32], 1);
    p->set.object[at] = p->set.object[--p->set.count];
    free_one(p, old);
}

/* One in `keep`, counted down: a division would take longer than malloc. */
static bool stays(const struct pieces *p, uint64_t *left)
{
    if (--*left)
        return false;
    *left = p->keep;
    return true;
}

static void shape_swiss(struct pieces *p)
{
    uint64_t kept = 0, until_kept = 1;
    struct sizes large;

    while (p->set.bytes < p->bytes)
        put_in(p, sizes_draw(&p->small, &p->rng));
    mark(p);
    for (uint64_t i = 0; i < p->set.count; i++) {
        if (stays(p, &until_kept))
            p->set.object[kept++] = p->set.object[i];
        else
            free_one(p, p->set.object[i]);
    }
    p->set.count = kept;
    mark(p);
    sizes_init(&large, SIZES_LOG, 32 << 10, 256 << 10);
    while (p->set.bytes < p->bytes)
        put_in(p, sizes_draw(&large, &p->rng));
}

static void shape_phase(struct pieces *p)
{
    for (uint32_t phase = 0, size = FIRST_PHASE; phase < PHASES; phase++, size *= 2) {
        uint64_t old = p->set.count;
        while (p->set.bytes < p->bytes)
            put_in(p, size);
        /* as many frees as there were objects: most go, some stay, scattered */
        for (uint64_t i = 0; i < old; i++) {
            if (p->set.count)
                put_out_at_random(p);
            while (p->set.bytes < p->bytes)
                put_in(p, size);
        }
        mark(p);
    }
}

static void shape_lifetimes(struct pieces *p)
{
    struct object *ring = memory_map(p->window * sizeof(*ring)), *old = ring;
    uint64_t until_kept = 1;

    while (p->set.bytes < p->bytes) {
        uint32_t size = sizes_draw(&p->small, &p->rng);
        if (stays(p, &until_kept)) {
            put_in(p, size);
            continue;
        }
        if (old->object)
            give_counted(&p->count, old->object, old->size, p->verify, false);
        *old = (struct object){take_counted(&p->count, size, p->verify, false), size};
        p->count.ops++;
        if (++old == ring + p->window)
            old = ring;
    }
    mark(p);
    for (size_t i = 0; i < p->window; i++)
        if (ring[i].object)
            give_counted(&p->count, ring[i].object, ring[i].size, p->verify, false);
}

static void run_fragment(struct run *run)
{
    static void (*const shape[])(struct pieces *) = {shape_swiss, shape_phase,
                                                     shape_lifetimes};
    struct pieces p = {.run = run,
                       .verify = (enum verify)run_count(run, VERIFY),
                       .bytes = run_count(run, BYTES),
                       .keep = run_count(run, KEEP),
                       .window = run_count(run, WINDOW)};

    rng_seed(&p.rng, run_count(run, SEED), 0);
    sizes_init(&p.small, SIZES_LOG, (uint32_t)run_count(run, MIN_SIZE),
               (uint32_t)run_count(run, MAX_SIZE));
    double least = run_count(run, SHAPE) == PHASE ? FIRST_PHASE : sizes_mean(&p.small);
    p.room = (uint64_t)(1.1 * (double)p.bytes / least) + 10000;
    p.set.object = memory_map(p.room * sizeof(struct object));
    run_begin(run, false);
    p.count = count_begin(&run->tally[0]);
    shape[run_count(run, SHAPE)](&p);
    count_tell(&p.count);
    run_hold(run);
    for (uint64_t i = 0; i < p.set.count; i++)
        free_one(&p, p.set.object[i]);
    count_tell(&p.count);
    run_end(run);
}

WORKLOAD(fragment) = {
    .name = "fragment",
    .summary =
        "holes that cannot be used: swiss cheese, changing sizes, mixed lifetimes",
    .source = "Wilson et al., IWMM 1995; Johnstone & Wilson, ISMM 1998",
    .op = "malloc and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_fragment,
};
