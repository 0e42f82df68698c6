/*
 * mutex.h - a four-byte futex mutex (Drepper, "Futexes Are Tricky", mutex 2, with a
 * short spin: the holder is running on another CPU and done within a microsecond).
 *
 * Own rather than pthread_mutex_t because a pool has one and there are thousands, and
 * because the child of a fork may simply set it free.
 *
 *   state  0 free   1 held   2 held, and somebody may sleep
 *                   3 and 4: the same, by who forks
 *
 * Debug builds check the lock order: a thread takes locks in rising rank only.
 */
#ifndef MYM_OS_MUTEX_H
#define MYM_OS_MUTEX_H

#include "base/check.h"

#include <stdatomic.h>

/* Lock order, outermost first. docs/design.md tells who nests what. */
enum mym_rank {
    MYM_RANK_HELPER = 1, /* the helper's work */
    MYM_RANK_START,
    MYM_RANK_INFO,  /* numbers that were read, and are kept */
    MYM_RANK_FRONT, /* opening and draining of caches */
    MYM_RANK_PURGE, /* pages on their way to the kernel */
    MYM_RANK_REAPS, /* the list of all reaps */
    MYM_RANK_REAP,
    MYM_RANK_POOL,
    MYM_RANK_MAPPING, /* registry of own mappings */
    MYM_RANK_PAGES,   /* page heap */
    MYM_RANK_PROFILE, /* sampled objects and their stacks */
    MYM_RANK_GUARD,   /* guarded samples */
    MYM_RANK_META,    /* metadata arena: innermost */
};

/*
 * clang follows locks through functions (-Wthread-safety). In C it does so for what stands
 * behind a function's parameters, not for what a structure's fields need.
 */
#if defined(__clang__)
#define MYM_LOCKS(attribute) __attribute__((attribute))
#else
#define MYM_LOCKS(attribute)
#endif
#define MYM_REQUIRES(lock) MYM_LOCKS(requires_capability(lock))
#define MYM_ACQUIRES(lock) MYM_LOCKS(acquire_capability(lock))
#define MYM_RELEASES(lock) MYM_LOCKS(release_capability(lock))
/* In front of a function that takes locks on a condition, or in a loop over many. */
#define MYM_UNFOLLOWED MYM_LOCKS(no_thread_safety_analysis)

struct MYM_LOCKS(capability("mutex")) mym_mutex {
    _Atomic uint32_t state;
};

/*
 * Of the last fork. One of a program with one thread takes no lock: what is held then is that
 * thread's own, whose signal handler forks in the midst of a slow path, and stays so on both
 * sides. A bare fork (life.c) may come in the midst of one, too, beside other threads.
 */
extern MYM_HIDDEN bool mym_fork_was_alone;
extern MYM_HIDDEN bool mym_fork_in_midst;

/* What fork does with each lock. Try: it may be this thread that holds it, and all share a patience. */
enum mym_fork_step { MYM_FORK_TAKE, MYM_FORK_TRY, MYM_FORK_GIVE, MYM_FORK_RESET };
/*
 * Take and try: whether it was taken, by this call. Give and reset: what a fork took, and no
 * other, of which one goes on at a time (life.c). Ranks do not count: who forks has them all.
 */
bool mym_mutex_fork(struct mym_mutex *mutex, enum mym_fork_step step);
bool mym_mutex_is_forks(const struct mym_mutex *mutex);
/*
 * A fork that may not wait begins. Four seconds for all locks, for who has one may not be running;
 * none at all where the thread that has one was interrupted, for which others wait with theirs.
 * What a fork has left that this one interrupts, which is to be set again.
 */
unsigned mym_mutex_fork_patience(void);
void mym_mutex_fork_patience_again(unsigned left);

/* How many locks the calling thread has, or waits for; those of a fork are one. */
extern MYM_HIDDEN __thread uint32_t mym_locks_held
    __attribute__((tls_model("initial-exec")));

void mym_mutex_lock_slow(struct mym_mutex *mutex);
void mym_mutex_unlock_slow(struct mym_mutex *mutex);

#ifdef MYM_DEBUG
/* For assertions: this thread holds a lock of that rank. */
bool mym_rank_is_held(enum mym_rank rank);
void mym_rank_enter(enum mym_rank rank);
void mym_rank_leave(enum mym_rank rank);
/* A lock that was tried may be taken in any order: who tries does not wait. */
void mym_rank_tried(enum mym_rank rank);
#else
#define mym_rank_is_held(rank) ((void)(rank), true)
#define mym_rank_tried(rank)   ((void)(rank))
#define mym_rank_enter(rank)   ((void)(rank))
#define mym_rank_leave(rank)   ((void)(rank))
#endif

MYM_INLINE bool mym_mutex_has_sleepers(uint32_t state)
{
    return state % 2 == 0; /* it is held */
}

MYM_INLINE bool mym_mutex_try(struct mym_mutex *mutex)
{
    uint32_t free_state = 0;

    /* acquire: pairs with the release of the unlock that freed it */
    return atomic_compare_exchange_strong_explicit(
        &mutex->state, &free_state, 1, memory_order_acquire, memory_order_relaxed);
}

/* Around all that is done with a lock: a signal handler may come after any instruction. */
MYM_INLINE void mym_mutex_count(int32_t more)
{
    atomic_signal_fence(memory_order_seq_cst);
    mym_locks_held += (uint32_t)more;
    atomic_signal_fence(memory_order_seq_cst);
}

MYM_UNFOLLOWED MYM_INLINE void mym_mutex_lock(struct mym_mutex *mutex,
                                              enum mym_rank rank) MYM_ACQUIRES(*mutex)
{
    mym_mutex_count(1);
    mym_rank_enter(rank);
    if (MYM_UNLIKELY(!mym_mutex_try(mutex)))
        mym_mutex_lock_slow(mutex);
}

MYM_UNFOLLOWED MYM_INLINE bool mym_mutex_trylock(struct mym_mutex *mutex,
                                                 enum mym_rank rank)
    MYM_LOCKS(try_acquire_capability(true, *mutex))
{
    mym_mutex_count(1);
    if (!mym_mutex_try(mutex)) {
        mym_mutex_count(-1);
        return false;
    }
    mym_rank_tried(rank);
    return true;
}

MYM_UNFOLLOWED MYM_INLINE void mym_mutex_unlock(struct mym_mutex *mutex,
                                                enum mym_rank rank) MYM_RELEASES(*mutex)
{
    mym_rank_leave(rank);
    /* release: pairs with the acquire in mym_mutex_try */
    if (MYM_UNLIKELY(mym_mutex_has_sleepers(
            atomic_exchange_explicit(&mutex->state, 0, memory_order_release))))
        mym_mutex_unlock_slow(mutex);
    mym_mutex_count(-1);
}

/* For assertions: somebody holds it. */
MYM_INLINE bool mym_mutex_is_held(const struct mym_mutex *mutex)
{
    return atomic_load_explicit(&mutex->state, memory_order_relaxed) != 0;
}

#endif
