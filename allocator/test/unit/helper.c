/*
 * helper.c - the helper thread is no longer wanted while it starts: held at its first step until
 * that was said.
 */
#include "check.h"
#include "family.h"

#include "alloc/background.h"
#include "heap/runs.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

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

const struct test tests[] = {
    {"switched_off_while_it_starts", switched_off_while_it_starts},
    {NULL, NULL},
};
