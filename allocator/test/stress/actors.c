/* actors.c - signals, migrations, trims, walks and forks beside the workers. */
#include "actors.h"

#include "check.h"
#include "family.h"
#include "object.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id /* glibc has no name for it */
#define sigev_notify_thread_id _sigev_un._tid
#endif

struct counts counts;
atomic_bool stress_over;
atomic_int worker_ids[1024];
int worker_count;

static cpu_set_t allowed;

__attribute__((constructor)) static void note_allowed_cpus(void)
{
    sched_getaffinity(0, sizeof(allowed), &allowed);
}

/* Bind a thread to one of the allowed CPUs, or to all of them again. */
static void migrate(pid_t thread, uint64_t dice)
{
    cpu_set_t one;
    int wanted = (int)(dice % (unsigned)CPU_COUNT(&allowed));

    if (dice >> 32 & 1) {
        sched_setaffinity(thread, sizeof(allowed), &allowed);
        return;
    }
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && wanted-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(thread, sizeof(one), &one);
}

static void nap(uint64_t *random, unsigned microseconds)
{
    struct timespec pause = {0, (long)(next_random(random) % microseconds) * 1000};

    nanosleep(&pause, NULL);
}

/* ---- signals ---- */

static __thread timer_t timer;
static __thread uint64_t storm_random;

/* Only system calls: a handler that mallocs is the program's mistake. */
static void on_storm(int signal)
{
    uint64_t dice = next_random(&storm_random);

    (void)signal;
    counts.signals++;
    if (dice % 16 == 0)
        migrate(0, dice >> 8);
}

void storm_begin(void)
{
    struct sigaction action = {.sa_handler = on_storm, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    long pause = is_slow() ? 2000000 : 100000; /* under an emulator nothing else ran */
    struct itimerspec each = {{0, pause}, {0, pause}};
    sigset_t set;

    storm_random = (uint64_t)syscall(SYS_gettid);
    event.sigev_notify_thread_id = (pid_t)storm_random;
    CHECK(sigaction(SIGRTMIN, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &each, NULL) == 0);
    /* The creator of this thread had blocked it for its own end. */
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void storm_end(void)
{
    sigset_t set;

    /* A signal still on its way must not meet the next user of this thread's id. */
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    timer_delete(timer);
}

/* ---- threads of their own ---- */

void *migrate_workers(void *seed)
{
    uint64_t random = (uintptr_t)seed;

    while (!stress_over) {
        pid_t thread = worker_ids[next_random(&random) % (unsigned)worker_count];

        if (thread) {
            migrate(thread, next_random(&random));
            counts.migrations++;
        }
        nap(&random, 300);
    }
    return NULL;
}

void *trim_always(void *seed)
{
    uint64_t random = (uintptr_t)seed;

    while (!stress_over) {
        malloc_trim(next_random(&random) % 2 ? 0 : 1 << 20);
        counts.trims++;
        nap(&random, 200);
    }
    return NULL;
}

void *verify_beside(void *seed)
{
    uint64_t random = (uintptr_t)seed;

    while (!stress_over) {
        if (family.verify)
            CHECK(family.verify() == 0);
        (void)mallinfo2();
        counts.verified++;
        nap(&random, 20000);
    }
    return NULL;
}

/* The child of a threaded process: what it inherits is intact, the heap works. */
static void live_in_child(struct object *inherited, int count, uint64_t random)
{
    struct object own[100];

    for (int i = 0; i < count; i++)
        object_free(&inherited[i], &random);
    memset(own, 0, sizeof(own));
    for (int i = 0; i < 2000; i++) {
        struct object *object = &own[next_random(&random) % 100];

        if (object->p)
            object_free(object, &random);
        object_take(object, &random);
    }
    malloc_trim(0);
    if (family.verify)
        CHECK(family.verify() == 0);
    _exit(0);
}

void *fork_always(void *seed)
{
    enum { COUNT = 200 };
    uint64_t random = (uintptr_t)seed;
    struct object objects[COUNT];

    while (!stress_over) {
        int status = 0;
        pid_t child;

        for (int i = 0; i < COUNT; i++)
            object_take(&objects[i], &random);
        child = fork();
        CHECK(child >= 0);
        if (!child) {
            alarm(120);
            live_in_child(objects, COUNT, random);
        }
        for (int i = 0; i < COUNT; i++)
            object_free(&objects[i], &random);
        CHECK(waitpid(child, &status, 0) == child);
        CHECKF(status == 0, "child status 0x%x", (unsigned)status);
        counts.forks++;
    }
    return NULL;
}
