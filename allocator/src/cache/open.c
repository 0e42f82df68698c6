/*
 * open.c - the cache of an id is opened, and emptied if somebody asked for it.
 *
 * Locking: mym_front_lock guards delta[] and mym_caches against others that open or drain.
 */
#include "cache/door.h"

#include "os/mutex.h"

static struct mym_cache *find_or_make(uint32_t id) MYM_REQUIRES(mym_front_lock);

static struct mym_cache *find_or_make(uint32_t id)
{
    struct mym_cache *cache = mym_cache_made(id);

    if (cache != NULL)
        return cache;
    cache = mym_thread_give_up();
    if (cache == NULL)
        cache = mym_cache_make();
    if (cache != NULL) {
        mym_caches.made[id] = (char *)cache - (char *)&mym_front;
        if (id >= mym_caches.top)
            mym_caches.top = id + 1;
    }
    return cache;
}

/*
 * The cache of an id that had none, or was asked to be emptied. Opening hands out nothing
 * and takes nothing: whoever finds delta 0 may do it, wherever he is by then. So may the
 * emptying be done; only, when the thread was moved meanwhile, it was another cache that
 * was emptied, and the bell is rung again.
 */
MYM_COLD bool mym_cache_open(uint32_t id)
{
    struct mym_class_set asked = {{0}};
    struct mym_cache *cache;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    MYM_ASSERT(id < MYM_MAX_CPUS);
    cache = mym_cache_may_open() ? find_or_make(id) : NULL;
    if (cache != NULL) {
        asked = cache->asked;
        cache->asked = (struct mym_class_set){{0}};
        /* release: pairs with the address dependency of the sequences */
        __atomic_store_n(&mym_front.delta[id], mym_caches.made[id], __ATOMIC_RELEASE);
    }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    if (!mym_class_set_is_empty(&asked)) {
        mym_spans_close_here();
        mym_cache_empty(NULL, &asked);
        if (mym_rseq_id() != id) {
            mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
            mym_cache_ring(id, &asked);
            mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
        }
    }
    return cache != NULL;
}

bool mym_cache_open_here(void)
{
    struct mym_door door = mym_door_enter();

    if (door.own != NULL)
        mym_thread_leave(door.own);
    return door.open;
}
