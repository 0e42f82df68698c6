/*
 * refuse.h - a workload while calls for memory fail at the gate: each run in a child.
 */
#ifndef FAULT_REFUSE_H
#define FAULT_REFUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct refused {
    void (*play)(uint64_t random, int steps);
    void (*recover)(size_t used_before); /* nothing was lost, everything works */
    const unsigned long *failures;       /* requests that came back without memory */
    bool all_fail;                       /* with every call refused some have to */
    int steps_every, steps_once;
    unsigned thinned; /* the first so many single calls are each refused */
};

/* False, and said: no gate here. */
bool refuse_can(void);

/* Every k-th system call for memory fails, for each k of a list that ends with 0. */
void refuse_every_kth(const struct refused *what, const size_t *k);

/* The n-th call fails, for each n of one run, the later the sparser. */
void refuse_each_once(const struct refused *what);

#endif
