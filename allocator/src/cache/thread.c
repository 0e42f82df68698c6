/*
 * thread.c - where rseq is missing, a cache per thread instead of per CPU.
 *
 * The thread finds its cache through initial-exec TLS; a pthread key returns the
 * contents when the thread ends and keeps the empty cache for the next one. Frees from
 * destructors that run later find no cache and go to the pool directly.
 *
 * The child of a fork has one thread and the caches of all. `user` tells which are whose; what
 * the others hold goes back at the first look for idle memory, as that of ids does (open.c). A
 * cache may be copied in the midst of an operation, which is one store: it holds an object
 * less, or a magazine less if its thread was in a slow path.
 *
 * Locking: mym_front_lock guards the lists and `user`.
 */
#include "cache/cache.h"

#include "base/check.h"
#include "heap/meta.h"
#include "os/mutex.h"

#include <pthread.h>

#define TLS __thread __attribute__((tls_model("initial-exec")))

TLS struct mym_cache *mym_thread_own;
static TLS struct mym_cache *mine; /* also while mym_thread_own is NULL */
static TLS bool asked; /* for one, which is asked for once: none comes after its end */

static pthread_key_t key;
struct mym_cache *mym_thread_caches;
static struct mym_cache *idle_caches; /* without a thread, empty */
static uint32_t in_use;               /* the others */
static uint32_t process = 1; /* 1, in its child 2, ...: what `user` is compared with */
static bool orphaned;        /* there are caches of threads that fork left behind */

static void count_in_use(int32_t more) MYM_REQUIRES(mym_front_lock)
{
    in_use += (uint32_t)more;
    mym_magazines_share(in_use);
}

static void retire_locked(struct mym_cache *cache) MYM_REQUIRES(mym_front_lock)
{
    MYM_ASSERT(mym_mutex_is_held(&mym_front_lock));
    count_in_use(-1);
    cache->user = 0;
    cache->next_idle = idle_caches;
    idle_caches = cache;
}

/*
 * What the key holds need not be ours: a second C library in the process (dlmopen, LD_AUDIT)
 * counts its keys from 0, too, and finds them in the same thread.
 */
static void end_thread(void *unused)
{
    struct mym_cache *cache = mine;

    (void)unused;
    if (cache == NULL)
        return;
    mym_thread_own = mine = NULL;
    mym_cache_flush(cache);
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    retire_locked(cache);
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

void mym_thread_collect(void)
{
    if (!__atomic_load_n(&orphaned, __ATOMIC_RELAXED))
        return;
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    __atomic_store_n(&orphaned, false, __ATOMIC_RELAXED);
    for (struct mym_cache *cache = mym_thread_caches; cache != NULL;
         cache = cache->next)
        if (cache->user != 0 && cache->user != process) {
            cache->user = process; /* ours: emptied with no lock held, as all are */
            mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
            mym_cache_flush(cache);
            mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
            retire_locked(cache);
        }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

void mym_thread_fork_child(void)
{
    if (mym_thread_caches == NULL)
        return;
    process++;
    orphaned = true;
    if (mine != NULL)
        mine->user = process;
}

size_t mym_thread_verify(void)
{
    uint32_t count = 0;
    bool right;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (struct mym_cache *cache = mym_thread_caches; cache != NULL;
         cache = cache->next)
        count += cache->user != 0;
    right = count == in_use;
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    return mym_expect("cache check", right, "caches of threads are miscounted");
}

bool mym_thread_init(void)
{
    return pthread_key_create(&key, end_thread) == 0;
}

/* A cache that nobody uses, or a new one. NULL: no memory. */
static struct mym_cache *find_cache(void)
{
    struct mym_cache *cache;

    mym_thread_collect();
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    cache = idle_caches;
    if (cache != NULL) {
        idle_caches = cache->next_idle;
    } else if ((cache = mym_meta_take(sizeof *cache, MYM_CACHELINE)) != NULL) {
        mym_cache_make(cache);
        cache->next = mym_thread_caches;
        mym_thread_caches = cache;
    }
    MYM_ASSERT(cache == NULL || cache->user == 0);
    if (cache != NULL) {
        cache->user = process;
        count_in_use(1);
    }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    return cache;
}

static MYM_COLD void open_thread(void)
{
    asked = true; /* pthread_setspecific may allocate: it then does without */
    mine = find_cache();
    if (mine != NULL && pthread_setspecific(key, mine) != 0)
        end_thread(NULL);
    mym_thread_own = mine;
    asked = mine != NULL;
}

struct mym_cache *mym_thread_enter(void)
{
    if (!asked)
        open_thread();
    return mym_thread_hold();
}
