/*
 * drain.c - what caches, depots and whole slabs hold goes back when nobody needs it.
 *
 * Reached from slow paths, about once a second and whenever the heap has grown, from
 * malloc_trim, and where memory ran short. No lock is held then.
 *
 * Locking: mym_front_lock guards the caches of ids, and open[] against others that open or ring.
 */
#include "cache/cache.h"

#include "base/secure.h"
#include "os/os.h"
#include "pool/pool.h"

/* ---- draining ---- */

static void drain(mym_class_set some)
{
    struct mym_cache *own;

    mym_cache_open_here(); /* somebody else may have rung */
    if (some >> MYM_SPANS & 1)
        mym_spans_close_here();
    own = mym_thread_hold();
    mym_cache_empty(own, some);
    mym_thread_leave(own);
    mym_thread_collect();
    mym_cache_collect_left();
    if (mym_mode < MYM_MODE_CPU_ID)
        return;
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches_top; id++)
        mym_cache_ring(id, some); /* here as well, if it was another before */
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

void mym_cache_drain(void)
{
    drain(MYM_EVERY_CLASS);
}

/* ---- upkeep: from slow paths, once a second and whenever the heap has grown ---- */

#define UPKEEP_MS 1000u

/*
 * Where there is no vDSO the clock is a system call: at every 32 exchanges it cost a busy program
 * up to a fifth (batches of 32 KiB). It is read more seldom while looks follow each other fast.
 */
#define PACE_LEAST 31u
#define PACE_MOST  1023u
#define FAST_MS    100u

static _Atomic uint32_t pace = PACE_LEAST;

uint32_t mym_upkeep_pace(void)
{
    return atomic_load_explicit(&pace, memory_order_relaxed);
}

static void adapt_pace(uint64_t now)
{
    static _Atomic uint64_t last;
    uint64_t before = atomic_exchange_explicit(&last, now, memory_order_relaxed);
    uint32_t mask = mym_upkeep_pace();

    if (now - before < FAST_MS && mask < PACE_MOST)
        mask = mask * 2 + 1;
    else if (now - before >= FAST_MS && mask > PACE_LEAST)
        mask /= 2;
    atomic_store_explicit(&pace, mask, memory_order_relaxed);
}

MYM_FIXED void (*mym_cache_each_second)(void);

static void add_quiet(struct mym_pool *pool, void *set)
{
    if (mym_pool_class(pool) != 0 && pool->arena != MYM_SAMPLED &&
        mym_pool_is_quiet(pool))
        *(mym_class_set *)set |= mym_class_bit(mym_pool_class(pool));
}

/* What makes upkeep due, and classes whose magazines are to be shorter from now on. */
struct due {
    bool second, grew, near; /* a container's limit */
    mym_class_set shorter;
};

static void keep_up(struct mym_pool *pool, void *context)
{
    struct due *due = context;

    if (mym_pool_upkeep(pool, due->second, due->grew))
        due->shorter |= mym_class_bit(mym_pool_class(pool));
    if (due->near)
        mym_pool_trim(pool, true);
}

static void drain_quiet(void)
{
    mym_class_set quiet = mym_class_bit(MYM_SPANS);

    mym_pools_each(add_quiet, &quiet);
    drain(quiet);
}

/*
 * The helper's look always counts, on a busy program too: it alone asks for what other CPUs
 * hold of quiet classes. While it looks, who misses does so when none came for two seconds.
 * Never a child of vfork: statistics that it wrote would be another process's, in between.
 */
static bool is_second(uint64_t now, bool by_helper)
{
    static _Atomic uint64_t next;
    uint64_t was = atomic_load_explicit(&next, memory_order_relaxed);

    if (by_helper)
        atomic_store_explicit(&next, now + 2 * UPKEEP_MS, memory_order_relaxed);
    return by_helper ||
           (!mym_cache_is_vforked() && mym_os_is_due(now, was, 2 * UPKEEP_MS) &&
            atomic_compare_exchange_strong(&next, &was, now + UPKEEP_MS));
}

/*
 * A few cached objects of a class that is no longer in use can pin a slab each. A second is
 * too long for a program that grows: it looks before it takes more than it ever had.
 */
static void upkeep(bool by_helper)
{
    uint64_t now = mym_os_coarse_ms();
    struct due due = {
        .second = is_second(now, by_helper),
        .grew = mym_pages_hear_growth(),
    };

    adapt_pace(now);
    if (!due.second && !due.grew)
        return;
    if (due.grew)
        mym_purge_growth();
    due.near = due.grew && mym_pages_is_near_limit();
    mym_thread_collect();
    mym_cache_collect_left();
    if (due.near)
        mym_cache_drain();
    else if (due.grew || by_helper)
        drain_quiet();
    mym_pools_each(keep_up, &due);
    if (due.shorter != 0)
        drain(due.shorter);
    if (due.second && mym_cache_each_second != NULL)
        mym_cache_each_second();
    if (due.second)
        mym_idle_age();
    else if (due.near)
        mym_purge_excess();
    if (due.grew)
        mym_collapse_tell();
}

MYM_SLOW void mym_cache_upkeep(void)
{
    upkeep(false);
}

void mym_cache_cool(void)
{
    upkeep(true);
    mym_idle_cool();
}
