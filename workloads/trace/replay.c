/*
 * replay.c - the threads of a replay.
 *
 * What protects what: a slot belongs to the thread whose step is on it, and passes on by
 * `turn` (release by the publisher, acquire by the waiter). A lane's fields are written
 * by its running thread, except `wanted`, by which others ask to be woken.
 */
#include "replay.h"
#include "tool.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLEEPER 0x80000000u /* in slot.turn: somebody sleeps on it */

enum { SPINS = 200, TOUCH_STRIDE = 64 };

struct slot {
    char *p;
    _Atomic uint32_t turn;
};

struct lane {
    _Alignas(128) _Atomic uint64_t progress; /* ticket of the chunk it is in */
    _Atomic uint64_t wanted;                 /* somebody sleeps until this progress */
    _Atomic uint32_t beat;                   /* what they sleep on */
    uint64_t limit; /* may start chunks up to this ticket without looking around */
    uint64_t failed, corrupt;
    pthread_t thread; /* the one running, or the last that ran; not the main thread */
    bool is_joinable;
};

struct runner { /* one for each recorded thread */
    struct replay *replay;
    uint32_t thread;
};

struct replay {
    const struct plan *plan;
    struct slot *slots;
    struct lane *lanes;
    struct runner *runners;
    bool touch;
    _Atomic uint32_t go;
    _Atomic uint32_t running; /* lanes */
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- the order of an object's steps ---- */

static bool has_turn(struct slot *s, uint32_t turn)
{
    return (atomic_load_explicit(&s->turn, memory_order_acquire) & ~SLEEPER) >= turn;
}

static void wait_turn(struct slot *s, uint32_t turn)
{
    for (int i = 0; i < SPINS; i++) {
        if (has_turn(s, turn))
            return;
        relax();
    }
    while (!has_turn(s, turn)) {
        uint32_t seen = atomic_load(&s->turn);

        if ((seen & ~SLEEPER) >= turn)
            return;
        if (seen & SLEEPER ||
            atomic_compare_exchange_strong(&s->turn, &seen, seen | SLEEPER))
            futex_wait(&s->turn, seen | SLEEPER);
    }
}

static void publish(struct slot *s)
{
    uint32_t turn = atomic_load_explicit(&s->turn, memory_order_relaxed) & ~SLEEPER;

    if (atomic_exchange(&s->turn, turn + 1) & SLEEPER)
        futex_wake(&s->turn);
}

/* ---- the distance between lanes ---- */

static void set_progress(struct lane *l, uint64_t ticket)
{
    /* Both seq_cst, as in ask_progress: one of the two sees the other's store. */
    atomic_store(&l->progress, ticket);
    if (ticket < atomic_load(&l->wanted))
        return;
    atomic_store(&l->wanted, UINT64_MAX);
    atomic_fetch_add(&l->beat, 1);
    futex_wake(&l->beat);
}

static void ask_progress(struct lane *l, uint64_t ticket)
{
    uint32_t beat;
    uint64_t wanted;

    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&l->progress, memory_order_acquire) >= ticket)
            return;
        relax();
    }
    beat = atomic_load(&l->beat);
    wanted = atomic_load(&l->wanted);
    while (wanted > ticket &&
           !atomic_compare_exchange_weak(&l->wanted, &wanted, ticket))
        ;
    if (atomic_load(&l->progress) < ticket)
        futex_wait(&l->beat, beat);
}

static struct lane *slowest_lane(struct replay *r)
{
    struct lane *slowest = &r->lanes[0];

    for (uint32_t i = 1; i < r->plan->lane_count; i++)
        if (atomic_load_explicit(&r->lanes[i].progress, memory_order_relaxed) <
            atomic_load_explicit(&slowest->progress, memory_order_relaxed))
            slowest = &r->lanes[i];
    return slowest;
}

static void start_chunk(struct replay *r, struct lane *l, uint64_t ticket)
{
    set_progress(l, ticket);
    while (ticket > l->limit) {
        struct lane *slowest = slowest_lane(r);
        uint64_t progress = atomic_load(&slowest->progress);

        if (ticket <= progress + PLAN_WINDOW)
            l->limit = progress + PLAN_WINDOW;
        else
            ask_progress(slowest, ticket - PLAN_WINDOW / 2);
    }
}

/* ---- steps ---- */

static char tag_of(uint32_t slot)
{
    return (char)((slot * 0x9e3779b1u >> 24) | 1);
}

/* Write each cache line; with `zero`, first see that it holds nothing. */
static void touch_object(struct lane *l, char *p, uint64_t size, char tag, bool zero)
{
    bool was_zero = true;

    for (uint64_t i = 0; i < size; i += TOUCH_STRIDE) {
        was_zero &= !zero || p[i] == 0;
        p[i] = tag;
    }
    if (size) {
        was_zero &= !zero || size % TOUCH_STRIDE == 1 || p[size - 1] == 0;
        p[size - 1] = tag;
    }
    l->corrupt += !was_zero;
}

static void check_object(struct lane *l, const char *p, uint64_t size, char tag)
{
    if (size && (p[0] != tag || p[size - 1] != tag))
        l->corrupt++;
}

static char *take_object(const struct step *s, char *old)
{
    void *p = NULL;
    size_t size = s->size;

    switch (s->kind) {
    case TRACE_CALLOC:
        return calloc(1, size);
    case TRACE_ALIGNED:
        if (posix_memalign(&p, s->align > 3 ? (size_t)1 << s->align : sizeof(void *),
                           size))
            return NULL;
        return p;
    case TRACE_FRESH:
        return realloc(NULL, size);
    case TRACE_REALLOC:
        /* Size 0 is asked for only where it was recorded to give an object. */
        return realloc(old, size ? size : 1);
    default:
        return malloc(size);
    }
}

static void run_step(struct replay *r, struct lane *l, const struct step *s)
{
    struct slot *slot = &r->slots[s->slot];
    char *p, tag = tag_of(s->slot);

    if (s->waits)
        wait_turn(slot, s->turn);
    if (s->kind == TRACE_FREE) {
        if (r->touch && slot->p)
            check_object(l, slot->p, s->size, tag);
        free(slot->p);
        slot->p = NULL;
        return;
    }
    p = take_object(s, slot->p);
    if (p) {
        if (r->touch && s->kind == TRACE_REALLOC && slot->p && s->size && !s->was_empty)
            l->corrupt += p[0] != tag;
        if (r->touch)
            touch_object(l, p, s->size, tag, s->kind == TRACE_CALLOC);
        if (s->kind == TRACE_ALIGNED)
            l->corrupt += ((uintptr_t)p & (((uintptr_t)1 << s->align) - 1)) != 0;
        slot->p = p;
    } else {
        l->failed++;
        free(slot->p); /* the steps to come believe in its new size */
        slot->p = NULL;
    }
    if (s->publishes)
        publish(slot);
}

static void run_steps(struct replay *r, uint32_t thread)
{
    const struct plan_thread *th = &r->plan->threads[thread];
    struct lane *l = &r->lanes[th->lane];

    for (uint64_t i = 0; i < th->chunk_count; i++) {
        const struct step *s = &th->steps[th->chunks[i].first];
        const struct step *end = s + th->chunks[i].steps;

        start_chunk(r, l, th->chunks[i].ticket);
        for (; s < end; s++)
            run_step(r, l, s);
    }
}

/* ---- threads ---- */

static void *run_thread(void *argument);

static void start_thread(struct replay *r, uint32_t thread)
{
    pthread_t handle;
    int error = pthread_create(&handle, NULL, run_thread, &r->runners[thread]);

    if (error)
        die(EXIT_TROUBLE, "cannot start a thread: %s", strerror(error));
}

/* Hand the lane to its next thread, or end it. */
static void end_thread(struct replay *r, uint32_t thread)
{
    struct lane *l = &r->lanes[r->plan->threads[thread].lane];
    uint32_t successor = r->plan->threads[thread].successor;

    if (successor != NO_THREAD) {
        start_thread(r, successor);
        return;
    }
    set_progress(l, UINT64_MAX - PLAN_WINDOW);
    if (atomic_fetch_sub(&r->running, 1) == 1)
        futex_wake(&r->running);
}

static void *run_thread(void *argument)
{
    const struct runner *runner = argument;
    struct replay *r = runner->replay;
    struct lane *l = &r->lanes[r->plan->threads[runner->thread].lane];

    while (!atomic_load(&r->go))
        futex_wait(&r->go, 0);
    if (l->is_joinable)
        pthread_join(l->thread, NULL); /* its exit belongs before this one's start */
    l->is_joinable = true;
    l->thread = pthread_self();
    run_steps(r, runner->thread);
    end_thread(r, runner->thread);
    return NULL;
}

/* ---- a pass ---- */

/* A number of kB after `key` in a file of /proc, in bytes. */
static uint64_t proc_bytes(const char *path, const char *key)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    const char *at;

    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = 0;
    at = strstr(text, key);
    if (!at)
        die(EXIT_TROUBLE, "no %s in %s: memory cannot be measured here", key, path);
    return strtoull(at + strlen(key), NULL, 10) * 1024;
}

/* Exact, from the page tables; the counters of /proc/self/status lag. */
static uint64_t present_rss(void)
{
    return proc_bytes("/proc/self/smaps_rollup", "\nRss:");
}

/* Peak RSS starts again at the present RSS. */
static void reset_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "5", 1) != 1)
        complain(
            "peak RSS includes the preparation: cannot write /proc/self/clear_refs");
    if (fd >= 0)
        close(fd);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t minor_faults(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_minflt;
}

struct replay *replay_make(const struct plan *p, bool touch)
{
    struct replay *r = space_take(sizeof(*r));

    r->plan = p;
    r->touch = touch;
    r->slots = space_take(p->slots * sizeof(*r->slots));
    r->lanes = space_take(p->lane_count * sizeof(*r->lanes));
    r->runners = space_take(p->thread_count * sizeof(*r->runners));
    for (uint32_t i = 0; i < p->thread_count; i++)
        r->runners[i] = (struct runner){r, i};
    return r;
}

static void prepare_pass(struct replay *r)
{
    memset(r->slots, 0, r->plan->slots * sizeof(*r->slots)); /* and make it resident */
    for (uint32_t i = 0; i < r->plan->lane_count; i++) {
        struct lane *l = &r->lanes[i];

        *l = (struct lane){0};
        atomic_store(&l->progress, r->plan->threads[r->plan->lanes[i]].first);
        atomic_store(&l->wanted, UINT64_MAX);
    }
    atomic_store(&r->go, 0);
    atomic_store(&r->running, r->plan->lane_count);
}

/* The recorded program's first thread is replayed by the main thread, as it was. */
static void run_lanes(struct replay *r, struct replay_result *result)
{
    const struct plan *p = r->plan;
    uint32_t left;

    for (uint32_t i = 1; i < p->lane_count; i++)
        start_thread(r, p->lanes[i]);
    result->began = now();
    atomic_store(&r->go, 1);
    futex_wake(&r->go);
    run_steps(r, p->lanes[0]);
    end_thread(r, p->lanes[0]);
    while ((left = atomic_load(&r->running)) != 0)
        futex_wait(&r->running, left);
    result->seconds = now() - result->began;
}

const double settle_moment[SETTLE_MOMENTS] = {0.1, 1, 5, 10, 60};

/* What the program left live stays live; the recorded threads have ended. */
static void settle(double seconds, struct replay_result *result)
{
    double from = now();

    for (int i = 0; i < SETTLE_MOMENTS && settle_moment[i] <= seconds; i++) {
        while (now() - from < settle_moment[i])
            usleep(10000);
        result->settled_rss[i] = present_rss();
        result->settled = i + 1;
    }
}

void replay_run(struct replay *r, double settle_for, struct replay_result *result)
{
    *result = (struct replay_result){0};
    if (r->plan->lane_count == 0)
        return;
    prepare_pass(r);
    reset_peak();
    result->base_rss = present_rss();
    result->faults = minor_faults();
    run_lanes(r, result);
    result->faults = minor_faults() - result->faults;
    result->end_rss = present_rss();
    result->peak_rss = proc_bytes("/proc/self/status", "VmHWM:");
    if (result->peak_rss < result->end_rss)
        result->peak_rss = result->end_rss;
    for (uint32_t i = 0; i < r->plan->lane_count; i++) {
        struct lane *l = &r->lanes[i];

        if (l->is_joinable)
            pthread_join(l->thread, NULL);
        result->failed += l->failed;
        result->corrupt += l->corrupt;
    }
    settle(settle_for, result);
    for (uint32_t i = 0; i < r->plan->slots; i++)
        free(r->slots[i].p);
}
