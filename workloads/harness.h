/*
 * harness.h - what every workload shares: threads, the clock, counting and sampling.
 *
 * The harness stays out of the way. Each thread counts in a tally of its own, on cache
 * lines of its own, with plain stores; the main thread, idle while a crew works, adds
 * the tallies up and reads RSS every 10 ms. A workload of one thread runs on the main
 * thread without any other: allocators that skip their locks in a process of one thread
 * must be seen doing so.
 */
#ifndef HARNESS_H
#define HARNESS_H

#ifdef WORKLOAD_NULL_HEAP
#include "null_heap.h"
#define WORKLOAD(name) const struct workload null_workload_##name
#else
#define WORKLOAD(name) const struct workload workload_##name
#endif

#include "memory.h"
#include "payload.h"
#include "rng.h"
#include "workload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/*
 * What C++ calls for an object: operator new(size_t) and operator delete(void *, size_t).
 * Weak: a C program has them only from its allocator; workload_consistent asks.
 */
#ifdef WORKLOAD_NULL_HEAP
#define operator_new(size)            null_malloc(size)
#define operator_delete(object, size) null_free(object)
#else
void *operator_new(size_t size) __asm__("_Znwm") __attribute__((weak));
void operator_delete(void *object, size_t size) __asm__("_ZdlPvm")
    __attribute__((weak));
#endif

enum calls { CALLS_MALLOC, CALLS_NEW };

/* The options that several workloads share, so that they mean the same everywhere. */
#define OPTION_THREADS(text)                                                  \
    {                                                                         \
        .name = "threads", .kind = OPTION_COUNT, .initial = (text), .min = 1, \
        .max = 20000, .help = "threads"                                       \
    }
#define OPTION_STOP_AFTER(text)                                                     \
    {                                                                               \
        .name = "seconds", .kind = OPTION_SECONDS, .initial = (text), .max = 86400, \
        .work = 1, .help = "run this long; 0: until the fixed work is done"         \
    }
#define OPTION_VERIFY(text)                                         \
    {                                                               \
        .name = "verify", .kind = OPTION_CHOICE, .initial = (text), \
        .choices = VERIFY_CHOICES, .help = VERIFY_HELP              \
    }
#define OPTION_CALLS                                                      \
    {                                                                     \
        .name = "calls", .kind = OPTION_CHOICE, .initial = "malloc",      \
        .choices = "malloc new",                                          \
        .help = "malloc and free, or C++'s operator new and sized delete" \
    }
#define OPTION_SEED(text)                                                             \
    {                                                                                 \
        .name = "seed", .kind = OPTION_COUNT, .initial = (text), .max = 4294967295.0, \
        .help = "start of the random numbers"                                         \
    }
#define OPTION_SETTLE(text)                                                          \
    {                                                                                \
        .name = "settle", .kind = OPTION_SECONDS, .initial = (text), .max = 60,      \
        .help =                                                                      \
            "then stay this long without a call and read RSS at 0.1, 1, 5, 10, 60 s" \
    }
#define OPTION_LATENCY                                                   \
    {                                                                    \
        .name = "latency", .kind = OPTION_CHOICE, .initial = "off",      \
        .choices = "off on all",                                         \
        .help = "on: time 1 call in 61, for percentiles; all: every one" \
    }
#define WORKLOAD_TABLES(option_table, variant_table)                  \
    .options = (option_table),                                        \
    .option_count = sizeof(option_table) / sizeof((option_table)[0]), \
    .variants = (variant_table),                                      \
    .variant_count = sizeof(variant_table) / sizeof((variant_table)[0])

enum { LATENCY_EVERY = 61 }; /* prime: no period of a batch or a magazine divides it */

/*
 * One thread's counters. ops and live are read by the main thread while the owner
 * writes: relaxed atomics, which compile to plain loads and stores. live may be
 * negative: a consumer frees what others took.
 */
struct tally {
    _Alignas(128) _Atomic uint64_t ops;
    _Atomic int64_t live;
    uint64_t checked, errors, remote;
    uint32_t turn, wait; /* position in the cycle of checks, of timings */
    uint32_t every;      /* one call in so many is timed */
    struct latency *malloc_latency, *free_latency; /* NULL: not measured */
};

struct run {
    const struct workload *workload;
    const struct settings *settings;
    struct workload_result *result;
    struct tally *tally;
    unsigned tallies;
    uint64_t began_ns, timed_ns; /* of the samples; of the operations */
    uint64_t sample_every_ns, next_sample_ns;
    uint64_t minor_faults, major_faults;
    atomic_bool stop;
    struct crew *crew;
};

struct member {
    struct run *run;
    unsigned index;
    struct tally *tally;
    void *shared;
    struct rng rng;
    pthread_t thread;
};

struct crew_plan {
    unsigned threads;
    void (*work)(struct member *self);
    void (*finish)(struct member *self); /* after holding and settling; may be NULL */
    void *shared;
    size_t stack_size; /* 0: the system's */
    double seconds;    /* then run_stopping() turns true; 0: never */
    double settle;     /* threads kept idle this long after the work; 0: none */
    unsigned latency;  /* time one call in so many; 0: none */
    bool hold; /* note live bytes and RSS when the work is done, before finish */
    bool constant_live; /* while it works: fit the slope of RSS */
    uint64_t seed;
};

/*
 * Start the threads, let all begin together, watch until the last has returned, keep
 * them parked while settling, join them. The clock runs from the common start to the
 * last return; the result's times, memory and slope are filled in.
 */
void crew_run(struct run *run, const struct crew_plan *plan);

/*
 * Tallies, one per thread, and the base RSS: after the harness's arrays are mapped,
 * before the first object. Only for a workload that takes objects before crew_run, which
 * otherwise does it, with its threads started and waiting.
 */
void run_prepare(struct run *run, unsigned threads, unsigned latency);

/* The same steps for a workload of one thread, which is the main thread. */
void run_begin(struct run *run, unsigned latency); /* prepare, start the clock */
void run_mark(struct run *run);                    /* live bytes and RSS, now */
void run_hold(struct run *run);                    /* the result's held_* figures */
void run_start_timing(struct run *run);            /* what came before was not timed */
void run_end(struct run *run);                     /* stop the clock */
void run_settle(struct run *run, double seconds);  /* after run_end */

static inline bool run_stopping(struct run *run)
{
    return __builtin_expect(atomic_load_explicit(&run->stop, memory_order_relaxed), 0);
}

static inline uint64_t run_count(const struct run *run, unsigned option)
{
    return (uint64_t)run->settings->value[option];
}

/* Of OPTION_LATENCY: one call in so many is timed, 0 for none. */
static inline unsigned run_latency(const struct run *run, unsigned option)
{
    static const unsigned every[] = {0, LATENCY_EVERY, 1};

    return every[run_count(run, option)];
}

static inline double run_number(const struct run *run, unsigned option)
{
    return run->settings->value[option];
}

/* One line on standard error, then _exit: callable from any thread, allocates nothing. */
_Noreturn void die(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));
_Noreturn void out_of_memory(const char *call, size_t size) __attribute__((cold));

/* A joinable thread; a failure ends the process like an allocation failure. */
void thread_start(pthread_t *thread, void *(*body)(void *), void *argument,
                  size_t stack_size);
void thread_join(pthread_t thread);

static inline void tally_ops(struct tally *t, uint64_t n)
{
    uint64_t ops = atomic_load_explicit(&t->ops, memory_order_relaxed);

    atomic_store_explicit(&t->ops, ops + n, memory_order_relaxed);
}

static inline void tally_live(struct tally *t, int64_t bytes)
{
    int64_t live = atomic_load_explicit(&t->live, memory_order_relaxed);

    atomic_store_explicit(&t->live, live + bytes, memory_order_relaxed);
}

/*
 * What a thread has done since it last told its tally. A hot loop keeps one in registers:
 * its counting must not cost as much as the calls it counts. Told every COUNT_EVERY
 * operations or sooner, so the main thread's samples lag by no more than that.
 */
struct count {
    struct tally *tally;
    int64_t live;
    uint64_t ops, remote;
    uint32_t turn; /* position in the cycle of checks */
};

enum { COUNT_EVERY = 256 };

static inline struct count count_begin(struct tally *t)
{
    return (struct count){.tally = t, .turn = t->turn};
}

static inline void count_tell(struct count *c)
{
    struct tally *t = c->tally;

    tally_live(t, c->live);
    tally_ops(t, c->ops);
    t->remote += c->remote;
    t->turn = c->turn;
    c->live = 0;
    c->ops = c->remote = 0;
}

/* Note the verdict on one object's payload. */
static inline void tally_check(struct tally *t, bool good)
{
    t->checked++;
    t->errors += !good;
}

/* True when this call is one of those to time. */
static inline bool is_timed(struct tally *t, bool timed)
{
    if (!timed || ++t->wait < t->every)
        return false;
    t->wait = 0;
    return true;
}

/* An object, counted, written to. `calls` and `timed` are constants where the loop is hot. */
static inline __attribute__((always_inline)) void *
take_by(struct count *c, size_t size, enum verify verify, bool timed, enum calls calls)
{
    bool timing = is_timed(c->tally, timed);
    uint64_t start = timing ? ticks_now() : 0;
    void *object = calls == CALLS_NEW ? operator_new(size) : malloc(size);

    if (timing)
        latency_add(c->tally->malloc_latency, ticks_now() - start);
    if (__builtin_expect(!object, 0))
        out_of_memory("malloc", size);
    c->live += (int64_t)size;
    payload_write(object, size, verify);
    return object;
}

static inline __attribute__((always_inline)) void *
take_counted(struct count *c, size_t size, enum verify verify, bool timed)
{
    return take_by(c, size, verify, timed, CALLS_MALLOC);
}

/* Check the payload if it is this object's turn. */
static inline __attribute__((always_inline)) void
inspect(struct count *c, void *object, size_t size, enum verify verify)
{
    if (__builtin_expect(verify == VERIFY_ALL || (verify == VERIFY_SAMPLE &&
                                                  ++c->turn % PAYLOAD_EVERY == 0),
                         0))
        tally_check(c->tally, payload_check(object, size, verify));
}

static inline __attribute__((always_inline)) void give_by(struct count *c, void *object,
                                                          size_t size,
                                                          enum verify verify,
                                                          bool timed, enum calls calls)
{
    inspect(c, object, size, verify);
    c->live -= (int64_t)size;

    bool timing = is_timed(c->tally, timed);
    uint64_t start = timing ? ticks_now() : 0;

    if (calls == CALLS_NEW)
        operator_delete(object, size);
    else
        free(object);
    if (timing)
        latency_add(c->tally->free_latency, ticks_now() - start);
}

static inline __attribute__((always_inline)) void
give_counted(struct count *c, void *object, size_t size, enum verify verify, bool timed)
{
    give_by(c, object, size, verify, timed, CALLS_MALLOC);
}

/* The same for one object, told at once. */
static inline void *take(struct tally *t, size_t size, enum verify verify)
{
    struct count c = count_begin(t);
    void *object = take_counted(&c, size, verify, false);

    count_tell(&c);
    return object;
}

static inline void give(struct tally *t, void *object, size_t size, enum verify verify)
{
    struct count c = count_begin(t);

    give_counted(&c, object, size, verify, false);
    count_tell(&c);
}

#endif
