/*
 * start.c - the heap starts, and samples are taken or no longer.
 *
 * It starts with the first request, which may come from ld.so before any constructor has
 * run: it needs nothing from libc but system calls.
 *
 * Locking: mym_start_lock guards the start, and which samples are taken: it is held over a
 * fork, so that no child sees either half done.
 */
#include "alloc/alloc.h"

#include "os/os.h"
#include "pool/pool.h"
#include "profile/guarded.h"
#include "profile/profile.h"

#include <errno.h> /* numbers only */

struct mym_mutex mym_start_lock;
struct mym_operators mym_operators;

/* What malloc tests: 0 sends every request to the cold half. So for the operators, if theirs may
   be open. */
static void set_limits_of_malloc(bool open)
{
    size_t class_end = open ? MYM_CLASS_MAX + 1 - MYM_SEAL_BYTES : 0;
    size_t small_end = open ? MYM_SMALL_MAX + 1 - MYM_SEAL_BYTES : 0;
    size_t aligned_end = open ? MYM_STEPS_MAX + 1 : 0;

    __atomic_store_n(&mym_hot.class_end, class_end, __ATOMIC_RELEASE);
    __atomic_store_n(&mym_hot.span_end, open ? MYM_SPAN_MAX + 1 : 0, __ATOMIC_RELEASE);
    __atomic_store_n(&mym_hot.aligned_end, aligned_end, __ATOMIC_RELEASE);
    __atomic_store_n(&mym_hot.small_end, small_end, __ATOMIC_RELEASE);
    if (mym_operators.heap_size == 0)
        return;
    __atomic_store_n(&mym_operators.class_end, class_end, __ATOMIC_RELEASE);
    __atomic_store_n(&mym_operators.aligned_end, aligned_end, __ATOMIC_RELEASE);
    __atomic_store_n(&mym_operators.small_end, small_end, __ATOMIC_RELEASE);
}

MYM_COLD bool mym_operators_open(void)
{
    if (!mym_start())
        return false;
    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    mym_operators_grow();
    set_limits_of_malloc(mym_hot.small_end != 0);
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
    return true;
}

MYM_COLD bool mym_start(void)
{
    static _Atomic bool started;

    if (atomic_load_explicit(&started, memory_order_acquire))
        return true;
    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    if (!started && mym_os_fix(false)) {
        if (MYM_SECURE)
            mym_os_draw_secret();
        mym_os_find_clock();
        mym_frames_note_start();
        mym_sizes_init();
        if (mym_pages_init()) {
            mym_cache_init();
            set_limits_of_malloc(true);
            atomic_store_explicit(&started, true, memory_order_release);
        }
    }
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
    return started;
}

/* ---- samples: for a heap profile, for who listens to the probes, guarded ones ---- */

/*
 * What the guard costs is the count in each malloc. While the helper runs and nobody else counts,
 * malloc does so for one MYM_GUARD_SHAREth of the time only, and of that as many times more is
 * guarded: no less of what the program takes, for when that is depends on nothing that it does.
 */
static size_t guard_every; /* as it was asked for; 0: nothing is guarded */

bool mym_guard_may_rest(void)
{
    return MYM_RACY(guard_every) >= MYM_GUARD_SHARE * (size_t)MYM_STRETCH &&
           MYM_RACY(mym_watch.of[MYM_FOR_PROFILE]) == 0 &&
           MYM_RACY(mym_watch.of[MYM_FOR_PROBES]) == 0;
}

static void set_guard(enum mym_guard_time time) MYM_REQUIRES(mym_start_lock)
{
    bool always = time == MYM_GUARD_ALWAYS || !mym_guard_may_rest();
    size_t every = always ? guard_every : guard_every / MYM_GUARD_SHARE;

    if (mym_watch.of[MYM_FOR_GUARD] != every)
        mym_watch_set(MYM_FOR_GUARD, every);
    mym_watch_pause(!always && time == MYM_GUARD_REST);
    set_limits_of_malloc(!mym_watch.on);
}

/* No process forks meanwhile: see mym_arena_sampled. */
static int watch(enum mym_watcher who, size_t every) MYM_REQUIRES(mym_start_lock)
{
    if (every != 0 && who != MYM_FOR_GUARD && !mym_arena_sampled())
        return ENOMEM;
    mym_watch_set(who, every);
    set_guard(MYM_GUARD_ALWAYS);
    return 0;
}

static size_t wanted_by_probes(void)
{
    return MYM_RACY(mym_watch.of[MYM_FOR_PROFILE]) == 0 && mym_probes_heard()
               ? MYM_PROFILE_EVERY
               : 0;
}

/* Once a second: a listener has come, or the last one has gone. */
void mym_probes_hear(void)
{
    if (wanted_by_probes() == MYM_RACY(mym_watch.of[MYM_FOR_PROBES]))
        return;
    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    watch(MYM_FOR_PROBES, wanted_by_probes());
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
}

int mym_profile_start(size_t every)
{
    int error = 0;

    if (every == 0 || every > MYM_PROFILE_MOST)
        return EINVAL;
    if (!mym_start())
        return ENOMEM;
    if (!mym_unwind_start())
        return ENOSYS;
    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    error = mym_watch.of[MYM_FOR_PROFILE] != 0 ? EBUSY : watch(MYM_FOR_PROFILE, every);
    if (error == 0)
        watch(MYM_FOR_PROBES, 0); /* a listener hears the profile's */
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
    return error;
}

int mym_profile_stop(void)
{
    bool was_on;

    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    was_on = mym_watch.of[MYM_FOR_PROFILE] != 0;
    if (was_on)
        watch(MYM_FOR_PROFILE, 0); /* a listener is heard again within a second */
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
    return was_on ? 0 : EBUSY;
}

int mym_profile_reset(size_t every)
{
    if (every == 0 || every > MYM_PROFILE_MOST)
        return EINVAL;
    if (!mym_start())
        return ENOMEM;
    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    if (mym_watch.of[MYM_FOR_PROFILE] != 0 && mym_watch.of[MYM_FOR_PROFILE] != every)
        watch(MYM_FOR_PROFILE, every);
    mym_profile_forget();
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
    return 0;
}

void mym_guard_set(enum mym_guard_time time)
{
    if (MYM_RACY(guard_every) == 0)
        return;
    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    set_guard(time);
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
}

/* It is alone, and has no helper. */
void mym_guard_fork_child(void)
{
    set_guard(MYM_GUARD_ALWAYS);
}

int mym_guarded_begin(size_t every, bool go_on)
{
    if (!mym_unwind_start())
        return ENOSYS;
    if (!mym_guarded_start(go_on))
        return ENOMEM;
    mym_mutex_lock(&mym_start_lock, MYM_RANK_START);
    guard_every = every;
    set_guard(MYM_GUARD_ALWAYS);
    mym_mutex_unlock(&mym_start_lock, MYM_RANK_START);
    return 0;
}
