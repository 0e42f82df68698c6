/*
 * life.c - configuration, once the program can be asked for it; fork; and staying loaded.
 *
 * The heap has started by itself (start.c). The front end is chosen here, by a constructor,
 * when the environment and the rseq registration are in place; until then the closed cache
 * sends every request to the pools.
 */
#include "alloc/alloc.h"
#include "alloc/background.h"
#include "alloc/config.h"
#include "alloc/info.h"
#include "alloc/layout.h"
#include "alloc/reap.h"
#include "alloc/secure.h"

#include "base/check.h"
#include "heap/mapping.h"
#include "heap/meta.h"
#include "os/os.h"
#include "os/out.h"
#include "pool/pool.h"
#include "profile/guarded.h"
#include "profile/profile.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <string.h>

MYM_PUT_LAYOUT_NOTE;

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
 *
 * A signal handler may fork where its thread holds a lock. One that is alone needs none.
 *
 * A bare fork is one for which no handlers run: _Fork, clone (face/bare.c). It may be called
 * in a signal handler whatever its thread holds, beside others: so it takes what it is given
 * within four seconds (where its thread holds one, at once), and leaves the rest.
 */

extern void _IO_list_lock(void) MYM_MAYBE;
extern void _IO_list_unlock(void) MYM_MAYBE;
extern void _IO_list_resetlock(void) MYM_MAYBE;

/* But for that of the start, which comes first: whoever has it is the only one that forks. */
static void each_lock(enum mym_fork_step step)
{
    mym_mutex_fork(&mym_info_lock, step);
    mym_cache_fork(step);
    mym_purge_fork(step);
    mym_reaps_fork(step);
    mym_pools_fork(step);
    mym_mapping_fork(step);
    mym_pages_fork(step);
    mym_profile_fork(step);
    mym_guarded_fork(step);
    mym_meta_fork(step);
}

/* A handler that forks in the midst of it, too, does not wait for what this one has. */
static bool begin_fork(enum mym_fork_step step, bool alone)
{
    mym_mutex_count(1);
    /* Its state tells of others that fork, too. */
    if (!alone && !mym_mutex_fork(&mym_start_lock, step)) {
        mym_mutex_count(-1);
        return false;
    }
    mym_fork_was_alone = alone;
    mym_fork_in_midst = alone || step == MYM_FORK_TRY;
    mym_cache_vfork_fork();
    if (!alone)
        each_lock(step);
    return true;
}

static void end_fork(enum mym_fork_step step)
{
    if (!mym_fork_was_alone) {
        each_lock(step);
        mym_mutex_fork(&mym_start_lock, step);
    }
    mym_mutex_count(-1);
}

static void begin_child(void)
{
    end_fork(MYM_FORK_RESET);
    mym_guarded_fork_child();
    mym_profile_fork_child();
    mym_profile_signal_fork_child();
    mym_pages_fork_child();
    mym_cache_fork_child();
    if (MYM_SECURE)
        mym_shelf_fork_child();
    mym_background_fork_child();
    mym_guard_fork_child();
}

static void before_fork(void)
{
    bool alone = mym_os_is_alone();

    if (!alone && &_IO_list_lock != NULL)
        _IO_list_lock();
    begin_fork(MYM_FORK_TAKE, alone);
}

static void after_fork_parent(void)
{
    bool alone = mym_fork_was_alone; /* until another thread forks */

    end_fork(MYM_FORK_GIVE);
    if (!alone && &_IO_list_unlock != NULL)
        _IO_list_unlock();
    if (!alone)
        mym_purge_excess(); /* others found that lock taken */
}

static void after_fork_child(void)
{
    begin_child();
    /* glibc does so when there were other threads */
    if (&_IO_list_resetlock != NULL && !mym_fork_was_alone)
        _IO_list_resetlock();
}

void mym_fork_register(void)
{
    static atomic_flag registered = ATOMIC_FLAG_INIT;

    if (!atomic_flag_test_and_set(&registered))
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

bool mym_fork_bare(void)
{
    unsigned left = mym_mutex_fork_patience();
    bool began = begin_fork(MYM_FORK_TRY, mym_os_is_alone());

    mym_mutex_fork_patience_again(left);
    return began;
}

void mym_fork_bare_done(bool child)
{
    if (child)
        begin_child();
    else
        end_fork(MYM_FORK_GIVE);
}

/*
 * ---- staying ----
 *
 * A library that has the archive inside may be closed, while its threads go on: the kernel
 * reads a thread's last sequence when that is preempted the next time, and libc calls what
 * ends a cache as the thread ends. Neither can be taken back for other threads, so the
 * library stays, as our own do by -z nodelete. Programs, which have DT_DEBUG, stay anyway,
 * and with musl all libraries do.
 */
#ifdef __GLIBC__

/* The object's own. A static program has none, nor has it dlsym. */
extern ElfW(Dyn) _DYNAMIC[] __attribute__((weak, visibility("hidden")));
extern __typeof__(dlsym) dlsym MYM_MAYBE;

static bool stays_anyway(const ElfW(Dyn) * entry)
{
    for (; entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == DT_DEBUG ||
            (entry->d_tag == DT_FLAGS_1 && entry->d_un.d_val & DF_1_NODELETE))
            return true;
    return false;
}

/* By name: a static program's linker warns of dlopen, before glibc 2.34 another has them. */
static void stay(void)
{
    union {
        void *symbol;
        __typeof__(dladdr) *call;
    } find;
    union {
        void *symbol;
        __typeof__(dlopen) *call;
    } open;
    Dl_info here;

    if (_DYNAMIC == NULL || dlsym == NULL || stays_anyway(_DYNAMIC)) /* NOLINT */
        return;
    find.symbol = dlsym(RTLD_DEFAULT, "dladdr");
    open.symbol = dlsym(RTLD_DEFAULT, "dlopen");
    if (find.symbol != NULL && open.symbol != NULL && find.call(_DYNAMIC, &here) != 0)
        open.call(here.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

#else

static void stay(void)
{
}

#endif

/* ---- configuration ---- */

static bool watches_group; /* MYMALLOC_CGROUP=watch */

static void each_second(void)
{
    mym_probes_hear();
    if (watches_group)
        mym_limit_read();
    mym_stats_each_second();
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
    int error = mym_profile_at_exit(
        config->profile.path, config->profile.length, config->profile.owner,
        config->profile.text ? MYM_PROFILE_TEXT : MYM_PROFILE_PROTO);

    mym_unwind_set_depth((unsigned)config->profile.depth);
    if (error == 0)
        error = mym_profile_start(config->profile.every);
    if (error == 0 && config->profile.signal != 0)
        error = mym_profile_at_signal(config->profile.signal);
    if (error != 0)
        mym_profile_complain("MYMALLOC_PROFILE", error);
}

static void start_guard(const struct mym_config *config)
{
    int error = 0;

    if (MYM_SECURE)
        mym_warn("MYMALLOC_GUARD", "ignored, the hardened build guards on its own");
    else
        error = mym_guarded_begin(config->guard.every, config->guard.go_on);
    if (error != 0)
        mym_report_complain("no guarded samples", "MYMALLOC_GUARD", error);
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

    stay();
    /* A static program's start makes them read-only between the first request and here. */
    if (!mym_start() || !mym_os_fix(false))
        return;
    mym_config_read(&config);
    if (config.names)
        name_mappings();
    mym_arenas_start(config.together);
    mym_idle_set_keep(mym_limit_space(config.keep, config.cgroup != MYM_CGROUP_OFF));
    mym_limit_set(config.limit);
    if (config.cgroup != MYM_CGROUP_OFF)
        mym_limit_read();
    watches_group = config.cgroup == MYM_CGROUP_WATCH;
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
                 "ignored, this static program cannot have the helper");
    if (config.verbose)
        mym_warn(mym_mode_name(), mym_mode_reason);
    mym_os_fix(true);
}
