/*
 * latency.h - how long single calls took: a histogram with logarithmic buckets.
 *
 *   32 buckets to the octave: a percentile is off by at most 1/32, 3 %.
 *   Values are clock ticks; latency_ns() converts. On x86-64 a tick is the TSC's
 *   (of constant rate on every processor of the last fifteen years),
 *   read between fences so that the measured call cannot leak out; elsewhere it is
 *   a nanosecond of CLOCK_MONOTONIC.
 */
#ifndef LATENCY_H
#define LATENCY_H

#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LATENCY_STEPS = 32, LATENCY_BUCKETS = 60 * LATENCY_STEPS };

struct latency {
    uint64_t count;
    uint64_t max; /* ticks */
    uint64_t bucket[LATENCY_BUCKETS];
};

static inline uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The work before it is done; the work after it has not begun. */
static inline uint64_t ticks_now(void)
{
#if defined(__x86_64__)
    uint32_t low, high;

    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
#else
    return clock_ns();
#endif
}

static inline unsigned latency_bucket(uint64_t ticks)
{
    if (ticks < LATENCY_STEPS)
        return (unsigned)ticks;
    unsigned octave = 63u - (unsigned)__builtin_clzll(ticks) - 5; /* 32 == 1 << 5 */
    unsigned index = (octave + 1) * LATENCY_STEPS +
                     (unsigned)(ticks >> octave & (LATENCY_STEPS - 1));
    return index < LATENCY_BUCKETS ? index : LATENCY_BUCKETS - 1;
}

static inline void latency_add(struct latency *h, uint64_t ticks)
{
    h->count++;
    h->bucket[latency_bucket(ticks)]++;
    if (ticks > h->max)
        h->max = ticks;
}

void latency_merge(struct latency *into, const struct latency *from);

/* The value that a share of the calls (0.99) stayed below, in nanoseconds. */
double latency_percentile(const struct latency *h, double share);
double latency_max(const struct latency *h);

/* What an empty measurement shows: part of every figure, for the reader to subtract. */
double latency_timer_ns(void);

double latency_ns(uint64_t ticks);

#ifdef __cplusplus
}
#endif
#endif
