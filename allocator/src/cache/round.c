/*
 * round.c - the helper empties caches of CPUs on which no thread of the program runs any
 * more: they were asked to be emptied, and nobody came by for a second. Nobody takes from
 * a cache but on its CPU, so that is where the helper goes, if its thread may.
 *
 * Locking: mym_front_lock guards what was asked; none is held on the way.
 */
#include "cache/cache.h"

#include "os/mutex.h"
#include "os/os.h"

#include <string.h>

static bool is_due(unsigned id) MYM_REQUIRES(mym_front_lock)
{
    return mym_cache_is_rung(id) && !mym_cache_made(id)->tried;
}

static bool is_any(bool (*is)(unsigned id))
{
    bool any = false;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches_top; id++)
        any = any || is(id);
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    return any;
}

bool mym_cache_round_is_due(void)
{
    return is_any(is_due);
}

static void add_cpu(struct mym_os_cpus *cpus, unsigned cpu)
{
    cpus->in[cpu / 64] |= (uint64_t)1 << cpu % 64;
}

/* The CPUs to go to; where ids are no CPUs it can be any. Each cache is tried once. */
static void plan(struct mym_os_cpus *there)
{
    memset(there, mym_mode == MYM_MODE_MM_CID ? 0xff : 0, sizeof *there);
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches_top; id++)
        if (is_due(id)) {
            mym_cache_made(id)->tried = true;
            add_cpu(there, id);
        }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

static bool has_cpu(const struct mym_os_cpus *cpus, unsigned cpu)
{
    return cpus->in[cpu / 64] >> cpu % 64 & 1;
}

static void go(unsigned cpu)
{
    struct mym_os_cpus one = {{0}};

    add_cpu(&one, cpu);
    if (mym_os_set_cpus(&one))
        mym_cache_open_here();
}

void mym_cache_round(void)
{
    struct mym_os_cpus home, there;

    if (!mym_cache_round_is_due())
        return;
    plan(&there);
    if (!mym_os_get_cpus(&home))
        return;
    for (unsigned cpu = 0; cpu < MYM_MAX_CPUS; cpu++)
        if (has_cpu(&home, cpu) && has_cpu(&there, cpu) && is_any(mym_cache_is_rung))
            go(cpu);
    if (!mym_os_set_cpus(&home)) { /* none of them is there any more */
        memset(&home, 0xff, sizeof home);
        mym_os_set_cpus(&home);
    }
}
