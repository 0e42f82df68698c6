/*
 * bare.c - children for which no handlers of fork run, beside threads that take and free: those
 * of _Fork and of the system call clone. A child that waits for a lock of a thread that it does
 * not have is ended by its alarm.
 */
#include "check.h"
#include "family.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS  3
#define CHILDREN 50
#define OBJECTS  256
#define OF_CHILD 1000

extern pid_t _Fork(void) __attribute__((weak)); /* glibc 2.34 */

static atomic_bool over;

static size_t some_size(uint64_t *random)
{
    return next_random(random) % 100 == 0 ? next_random(random) % 600000
                                          : 16 + next_random(random) % 3000;
}

static void *work(void *number)
{
    unsigned char *objects[OBJECTS] = {0};
    uint64_t random = (uint64_t)(size_t)number;

    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        size_t i = next_random(&random) % OBJECTS;

        free(objects[i]);
        CHECK((objects[i] = malloc(some_size(&random))));
        if (next_random(&random) % 2000 == 0) /* all at once: to the pools and back */
            for (i = 0; i < OBJECTS; i++) {
                free(objects[i]);
                objects[i] = NULL;
            }
    }
    for (int i = 0; i < OBJECTS; i++)
        free(objects[i]);
    return NULL;
}

static void run_beside_threads(void (*what)(void))
{
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    what();
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    atomic_store(&over, false);
    CHECK(!family.verify || family.verify() == 0);
}

static int be_the_child(void *unused)
{
    static unsigned char *objects[OF_CHILD];
    uint64_t random = (uint64_t)getpid();

    (void)unused;
    alarm(60);
    for (int i = 0; i < OF_CHILD; i++) {
        size_t size = some_size(&random);

        if ((objects[i] = malloc(size)) == NULL)
            _exit(2);
        memset(objects[i], i, size < 16 ? size : 16);
    }
    for (int i = 0; i < OF_CHILD; i++)
        free(objects[i]);
    _exit(family.verify && family.verify() != 0 ? 3 : 0);
}

static void wait_for(pid_t child, int number)
{
    int status = 0;

    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECKF(status == 0, "child %d: status 0x%x", number, (unsigned)status);
}

static void make_by_fork(void)
{
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = _Fork();

        if (child == 0)
            be_the_child(NULL);
        wait_for(child, i);
    }
}

static void make_by_clone(void)
{
    static char stack[1 << 18] __attribute__((aligned(64)));

    for (int i = 0; i < CHILDREN; i++)
        wait_for(clone(be_the_child, stack + sizeof stack, SIGCHLD, NULL), i);
}

static void make_by_call(void)
{
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

        if (child == 0)
            be_the_child(NULL);
        wait_for(child, i);
    }
}

/* Each gives back the locks that it took, and none of another's. */
static void *fork_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < CHILDREN / 4; i++) {
        pid_t child = _Fork();

        if (child == 0)
            _exit(0);
        wait_for(child, i);
    }
    return NULL;
}

static void make_at_once(void)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, fork_often, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void threads_fork_at_once(void)
{
    if (_Fork == NULL)
        printf("SKIP: the C library has no _Fork\n");
    else
        run_beside_threads(make_at_once);
}

static void children_of_fork(void)
{
    if (_Fork == NULL)
        printf("SKIP: the C library has no _Fork\n");
    else
        run_beside_threads(make_by_fork);
}

static void children_of_clone(void)
{
    run_beside_threads(make_by_clone);
}

static void children_of_the_call(void)
{
    run_beside_threads(make_by_call);
}

/* What libc's clone does otherwise is as it was. */
static int add_one(void *number)
{
    return ++*(int *)number;
}

static void others_are_passed_on(void)
{
    static char stack[1 << 16] __attribute__((aligned(64)));
    int number = 6, status = 0;
    pid_t child, told = 0;

    child = clone(add_one, stack + sizeof stack, CLONE_VM | SIGCHLD, &number);
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7 && number == 7);
    child = clone(add_one, stack + sizeof stack, CLONE_PARENT_SETTID | SIGCHLD, &number,
                  &told);
    CHECK(child > 0 && told == child && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 8 && number == 7);
    CHECK(clone(add_one, stack + sizeof stack, CLONE_THREAD, &number) == -1 &&
          errno == EINVAL);
    CHECK(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_getpid) == getpid());
    CHECK(syscall(SYS_close, -1) == -1 && errno == EBADF);
}

/* ---- in a handler, which interrupts malloc and free ---- */

static volatile int made;

/* The last one ends the alarms: where a fork takes longer than from one to the next, nothing else
 * goes on, nor does a fork that they interrupt. */
static void fork_and_end(int number)
{
    const struct itimerval never = {{0, 0}, {0, 0}};
    int saved = errno;
    pid_t child = _Fork();

    (void)number;
    if (child == 0)
        _exit(0);
    wait_for(child, made);
    if (++made >= CHILDREN)
        CHECK(!setitimer(ITIMER_REAL, &never, NULL));
    errno = saved;
}

static void begin_alarms(void)
{
    struct sigaction action = {.sa_handler = fork_and_end, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 2000}, {0, 2000}};

    made = 0;
    CHECK(!sigaction(SIGALRM, &action, NULL) && !setitimer(ITIMER_REAL, &often, NULL));
}

static void end_alarms(void)
{
    CHECK(signal(SIGALRM, SIG_IGN) != SIG_ERR);
}

static void be_interrupted(void)
{
    void *objects[OBJECTS] = {0};
    uint64_t random = test_seed();

    begin_alarms();
    while (made < CHILDREN) {
        size_t i = next_random(&random) % OBJECTS;

        free(objects[i]);
        CHECK((objects[i] = malloc(some_size(&random))));
        if (next_random(&random) % 2000 == 0)
            for (i = 0; i < OBJECTS; i++) {
                free(objects[i]);
                objects[i] = NULL;
            }
    }
    end_alarms();
    for (int i = 0; i < OBJECTS; i++)
        free(objects[i]);
}

static void handlers_fork(void)
{
    if (_Fork == NULL)
        printf("SKIP: the C library has no _Fork\n");
    else
        run_beside_threads(be_interrupted);
}

/* Whose locks are the thread's own: nobody gives them back meanwhile. */
static void fork_and_be_interrupted(void)
{
    begin_alarms();
    while (made < CHILDREN) {
        pid_t child = fork();

        if (child == 0)
            _exit(0);
        wait_for(child, made);
    }
    end_alarms();
}

static void handlers_fork_in_fork(void)
{
    if (_Fork == NULL)
        printf("SKIP: the C library has no _Fork\n");
    else
        run_beside_threads(fork_and_be_interrupted);
}

#if defined(EARLY) && defined(__GLIBC__)
extern long (*early_answer)(void); /* early.c */

static void resolvers_call(void)
{
    CHECK(early_answer() == getpid());
}
#endif

const struct test tests[] = {
    {"children_of_fork", children_of_fork},
    {"children_of_clone", children_of_clone},
    {"children_of_the_call", children_of_the_call},
    {"threads_fork_at_once", threads_fork_at_once},
    {"others_are_passed_on", others_are_passed_on},
    {"handlers_fork", handlers_fork},
    {"handlers_fork_in_fork", handlers_fork_in_fork},
#if defined(EARLY) && defined(__GLIBC__)
    {"resolvers_call", resolvers_call},
#endif
    {NULL, NULL},
};
