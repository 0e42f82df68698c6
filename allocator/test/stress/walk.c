/*
 * walk.c - MyHeapWalk in a program that does not stand still: what it visits may be wrong, but
 * nothing is written or followed where nothing is, and it ends.
 */
#include "mymalloc/arena.h"

#include "check.h"
#include "family.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ROUNDS = 300, OBJECTS = 2000 };

static atomic_int at_work;

/* Slabs of one class after the other come and go; the heap shrinks, and grows again. */
static void slabs(void **objects, uint64_t *random)
{
    size_t bytes = 16 + next_random(random) % 30000;

    for (int i = 0; i < OBJECTS; i++)
        objects[i] = malloc(bytes);
    for (int i = 0; i < OBJECTS; i++)
        free(objects[i]);
    if (next_random(random) % 4 == 0)
        malloc_trim(0);
}

static void spans(void **objects, uint64_t *random)
{
    for (int i = 0; i < OBJECTS / 8; i++)
        objects[i] = malloc(next_random(random) % 600000);
    for (int i = 0; i < OBJECTS / 8; i++)
        free(objects[i]);
}

static void windows(void **objects, uint64_t *random)
{
    MyArena *arena = MyArenaCreate(0);

    for (int i = 0; i < OBJECTS / 8; i++)
        objects[i] = MyArenaAlloc(arena, next_random(random) % 3000);
    MyArenaDestroy(arena);
}

static void (*const ways[])(void **objects, uint64_t *random) = {slabs, spans, windows};
enum { THREADS = sizeof ways / sizeof *ways };

static void *work(void *way)
{
    uint64_t random = test_seed() + (size_t)way;
    void **objects = malloc(OBJECTS * sizeof *objects);

    for (int i = 0; i < ROUNDS; i++)
        ways[(size_t)way](objects, &random);
    free(objects);
    at_work--;
    return NULL;
}

static int add(void *object, size_t bytes, void *sum)
{
    (void)object;
    *(size_t *)sum += bytes;
    return 0;
}

static void beside_threads(void)
{
    pthread_t threads[THREADS];
    size_t sum = 0;

    at_work = THREADS;
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    while (at_work > 0)
        CHECK(MyHeapWalk(add, &sum) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(MyVerify() == 0);
}

const struct test tests[] = {
    {"beside_threads", beside_threads},
    {NULL, NULL},
};
