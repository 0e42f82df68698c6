/*
 * populate.c - a pool serves others while one thread has the kernel populate a slab for it.
 *
 * The thread is held in its first such call until another has taken so many objects of the
 * same class that it needed slabs as well.
 */
#include "check.h"
#include "family.h"
#include "gate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { SIZE = 1000, MANY = 4000, SECONDS = 60 };

static _Atomic int held, done, late;
static void *others[MANY];

static void nap(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static long hold(long number, const long arguments[6])
{
    if (number == SYS_madvise && arguments[2] == MADV_POPULATE_WRITE &&
        atomic_exchange(&held, 1) == 0) {
        int naps = 0;

        while (!done && naps++ < SECONDS * 1000)
            nap();
        late = !done;
    }
    return gate_call(number, arguments);
}

static void *take_many(void *unused)
{
    while (!held)
        nap();
    for (int i = 0; i < MANY; i++)
        CHECK((others[i] = malloc(SIZE)));
    done = 1;
    for (int i = 0; i < MANY; i++)
        free(others[i]);
    return unused;
}

static void a_pool_goes_on(void)
{
    static unsigned char *objects[8 * MANY];
    pthread_t thread;
    int count = 0;

    /* Before the gate, so that it does not stand in its way. */
    CHECK(pthread_create(&thread, NULL, take_many, NULL) == 0);
    if (!gate_install_rule(hold, 0, 0)) {
        printf("no seccomp here: nobody is held\n");
        held = 1;
    }
    /* A pool of some slabs populates the next. */
    while (count < 8 * MANY && !held) {
        CHECK((objects[count] = malloc(SIZE)));
        objects[count++][SIZE - 1] = 1;
    }
    CHECKF(held, "no slab was populated");
    CHECKF(!late, "the other thread waited for the pool for %d s", SECONDS);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(family.verify == NULL || family.verify() == 0);
    while (count > 0)
        free(objects[--count]);
    CHECK(family.verify == NULL || family.verify() == 0);
}

const struct test tests[] = {
    {"a_pool_goes_on", a_pool_goes_on},
    {NULL, NULL},
};
