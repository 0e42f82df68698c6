/*
 * mutex.c - the contended half of the mutex, and the lock-order check.
 */
#include "os/mutex.h"

#include "os/os.h"

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
/* The fork handlers hold all pools at once, in address order. */
static __thread unsigned pools_held __attribute__((tls_model("initial-exec")));

void mym_rank_enter(enum mym_rank rank)
{
    if (rank == MYM_RANK_POOL && pools_held++ > 0)
        return;
    MYM_CHECK(held >> rank == 0);
    held |= 1u << rank;
}

void mym_rank_tried(enum mym_rank rank)
{
    pools_held += rank == MYM_RANK_POOL;
    held |= 1u << rank;
}

void mym_rank_leave(enum mym_rank rank)
{
    if (rank == MYM_RANK_POOL && --pools_held > 0)
        return;
    MYM_CHECK(held & 1u << rank);
    held &= ~(1u << rank);
}
#endif
