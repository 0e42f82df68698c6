/*
 * mutex.c - the contended half of the mutex, and the lock-order check.
 */
#include "os/mutex.h"

#include "os/os.h"

bool mym_fork_was_alone, mym_fork_in_midst;
__thread uint32_t mym_locks_held;

/* About a microsecond: longer than any pool section, shorter than a sleep. */
#define SPINS 100

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Free: taken, the state says how. Else held with a sleeper, until it changes or so long. */
static bool take_or_wait(struct mym_mutex *mutex, uint32_t taken, unsigned ms)
{
    uint32_t state = 0;

    if (atomic_compare_exchange_strong_explicit(
            &mutex->state, &state, taken, memory_order_acquire, memory_order_relaxed))
        return true;
    if (mym_mutex_has_sleepers(state) ||
        atomic_compare_exchange_strong_explicit(&mutex->state, &state, state + 1,
                                                memory_order_relaxed,
                                                memory_order_relaxed))
        mym_os_futex_wait(&mutex->state, state + state % 2, ms);
    return false;
}

MYM_SLOW void mym_mutex_lock_slow(struct mym_mutex *mutex)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&mutex->state, memory_order_relaxed) == 0 &&
            mym_mutex_try(mutex))
            return;
        pause_cpu();
    }
    /* From here on the state says 2: this thread can't know whether others sleep. */
    while (!take_or_wait(mutex, 2, 0))
        continue;
}

MYM_SLOW void mym_mutex_unlock_slow(struct mym_mutex *mutex)
{
    mym_os_futex_wake(&mutex->state);
}

/* ---- fork ---- */

#define PATIENCE 4096 /* ms, and times that another one was faster */

static __thread unsigned patience __attribute__((tls_model("initial-exec")));

unsigned mym_mutex_fork_patience(void)
{
    unsigned left = patience;

    patience = mym_locks_held > 0 ? 0 : PATIENCE;
    return left;
}

void mym_mutex_fork_patience_again(unsigned left)
{
    patience = left;
}

bool mym_mutex_is_forks(const struct mym_mutex *mutex)
{
    return atomic_load_explicit(&mutex->state, memory_order_relaxed) > 2;
}

/*
 * Who waited may have been woken by the last release that others sleep for. Who gives up has to wake
 * one of them, that takes the lock or waits for who has it.
 */
static bool try_for_fork(struct mym_mutex *mutex)
{
    uint32_t taken = 3, state = 0;

    for (; patience > 0; patience--) {
        if (take_or_wait(mutex, taken, 1))
            return true;
        taken = 4; /* others may sleep, too */
    }
    if (atomic_compare_exchange_strong_explicit(
            &mutex->state, &state, taken, memory_order_acquire, memory_order_relaxed))
        return true;
    if (taken == 4)
        mym_os_futex_wake(&mutex->state);
    return false;
}

MYM_UNFOLLOWED bool mym_mutex_fork(struct mym_mutex *mutex, enum mym_fork_step step)
{
    switch (step) {
    case MYM_FORK_TAKE:
        if (!mym_mutex_try(mutex))
            mym_mutex_lock_slow(mutex);
        atomic_fetch_add_explicit(&mutex->state, 2, memory_order_relaxed);
        return true;
    case MYM_FORK_TRY:
        return try_for_fork(mutex);
    case MYM_FORK_GIVE:
        if (mym_mutex_is_forks(mutex) &&
            mym_mutex_has_sleepers(
                atomic_exchange_explicit(&mutex->state, 0, memory_order_release)))
            mym_mutex_unlock_slow(mutex);
        return false;
    case MYM_FORK_RESET: /* sleepers are gone */
        if (mym_mutex_is_forks(mutex))
            atomic_store_explicit(&mutex->state, 0, memory_order_relaxed);
        return false;
    }
    return false;
}

#ifdef MYM_DEBUG
/* Bit r set: this thread holds a lock of rank r. */
static __thread unsigned held __attribute__((tls_model("initial-exec")));
/* Of these ranks there are many locks. The fork handlers hold all of them at once. */
static __thread unsigned pools_held,
    reaps_held __attribute__((tls_model("initial-exec")));

static unsigned *many(enum mym_rank rank)
{
    return rank == MYM_RANK_POOL   ? &pools_held
           : rank == MYM_RANK_REAP ? &reaps_held
                                   : NULL;
}

/* By who forks in a signal handler, and tries for what the code below is about to take. */
static __thread unsigned twice __attribute__((tls_model("initial-exec")));

bool mym_rank_is_held(enum mym_rank rank)
{
    return held >> rank & 1;
}

void mym_rank_enter(enum mym_rank rank)
{
    unsigned *count = many(rank);

    if (count != NULL && (*count)++ > 0)
        return;
    MYM_CHECK(held >> rank == 0);
    held |= 1u << rank;
}

void mym_rank_tried(enum mym_rank rank)
{
    unsigned *count = many(rank);

    if (count != NULL)
        ++*count;
    else
        twice |= held & 1u << rank;
    held |= 1u << rank;
}

void mym_rank_leave(enum mym_rank rank)
{
    unsigned *count = many(rank);

    MYM_CHECK(held &
              1u << rank); /* of a child too: its parent's handler took the lock */
    if (count != NULL && --*count > 0)
        return;
    if (twice >> rank & 1)
        twice &= ~(1u << rank);
    else
        held &= ~(1u << rank);
}
#endif
