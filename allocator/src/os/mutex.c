/*
 * mutex.c - the contended half of the mutex, and the lock-order check.
 */
#include "os/mutex.h"

#include "os/os.h"

bool mym_fork_was_alone;

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

MYM_SLOW void mym_mutex_lock_slow(struct mym_mutex *mutex)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&mutex->state, memory_order_relaxed) == 0 &&
            mym_mutex_try(mutex))
            return;
        pause_cpu();
    }
    /* From here on the state says 2: this thread can't know whether others sleep. */
    while (atomic_exchange_explicit(&mutex->state, 2, memory_order_acquire) != 0)
        mym_os_futex_wait(&mutex->state, 2);
}

MYM_SLOW void mym_mutex_unlock_slow(struct mym_mutex *mutex)
{
    mym_os_futex_wake(&mutex->state);
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
    held |= 1u << rank;
}

void mym_rank_leave(enum mym_rank rank)
{
    unsigned *count = many(rank);

    MYM_CHECK(held &
              1u << rank); /* of a child too: its parent's handler took the lock */
    if (count != NULL && --*count > 0)
        return;
    held &= ~(1u << rank);
}
#endif
