/* life.c - before main, at thread exit, across fork and vfork, after main. */
#include "check.h"
#include "family.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *from_constructor;

/* Earlier than any library constructor without a priority of its own. */
__attribute__((constructor(101))) static void before_main(void)
{
    from_constructor = malloc(1000);
    if (from_constructor)
        memset(from_constructor, 0x77, 1000);
}

/* After main and after the atexit handlers: freeing must still be possible. */
__attribute__((destructor(101))) static void after_main(void)
{
    void *p = malloc(3000);

    free(p);
    free(from_constructor);
}

static void constructor_object_lives(void)
{
    const unsigned char *bytes = from_constructor;

    CHECK(bytes && bytes[0] == 0x77 && bytes[999] == 0x77);
}

/* ---- thread exit ---- */

static pthread_key_t keys[8];
static atomic_int destroyed;

/*
 * Runs among the destructors of the allocator's own keys, in an unspecified order and
 * in several rounds: each round allocates and frees, so some frees come after the
 * thread's cache is gone.
 */
static void late_destructor(void *value)
{
    char **object = value;
    void *p = malloc(500);

    CHECK(p);
    memset(p, 1, 500);
    free(p);
    CHECK(!strcmp(object[1], "alive"));
    if (object[0]) {
        object[0] = NULL;
        pthread_setspecific(keys[0], object);
        return;
    }
    free(object[1]);
    free(object);
    destroyed++;
}

static void *thread_with_keys(void *argument)
{
    (void)argument;
    for (int i = 0; i < 8; i++) {
        char **object = malloc(2 * sizeof(*object));

        CHECK(object);
        object[1] = strcpy(malloc(16), "alive");
        object[0] = i == 0 ? object[1] : NULL;
        pthread_setspecific(keys[i], object);
    }
    for (int i = 0; i < 1000; i++)
        free(malloc((size_t)i));
    return malloc(77);
}

static void destructors_may_free(void)
{
    int threads = is_slow() ? 20 : 300;

    for (int i = 0; i < 8; i++)
        CHECK(!pthread_key_create(&keys[i], late_destructor));
    destroyed = 0;
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        void *result;

        CHECK(!pthread_create(&thread, NULL, thread_with_keys, NULL));
        CHECK(!pthread_join(thread, &result));
        CHECK(malloc_usable_size(result) >= 77);
        free(result);
    }
    CHECKF(destroyed == threads * 8, "%d of %d", destroyed, threads * 8);
    for (int i = 0; i < 8; i++)
        pthread_key_delete(keys[i]);
}

/* Objects that outlive their thread; memory must not grow with the threads that were. */
static void *take_some(void *argument)
{
    void **objects = argument;

    for (int i = 0; i < 200; i++) {
        objects[i] = malloc((size_t)(16 + i * 8));
        CHECK(objects[i]);
        memset(objects[i], i, (size_t)(16 + i * 8));
    }
    return NULL;
}

static void objects_outlive_threads(void)
{
    void *objects[200];
    size_t before = 0;
    int threads = is_slow() ? 30 : 1000;

    for (int round = 0; round < threads; round++) {
        pthread_t thread;

        CHECK(!pthread_create(&thread, NULL, take_some, objects));
        CHECK(!pthread_join(thread, NULL));
        for (int i = 0; i < 200; i++) {
            CHECK(*(unsigned char *)objects[i] == (i & 0xff));
            free(objects[i]);
        }
        if (round == threads / 10)
            before = resident_bytes();
    }
    if (!is_slow())
        CHECKF(resident_bytes() < before + ((size_t)16 << 20), "%zu -> %zu", before,
               resident_bytes());
}

/* ---- fork ---- */

static atomic_bool stop;
static pthread_barrier_t started;

static void *churn(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    void *objects[64] = {0};

    pthread_barrier_wait(&started);
    while (!stop) {
        size_t i = next_random(&random) % 64;

        free(objects[i]);
        objects[i] = malloc(next_random(&random) % 64 ? next_random(&random) % 2000
                                                      : next_random(&random) % 300000);
        CHECK(objects[i]);
    }
    for (int i = 0; i < 64; i++)
        free(objects[i]);
    return NULL;
}

static void wait_for(pid_t child)
{
    int status = 0;

    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child status 0x%x", status);
}

static void *child_thread(void *argument)
{
    free(argument);
    return malloc(123);
}

/* All that a program does after fork without exec: allocate, free, thread, fork. */
static void live_in_child(void **inherited, int count, int depth)
{
    pthread_t thread;
    void *result;

    for (int i = 0; i < count; i++) {
        CHECK(*(int *)inherited[i] == i);
        free(inherited[i]);
    }
    for (size_t size = 1; size < 3000000; size = size * 3 / 2 + 1) {
        char *p = malloc(size);

        CHECK(p);
        memset(p, 1, size < 100000 ? size : 100000);
        p[size - 1] = 1;
        free(p);
    }
    if (!is_under(QEMU, "thread after such a fork")) {
        CHECK(!pthread_create(&thread, NULL, child_thread, malloc(64)));
        CHECK(!pthread_join(thread, &result));
        free(result);
    }
    malloc_trim(0);
    if (family.verify)
        CHECK(family.verify() == 0);
    if (depth) {
        pid_t grandchild = fork();

        if (!grandchild) {
            live_in_child(NULL, 0, depth - 1);
            _exit(0);
        }
        wait_for(grandchild);
    }
}

/*
 * The first fork waits until the threads have begun: AddressSanitizer's own allocator has
 * no fork handlers, and a thread that begins takes its locks.
 */
static void fork_with_threads(void)
{
    enum { THREADS = 4, COUNT = 300 };
    pthread_t threads[THREADS];
    void *objects[COUNT];
    int rounds = is_slow() ? 5 : 60;

    stop = false;
    pthread_barrier_init(&started, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(!pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)));
    pthread_barrier_wait(&started);
    for (int round = 0; round < rounds; round++) {
        pid_t child;

        for (int i = 0; i < COUNT; i++) {
            objects[i] = malloc((size_t)(4 + i * 10));
            *(int *)objects[i] = i;
        }
        child = fork();
        if (!child) {
            alarm(60);
            live_in_child(objects, COUNT, round % 10 == 0);
            _exit(0);
        }
        wait_for(child);
        for (int i = 0; i < COUNT; i++)
            free(objects[i]);
    }
    stop = true;
    for (int i = 0; i < THREADS; i++)
        CHECK(!pthread_join(threads[i], NULL));
    pthread_barrier_destroy(&started);
}

/* Threads that have freed objects of many sizes and then only wait. */
enum { IDLE = 50 };
static pthread_barrier_t rested, over;

static void *free_and_rest(void *unused)
{
    for (size_t size = 16; size < 32768; size = size * 9 / 8) {
        void *objects[64];

        for (int i = 0; i < 64; i++)
            objects[i] = malloc(size);
        for (int i = 0; i < 64; i++)
            free(objects[i]);
    }
    pthread_barrier_wait(&rested);
    pthread_barrier_wait(&over);
    return unused;
}

static size_t used_and_cached(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.fsmblks;
}

/* What the parent's threads had in their caches is the child's to use. */
static void child_has_all_memory(void)
{
    pthread_t threads[IDLE];
    size_t before;
    pid_t child;

    if (!is_mymalloc())
        return;
    malloc_trim(0);
    before = used_and_cached();
    pthread_barrier_init(&rested, NULL, IDLE + 1);
    pthread_barrier_init(&over, NULL, IDLE + 1);
    for (int i = 0; i < IDLE; i++)
        CHECK(!pthread_create(&threads[i], NULL, free_and_rest, NULL));
    pthread_barrier_wait(&rested);
    child = fork();
    if (!child) {
        malloc_trim(0);
        CHECKF(used_and_cached() <= before + ((size_t)64 << 10), "%zu -> %zu", before,
               used_and_cached());
        live_in_child(NULL, 0, 1);
        _exit(0);
    }
    wait_for(child);
    pthread_barrier_wait(&over);
    for (int i = 0; i < IDLE; i++)
        CHECK(!pthread_join(threads[i], NULL));
    pthread_barrier_destroy(&rested);
    pthread_barrier_destroy(&over);
}

static _Atomic int trimming;

struct comer {
    int cpu, later;
};

static void *come_meanwhile(void *argument)
{
    const struct comer *comer = argument;
    void *objects[64];

    run_on(comer->cpu);
    atomic_store(&trimming, 1);
    while (atomic_load(&trimming) < 2)
        ;
    for (volatile int i = 0; i < comer->later; i++)
        ;
    for (int i = 0; i < 64; i++) {
        objects[i] = malloc(16 + (size_t)i * 16);
        memset(objects[i], i, 16);
    }
    for (int i = 0; i < 64; i++) {
        CHECK(*(char *)objects[i] == i);
        free(objects[i]);
    }
    return NULL;
}

static void collect_beside(int here, int there, int later)
{
    struct comer comer = {there, later};
    pthread_t thread;

    run_on(here);
    CHECK(!pthread_create(&thread, NULL, come_meanwhile, &comer));
    while (atomic_load(&trimming) < 1)
        ;
    atomic_store(&trimming, 2);
    malloc_trim(0);
    CHECK(!pthread_join(thread, NULL));
}

static void *fill_and_rest(void *cpu)
{
    run_on(*(int *)cpu);
    return free_and_rest(NULL);
}

/* A thread of the child comes to a cache that the child is about to empty. */
static void child_collects_beside_threads(void)
{
    int children = is_slow() ? 2 : 40; /* threads that spin take turns under valgrind */
    pthread_t thread;
    int cpu[2];

    if (!find_two_cpus(cpu) || is_under(QEMU, "thread after such a fork"))
        return;
    pthread_barrier_init(&rested, NULL, 2);
    pthread_barrier_init(&over, NULL, 2);
    CHECK(!pthread_create(&thread, NULL, fill_and_rest, &cpu[1]));
    pthread_barrier_wait(&rested);
    for (int i = 0; i < children; i++) {
        pid_t child = fork();

        if (!child) {
            alarm(60);
            collect_beside(cpu[0], cpu[1], i * 1000);
            _exit(0);
        }
        wait_for(child);
    }
    pthread_barrier_wait(&over);
    CHECK(!pthread_join(thread, NULL));
    pthread_barrier_destroy(&rested);
    pthread_barrier_destroy(&over);
}

/* A vfork child that only executes, as posix_spawn and system do. */
static pid_t spawn_true(void)
{
    pid_t child = vfork();

    if (!child) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    return child;
}

static void vfork_and_exec(void)
{
#ifndef __GLIBC__
    CHECK(unsetenv("LD_PRELOAD") == 0); /* what is executed may have glibc */
#endif
    for (int i = 0; i < 20; i++) {
        wait_for(spawn_true());
        free(malloc(1000));
    }
    CHECK(system("exit 7") == 7 << 8);
}

const struct test tests[] = {
    {"constructor_object_lives", constructor_object_lives},
    {"destructors_may_free", destructors_may_free},
    {"objects_outlive_threads", objects_outlive_threads},
    {"fork_with_threads", fork_with_threads},
    {"child_has_all_memory", child_has_all_memory},
    {"child_collects_beside_threads", child_collects_beside_threads},
    {"vfork_and_exec", vfork_and_exec},
    {NULL, NULL},
};
