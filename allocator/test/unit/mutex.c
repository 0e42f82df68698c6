/*
 * mutex.c - who forks without handlers waits for a lock with a patience, and may have been woken in
 * the place of another when that ends, or be interrupted by one more.
 */
#include "check.h"

#include "alloc/alloc.h"
#include "os/mutex.h"
#include "os/os.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct mym_mutex lock;
static _Atomic unsigned asleep; /* or about to be, */
static pid_t sleepers[2];       /* and who, first come first */
static _Atomic uint32_t waits;  /* of the thread that tries */
static uint32_t last_wait;      /* in which it sleeps; not at all in those before */
static __thread bool tries;
static uint32_t starts; /* waits for the lock that a fork takes first */

void __real_mym_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, unsigned ms);
void __wrap_mym_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, unsigned ms);

/* Not for a millisecond, but until it is woken: so the test decides which of both is first. */
void __wrap_mym_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, unsigned ms)
{
    if (word == &mym_start_lock.state) {
        starts++;
        CHECK(starts <= 8192);
        if (starts == 10) /* a signal's handler */
            CHECK(!mym_fork_bare());
        return;
    }
    if (word != &lock.state) {
        __real_mym_os_futex_wait(word, expected, ms);
        return;
    }
    CHECK(mym_mutex_has_sleepers(expected)); /* else nobody wakes it */
    if (tries && ++waits < last_wait)
        return;
    sleepers[asleep] = (pid_t)syscall(SYS_gettid);
    asleep++;
    __real_mym_os_futex_wait(word, expected, 0);
    asleep--;
}

static void *try_as_fork(void *has_locks)
{
    tries = true;
    mym_mutex_count(has_locks != NULL);
    mym_mutex_fork_patience();
    if (mym_mutex_fork(&lock, MYM_FORK_TRY))
        mym_mutex_fork(&lock, MYM_FORK_GIVE);
    mym_mutex_count(has_locks != NULL ? -1 : 0);
    return NULL;
}

static void *take(void *unused)
{
    (void)unused;
    mym_mutex_lock(&lock, MYM_RANK_META);
    mym_mutex_unlock(&lock, MYM_RANK_META);
    return NULL;
}

static bool is_asleep(pid_t thread)
{
    char path[64], line[256];
    FILE *file;
    bool is;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    CHECK((file = fopen(path, "r")) && fgets(line, sizeof line, file));
    is = strstr(line, ") S ") != NULL;
    fclose(file);
    return is;
}

/* The kernel wakes who came first. */
static void wait_until_asleep(unsigned count)
{
    while (asleep < count || !is_asleep(sleepers[count - 1]))
        usleep(1000);
}

/* Who is woken takes the lock or passes it on: the other one is not left asleep. */
static void who_gives_up_wakes_another(void)
{
    pthread_t fork, other;

    last_wait = 4096;
    mym_mutex_lock(&lock, MYM_RANK_META);
    CHECK(!pthread_create(&fork, NULL, try_as_fork, NULL));
    wait_until_asleep(1);
    CHECK(!pthread_create(&other, NULL, take, NULL));
    wait_until_asleep(2);
    /* Another one is faster than who is woken. */
    atomic_store(&lock.state, 1);
    mym_os_futex_wake(&lock.state);
    CHECK(!pthread_join(fork, NULL));
    mym_mutex_unlock(&lock, MYM_RANK_META);
    CHECK(!pthread_join(other, NULL));
    CHECK(waits == 4096 && !mym_mutex_is_held(&lock));
}

static void who_has_a_lock_does_not_wait(void)
{
    pthread_t fork;

    waits = 0;
    last_wait = 0;
    mym_mutex_lock(&lock, MYM_RANK_META);
    CHECK(!pthread_create(&fork, NULL, try_as_fork, &lock));
    CHECK(!pthread_join(fork, NULL));
    mym_mutex_unlock(&lock, MYM_RANK_META);
    CHECK(waits == 0);
}

/* What is free is taken without a wait, and is a fork's then, which alone gives it back. */
static void forks_give_what_is_theirs(void)
{
    static const enum mym_fork_step gives[] = {MYM_FORK_GIVE, MYM_FORK_RESET};

    mym_mutex_count(1);
    mym_mutex_fork_patience();
    for (unsigned i = 0; i < 2; i++) {
        CHECK(mym_mutex_fork(&lock, MYM_FORK_TRY) && mym_mutex_is_forks(&lock));
        mym_mutex_fork(&lock, gives[i]);
        CHECK(!mym_mutex_is_held(&lock));
        for (uint32_t held = 1; held <= 2; held++) {
            atomic_store(&lock.state, held);
            CHECK(!mym_mutex_fork(&lock, MYM_FORK_TRY) && !mym_mutex_is_forks(&lock));
            mym_mutex_fork(&lock, gives[i]);
            CHECK(lock.state == held);
        }
        atomic_store(&lock.state, 0);
    }
    mym_mutex_count(-1);
}

/* A handler's fork, which does not wait, leaves the other one what it had. */
static void who_is_interrupted_has_the_same_patience(void)
{
    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    mym_mutex_count(-1); /* as if it were another thread's */
    CHECK(!mym_fork_bare());
    mym_mutex_count(1);
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
    CHECKF(starts == 4096, "%u times", starts);
}

const struct test tests[] = {
    {"who_gives_up_wakes_another", who_gives_up_wakes_another},
    {"who_has_a_lock_does_not_wait", who_has_a_lock_does_not_wait},
    {"forks_give_what_is_theirs", forks_give_what_is_theirs},
    {"who_is_interrupted_has_the_same_patience",
     who_is_interrupted_has_the_same_patience},
    {NULL, NULL},
};
