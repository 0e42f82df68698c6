/*
 * background.c - the helper thread of MYMALLOC_BACKGROUND=on: what it gives back, when it is
 * there and when not.
 *
 * TEST_HELPER=0: it was not asked for, and is never there.
 */
#include "family.h"
#include "proc.h"
#include "waiting.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What may be resident beyond what was before, in the end. */
#define REST (8 * MIB)

static void never_without_being_asked(void)
{
    pid_t helper;

    if (wanted())
        return;
    for (int i = 0; i < 3; i++) {
        rise_and_fall();
        CHECK(threads(&helper) == 1);
        pause_ms(500);
    }
    CHECK(threads(&helper) == 1);
}

static void idle_memory_goes(void)
{
    size_t before;
    pid_t helper;

    if (!wanted())
        return;
    CHECK(threads(&helper) == 1); /* nothing was idle yet */
    before = resident_bytes();
    until_it_is_there();
    CHECK(threads(&helper) <= 2);
    AWAIT(resident_bytes() <= before + REST);
    AWAIT(threads(&helper) == 1);
    CHECKF(resident_bytes() <= before + REST, "%zu MiB more",
           (resident_bytes() - before) / MIB);
}

static void pin(const cpu_set_t *cpus)
{
    CHECK(sched_setaffinity(0, sizeof *cpus, cpus) == 0);
}

/* What a CPU holds on which nobody runs any more: the helper goes there. */
static void caches_of_other_cpus_go(void)
{
    cpu_set_t all, here;
    int cpu = 0;

    if (!wanted())
        return;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    for (int seen = 0; seen < CPU_COUNT(&all); seen++, cpu++) {
        while (!CPU_ISSET(cpu, &all))
            cpu++;
        CPU_ZERO(&here);
        CPU_SET(cpu, &here);
        pin(&here);
        for (size_t size = 512; size <= 4096; size *= 2) {
            for (int i = 0; i < 400; i++)
                CHECK((objects[i] = malloc(size)));
            for (int i = 0; i < 400; i++)
                free(objects[i]);
        }
    }
    CHECKF(mallinfo2().fsmblks >= MIB / 16, "%zu bytes", mallinfo2().fsmblks);
    pin(&all); /* the helper, which that starts, may go everywhere */
    objects[0] = memset(malloc(20 * MIB), 1, 20 * MIB);
    free(objects[0]);
    pin(&here);
    AWAIT(mallinfo2().fsmblks < MIB / 64);
}

/* Of the address space, in bytes: the heap may be a pool larger the next time, and its tables. */
static size_t beside_the_heap(void)
{
    struct mallinfo2 heap = mallinfo2();

    return address_space() - heap.arena - heap.hblkhd;
}

/* Each has the stack of the one before. */
static void helpers_leave_no_stacks(void)
{
    size_t before = 0, after = 0;

    for (int i = 0; i < 3 && wanted(); i++) {
        until_it_is_there();
        AWAIT(!is_there());
        after = beside_the_heap();
        if (i == 0)
            before = after;
    }
    CHECKF(after <= before + 256 * 1024, "%zu KiB, then %zu", before >> 10,
           after >> 10);
}

/* A mapping of its own that is kept for the next one. */
static void idle_mappings_go(void)
{
    size_t before = resident_bytes();
    pid_t helper;

    if (!wanted())
        return;
    for (int i = 0; i < 8; i++)
        free(memset(malloc(32 * MIB), 1, 32 * MIB));
    AWAIT(resident_bytes() <= before + REST);
    AWAIT(threads(&helper) == 1);
}

/* 200 MiB written and freed; what is resident then beyond what was. */
static size_t left_by_a_fall(void)
{
    size_t before = resident_bytes(), after;

    for (int i = 0; i < 10; i++)
        objects[i] = memset(malloc(20 * MIB), 1, 20 * MIB);
    for (int i = 0; i < 10; i++)
        free(objects[i]);
    after = resident_bytes();
    return after > before ? after - before : 0;
}

/* Who takes it again within a second need not fault it in again, the first time neither. */
static void a_fall_waits_for_the_helper(void)
{
    struct timespec before, now;
    size_t left;

    if (!wanted())
        return;
    clock_gettime(CLOCK_MONOTONIC, &before);
    left = left_by_a_fall();
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((now.tv_sec - before.tv_sec) * 1000 + (now.tv_nsec - before.tv_nsec) / 1000000 >
        900)
        printf("SKIP: the machine is busy, the second is over\n");
    else
        CHECKF(left > 150 * MIB, "%zu MiB", left / MIB);
}

/* As nobody, who may have no further thread. */
static void fall_alone(void)
{
    struct rlimit none = {0, 0};
    size_t left;

    CHECK(setrlimit(RLIMIT_NPROC, &none) == 0);
    CHECK(getuid() != 0 || setuid(65534) == 0);
    left = left_by_a_fall();
    CHECK(!is_there());
    CHECKF(left <= 60 * MIB + REST, "%zu MiB", left / MIB);
}

static void without_a_thread_there_is_no_waiting(void)
{
    if (wanted())
        in_child(fall_alone);
}

/* As nobody, until there is room for a thread. */
static void wait_for_room(void)
{
    struct rlimit before, none;

    CHECK(getrlimit(RLIMIT_NPROC, &before) == 0);
    none = (struct rlimit){0, before.rlim_max};
    CHECK(setrlimit(RLIMIT_NPROC, &none) == 0);
    CHECK(getuid() != 0 || setuid(65534) == 0);
    left_by_a_fall();
    CHECK(!is_there());
    CHECK(setrlimit(RLIMIT_NPROC, &before) == 0);
    until_it_is_there();
}

static void one_that_was_refused_comes_later(void)
{
    if (wanted())
        in_child(wait_for_room);
}

static void work_of_child(void)
{
    pid_t helper;

    CHECK(threads(&helper) == 1); /* the parent's is the parent's */
    idle_memory_goes();
}

static void child_has_its_own(void)
{
    if (!wanted())
        return;
    until_it_is_there();
    in_child(work_of_child);
}

/* ---- the program's end is not the helper's ---- */

/* glibc 2.43 itself blocks all signals in a first thread that leaves by pthread_exit. */
static void look_at_the_end(void)
{
    volatile char deep[MIB]; /* more than the helper's stack */
    sigset_t blocked;

    for (size_t i = 0; i < sizeof deep; i += 4096)
        deep[i] = 1;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if ((sigismember(&blocked, SIGTERM) && syscall(SYS_gettid) != getpid()) ||
        fcntl(STDERR_FILENO, F_GETFD) < 0)
        _exit(1);
    _exit(17);
}

static _Atomic bool seen;

static void *last_of_the_program(void *unused)
{
    until_it_is_there();
    seen = true;
    return unused;
}

static void end_with_last_thread(void)
{
    pthread_t thread;

    CHECK(atexit(look_at_the_end) == 0);
    CHECK(pthread_create(&thread, NULL, last_of_the_program, NULL) == 0);
    pthread_detach(thread);
    AWAIT(seen);
    pthread_exit(NULL);
}

static void *fork_that_ends(void *unused)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        end_with_last_thread();
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 17, "status 0x%x", status);
    return unused;
}

static void what_is_last_is_the_programs(void)
{
    pthread_t thread;

    if (!wanted())
        return;
    fork_that_ends(NULL);
    CHECK(pthread_create(&thread, NULL, fork_that_ends, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Freed twice, found where the helper empties caches: told where the program's errors go. */
static void free_twice(void)
{
    void *held;

    stay_on_one_cpu();
    for (int i = 0; i < 4000; i++)
        CHECK((objects[i] = malloc(64)));
    for (int i = 0; i < 4000; i++)
        free(objects[i]);
    held = malloc(64);
    free(held);
    free(objects[0] == held ? objects[1] : objects[0]);
    free(held);
    objects[0] = memset(malloc(20 * MIB), 1, 20 * MIB);
    free(objects[0]);
    pause_ms(60000);
}

static void misuse_is_told(void)
{
    char text[256] = {0};
    int ends[2], status = 0;
    pid_t pid;

    if (!wanted())
        return;
    CHECK(pipe(ends) == 0);
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[1]);
        free_twice();
        _exit(0);
    }
    close(ends[1]);
    CHECK(pid > 0 && read(ends[0], text, sizeof text - 1) > 0);
    CHECKF(strncmp(text, "mymalloc: double free: 0x", 25) == 0, "%s", text);
    close(ends[0]);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status 0x%x", status);
}

const struct test tests[] = {
    /* First: its process was not yet seen to go up and down. */
    {"without_a_thread_there_is_no_waiting", without_a_thread_there_is_no_waiting},
    {"one_that_was_refused_comes_later", one_that_was_refused_comes_later},
    {"never_without_being_asked", never_without_being_asked},
    {"idle_memory_goes", idle_memory_goes},
    {"helpers_leave_no_stacks", helpers_leave_no_stacks},
    {"idle_mappings_go", idle_mappings_go},
    {"caches_of_other_cpus_go", caches_of_other_cpus_go},
    {"a_fall_waits_for_the_helper", a_fall_waits_for_the_helper},
    {"child_has_its_own", child_has_its_own},
    {"misuse_is_told", misuse_is_told},
    {"what_is_last_is_the_programs", what_is_last_is_the_programs},
    {NULL, NULL},
};
