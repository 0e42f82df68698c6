/*
 * purge.c - pages are given back by one thread at a time, and who finds another one at it leaves
 * his to that: whatever that one is about, it looks again afterwards.
 */
#include "check.h"

#include "alloc/alloc.h"
#include "heap/runs.h"
#include "pool/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNITS 64u

static _Atomic bool held, may_go_on;
static bool at_fork;

static void await(_Atomic bool *what)
{
    for (int naps = 0; !*what && naps < 60000; naps++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK(*what);
}

/* The pages of a slab that few objects pin are at the kernel. */
void __real_mym_slab_purge(uint32_t slab, uint64_t pieces);
void __wrap_mym_slab_purge(uint32_t slab, uint64_t pieces);
void __wrap_mym_slab_purge(uint32_t slab, uint64_t pieces)
{
    __real_mym_slab_purge(slab, pieces);
    held = true;
    await(&may_go_on);
}

/* A fork has the lock of purges, and that of the page heap not yet. */
void __real_mym_reaps_fork(enum mym_fork_step step);
void __wrap_mym_reaps_fork(enum mym_fork_step step);
void __wrap_mym_reaps_fork(enum mym_fork_step step)
{
    if (at_fork && step == MYM_FORK_TAKE) {
        held = true;
        await(&may_go_on);
    }
    __real_mym_reaps_fork(step);
}

static uint32_t take_span(void)
{
    bool zeroed = false;
    uint32_t span = mym_pages_take(UNITS, 1, MYM_LARGE, MYM_SPARSE, &zeroed);

    CHECK(span != 0);
    mym_heap.units[span].reap = NULL;
    memset(mym_unit_address(span), 1, UNITS * MYM_UNIT);
    return span;
}

static void check_nothing_stays(void)
{
    CHECKF(mym_pages_info().dirty == 0, "%zu bytes", mym_pages_info().dirty);
}

/* ---- beside a slab that is purged ---- */

#define OBJECTS 64u /* of a slab */

static void *make_sparse(void *pool)
{
    static void *objects[OBJECTS];

    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK((objects[i] = mym_pool_take(pool)));
    for (unsigned i = 1; i < OBJECTS; i++)
        mym_pool_put(pool, objects[i]);
    return NULL;
}

static void beside_a_slab(void)
{
    unsigned cls = mym_class_of(MYM_UNIT / OBJECTS);
    uint32_t span;
    pthread_t other;

    CHECK(mym_start() && mym_classes[cls].objects == OBJECTS);
    mym_idle_set_keep(0);
    span = take_span();
    CHECK(!pthread_create(&other, NULL, make_sparse, mym_pool_of(0, cls)));
    await(&held);
    mym_pages_put(span);
    may_go_on = true;
    CHECK(!pthread_join(other, NULL));
    check_nothing_stays();
}

/* ---- beside a fork ---- */

static void *put_at_fork(void *span)
{
    await(&held);
    mym_pages_put(mym_unit_of(span));
    may_go_on = true;
    return NULL;
}

static void beside_a_fork(void)
{
    pthread_t other;
    int status;
    pid_t child;

    mym_start();
    mym_idle_set_keep(0);
    held = may_go_on = false;
    CHECK(!pthread_create(&other, NULL, put_at_fork, mym_unit_address(take_span())));
    at_fork = true;
    child = fork();
    if (child == 0)
        _exit(0);
    at_fork = false;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(!pthread_join(other, NULL));
    check_nothing_stays();
}

const struct test tests[] = {
    {"beside_a_slab", beside_a_slab},
    {"beside_a_fork", beside_a_fork},
    {NULL, NULL},
};
