/*
 * rest.c - when malloc counts for the guard, and that as much is guarded whenever that is.
 *
 * How many objects are guarded is drawn by lot: of 64 that are expected fewer than 24 or more
 * than 128 come once in a hundred million runs.
 */
#include "check.h"
#include "family.h"

#include "alloc/alloc.h"
#include "alloc/background.h"
#include "profile/guarded.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB   ((size_t)1 << 20)
#define EVERY (16 * MIB)

static size_t guarded_of(size_t bytes)
{
    size_t before = MYM_RACY(mym_guarded.taken);

    for (; bytes > 0; bytes -= 4096)
        free(malloc(4096));
    return MYM_RACY(mym_guarded.taken) - before;
}

static void check_about_64(size_t count)
{
    CHECKF(count >= 24 && count <= 128, "%zu", count);
}

static void check_limits(bool open, size_t every)
{
    CHECK((mym_hot.small_end != 0) == open);
    CHECK((mym_hot.class_end != 0) == open);
    CHECK(mym_watch.of[MYM_FOR_GUARD] == every);
}

static void begin(size_t every)
{
    CHECK(mym_guarded_begin(every, true) == 0);
    check_limits(false, every);
}

static void as_many_whenever_it_counts(void)
{
    begin(EVERY);
    check_about_64(guarded_of(64 * EVERY));
    mym_guard_set(MYM_GUARD_NOW);
    check_limits(false, EVERY / MYM_GUARD_SHARE);
    check_about_64(guarded_of(64 * EVERY / MYM_GUARD_SHARE));
    mym_guard_set(MYM_GUARD_REST);
    check_limits(true, EVERY / MYM_GUARD_SHARE);
    CHECK(guarded_of(64 * EVERY) == 0);
    mym_guard_set(MYM_GUARD_ALWAYS);
    check_limits(false, EVERY);
    check_about_64(guarded_of(64 * EVERY));
}

static void *set(void *time)
{
    mym_guard_set(*(enum mym_guard_time *)time);
    return NULL;
}

/* As the helper does: the countdown of who says so starts again. */
static void set_by_another(enum mym_guard_time time)
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, set, &time) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* What was counted is not forgotten where malloc counts for less than a stretch at a time. */
static void as_many_by_little(void)
{
    size_t count = 0, part = MYM_STRETCH / 2;

    begin(EVERY);
    for (size_t bytes = 0; bytes < 64 * EVERY / MYM_GUARD_SHARE; bytes += part) {
        set_by_another(MYM_GUARD_NOW);
        count += guarded_of(part);
        set_by_another(MYM_GUARD_REST);
        CHECK(guarded_of(part) == 0);
    }
    check_about_64(count);
}

static void no_rest_from_few(void)
{
    size_t every = (size_t)MYM_STRETCH * MYM_GUARD_SHARE - 1;

    mym_guard_set(MYM_GUARD_REST); /* there is no guard */
    CHECK(mym_hot.small_end != 0 && !mym_guard_may_rest());
    begin(every);
    mym_guard_set(MYM_GUARD_REST);
    CHECK(!mym_guard_may_rest());
    check_limits(false, every);
}

static void no_rest_from_a_profile(void)
{
    begin(EVERY);
    mym_guard_set(MYM_GUARD_REST);
    CHECK(mym_profile_start(MIB) == 0);
    CHECK(!mym_guard_may_rest());
    check_limits(false, EVERY);
    mym_guard_set(MYM_GUARD_REST);
    check_limits(false, EVERY);
    CHECK(mym_profile_stop() == 0);
    check_limits(false, EVERY); /* until the helper says that it may */
    mym_guard_set(MYM_GUARD_REST);
    check_limits(true, EVERY / MYM_GUARD_SHARE);
}

static void no_rest_in_a_child(void)
{
    int status;

    begin(EVERY);
    mym_guard_set(MYM_GUARD_REST);
    if (fork() == 0) {
        check_limits(false, EVERY);
        _exit(0);
    }
    CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check_limits(true, EVERY / MYM_GUARD_SHARE);
}

static void until_guarded(void)
{
    size_t before = MYM_RACY(mym_guarded.taken);

    while (MYM_RACY(mym_guarded.taken) == before)
        free(malloc(4096));
}

static void await(bool open)
{
    for (int naps = 0; (MYM_RACY(mym_hot.small_end) != 0) != open && naps < 60000;
         naps++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK((MYM_RACY(mym_hot.small_end) != 0) == open);
}

/* The first guarded object brings it, with nothing idle; it comes and goes with it. */
static void it_rests_while_the_helper_runs(void)
{
    CHECK(mym_background_enable());
    begin(MIB);
    until_guarded();
    for (int i = 0; i < 3; i++) {
        await(true);
        until_guarded();
    }
    CHECK(mym_background_is_running());
    mym_background_disable();
    for (int naps = 0; mym_background_is_running() && naps < 60000; naps++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    await(false);
    CHECK(mym_watch.of[MYM_FOR_GUARD] == MIB);
}

#define CASE(function)      \
    {                       \
#function, function \
    }

const struct test tests[] = {
    CASE(no_rest_from_few),
    CASE(as_many_whenever_it_counts),
    CASE(as_many_by_little),
    CASE(no_rest_from_a_profile),
    CASE(no_rest_in_a_child),
    CASE(it_rests_while_the_helper_runs),
    {NULL, NULL},
};
