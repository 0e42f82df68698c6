/*
 * life.c - start, configuration, fork, and what is tried when memory runs short.
 *
 * The heap starts with the first request, which may come from ld.so before any
 * constructor has run: it needs nothing from libc but system calls. The front end is
 * chosen later, by a constructor, when the environment and the rseq registration are
 * in place; until then the closed cache sends every request to the pools.
 */
#include "alloc/alloc.h"
#include "alloc/background.h"
#include "alloc/config.h"
#include "alloc/info.h"
#include "alloc/layout.h"
#include "alloc/reap.h"

#include "base/check.h"
#include "heap/meta.h"
#include "os/os.h"
#include "os/out.h"
#include "pool/pool.h"
#include "profile/guarded.h"
#include "profile/profile.h"

#include <errno.h> /* numbers only */
#include <pthread.h>
#include <string.h>

static struct mym_mutex start_lock;

MYM_PUT_LAYOUT_NOTE;

/* What malloc tests: 0 sends every request to the cold half. */
static void set_limits_of_malloc(bool open)
{
    __atomic_store_n(&mym_hot.class_end, open ? MYM_CLASS_MAX + 1 : 0,
                     __ATOMIC_RELEASE);
    __atomic_store_n(&mym_hot.span_end, open ? MYM_SPAN_MAX + 1 : 0, __ATOMIC_RELEASE);
    __atomic_store_n(&mym_hot.small_end, open ? MYM_SMALL_MAX + 1 : 0,
                     __ATOMIC_RELEASE);
}

MYM_COLD bool mym_start(void)
{
    static _Atomic bool started;

    if (atomic_load_explicit(&started, memory_order_acquire))
        return true;
    mym_mutex_lock(&start_lock, MYM_RANK_INIT);
    if (!started && mym_os_fix(false)) {
        if (MYM_SECURE)
            mym_os_draw_secret();
        mym_sizes_init();
        mym_cache_init();
        if (mym_pages_init()) {
            set_limits_of_malloc(true);
            atomic_store_explicit(&started, true, memory_order_release);
        }
    }
    mym_mutex_unlock(&start_lock, MYM_RANK_INIT);
    return started;
}

/* ---- samples: for a heap profile, for who listens to the probes, guarded ones ---- */

/* start_lock is held: no fork meanwhile. */
static int watch(enum mym_watcher who, size_t every)
{
    if (every != 0 && who != MYM_FOR_GUARD && !mym_arena_sampled())
        return ENOMEM;
    mym_watch_set(who, every);
    set_limits_of_malloc(!mym_watch.on);
    return 0;
}

static size_t wanted_by_probes(void)
{
    return MYM_RACY(mym_watch.of[MYM_FOR_PROFILE]) == 0 && mym_probes_heard()
               ? MYM_PROFILE_EVERY
               : 0;
}

/* Once a second: a listener has come, or the last one has gone. */
static void hear_probes(void)
{
    if (wanted_by_probes() == MYM_RACY(mym_watch.of[MYM_FOR_PROBES]))
        return;
    mym_mutex_lock(&start_lock, MYM_RANK_INIT);
    watch(MYM_FOR_PROBES, wanted_by_probes());
    mym_mutex_unlock(&start_lock, MYM_RANK_INIT);
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
    mym_mutex_lock(&start_lock, MYM_RANK_INIT);
    error = mym_watch.of[MYM_FOR_PROFILE] != 0 ? EBUSY : watch(MYM_FOR_PROFILE, every);
    if (error == 0)
        watch(MYM_FOR_PROBES, 0); /* a listener hears the profile's */
    mym_mutex_unlock(&start_lock, MYM_RANK_INIT);
    return error;
}

int mym_profile_stop(void)
{
    bool was_on;

    mym_mutex_lock(&start_lock, MYM_RANK_INIT);
    was_on = mym_watch.of[MYM_FOR_PROFILE] != 0;
    if (was_on)
        watch(MYM_FOR_PROFILE, 0); /* a listener is heard again within a second */
    mym_mutex_unlock(&start_lock, MYM_RANK_INIT);
    return was_on ? 0 : EBUSY;
}

int mym_profile_reset(size_t every)
{
    if (every == 0 || every > MYM_PROFILE_MOST)
        return EINVAL;
    if (!mym_start())
        return ENOMEM;
    mym_mutex_lock(&start_lock, MYM_RANK_INIT);
    if (mym_watch.of[MYM_FOR_PROFILE] != 0 && mym_watch.of[MYM_FOR_PROFILE] != every)
        watch(MYM_FOR_PROFILE, every);
    mym_profile_forget();
    mym_mutex_unlock(&start_lock, MYM_RANK_INIT);
    return 0;
}

int mym_guarded_begin(size_t every, bool go_on)
{
    if (!mym_unwind_start())
        return ENOSYS;
    if (!mym_guarded_start(go_on))
        return ENOMEM;
    mym_mutex_lock(&start_lock, MYM_RANK_INIT);
    watch(MYM_FOR_GUARD, every);
    mym_mutex_unlock(&start_lock, MYM_RANK_INIT);
    return 0;
}

/*
 * ---- fork: every lock in rank order, so that the child gets a heap at rest ----
 *
 * Other handlers allocate, or wait for a thread that does: none may run while our locks
 * are held. Prepare handlers run last registered first, the others in order; so ours have
 * to be registered before all others (mym_fork_register, face/override.c).
 *
 * After the prepare handlers glibc takes the lock of its list of streams. A thread in
 * fflush(NULL) has it and waits for a stream, a thread in getline has that stream and
 * waits for us: so the list comes before our locks. The lock is recursive.
 */

extern void _IO_list_lock(void) MYM_MAYBE;
extern void _IO_list_unlock(void) MYM_MAYBE;
extern void _IO_list_resetlock(void) MYM_MAYBE;

MYM_UNFOLLOWED static void before_fork(void)
{
    if (&_IO_list_lock != NULL)
        _IO_list_lock();
    mym_mutex_lock(&start_lock, MYM_RANK_INIT);
    mym_mutex_lock(&mym_info_lock, MYM_RANK_INFO);
    mym_cache_fork(true);
    mym_purge_fork(true);
    mym_reaps_fork(true);
    mym_pools_fork(true);
    mym_mapping_fork(true);
    mym_pages_fork(true);
    mym_profile_fork(true);
    mym_guarded_fork(true);
    mym_meta_fork(true);
}

MYM_UNFOLLOWED static void after_fork_parent(void)
{
    mym_meta_fork(false);
    mym_guarded_fork(false);
    mym_profile_fork(false);
    mym_pages_fork(false);
    mym_mapping_fork(false);
    mym_pools_fork(false);
    mym_reaps_fork(false);
    mym_purge_fork(false);
    mym_cache_fork(false);
    mym_mutex_unlock(&mym_info_lock, MYM_RANK_INFO);
    mym_mutex_unlock(&start_lock, MYM_RANK_INIT);
    if (&_IO_list_unlock != NULL)
        _IO_list_unlock();
}

MYM_UNFOLLOWED static void after_fork_child(void)
{
    mym_meta_fork_child();
    mym_guarded_fork_child();
    mym_profile_fork_child();
    mym_profile_signal_fork_child();
    mym_pages_fork_child();
    mym_mapping_fork_child();
    mym_pools_fork_child();
    mym_reaps_fork_child();
    mym_purge_fork_child();
    mym_cache_fork_child();
    mym_background_fork_child();
    mym_mutex_reset(&mym_info_lock, MYM_RANK_INFO);
    mym_mutex_reset(&start_lock, MYM_RANK_INIT);
    if (&_IO_list_resetlock != NULL) /* glibc does so when there were other threads */
        _IO_list_resetlock();
}

void mym_fork_register(void)
{
    static atomic_flag registered = ATOMIC_FLAG_INIT;

    if (!atomic_flag_test_and_set(&registered))
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* ---- shortage ---- */

static size_t own_limit = SIZE_MAX; /* MYMALLOC_LIMIT */

/* No address space that a program can have is larger. */
#define ADDRESS_BITS 48

/*
 * The limit has room for it beside what is alive, and what the heap could give back is
 * enough by itself, or together with what the kernel grants now. Without this question a
 * hopeless request would cost a program its caches.
 */
static bool can_help(size_t size)
{
    static const size_t slack = 2 * MYM_CHUNK_UNITS * MYM_UNIT; /* rounding up */
    size_t live, idle = mym_idle_bytes(&live) + slack;
    void *probe;

    if (size >> ADDRESS_BITS != 0 || size > own_limit || live > own_limit - size)
        return false;
    if (size <= idle)
        return idle > slack;
    probe = mym_os_map((size - idle + MYM_UNIT) & ~(MYM_UNIT - 1));
    if (probe != NULL)
        mym_os_unmap(probe, (size - idle + MYM_UNIT) & ~(MYM_UNIT - 1));
    return probe != NULL;
}

MYM_COLD bool mym_relieve(size_t size)
{
    if (!can_help(size))
        return false;
    mym_trim(0);
    return true;
}

/* ---- limits ---- */

/*
 * A container's limit does not make requests fail, for what is asked for may never be
 * touched; near it, nothing free stays resident. Files are read here, so no lock is held.
 */
static void read_limits(void)
{
    size_t group = mym_os_memory_limit("/proc/self/cgroup", "/sys/fs/cgroup");

    mym_pages_set_limit(own_limit, (group < own_limit ? group : own_limit) / 8 * 7);
}

static bool watches_group; /* MYMALLOC_CGROUP=watch */

static void each_second(void)
{
    hear_probes();
    if (watches_group)
        read_limits();
    mym_stats_each_second();
}

static void set_limits(const struct mym_config *config)
{
    own_limit = config->limit;
    mym_pages_set_limit(own_limit, own_limit / 8 * 7);
    if (config->cgroup != MYM_CGROUP_OFF)
        read_limits();
    watches_group = config->cgroup == MYM_CGROUP_WATCH;
}

/* Huge pages are asked for only where the kernel makes them. */
static void set_huge(const struct mym_config *config)
{
    char mode[64];
    bool known = mym_os_read_file("/sys/kernel/mm/transparent_hugepage/enabled", mode,
                                  sizeof mode) > 0;
    bool makes = known && strstr(mode, "[never]") == NULL;

    mym_chunk_set_huge(makes ? config->huge : MYM_HUGE_NEVER,
                       !known || strstr(mode, "[always]") != NULL);
}

/* Last, for what unwinding needs is loaded by the program's loader. */
static void start_profile(const struct mym_config *config)
{
    int error = mym_profile_at_exit(config->profile.path, config->profile.length,
                                    config->profile.text ? MYM_PROFILE_TEXT
                                                         : MYM_PROFILE_PROTO);

    mym_unwind_set_depth(config->profile.depth);
    if (error == 0)
        error = mym_profile_start(config->profile.every);
    if (error == 0 && config->profile.signal != 0)
        error = mym_profile_at_signal(config->profile.signal);
    if (error != 0)
        mym_profile_complain("MYMALLOC_PROFILE", error);
}

static void start_guard(const struct mym_config *config)
{
    static const struct mym_report none = {.what = "no guarded samples"};
    int error = 0;

    if (MYM_SECURE)
        mym_warn("MYMALLOC_GUARD", "ignored, the hardened build guards on its own");
    else
        error = mym_guarded_begin(config->guard.every, config->guard.go_on);
    if (error != 0)
        mym_report_complain(&none, "MYMALLOC_GUARD", error);
}

static void name_mappings(void)
{
    mym_os_names = true;
    mym_region_name();
    mym_meta_name();
}

__attribute__((constructor(101))) static void start_front_end(void)
{
    struct mym_config config;

    if (!mym_start())
        return;
    mym_config_read(&config);
    if (config.names)
        name_mappings();
    mym_arenas_start(config.together);
    mym_idle_set_keep(config.keep);
    set_limits(&config);
    mym_cache_each_second = each_second;
    set_huge(&config);
    /* Before the front end: the handlers must know every lock that a child could find. */
    mym_fork_register();
    mym_mode_start(config.front_end);
    if (config.profile.path != NULL)
        start_profile(&config);
    if (config.stats.path != NULL)
        mym_stats_start(&config.stats);
    if (config.guard.every != 0)
        start_guard(&config);
    if (config.background && !mym_background_enable())
        mym_warn("MYMALLOC_BACKGROUND=on",
                 "ignored, the program is linked without threads");
    if (config.verbose)
        mym_warn(mym_mode_name(), mym_mode_reason);
    mym_os_fix(true);
}
