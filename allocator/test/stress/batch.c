/*
 * batch.c - large objects of one size taken by the dozen and given back, by threads that hand
 * some to each other, change their CPUs, empty caches and fork: each object is one thread's.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB     ((size_t)1 << 10)
#define THREADS 4
#define MOST    40 /* objects of a batch */
#define PLACES  16

/* The first and the last words of an object. */
struct mark {
    uint64_t id;
    size_t size;
};

static _Atomic(char *) places[PLACES]; /* of nobody: whoever takes one frees it */
static _Atomic uint64_t next_id = 1;

static char *take(size_t size)
{
    struct mark mark = {atomic_fetch_add(&next_id, 1), size};
    char *object = malloc(size);

    CHECK(object);
    memcpy(object, &mark, sizeof mark);
    memcpy(object + size - sizeof mark, &mark, sizeof mark);
    return object;
}

static void put(char *object)
{
    static const struct mark none;
    struct mark first, last;

    if (object == NULL)
        return;
    memcpy(&first, object, sizeof first);
    memcpy(&last, object + first.size - sizeof last, sizeof last);
    CHECKF(first.id == last.id && first.id != 0, "object %llu at %p ends with %llu",
           (unsigned long long)first.id, (void *)object, (unsigned long long)last.id);
    memcpy(object, &none, sizeof none);
    free(object);
}

static void migrate(uint64_t *random)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(next_random(random) % 2, &one);
    sched_setaffinity(0, sizeof one, &one); /* refused: it stays where it is */
}

static void batch(uint64_t *random, size_t size)
{
    unsigned many = 1 + next_random(random) % MOST;
    char *objects[MOST];

    for (unsigned i = 0; i < many; i++)
        objects[i] = take(size);
    for (unsigned i = 0; i < many; i++) {
        if (next_random(random) % 8 == 0)
            objects[i] =
                atomic_exchange(&places[next_random(random) % PLACES], objects[i]);
        put(objects[i]);
    }
}

static void *work(void *seed)
{
    static const size_t sizes[] = {192 * KIB, 256 * KIB, 1024 * KIB, 1200 * KIB};
    uint64_t random = test_seed() + (uintptr_t)seed;
    unsigned rounds = is_slow() ? 100 : 500;

    for (unsigned i = 0; i < rounds; i++) {
        size_t size = sizes[next_random(&random) % 4];

        migrate(&random);
        for (unsigned times = 1 + next_random(&random) % 8; times > 0; times--)
            batch(&random, size);
        if (next_random(&random) % 16 == 0)
            malloc_trim(0);
    }
    return NULL;
}

static void be_the_child(void)
{
    uint64_t random = test_seed();

    alarm(60);
    CHECK(!family.verify || family.verify() == 0);
    for (unsigned i = 0; i < 20; i++)
        batch(&random, 256 * KIB);
    for (unsigned i = 0; i < PLACES; i++)
        put(atomic_exchange(&places[i], NULL));
    malloc_trim(0);
    CHECK(!family.verify || family.verify() == 0);
    _exit(0);
}

static void each_object_is_of_one_thread(void)
{
    pthread_t thread[THREADS];

    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], NULL, work, (void *)i) == 0); /* NOLINT */
    for (unsigned i = 0; i < 5; i++) {
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
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
    for (unsigned i = 0; i < PLACES; i++)
        put(atomic_exchange(&places[i], NULL));
    CHECK(!family.verify || family.verify() == 0);
}

const struct test tests[] = {
    {"each_object_is_of_one_thread", each_object_is_of_one_thread},
    {NULL, NULL},
};
