/*
 * purge.c - fork while other threads give memory back: the child finds every free run, can
 * use it and give it back itself.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#ifdef TEST_MY
#include "heap/runs.h"
#endif

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB     ((size_t)1 << 20)
#define THREADS 3
#define OBJECTS 24
#define BYTES   (6 * MIB) /* the page heap's own business: no cache holds such */

/* NULL from before the object is freed until after it was taken. */
static struct {
    unsigned char *_Atomic object[OBJECTS];
} worker[THREADS];

static atomic_bool over;

static void touch(unsigned char *object)
{
    for (size_t at = 0; at < BYTES; at += 64 << 10)
        object[at] = 1;
}

static void put(unsigned char *_Atomic *place)
{
    free(atomic_exchange(place, NULL));
}

/* Flocks of objects come and go: what was freed is purged at once (MYMALLOC_KEEP=1M). */
static void *work(void *seed)
{
    uint64_t random = test_seed() + (uintptr_t)seed;
    unsigned me = (unsigned)(uintptr_t)seed;

    while (!over) {
        for (unsigned i = 0; i < OBJECTS; i++) {
            unsigned char *object = malloc(BYTES);

            CHECK(object);
            touch(object);
            worker[me].object[i] = object;
        }
        for (unsigned i = 0; i < OBJECTS; i++)
            put(&worker[me].object[next_random(&random) % OBJECTS]);
        if (next_random(&random) % 4 == 0)
            malloc_trim(0);
        for (unsigned i = 0; i < OBJECTS; i++)
            put(&worker[me].object[i]);
    }
    return NULL;
}

/* Take what is free until the heap grows: bytes. */
static size_t take_what_is_free(void)
{
    size_t arena = mallinfo2().arena, got = 0;
    void *first = NULL, *p;

    while ((p = malloc(192 << 10)) != NULL && mallinfo2().arena <= arena) {
        *(void **)p = first;
        first = p;
        got += 192 << 10;
    }
    free(p);
    while (first != NULL) {
        p = first;
        first = *(void **)p;
        free(p);
    }
    return got;
}

static void be_the_child(void)
{
    size_t known = 0, base = 24 * MIB, space, got;
    struct mallinfo2 info;

    alarm(60);
    CHECK(!family.verify || family.verify() == 0);
#ifdef TEST_MY
    CHECKF(mym_pages.purging == 0, "%u units belong to nobody", mym_pages.purging);
#endif
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < OBJECTS; j++)
            known += worker[i].object[j] ? BYTES : 0;
    info = mallinfo2();
    /* An object of each thread may be on its way, and there are the test's own. */
    CHECKF(info.uordblks <= known + THREADS * BYTES + MIB,
           "%zu MiB in use, %zu are known", info.uordblks / MIB, known / MIB);
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < OBJECTS; j++)
            put(&worker[i].object[j]);
    info = mallinfo2();
    got = take_what_is_free();
    CHECKF(got + got / 8 + 4 * MIB >= info.fordblks, "%zu MiB of %zu free can be had",
           got / MIB, info.fordblks / MIB);
    malloc_trim(0);
    info = mallinfo2();
    space = info.arena;
    CHECKF(space <= base + THREADS * BYTES, "%zu MiB of the heap stay mapped",
           space / MIB);
    CHECK(!family.verify || family.verify() == 0);
    _exit(0);
}

static void children_have_all_runs(void)
{
    pthread_t thread[THREADS];

    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], NULL, work, (void *)i) == 0); /* NOLINT */
    for (unsigned i = 0; i < 10; i++) {
        int status = 0;
        pid_t child;

        usleep(1000);
        child = fork();
        CHECK(child >= 0);
        if (child == 0)
            be_the_child();
        CHECK(waitpid(child, &status, 0) == child);
        CHECKF(status == 0, "child %u ended with 0x%x", i, (unsigned)status);
    }
    over = true;
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
}

const struct test tests[] = {
    {"children_have_all_runs", children_have_all_runs},
    {NULL, NULL},
};
