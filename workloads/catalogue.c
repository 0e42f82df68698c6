/*
 * catalogue.c - every workload, in the order to show them.
 *
 * Compiled twice, like the workloads themselves: see null_heap.h.
 */
#include "harness.h"

#ifdef WORKLOAD_NULL_HEAP
#define MEMBER(name) null_workload_##name
#define LIST         null_workload_list
#else
#define MEMBER(name) workload_##name
#define LIST         workload_list
#endif

#define CATALOGUE(X) \
    X(larson)        \
    X(xmalloc)       \
    X(prodcons)      \
    X(churn)         \
    X(crowd)         \
    X(requests)      \
    X(sweep)         \
    X(order)         \
    X(regrow)        \
    X(aligned)       \
    X(zeroed)        \
    X(large)         \
    X(replace)       \
    X(swing)         \
    X(walk)          \
    X(rows)          \
    X(fragment)      \
    X(sharing)       \
    X(idle)

#define DECLARE(name) extern const struct workload MEMBER(name);
CATALOGUE(DECLARE)

#define ENTRY(name) &MEMBER(name),
static const struct workload *const catalogue[] = {CATALOGUE(ENTRY)};

const struct workload *const *LIST(size_t *count)
{
    *count = sizeof(catalogue) / sizeof(catalogue[0]);
    return catalogue;
}
