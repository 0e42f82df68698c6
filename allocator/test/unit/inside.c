/*
 * inside.c - nothing of the program's runs inside of malloc: no cancellation, and no hook of
 * a library that stands in front of libc (hook.c, preloaded).
 */
#include "check.h"
#include "family.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define COUNT 6000

static atomic_int
    state; /* of the thread: 1 may be cancelled soon, 2 go, 3 has finished */

/* Small objects, spans and mappings: up to `mib` MiB, given back, twice. */
static void work(size_t mib)
{
    static _Thread_local void *objects[COUNT];
    size_t size = (mib << 20) / COUNT;
    unsigned char *huge;

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            objects[i] = malloc(i % 3 ? size : size / 16 + 1);
            CHECK(objects[i]);
            memset(objects[i], i, 16);
        }
        for (int i = 0; i < COUNT; i++)
            free(objects[i]);
        huge = malloc((size_t)40 << 20);
        CHECK(huge);
        huge = realloc(huge, (size_t)90 << 20);
        CHECK(huge);
        free(huge);
        malloc_trim(0);
    }
}

static void allocate_everything(void)
{
    alarm(60);
    work(2);
    work(150);
    CHECK(malloc(SIZE_MAX / 4) == NULL);
    malloc_stats();
    alarm(0);
}

static void *be_cancelled(void *unused)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    state = 1;
    while (state != 2)
        ;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    work(2);
    work(150);
    state = 3;
    pthread_testcancel();
    return unused;
}

/* A pending cancel acts at the next cancellation point; malloc is none (POSIX 2.9.5.2). */
static void a_cancelled_thread_finishes(void)
{
    pthread_t thread;
    void *result;

    alarm(60);
    state = 0;
    CHECK(!pthread_create(&thread, NULL, be_cancelled, NULL));
    while (state != 1)
        ;
    CHECK(!pthread_cancel(thread));
    state = 2;
    CHECK(!pthread_join(thread, &result));
    CHECK(result == PTHREAD_CANCELED && state == 3);
    work(10); /* no lock was left behind */
    alarm(0);
}

const struct test tests[] = {
    {"a_cancelled_thread_finishes", a_cancelled_thread_finishes},
    {"allocate_everything", allocate_everything},
    {NULL, NULL},
};
