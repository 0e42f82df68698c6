/*
 * larson.c - a server whose objects outlive the thread that made them.
 *
 * Source: P.-A. Larson and M. Krishnan, "Memory Allocation for Long-Running Server
 * Applications", ISMM 1998.
 *
 * Each chain owns `chunks` slots, filled before the clock starts. An operation frees the
 * object of a random slot and puts a new one of random size in its place. After
 * rounds * chunks operations the thread ends and a successor goes on with the same slots.
 *
 *   remote frees   after a succession every slot holds another thread's object, and a
 *                  random replacement finds chunks * (1 - e^-R) of them within R rounds:
 *                  a share of (1 - e^-R) / R, 1 % for R = 100.
 *   remote=P       asks for P % instead: no succession; the threads stand in a ring and
 *                  pass sets of slots on. A thread that gets a set replaces the objects
 *                  in it one by one, with chance P the next of its predecessor's, else
 *                  one it has put there itself, and passes the set on when all are its own.
 *                  (Handing sets over more often would not do: with random replacement
 *                  two threads never reach 50 %.) The share is counted, not assumed.
 *   classic        the paper's parameters and the generator of its common program, which
 *                  divides; timed, so that its RSS belongs to no fixed amount of work.
 *   cxx            as the common program, which is C++, would have it: new and sized delete.
 *   fixed          the same amount of work for every allocator, with a cheap generator.
 *
 * Unlike the common program, every thread is joined (by the keeper of its chain): stacks
 * that leak would be measured as the allocator's memory.
 */
#include "handoff.h"
#include "harness.h"

enum {
    THREADS,
    SECONDS,
    GENERATIONS,
    ROUNDS,
    CHUNKS,
    MIN_SIZE,
    MAX_SIZE,
    REMOTE,
    GENERATOR,
    SEED,
    LATENCY,
    VERIFY,
    CALLS
};

static const struct option_spec options[] = {
    [THREADS] = OPTION_THREADS("2"),
    [SECONDS] = OPTION_STOP_AFTER("0"),
    [GENERATIONS] = {"generations", OPTION_COUNT, 4, "50", 1, 1e9, NULL,
                     "threads that each chain goes through, when seconds is 0"},
    [ROUNDS] = {"rounds", OPTION_COUNT, false, "100", 1, 1e9, NULL,
                "a thread's operations, in multiples of chunks"},
    [CHUNKS] = {"chunks", OPTION_COUNT, false, "5000", 1, 1e8, NULL,
                "slots of a chain"},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "8", 1, 1 << 30, NULL,
                  "smallest object"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "1000", 1, 1 << 30, NULL,
                  "sizes stay below this"},
    [REMOTE] =
        {"remote", OPTION_COUNT, false, "0", 0, 100, NULL,
         "percent of frees by another thread than the maker; 0: by succession only"},
    [GENERATOR] = {"generator", OPTION_CHOICE, false, "fast", 0, 0, "fast paper",
                   "of random numbers; paper: Park-Miller with a shuffle, as in its "
                   "common program"},
    [SEED] = OPTION_SEED("4141"),
    [LATENCY] = OPTION_LATENCY,
    [VERIFY] = OPTION_VERIFY("sample"),
    [CALLS] = OPTION_CALLS,
};

static const struct variant variants[] = {
    {"classic", "seconds=5 generator=paper",
     "the paper's program: 8-1000 B, 5000 chunks, 100 rounds, seed 4141, 5 s"},
    {"fixed", "", "the same work for everyone: 50 generations, cheap random numbers"},
    {"remote50", "remote=50", "half of the frees are of another thread's objects"},
    {"remote90", "remote=90", "nine of ten frees are of another thread's objects"},
    {"cxx", "calls=new", "fixed, in C++: operator new and sized delete"},
    {"latency", "latency=on", "fixed, with sampled times of malloc and free"},
    {"stalls", "latency=all", "fixed, with the time of every malloc and free"},
};

struct slot {
    void *object;
    uint32_t size, maker;
};

/* The generator of the common larson program: Park-Miller, Bays-Durham shuffle. */
struct shuffle {
    uint32_t state, last, table[256];
};

struct pace {
    uint64_t ops; /* of one thread before it hands over, without remote */
    uint64_t
        hands; /* threads of a chain, or sets a thread works on; timed: UINT64_MAX */
    uint32_t remote; /* chance of a remote free, of 2^32 - 1 */
    uint32_t chunks, min, span;
    bool paper;
};

struct chain {
    struct pace pace;
    struct slot *slots; /* per member: chunks of them */
    struct shuffle *shuffle;
    struct handoff *sets; /* remote > 0, per member: sets waiting for it */
};

/* One thread's stretch of work. */
struct stretch {
    struct member *self;
    struct chain *chain;
    struct slot *slots;
    struct shuffle *shuffle;
    uint32_t maker;
    enum verify verify;
    enum calls calls;
};

/*
 * x * 16807 mod 2^31 - 1 for 0 < x < 2^31 - 1 (Park and Miller, CACM 1988). The modulus is
 * one less than a power of two, so the quotient is what is carried beyond it: each number
 * depends on the one before, and a division would make all allocators wait alike.
 */
static uint32_t park_miller(uint32_t x)
{
    const uint32_t modulus = 2147483647;
    uint64_t product = (uint64_t)x * 16807;
    uint32_t sum = (uint32_t)(product & modulus) + (uint32_t)(product >> 31);

    return sum < modulus ? sum : sum - modulus;
}

static void shuffle_seed(struct shuffle *s, uint32_t seed)
{
    s->state = seed % 2147483646 + 1;
    for (unsigned i = 0; i < 256; i++)
        s->table[i] = s->state = park_miller(s->state);
    s->last = s->table[0];
}

static inline uint32_t shuffle_below(struct shuffle *s, uint32_t n)
{
    unsigned at = s->last % 256;

    s->last = s->table[at];
    s->table[at] = s->state = park_miller(s->state);
    return (uint32_t)((uint64_t)s->last * n >> 31); /* last < 2^31 */
}

static inline __attribute__((always_inline)) void
replace_one(const struct stretch *st, struct count *c, struct slot *slot, uint32_t size,
            bool timed, enum calls calls)
{
    if (slot->maker != st->maker) {
        slot->maker = st->maker;
        c->remote++;
    }
    give_by(c, slot->object, slot->size, st->verify, timed, calls);
    slot->size = size;
    slot->object = take_by(c, size, st->verify, timed, calls);
    c->ops++;
}

/* Where the next replacement is, and of what size: one random number is enough for both. */
struct choice {
    uint32_t at, size;
};

static inline __attribute__((always_inline)) struct choice
choose(struct rng *rng, struct shuffle *s, const struct pace *pace, uint32_t slots,
       bool paper)
{
    struct choice choice;

    if (paper) {
        choice.at = shuffle_below(s, slots);
        choice.size = pace->min + shuffle_below(s, pace->span);
    } else {
        uint64_t bits = rng_next(rng);
        choice.at = (uint32_t)((bits >> 32) * slots >> 32);
        choice.size = pace->min + (uint32_t)((bits & UINT32_MAX) * pace->span >> 32);
    }
    return choice;
}

/* The loop. What it is told is constant at every call: each pays for itself only. */
static inline __attribute__((always_inline)) void
replace_random(const struct stretch *stretch, bool paper, bool timed, enum calls calls)
{
    struct stretch st = *stretch;
    const struct pace pace = st.chain->pace;
    struct rng rng = st.self->rng;
    struct count count = count_begin(st.self->tally);
    struct choice next = choose(&rng, st.shuffle, &pace, pace.chunks, paper);

    for (uint64_t left = pace.ops; left > 0 && !run_stopping(st.self->run);) {
        unsigned some = left < COUNT_EVERY ? (unsigned)left : COUNT_EVERY;
        left -= some;
        for (; some > 0; some--) {
            struct choice now = next;
            next = choose(&rng, st.shuffle, &pace, pace.chunks, paper);
            __builtin_prefetch(&st.slots[next.at], 1);
            replace_one(&st, &count, &st.slots[now.at], now.size, timed, calls);
        }
        count_tell(&count);
    }
    st.self->rng = rng;
}

/* The loop for remote > 0: slots[0 .. own) are this thread's, the rest its predecessor's. */
static inline __attribute__((always_inline)) void
replace_set(const struct stretch *stretch, bool paper, bool timed, enum calls calls)
{
    struct stretch st = *stretch;
    const struct pace pace = st.chain->pace;
    struct rng rng = st.self->rng;
    struct count count = count_begin(st.self->tally);

    for (uint32_t own = 0; own < pace.chunks && !run_stopping(st.self->run);) {
        bool remote = (uint32_t)rng_next(&rng) <= pace.remote || own == 0;
        struct choice next = choose(&rng, st.shuffle, &pace, remote ? 1 : own, paper);
        replace_one(&st, &count, &st.slots[remote ? own++ : next.at], next.size, timed,
                    calls);
        if (count.ops == COUNT_EVERY)
            count_tell(&count);
    }
    count_tell(&count);
    st.self->rng = rng;
}

static inline __attribute__((always_inline)) void work_by(const struct stretch *st,
                                                          enum calls calls)
{
    bool paper = st->chain->pace.paper, timed = st->self->run->result->has_latency;

    if (st->chain->pace.remote)
        timed ? replace_set(st, paper, true, calls)
              : replace_set(st, paper, false, calls);
    else if (timed)
        replace_random(st, paper, true, calls);
    else
        paper ? replace_random(st, true, false, calls)
              : replace_random(st, false, false, calls);
}

static void work_stretch(const struct stretch *st)
{
    st->calls == CALLS_NEW ? work_by(st, CALLS_NEW) : work_by(st, CALLS_MALLOC);
}

static void *successor(void *argument)
{
    work_stretch(argument);
    return NULL;
}

static void empty_slots(struct stretch *st)
{
    struct count count = count_begin(st->self->tally);

    for (uint32_t i = 0; i < st->chain->pace.chunks; i++)
        give_by(&count, st->slots[i].object, st->slots[i].size, st->verify, false,
                st->calls);
    count_tell(&count);
}

/* Keeper of one chain: waits for a thread to end, starts its successor. */
static void keep_chain(struct member *self)
{
    struct chain *chain = self->shared;
    struct stretch st = {.self = self,
                         .chain = chain,
                         .slots =
                             chain->slots + (size_t)self->index * chain->pace.chunks,
                         .shuffle = &chain->shuffle[self->index],
                         .verify = (enum verify)run_count(self->run, VERIFY),
                         .calls = (enum calls)run_count(self->run, CALLS)};

    for (uint64_t i = 0; i < chain->pace.hands && !run_stopping(self->run); i++) {
        pthread_t thread;
        st.maker = (uint32_t)i + 1; /* 0 filled the slots */
        thread_start(&thread, successor, &st, 0);
        thread_join(thread);
    }
    empty_slots(&st);
}

/* remote > 0: take sets from the predecessor in the ring, pass them to the successor. */
static void exchange_sets(struct member *self)
{
    struct chain *chain = self->shared;
    struct handoff *mine = &chain->sets[self->index];
    struct handoff *next = &chain->sets[(self->index + 1) % self->run->tallies];
    struct stretch st = {.self = self,
                         .chain = chain,
                         .shuffle = &chain->shuffle[self->index],
                         .maker = self->index + 1,
                         .verify = (enum verify)run_count(self->run, VERIFY),
                         .calls = (enum calls)run_count(self->run, CALLS)};

    for (uint64_t i = 0; i < chain->pace.hands && !run_stopping(self->run); i++) {
        if (!(st.slots = handoff_take(mine)))
            break; /* stopped: the predecessor was told first */
        work_stretch(&st);
        handoff_put(next, st.slots);
    }
    handoff_done(next);
    while ((st.slots = handoff_take(mine)))
        empty_slots(&st);
}

static struct pace plan_pace(const struct run *run)
{
    struct pace pace = {.chunks = (uint32_t)run_count(run, CHUNKS),
                        .min = (uint32_t)run_count(run, MIN_SIZE),
                        .paper = run_count(run, GENERATOR) == 1};
    double remote = run_number(run, REMOTE) / 100;
    uint64_t generations = run_count(run, GENERATIONS);

    pace.span = (uint32_t)run_count(run, MAX_SIZE) - pace.min;
    pace.span += pace.span == 0; /* min-size == max-size: one size */
    pace.ops = run_count(run, ROUNDS) * pace.chunks;
    pace.remote = (uint32_t)(remote * UINT32_MAX);
    pace.hands = generations;
    if (remote > 0) /* a set takes chunks / remote operations */
        pace.hands =
            (uint64_t)(run_number(run, ROUNDS) * (double)generations * remote) + 1;
    if (run_number(run, SECONDS) > 0)
        pace.hands = UINT64_MAX;
    return pace;
}

/* The main thread's part before the clock starts, in shuffled order as in the paper. */
static void fill_slots(struct run *run, struct chain *chain, struct tally *filler,
                       size_t slots)
{
    struct rng rng;
    enum verify verify = (enum verify)run_count(run, VERIFY);
    enum calls calls = (enum calls)run_count(run, CALLS);
    struct count count = count_begin(filler);

    rng_seed(&rng, run_count(run, SEED), UINT32_MAX);
    for (size_t i = 0; i < slots; i++) {
        struct slot *slot = &chain->slots[i];
        slot->size = chain->pace.min + rng_below(&rng, chain->pace.span);
        slot->object = take_by(&count, slot->size, verify, false, calls);
        uint32_t chunk = (uint32_t)(i % chain->pace.chunks);
        struct slot *other = slot - chunk + rng_below(&rng, chunk + 1);
        struct slot swap = *slot;
        *slot = *other;
        *other = swap;
    }
    count_tell(&count);
}

static void run_larson(struct run *run)
{
    unsigned threads = (unsigned)run_count(run, THREADS);
    bool remote = run_count(run, REMOTE) > 0;
    struct chain chain = {.pace = plan_pace(run)};
    size_t sets = remote ? 2 * (size_t)threads : threads;
    size_t slots = sets * chain.pace.chunks;
    struct crew_plan plan = {.threads = threads,
                             .work = remote ? exchange_sets : keep_chain,
                             .shared = &chain,
                             .seconds = run_number(run, SECONDS),
                             .latency = run_latency(run, LATENCY),
                             .constant_live = true,
                             .seed = run_count(run, SEED)};

    chain.slots = memory_map(slots * sizeof(*chain.slots));
    chain.shuffle = memory_map(threads * sizeof(*chain.shuffle));
    for (unsigned i = 0; i < threads; i++)
        shuffle_seed(&chain.shuffle[i], (uint32_t)run_count(run, SEED) + i);
    chain.sets = memory_map((remote ? threads : 0) * sizeof(*chain.sets));
    for (size_t i = 0; remote && i < threads; i++) {
        handoff_init(&chain.sets[i], sets, false, false, 1);
        for (size_t set = 2 * i; set < 2 * i + 2; set++)
            handoff_put(&chain.sets[i], chain.slots + set * chain.pace.chunks);
    }
    run_prepare(run, threads, plan.latency);
    fill_slots(run, &chain, &run->tally[0], slots);
    run->result->has_remote = true;
    crew_run(run, &plan);
}

WORKLOAD(larson) = {
    .name = "larson",
    .summary = "server: random replacement in slots that pass from thread to thread",
    .source = "Larson & Krishnan, ISMM 1998",
    .op = "free and malloc of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_larson,
};
