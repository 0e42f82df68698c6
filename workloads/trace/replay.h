/*
 * replay.h - running a plan against the allocator that this process carries.
 */
#ifndef TRACE_REPLAY_H
#define TRACE_REPLAY_H

#include "plan.h"

struct replay_result {
    double seconds;
    uint64_t failed;   /* allocations that returned NULL */
    uint64_t corrupt;  /* objects misaligned, not zeroed or overwritten */
    uint64_t faults;   /* minor page faults */
    uint64_t base_rss; /* before the first call */
    uint64_t peak_rss;
    uint64_t end_rss;
};

struct replay;

/* touch: write every cache line of every object, and check at its end what it holds. */
struct replay *replay_make(const struct plan *p, bool touch);

/* One pass over the whole plan; afterwards everything is freed. */
void replay_run(struct replay *r, struct replay_result *result);

#endif
