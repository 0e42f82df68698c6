/*
 * harness.c - starting and watching threads, the clock, counting and sampling.
 *
 * Locking: crew.lock guards the counts of struct crew; everything else in a run is
 * written by the main thread, or by one thread and read after it was joined or parked.
 */
#include "harness.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned ready, busy; /* members at the gate; members still working */
    bool open, released;
    const struct crew_plan *plan;
};

enum { TICK_NS = 10000000, SETTLE_TICK_NS = 10 * TICK_NS };

void die(int status, const char *format, ...)
{
    char line[512];
    int length = snprintf(line, sizeof(line), "%s: ", program_invocation_short_name);
    va_list args;

    va_start(args, format);
    length += vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, args);
    va_end(args);
    if (length > (int)sizeof(line) - 2)
        length = sizeof(line) - 2;
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        status = 1;
    _exit(status);
}

void out_of_memory(const char *call, size_t size)
{
    die(3, "out of memory: %s of %zu bytes failed: %s", call, size,
        strerrorname_np(errno));
}

void thread_start(pthread_t *thread, void *(*body)(void *), void *argument,
                  size_t stack_size)
{
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    if (stack_size)
        pthread_attr_setstacksize(&attr, stack_size);
    int failed = pthread_create(thread, &attr, body, argument);
    pthread_attr_destroy(&attr);
    if (failed)
        die(3, "cannot start a thread: %s", strerrorname_np(failed));
}

void thread_join(pthread_t thread)
{
    int failed = pthread_join(thread, NULL);

    if (failed)
        die(1, "cannot join a thread: %s", strerrorname_np(failed));
}

static int64_t live_bytes(const struct run *run)
{
    int64_t live = 0;

    for (unsigned i = 0; i < run->tallies; i++)
        live += atomic_load_explicit(&run->tally[i].live, memory_order_relaxed);
    return live;
}

static double seconds_since(const struct run *run, uint64_t now)
{
    return (double)(now - run->began_ns) / 1e9;
}

/* Keep every second sample and sample half as often: the record covers any length. */
static void thin_samples(struct run *run)
{
    struct workload_result *result = run->result;

    for (size_t i = 0; i < WORKLOAD_SAMPLES / 2; i++)
        result->samples[i] = result->samples[2 * i];
    result->sample_count = WORKLOAD_SAMPLES / 2;
    run->sample_every_ns *= 2;
}

static void add_sample(struct run *run, uint64_t rss)
{
    struct workload_result *result = run->result;
    int64_t live = live_bytes(run);

    if (live > result->live_peak)
        result->live_peak = live;
    if (result->sample_count == WORKLOAD_SAMPLES)
        thin_samples(run);
    result->samples[result->sample_count++] =
        (struct memory_sample){seconds_since(run, clock_ns()), live, rss};
}

void run_mark(struct run *run)
{
    add_sample(run, memory_rss_quick());
}

/* Every tick of a watched crew: live bytes always, RSS when a sample is due. */
static void tick(struct run *run)
{
    uint64_t now = clock_ns();

    if (now >= run->next_sample_ns) {
        run_mark(run);
        run->next_sample_ns = now + run->sample_every_ns;
        return;
    }
    int64_t live = live_bytes(run);
    if (live > run->result->live_peak)
        run->result->live_peak = live;
}

void run_hold(struct run *run)
{
    run->result->has_held = true;
    run->result->held_live = live_bytes(run);
    run->result->held_rss = memory_rss();
    add_sample(run, run->result->held_rss);
}

void run_prepare(struct run *run, unsigned threads, unsigned latency)
{
    run->tally = memory_map(threads * sizeof(struct tally));
    run->tallies = threads;
    run->result->has_latency = latency > 0;
    for (unsigned i = 0; latency && i < threads; i++) {
        run->tally[i].malloc_latency = memory_map(2 * sizeof(struct latency));
        run->tally[i].free_latency = run->tally[i].malloc_latency + 1;
        run->tally[i].every = latency;
    }
    run->result->harness_bytes = memory_mapped();
    run->result->base_rss = memory_rss();
}

static void start_clock(struct run *run)
{
    struct rusage usage;

    run->sample_every_ns = TICK_NS;
    getrusage(RUSAGE_SELF, &usage);
    run->minor_faults = (uint64_t)usage.ru_minflt;
    run->major_faults = (uint64_t)usage.ru_majflt;
    run->began_ns = run->timed_ns = clock_ns();
    run_mark(run);
}

void run_start_timing(struct run *run)
{
    run_mark(run);
    run->timed_ns = clock_ns();
}

void run_begin(struct run *run, unsigned latency)
{
    run_prepare(run, 1, latency);
    start_clock(run);
}

/*
 * Bytes per second over the second half of the work: before it, caches still fill. The
 * end, when live bytes fall, is left out.
 */
static void fit_slope(struct workload_result *result)
{
    size_t first = result->sample_count / 2, last = result->sample_count;
    double at = 0, rss = 0, square = 0, product = 0;

    while (last > first && result->samples[last - 1].live < result->live_peak * 4 / 5)
        last--;
    if (last - first < 5 ||
        result->samples[last - 1].at - result->samples[first].at < 0.25)
        return; /* too short to tell growth from noise */
    for (size_t i = first; i < last; i++) {
        at += result->samples[i].at / (double)(last - first);
        rss += (double)result->samples[i].rss / (double)(last - first);
    }
    for (size_t i = first; i < last; i++) {
        double dt = result->samples[i].at - at;
        square += dt * dt;
        product += dt * ((double)result->samples[i].rss - rss);
    }
    result->has_slope = square > 0;
    result->rss_slope = square > 0 ? round(product / square) + 0.0 : 0; /* no -0 */
}

void run_end(struct run *run)
{
    struct workload_result *result = run->result;
    struct rusage usage;

    result->seconds = (double)(clock_ns() - run->timed_ns) / 1e9;
    getrusage(RUSAGE_SELF, &usage);
    result->minor_faults = (uint64_t)usage.ru_minflt - run->minor_faults;
    result->major_faults = (uint64_t)usage.ru_majflt - run->major_faults;
    run_mark(run);
    result->peak_rss = memory_peak_rss();
    result->huge_rss = memory_huge();
    for (unsigned i = 0; i < run->tallies; i++) {
        const struct tally *t = &run->tally[i];
        result->ops += atomic_load_explicit(&t->ops, memory_order_relaxed);
        result->remote_frees += t->remote;
        if (result->has_latency) {
            latency_merge(&result->malloc_latency, t->malloc_latency);
            latency_merge(&result->free_latency, t->free_latency);
        }
    }
}

const double settle_moment[SETTLE_MOMENTS] = {0.1, 1, 5, 10, 60};

void run_settle(struct run *run, double seconds)
{
    struct workload_result *result = run->result;
    uint64_t from = clock_ns();

    if (seconds <= 0)
        return;
    result->has_settled = true;
    result->settled_live = live_bytes(run);
    run->sample_every_ns = SETTLE_TICK_NS;
    for (int i = 0; i < SETTLE_MOMENTS && settle_moment[i] <= seconds + 1e-9; i++) {
        while (clock_ns() - from < (uint64_t)(settle_moment[i] * 1e9)) {
            usleep(10000);
            tick(run);
        }
        result->settled_rss[i] = memory_rss();
        result->settled_for = settle_moment[i];
        add_sample(run, result->settled_rss[i]);
    }
}

static void *member_main(void *argument)
{
    struct member *self = argument;
    struct crew *crew = self->run->crew;

    pthread_mutex_lock(&crew->lock);
    crew->ready++;
    pthread_cond_broadcast(&crew->changed);
    while (!crew->open)
        pthread_cond_wait(&crew->changed, &crew->lock);
    pthread_mutex_unlock(&crew->lock);

    crew->plan->work(self);

    pthread_mutex_lock(&crew->lock);
    if (--crew->busy == 0)
        pthread_cond_broadcast(&crew->changed);
    while (!crew->released)
        pthread_cond_wait(&crew->changed, &crew->lock);
    pthread_mutex_unlock(&crew->lock);
    if (crew->plan->finish)
        crew->plan->finish(self);
    return NULL;
}

/* Sample until no member is busy; called and returns with the lock held. */
static void watch_locked(struct run *run, struct crew *crew)
{
    uint64_t length = (uint64_t)(crew->plan->seconds * 1e9);

    while (crew->busy) {
        uint64_t now = clock_ns(), until = now + TICK_NS;
        if (length && until > run->began_ns + length && now < run->began_ns + length)
            until = run->began_ns + length;
        struct timespec wake = {(time_t)(until / 1000000000),
                                (long)(until % 1000000000)};
        pthread_cond_timedwait(&crew->changed, &crew->lock, &wake);
        if (length && clock_ns() >= run->began_ns + length)
            atomic_store_explicit(&run->stop, true, memory_order_relaxed);
        if (crew->busy)
            tick(run);
    }
}

static void crew_init(struct crew *crew, const struct crew_plan *plan)
{
    pthread_condattr_t attr;

    memset(crew, 0, sizeof(*crew));
    crew->plan = plan;
    crew->busy = plan->threads;
    pthread_mutex_init(&crew->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&crew->changed, &attr);
    pthread_condattr_destroy(&attr);
}

/* The threads, all waiting at the gate. */
static struct member *start_members(struct run *run, struct crew *crew)
{
    const struct crew_plan *plan = crew->plan;
    struct member *member = memory_map(plan->threads * sizeof(*member));
    bool prepared = run->tally;

    if (!prepared)
        run_prepare(run, plan->threads, plan->latency);
    for (unsigned i = 0; i < plan->threads; i++) {
        member[i] = (struct member){
            .run = run, .index = i, .tally = &run->tally[i], .shared = plan->shared};
        rng_seed(&member[i].rng, plan->seed, i);
        thread_start(&member[i].thread, member_main, &member[i], plan->stack_size);
    }
    pthread_mutex_lock(&crew->lock);
    while (crew->ready < plan->threads)
        pthread_cond_wait(&crew->changed, &crew->lock);
    pthread_mutex_unlock(&crew->lock);
    if (!prepared)
        run->result->base_rss = memory_rss(); /* stacks are not the allocator's */
    return member;
}

void crew_run(struct run *run, const struct crew_plan *plan)
{
    struct crew crew;

    crew_init(&crew, plan);
    run->crew = &crew;
    struct member *member = start_members(run, &crew);
    start_clock(run);
    pthread_mutex_lock(&crew.lock);
    crew.open = true;
    pthread_cond_broadcast(&crew.changed);
    watch_locked(run, &crew);
    run_end(run);
    pthread_mutex_unlock(&crew.lock);
    if (plan->constant_live)
        fit_slope(run->result);
    if (plan->hold)
        run_hold(run);
    run_settle(run, plan->settle);

    pthread_mutex_lock(&crew.lock);
    crew.released = true;
    pthread_cond_broadcast(&crew.changed);
    pthread_mutex_unlock(&crew.lock);
    for (unsigned i = 0; i < plan->threads; i++)
        thread_join(member[i].thread);
    pthread_cond_destroy(&crew.changed);
    pthread_mutex_destroy(&crew.lock);
}

void workload_run(const struct workload *w, const struct settings *set,
                  struct workload_result *result)
{
    struct run run = {.workload = w, .settings = set, .result = result};

    memset(result, 0, sizeof(*result));
    w->run(&run);
    for (unsigned i = 0; i < run.tallies; i++) {
        result->checked += run.tally[i].checked;
        result->errors += run.tally[i].errors;
    }
    result->live_end = live_bytes(&run);
    result->end_rss = memory_rss();
}

bool workload_verified(const struct workload_result *result)
{
    return result->errors == 0 && result->live_end == 0;
}
