/*
 * drain.c - what caches, depots and spare slabs hold goes back when nobody needs it.
 *
 * Reached from slow paths, about once a second and whenever the heap has grown, from
 * malloc_trim, and where memory ran short. No lock is held then.
 *
 * Locking: mym_front_lock guards mym_caches, and delta[] against others that open or drain.
 */
#include "cache/cache.h"

#include "os/os.h"
#include "pool/pool.h"

#include <string.h>

/* A cache that saw no exchange in so many looks belongs to nobody any more. */
#define IDLE_LOOKS 8u

/* ---- draining ---- */

/* The classes that a drain is for. */
struct classes {
    bool in[MYM_CLASSES];
};

static struct mym_cache *made_cache(unsigned id)
{
    return mym_caches.made[id] == 0
               ? NULL
               : (struct mym_cache *)((char *)&mym_front + mym_caches.made[id]);
}

/* Empty the slots of some classes (NULL: of all); nobody can be inside of the cache. */
static void empty_cache(struct mym_cache *cache, const struct classes *some)
{
    mym_spans_close(cache);
    for (unsigned i = 0; i < MYM_SLOTS; i++) {
        unsigned class = i % MYM_CLASSES;
        void **top = mym_slot_of(cache, i);
        struct mym_magazine *magazine;
        unsigned used;

        if (top == MYM_NONE || top == MYM_CLOSED || (some != NULL && !some->in[class]))
            continue;
        mym_slot_set(cache, i, MYM_NONE);
        magazine = mym_magazine_of(class, top);
        used = (unsigned)(top - magazine->entry);
        mym_pool_unload(used == 0 ? mym_pool_of(0, class)
                                  : mym_pool_owner(class, magazine->entry[0]),
                        magazine, used);
    }
}

static bool is_wanted(unsigned id, bool idle)
{
    return mym_caches.made[id] != 0 && (!idle || made_cache(id)->idle == IDLE_LOOKS);
}

/*
 * All caches, or those that have just been idle for long; one fence for all of them.
 *
 * Thread 1, in a sequence of id 0: has read delta[0], is about to commit.
 * Thread 2, draining: sets delta[0] = 0, fences.
 * The fence makes every running thread that is inside a sequence start over (a thread
 * that is not running starts over anyway): thread 1 reads delta again, finds the closed
 * cache and takes the slow path, where it waits for mym_front_lock. From the fence until
 * delta[0] is set again, the cache is thread 2's alone.
 */
static void drain_locked(const struct classes *some, bool idle)
{
    bool fenced;

    for (unsigned id = 0; id < mym_caches.top; id++)
        if (is_wanted(id, idle))
            __atomic_store_n(&mym_front.delta[id], 0, __ATOMIC_SEQ_CST);
    fenced = mym_os_rseq_fence();
    for (unsigned id = 0; id < mym_caches.top; id++) {
        if (!is_wanted(id, idle))
            continue;
        if (fenced)
            empty_cache(made_cache(id), some);
        __atomic_store_n(&mym_front.delta[id], mym_caches.made[id], __ATOMIC_RELEASE);
    }
}

static void drain(const struct classes *some)
{
    if (mym_mode == MYM_MODE_TLS) {
        struct mym_cache *own = mym_thread_hold();

        mym_thread_collect();
        if (own != NULL)
            empty_cache(own, some);
        mym_thread_leave(own);
        return;
    }
    if (!mym_caches.can_fence)
        return;
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    drain_locked(some, false);
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

void mym_cache_drain(void)
{
    drain(NULL);
}

void mym_thread_flush(struct mym_cache *cache)
{
    empty_cache(cache, NULL);
}

/* ---- upkeep: from slow paths, once a second and whenever the heap has grown ---- */

#define UPKEEP_MS 1000u

void (*mym_cache_each_second)(void);

/* Caches of CPUs that left, and of ids that fewer threads no longer reach. */
static void drain_idle(void)
{
    bool any = false;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches.top; id++) {
        struct mym_cache *cache = made_cache(id);
        uint32_t exchanges;

        if (cache == NULL)
            continue;
        exchanges = __atomic_load_n(&cache->exchanges, __ATOMIC_RELAXED);
        cache->idle = exchanges == cache->seen ? cache->idle + 1 : 0;
        cache->seen = exchanges;
        any |= cache->idle == IDLE_LOOKS;
    }
    if (any)
        drain_locked(NULL, true);
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

static void add_quiet(struct mym_pool *pool, void *classes)
{
    struct classes *quiet = classes;

    quiet->in[pool->class] |= mym_pool_is_quiet(pool);
}

/* What makes upkeep due. */
struct due {
    bool second, grew;
};

static void look_at(struct mym_pool *pool, void *due)
{
    mym_pool_look(pool, ((struct due *)due)->second, ((struct due *)due)->grew);
}

static void drain_quiet(void)
{
    static const struct classes none;
    struct classes quiet = none;

    mym_pools_each(add_quiet, &quiet);
    if (memcmp(&quiet, &none, sizeof quiet) != 0)
        drain(&quiet);
}

/*
 * A few cached objects of a class that is no longer in use can pin a slab each. A second is
 * too long for a program that grows: it looks before it takes more than it ever had.
 */
MYM_SLOW void mym_cache_upkeep(void)
{
    static _Atomic uint64_t next;
    uint64_t now = mym_os_coarse_ms();
    uint64_t was = atomic_load_explicit(&next, memory_order_relaxed);
    struct due due = {
        .second =
            now >= was && atomic_compare_exchange_strong(&next, &was, now + UPKEEP_MS),
        .grew = mym_pages_grew(),
    };

    if (!due.second && !due.grew)
        return;
    mym_thread_collect();
    if (due.grew) {
        mym_spans_close_here();
        drain_quiet();
    }
    mym_pools_each(look_at, &due);
    if (due.second && mym_cache_each_second != NULL)
        mym_cache_each_second();
    if (due.second)
        mym_pages_age();
    if (due.second && mym_caches.can_fence)
        drain_idle();
}
