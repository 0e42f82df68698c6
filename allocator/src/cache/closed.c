/*
 * closed.c - while a child of vfork runs, every cache stays closed.
 *
 * The child has the memory of the program, and the thread pointer of the thread that made it,
 * but no registration of restartable sequences: the id that it reads is one that another
 * thread may have by now, and nobody aborts its sequences. What it takes and frees comes from
 * the pools, and goes there, under their locks, and so does what all others do meanwhile.
 *
 * Sequences that are under way as the caches are closed may commit still: each on its own
 * CPU, to a cache that nobody takes from (as in mym_cache_ring).
 *
 * Thread 1 opens a cache: half; if it sees no child, then it makes half whole.
 * Thread 2, in vfork: counts its child, then shuts all.
 * Either 1 sees the child; or it was counted later, then it is a half or a whole that 2 shuts,
 * and of what is shut 1 makes nothing whole.
 *
 * Locking: none, for it may be a signal handler that calls vfork, whose thread has any lock.
 */
#include "cache/cache.h"

#include "os/mutex.h"

/* Of vfork, that have not executed another program yet, or ended. */
static uint32_t children;
static bool forked_by_one;

/* Of this thread, which waits for them: so who sees one here is that child, or forked by it. */
static __thread uint32_t own_children __attribute__((tls_model("initial-exec")));
static uint32_t inherited; /* by a process of its own, of which nobody waits for it */

bool mym_cache_is_vforked(void)
{
    return own_children > inherited;
}

bool mym_cache_may_open(void)
{
    return __atomic_load_n(&children, __ATOMIC_SEQ_CST) == 0;
}

bool mym_cache_try_open(uint32_t id)
{
    uint8_t opening = MYM_OPENING;

    MYM_ASSERT(mym_mutex_is_held(&mym_front_lock));
    __atomic_store_n(&mym_front.open[id], opening, __ATOMIC_SEQ_CST);
    /* release: pairs with how the sequences read it */
    return mym_cache_may_open() &&
           __atomic_compare_exchange_n(&mym_front.open[id], &opening, MYM_OPEN, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

void mym_cache_vfork(bool begins)
{
    uint32_t more = begins ? 1 : UINT32_MAX;

    own_children += more;
    __atomic_fetch_add(&children, more, __ATOMIC_SEQ_CST);
    if (!begins)
        return;
    for (unsigned id = 0; id < __atomic_load_n(&mym_caches_top, __ATOMIC_SEQ_CST); id++)
        __atomic_store_n(&mym_front.open[id], MYM_SHUT, __ATOMIC_SEQ_CST);
}

void mym_cache_vfork_fork(void)
{
    forked_by_one = own_children > 0;
}

/*
 * Those of vfork are not its. What one of them forks has its id, and is registered as little:
 * there the caches stay closed for good, beside threads that are.
 */
void mym_cache_vfork_fork_child(void)
{
    children = forked_by_one;
    inherited = own_children;
}
