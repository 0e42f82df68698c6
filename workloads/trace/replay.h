/*
 * replay.h - running a plan against the allocator that this process carries.
 */
#ifndef TRACE_REPLAY_H
#define TRACE_REPLAY_H

#include "plan.h"

enum { SETTLE_MOMENTS = 5 };

/* When RSS is read after the last call, in seconds: 0.1, 1, 5, 10, 60. */
extern const double settle_moment[SETTLE_MOMENTS];

struct replay_result {
    double began; /* CLOCK_MONOTONIC */
    double seconds;
    uint64_t failed;   /* allocations that returned NULL */
    uint64_t corrupt;  /* objects misaligned, not zeroed or overwritten */
    uint64_t faults;   /* minor page faults */
    uint64_t base_rss; /* before the first call */
    uint64_t peak_rss;
    uint64_t end_rss;
    int settled; /* how many of the moments were waited for */
    uint64_t settled_rss[SETTLE_MOMENTS];
};

struct replay;

/* touch: write every cache line of every object, and check at its end what it holds. */
struct replay *replay_make(const struct plan *p, bool touch);

/*
 * One pass over the whole plan, then `settle_for` seconds without a call; afterwards
 * everything is freed.
 */
void replay_run(struct replay *r, double settle_for, struct replay_result *result);

#endif
