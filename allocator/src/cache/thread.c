/*
 * thread.c - where rseq is missing, a cache per thread instead of per CPU.
 *
 * The thread finds its cache through initial-exec TLS; a pthread key returns the
 * contents when the thread ends and keeps the empty cache for the next one. Frees from
 * destructors that run later find no cache and go to the pool directly.
 */
#include "cache/cache.h"

#include "os/mutex.h"

#include <pthread.h>

#define TLS __thread __attribute__((tls_model("initial-exec")))

enum state { NEW, OPENING, OPEN, ENDED };

TLS struct mym_cache *mym_thread_own;
static TLS enum state state;
/* Laid out as struct rseq up to rseq_cs; cpu_id stays 0, the id that is closed here. */
static TLS uint64_t stand_in[2];

static pthread_key_t key;
static struct mym_cache *spare; /* caches of ended threads, chained through slot[0] */

intptr_t mym_thread_stand_in(void)
{
    char *mine = (char *)stand_in;

    /* Else gcc folds the subtraction into an access that ld cannot relax (-flto). */
    __asm__("" : "+r"(mine));
    return mine - (char *)__builtin_thread_pointer();
}

static void end_thread(void *mine)
{
    struct mym_cache *ended = mine;

    state = ENDED;
    mym_thread_own = NULL;
    mym_thread_flush(ended);
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    ended->slot[0] = (void **)spare;
    spare = ended;
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
}

bool mym_thread_init(void)
{
    return pthread_key_create(&key, end_thread) == 0;
}

static MYM_COLD struct mym_cache *open_thread(void)
{
    struct mym_cache *mine;

    state = OPENING; /* pthread_setspecific may allocate: it then does without */
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    mine = spare;
    if (mine != NULL)
        spare = (struct mym_cache *)mine->slot[0];
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    if (mine != NULL)
        mine->slot[0] = MYM_CLOSED;
    else
        mine = mym_cache_make();
    if (mine == NULL || pthread_setspecific(key, mine) != 0) {
        state = NEW;
        return NULL;
    }
    mym_thread_own = mine;
    state = OPEN;
    return mine;
}

struct mym_cache *mym_thread_cache(void)
{
    return state == OPEN ? mym_thread_own : state == NEW ? open_thread() : NULL;
}
