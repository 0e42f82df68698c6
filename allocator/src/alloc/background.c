/*
 * background.c - the helper, MYMALLOC_BACKGROUND=on: a thread that gives idle memory back
 * while the program makes no call.
 *
 * It is started when more than a few MiB lie idle, from within the free that makes it so, or
 * a large heap has grown (heap/collapse.c), and ends when there is no more to do: a program
 * with nothing to give back has no thread more than its own. A child of fork starts another
 * when it needs one. With guarded samples it is started by the first, and stays: malloc rests
 * from counting for them (mym_guard_set).
 *
 * What a program has registered for its end (atexit, streams to be written) the C library runs
 * in the thread that ends last. The helper, which has none of its files, no signals and a small
 * stack, must not be that one. It could be only where the first thread left by pthread_exit: so
 * that one waits for the helper's end, and there is none from then on.
 *
 * Locking: `work` while it gives memory back, for whoever needs a heap that stands still
 * (walk.c); whatever is called takes its own locks. None is held when it is started:
 * pthread_create allocates. Nor may a lock of the C library be, that of its stacks: who frees
 * under it is barred.
 */
#include "alloc/background.h"

#include "alloc/alloc.h"
#include "alloc/info.h"
#include "alloc/secure.h"
#include "cache/cache.h"
#include "os/mutex.h"
#include "os/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#define TICK_MS 1000u

/* Deep enough for a handler of SIGABRT; it need not be small, for it is not touched. */
#define STACK_BYTES ((size_t)256 << 10)

extern __typeof__(dlsym) dlsym MYM_MAYBE; /* a static program has none */
/* Of each sanitizer that takes pthread_create's place. */
extern void __sanitizer_set_death_callback(void (*)(void)) MYM_MAYBE;

/* A static program that has no threads is linked without them. */
extern __typeof__(pthread_create) pthread_create MYM_MAYBE;
extern __typeof__(pthread_attr_init) pthread_attr_init MYM_MAYBE;
extern __typeof__(pthread_attr_destroy) pthread_attr_destroy MYM_MAYBE;
extern __typeof__(pthread_attr_setdetachstate) pthread_attr_setdetachstate MYM_MAYBE;
extern __typeof__(pthread_attr_setstacksize) pthread_attr_setstacksize MYM_MAYBE;

static _Atomic bool running;        /* or about to: by whoever set it */
static _Atomic uint64_t not_before; /* in ms: the last try was refused */
static _Atomic bool forbidden;
static _Atomic int helper; /* its id; it may have ended */
static bool has_key;
static pthread_key_t key; /* set in the first thread alone */
static __typeof__(pthread_create) *create_thread;
static __thread uint32_t bars __attribute__((tls_model("initial-exec")));

bool mym_background_is_running(void)
{
    return atomic_load_explicit(&running, memory_order_relaxed);
}

bool mym_background_is_enabled(void)
{
    return __atomic_load_n(&mym_idle_when_much, __ATOMIC_SEQ_CST) != NULL;
}

static bool is_wanted(void)
{
    return mym_background_is_enabled() &&
           (mym_idle_is_much() || mym_cache_round_is_due() || mym_guard_may_rest());
}

/*
 * It says that it ends before it looks a last time: what becomes idle after that look is
 * seen by who makes it so, as one that is not running.
 */
static bool end_if_idle(void)
{
    if (is_wanted())
        return false;
    if (!mym_background_is_enabled()) /* switched off, while it started perhaps */
        mym_idle_set_helped(false);
    atomic_store(&running, false);
    return !is_wanted() || atomic_exchange(&running, true);
}

static struct mym_mutex work;

void mym_background_hold(void) MYM_ACQUIRES(work)
{
    mym_mutex_lock(&work, MYM_RANK_HELPER);
}

void mym_background_release(void) MYM_RELEASES(work)
{
    mym_mutex_unlock(&work, MYM_RANK_HELPER);
}

void mym_background_work(bool pressed)
{
    mym_background_hold();
    if (pressed) {
        mym_trim(0);
        mym_cache_round();
    } else {
        mym_cache_round(); /* a second after it was asked for */
        mym_cache_cool();
        if (MYM_SECURE)
            mym_shelf_cool();
        mym_collapse();
    }
    mym_background_release();
}

/*
 * True: memory is short. Malloc counts for the guard for a part of the time that begins anywhere
 * in it.
 */
static bool wait_tick(struct mym_os_pressure *pressure)
{
    const unsigned part = TICK_MS / MYM_GUARD_SHARE;
    unsigned before = TICK_MS;
    bool pressed;

    if (mym_guard_may_rest()) {
        before = (unsigned)(mym_mix(mym_os_wall_ns()) % (TICK_MS - part));
        mym_guard_set(MYM_GUARD_REST);
    }
    pressed = mym_os_wait_pressure(pressure, before);
    if (before != TICK_MS && !pressed) {
        mym_guard_set(MYM_GUARD_NOW);
        pressed = mym_os_wait_pressure(pressure, part);
        mym_guard_set(MYM_GUARD_REST);
        if (!pressed)
            pressed = mym_os_wait_pressure(pressure, TICK_MS - part - before);
    }
    return pressed;
}

static void *help(void *unused)
{
    struct mym_os_pressure pressure;

    atomic_store(&helper, mym_os_thread());
    mym_os_name_thread("mymalloc");
    mym_os_watch_pressure(&pressure);
    /* A thread had been refused, or this is a child of fork. */
    mym_idle_set_helped(true);
    do {
        mym_background_work(wait_tick(&pressure));
    } while (!end_if_idle());
    mym_guard_set(MYM_GUARD_ALWAYS);
    return unused;
}

static bool create(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    bool done;

    if (pthread_attr_init(&attributes) != 0)
        return false;
    done = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
           pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
           create_thread(&thread, &attributes, help, NULL) == 0;
    pthread_attr_destroy(&attributes);
    return done;
}

/* Much is idle; no lock is held, but where it is a signal's handler that frees. */
static MYM_COLD void start(void)
{
    int saved = errno;
    uint64_t signals;

    if (bars > 0 || mym_locks_held > 0 || mym_background_is_running() ||
        atomic_exchange(&running, true))
        return;
    if (mym_background_is_enabled() && /* still: else end_of_first may not have seen this */
        mym_os_is_due(mym_os_coarse_ms(), not_before, TICK_MS)) {
        signals = mym_os_block_signals(); /* the thread inherits what is blocked */
        if (!create()) {
            not_before = mym_os_coarse_ms() + TICK_MS;
            atomic_store(&running, false);
            mym_idle_set_helped(false);
        }
        mym_os_restore_signals(signals);
    } else {
        atomic_store(&running, false);
    }
    errno = saved;
}

void mym_background_bar(bool barred)
{
    bars += barred ? 1 : UINT32_MAX;
}

void mym_background_forbid(void)
{
    forbidden = true;
}

/*
 * The C library's own. One in front of it, a program's or a tool's, may hold a lock there and
 * free something: that would start the helper, by itself, and wait for itself. Sanitizers
 * alone have to know each thread.
 */
static void find_create_thread(void)
{
    create_thread = pthread_create;
    if (&dlsym != NULL && &__sanitizer_set_death_callback == NULL) {
        const union {
            void *symbol;
            __typeof__(pthread_create) *call;
        } next = {.symbol = dlsym(RTLD_NEXT, "pthread_create")};

        if (next.symbol != NULL)
            create_thread = next.call;
    }
}

/* What the key holds need not be ours: cache/thread.c. */
static void end_of_first(void *value)
{
    _Atomic uint32_t never = 0;

    if (value != &key)
        return;
    forbidden = true;
    mym_background_disable();
    /* Not for ever: the id may be another thread's by now, who started it cancelled. */
    for (int ms = 0; ms < 10000 && (mym_background_is_running() ||
                                    mym_os_has_thread(atomic_load(&helper)));
         ms++)
        mym_os_futex_wait(&never, 0, 1);
}

static void find_first(void)
{
    if (!has_key)
        has_key = pthread_key_create(&key, end_of_first) == 0;
    if (has_key && mym_os_thread() == mym_os_process())
        pthread_setspecific(key, &key);
}

bool mym_background_enable(void)
{
    if (forbidden || &pthread_create == NULL || &pthread_attr_init == NULL ||
        &pthread_attr_destroy == NULL || &pthread_attr_setdetachstate == NULL ||
        &pthread_attr_setstacksize == NULL)
        return false;
    if (create_thread == NULL)
        find_create_thread();
    find_first();
    mym_idle_set_helped(true);
    __atomic_store_n(&mym_idle_when_much, start, __ATOMIC_RELAXED);
    return true;
}

void mym_background_disable(void)
{
    __atomic_store_n(&mym_idle_when_much, NULL, __ATOMIC_SEQ_CST);
    mym_idle_set_helped(false);
}

void mym_background_fork_child(void)
{
    if (mym_fork_was_alone) /* there was none */
        return;
    if (!mym_fork_in_midst) /* of what has the lock that this needs */
        mym_idle_set_helped(false);
    atomic_store(&running, false);
    atomic_store(&helper, 0);
    if (has_key && !mym_fork_in_midst) /* who forked is the child's first thread */
        pthread_setspecific(key, &key);
    work = (struct mym_mutex){0}; /* who held it is not in the child */
    not_before = 0;
}
