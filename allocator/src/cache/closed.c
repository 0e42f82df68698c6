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
 * Locking: mym_front_lock.
 */
#include "cache/cache.h"

#include "os/mutex.h"
#include "os/os.h"

/* Of vfork, that have not executed another program yet, or ended. */
static uint32_t children;
static bool forked_by_one;

/* Of this thread, which waits for them: so who sees one here is that child. */
static __thread uint32_t own_children __attribute__((tls_model("initial-exec")));

bool mym_cache_may_open(void)
{
    return children == 0;
}

/* Who is alone may be so in a signal handler, and have the lock. */
MYM_UNFOLLOWED void mym_cache_vfork(bool begins)
{
    bool alone = mym_os_is_alone();

    if (!alone)
        mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    children += begins ? 1 : UINT32_MAX;
    own_children += begins ? 1 : UINT32_MAX;
    for (unsigned id = 0; begins && id < mym_caches_top; id++)
        mym_cache_shut(id);
    if (!alone)
        mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
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
}
