/*
 * helper.c - the helper thread: who starts it has no lock; it is no longer wanted while it
 * starts, held at its first step until that was said; and a process forks while it works.
 */
#include "check.h"

#include "mymalloc/arena.h"

#include "family.h"

#include "alloc/background.h"
#include "heap/runs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Atomic bool held, may_go_on;

static void await(_Atomic bool *what)
{
    for (int naps = 0; !*what && naps < 60000; naps++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK(*what);
}

/* What the helper calls first. */
void __wrap_mym_os_name_thread(const char *name);
void __wrap_mym_os_name_thread(const char *name)
{
    (void)name;
    held = true;
    await(&may_go_on);
}

/* More is idle than without a helper may stay at the most. */
static void make_idle(void)
{
    size_t bytes = (size_t)16 << 20;
    void *object = malloc(bytes);

    CHECK(object);
    memset(object, 1, bytes);
    free(object);
}

static unsigned tells;

static void note_tell(void)
{
    tells++;
    CHECKF(mym_locks_held == 0, "%u locks", mym_locks_held);
}

/* What becomes idle may start it at once, by a function that allocates. */
static void who_tells_has_no_lock(void)
{
    size_t bytes = (size_t)16 << 20, less = (size_t)1 << 20;
    MyArena *arena = MyArenaCreate(0);
    void *object;

    mym_idle_when_much = note_tell;
    make_idle();
    CHECK((object = malloc(bytes)));
    CHECK((object = realloc(object, less)));
    free(object);
    CHECK(arena && (object = MyArenaAlloc(arena, bytes)));
    tells = 0;
    CHECK((object = realloc(object, less)));
    CHECK(tells > 0);
    free(object);
    CHECK((object = malloc((size_t)64 << 20))); /* a mapping of its own */
    memset(object, 1, (size_t)64 << 20);
    free(object);
    MyArenaDestroy(arena);
    mym_idle_when_much = NULL;
}

/* A signal's handler frees, whose thread has a lock that pthread_create's requests may ask for. */
static void none_is_started_under_a_lock(void)
{
    CHECK(mym_background_enable());
    mym_mutex_count(1);
    make_idle();
    CHECK(!mym_background_is_running());
    mym_mutex_count(-1);
    mym_background_disable();
}

/* Nothing waits for a helper that will not come. */
static void switched_off_while_it_starts(void)
{
    bool helped;

    CHECK(mym_background_enable());
    make_idle();
    await(&held);
    mym_background_disable();
    may_go_on = true;
    for (int naps = 0; mym_background_is_running() && naps < 60000; naps++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK(!mym_background_is_running());
    mym_pages_lock();
    helped = mym_pages.ledger.helped;
    mym_pages_unlock();
    CHECK(!helped);
}

static _Atomic bool works;

static void *work_until_told(void *unused)
{
    mym_background_hold();
    works = true;
    await(&may_go_on);
    mym_background_release();
    return unused;
}

/* What it holds while a process forks nobody gives back in the child. */
static void a_child_waits_for_no_work(void)
{
    pthread_t thread;
    int status = 0;
    pid_t child;

    may_go_on = false;
    CHECK(pthread_create(&thread, NULL, work_until_told, NULL) == 0);
    await(&works);
    child = fork();
    if (child == 0) {
        alarm(20);
        mym_background_hold();
        mym_background_release();
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECKF(status == 0, "it ended with 0x%x", (unsigned)status);
    may_go_on = true;
    CHECK(pthread_join(thread, NULL) == 0);
}

const struct test tests[] = {
    {"who_tells_has_no_lock", who_tells_has_no_lock},
    {"none_is_started_under_a_lock", none_is_started_under_a_lock},
    {"switched_off_while_it_starts", switched_off_while_it_starts},
    {"a_child_waits_for_no_work", a_child_waits_for_no_work},
    {NULL, NULL},
};
