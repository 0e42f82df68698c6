/*
 * open.c - the cache of an id is opened, and emptied if somebody asked for it.
 *
 * A child of fork has one thread and the caches of all ids: all but its own are left. What
 * they hold are free objects as any. Who comes to such an id opens its cache as it is; what
 * nobody came for goes to the pools at the first look for idle memory, not at once: most
 * children call exec. Meanwhile nobody may open it.
 *
 * Locking: mym_front_lock guards open[] and the caches of ids against others that open or drain.
 */
#include "cache/door.h"

#include "heap/meta.h"
#include "os/mutex.h"

static struct mym_cache *find_or_make(uint32_t id) MYM_REQUIRES(mym_front_lock)
{
    struct mym_cache *cache = mym_cache_at(id);

    if (id >= mym_caches_top) {
        if (!mym_pages_map_caches(id + 1))
            return NULL;
        __atomic_store_n(&mym_caches_top, id + 1, __ATOMIC_SEQ_CST);
    }
    if (mym_cache_made(id) == NULL) {
        mym_cache_make(cache);
        mym_meta_count(sizeof *cache);
    }
    if (cache->whose == MYM_COLLECTED)
        return NULL;
    cache->whose = MYM_ITS;
    return cache;
}

/*
 * The cache of an id that had none, or was asked to be emptied. Opening hands out nothing
 * and takes nothing: whoever finds it closed may do it, wherever he is by then. So may the
 * emptying be done; only, when the thread was moved meanwhile, it was another cache that
 * was emptied, and the bell is rung again.
 */
MYM_COLD bool mym_cache_open(uint32_t id)
{
    mym_class_set asked = 0;
    struct mym_cache *cache;
    bool opened;

    if (!mym_cache_may_open()) /* this may be the child of who has the lock */
        return false;
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    MYM_ASSERT(id < MYM_MAX_CPUS);
    cache = find_or_make(id);
    opened = cache != NULL && mym_cache_try_open(id);
    if (opened) {
        asked = cache->asked;
        cache->asked = 0;
    }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    if (asked >> MYM_SPANS & 1)
        mym_spans_close_here();
    if (asked != 0) {
        mym_cache_empty(NULL, asked);
        if (mym_rseq_id() != id) {
            mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
            mym_cache_ring(id, asked);
            mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
        }
    }
    return opened;
}

bool mym_cache_open_here(void)
{
    struct mym_door door = mym_door_enter();

    if (door.own != NULL)
        mym_thread_leave(door.own);
    return door.open;
}

static bool left;           /* some are, perhaps */
static uintptr_t collector; /* the thread that collects them, or has */

/* The collector is at work still: it is this thread that forked, in a signal handler. */
static bool is_at_work(const struct mym_cache *cache)
{
    return cache->whose == MYM_COLLECTED &&
           collector == (uintptr_t)__builtin_thread_pointer();
}

/*
 * A collector that the child does not have may have been at work: he had shut it. Where a
 * signal handler forked that came while its thread held the lock, all stays as it is.
 */
void mym_cache_leave_others(void)
{
    unsigned here = mym_rseq_id();

    if (!mym_mutex_trylock(&mym_front_lock, MYM_RANK_FRONT))
        return;
    if (!mym_cache_may_open())
        here = MYM_NO_ID;
    for (unsigned id = 0; id < mym_caches_top; id++)
        if (mym_cache_made(id) != NULL && !is_at_work(mym_cache_at(id))) {
            mym_cache_at(id)->whose = id == here ? MYM_ITS : MYM_LEFT;
            if (id != here) {
                mym_cache_at(id)->asked = 0;
                mym_cache_shut(id);
                __atomic_store_n(&left, true, __ATOMIC_RELAXED);
            }
        }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

/*
 * The one place where slots are written from elsewhere, by stores: no sequence is under way
 * in a cache that was left, since the child's only thread was in none, and none begins
 * there, since it is shut and nobody opens what is being collected.
 */
void mym_cache_collect_left(void)
{
    uintptr_t outer;

    if (!__atomic_load_n(&left, __ATOMIC_RELAXED))
        return;
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    __atomic_store_n(&left, false, __ATOMIC_RELAXED);
    outer = collector;
    collector = (uintptr_t)__builtin_thread_pointer();
    for (unsigned id = 0; id < mym_caches_top; id++) {
        struct mym_cache *cache = mym_cache_made(id);

        if (cache == NULL || cache->whose != MYM_LEFT)
            continue;
        cache->whose = MYM_COLLECTED; /* emptied with no lock held, as all are */
        mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
        mym_cache_flush(cache);
        mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
        MYM_ASSERT(!mym_cache_is_open(id));
        cache->whose = MYM_ITS;
    }
    collector = outer;
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}
