/*
 * vfork.c - children of vfork that call malloc, as that of a JVM does by opendir, beside threads
 * that do: all share one heap, and nothing tells the child which CPU it is on.
 */
#include "check.h"
#include "family.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS  3
#define CHILDREN 150

static atomic_bool over;

/* Each byte of an object is the thread's own number while it has it. */
static void *work(void *number)
{
    unsigned char *objects[64] = {0}, mark = (unsigned char)(size_t)number;
    size_t bytes[64] = {0};
    uint64_t random = (uint64_t)mark;

    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        size_t i = next_random(&random) % 64;

        for (size_t at = 0; at < bytes[i]; at++)
            CHECKF(objects[i][at] == mark, "an object is another's, too");
        free(objects[i]);
        bytes[i] = 16 + next_random(&random) % 2000;
        CHECK((objects[i] = malloc(bytes[i])));
        memset(objects[i], mark, bytes[i]);
    }
    for (int i = 0; i < 64; i++)
        free(objects[i]);
    return NULL;
}

static void be_the_child(void)
{
    unsigned char *objects[8];

    for (size_t round = 0; round < 50; round++) {
        for (size_t i = 0; i < 8; i++)
            if ((objects[i] = malloc(16 + round * 40)))
                memset(objects[i], 0xcc, 16 + round * 40);
        for (size_t i = 0; i < 8; i++) {
            if (objects[i] == NULL || objects[i][15 + round * 40] != 0xcc)
                _exit(1);
            free(objects[i]);
        }
    }
    _exit(0);
}

static int start_the_child(void *unused)
{
    (void)unused;
    be_the_child();
    return 1;
}

static pid_t by_vfork(void)
{
    pid_t child = vfork();

    if (child == 0)
        be_the_child();
    return child;
}

/* As vfork, but on a stack of its own. */
static pid_t by_clone(void)
{
    static _Alignas(16) char stack[64 * 1024];

    return clone(start_the_child, stack + sizeof stack,
                 CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
}

static void share_the_heap(pid_t (*begin)(void))
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < CHILDREN; i++) {
        int status = 0;
        pid_t child = begin();

        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECKF(status == 0, "child %d: status 0x%x", i, status);
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(!family.verify || family.verify() == 0);
}

static void children_share_the_heap(void)
{
    share_the_heap(by_vfork);
}

static void children_of_clone_share_the_heap(void)
{
    share_the_heap(by_clone);
}

/* It was closed meanwhile: afterwards caches are used again, in a child of fork, too. */
static void fork_in_between(void)
{
    int status = 0;
    pid_t child = vfork();

    if (child == 0)
        _exit(0);
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    child = fork();
    if (child == 0)
        be_the_child();
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void no_cache_is_used(void)
{
    void *objects[64];
    size_t before;

    malloc_trim(0);
    for (int i = 0; i < 64; i++)
        CHECK((objects[i] = malloc(100)));
    before = mallinfo2().fsmblks;
    for (int i = 0; i < 64; i++)
        free(objects[i]);
    CHECKF(mallinfo2().fsmblks <= before, "%zu bytes more are cached",
           mallinfo2().fsmblks - before);
}

/*
 * Its child has the id of the thread that called vfork, too, and no sequences: no cache is to
 * be used there, for a thread that it makes can have that id.
 */
static void a_child_may_fork(void)
{
    const char *why;
    int status = 0;
    pid_t child = vfork();

    if (child == 0) {
        pid_t grandchild = fork();

        if (grandchild == 0) {
            if (is_mymalloc() && strncmp(family.frontend(&why), "rseq", 4) == 0)
                no_cache_is_used();
            be_the_child();
        }
        _exit(grandchild < 0 || waitpid(grandchild, &status, 0) != grandchild ||
              status != 0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECKF(status == 0, "status 0x%x", status);
    child = fork(); /* as ever */
    if (child == 0)
        be_the_child();
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

const struct test tests[] = {
    {"children_share_the_heap", children_share_the_heap},
    {"children_of_clone_share_the_heap", children_of_clone_share_the_heap},
    {"fork_in_between", fork_in_between},
    {"a_child_may_fork", a_child_may_fork},
    {NULL, NULL},
};
