/*
 * latency.c - merging histograms and reading percentiles from them.
 */
#include "latency.h"

void latency_merge(struct latency *into, const struct latency *from)
{
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

/* The middle of a bucket, in ticks. */
static double bucket_middle(unsigned index)
{
    if (index < LATENCY_STEPS)
        return index;
    unsigned octave = index / LATENCY_STEPS - 1;
    uint64_t low = (uint64_t)(LATENCY_STEPS + index % LATENCY_STEPS) << octave;
    return (double)low + (double)(1ull << octave) / 2;
}

/* Ticks per nanosecond against CLOCK_MONOTONIC, measured once over 20 ms. */
static double tick_rate(void)
{
    static double rate;

    if (rate == 0) {
        uint64_t ns = clock_ns(), ticks = ticks_now();
        while (clock_ns() - ns < 20000000)
            continue;
        rate = (double)(ticks_now() - ticks) / (double)(clock_ns() - ns);
    }
    return rate;
}

double latency_ns(uint64_t ticks)
{
    return (double)ticks / tick_rate();
}

double latency_percentile(const struct latency *h, double share)
{
    uint64_t seen = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += h->bucket[i];
        if (h->bucket[i] && (double)seen >= share * (double)h->count) {
            double ticks = bucket_middle(i);
            return (ticks < (double)h->max ? ticks : (double)h->max) / tick_rate();
        }
    }
    return 0;
}

double latency_max(const struct latency *h)
{
    return latency_ns(h->max);
}

double latency_timer_ns(void)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < 1000; i++) {
        uint64_t start = ticks_now(), ticks = ticks_now() - start;
        if (ticks < least)
            least = ticks;
    }
    return latency_ns(least);
}
