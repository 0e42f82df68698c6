/*
 * background.c - the helper thread of MYMALLOC_BACKGROUND=on: what it gives back, when it is
 * there and when not, and what a program that forks, closes files or counts threads sees.
 *
 * TEST_HELPER=0: it was not asked for, and is never there.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

/* What may be resident beyond what was before, in the end. */
#define REST (8 * MIB)

static bool wanted(void)
{
    return env_number("TEST_HELPER", 1) != 0;
}

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

/* Until it holds, for a minute at most: a busy machine is slow. */
#define AWAIT(condition)                               \
    do {                                               \
        for (int tries_ = 0; tries_ < 600; tries_++) { \
            if (condition)                             \
                break;                                 \
            pause_ms(100);                             \
        }                                              \
        CHECK(condition);                              \
    } while (0)

/* Threads of the process; of them the helper's id, 0: none. Nothing is allocated. */
static int threads(pid_t *helper)
{
    static char buffer[4096];
    int folder = open("/proc/self/task", O_RDONLY | O_DIRECTORY), count = 0;
    DIR *list = fdopendir(folder);

    CHECK(list);
    *helper = 0;
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        int file;
        ssize_t got;

        if (entry->d_name[0] == '.')
            continue;
        snprintf(buffer, sizeof buffer, "/proc/self/task/%s/comm", entry->d_name);
        file = open(buffer, O_RDONLY);
        if (file < 0)
            continue; /* it is gone */
        got = read(file, buffer, sizeof buffer - 1);
        close(file);
        buffer[got < 0 ? 0 : got] = '\0';
        if (strcmp(buffer, "mymalloc\n") == 0)
            *helper = (pid_t)atoi(entry->d_name);
        count++;
    }
    closedir(list);
    return count;
}

static bool is_there(void)
{
    pid_t helper;

    threads(&helper);
    return helper != 0;
}

static void in_child(void (*work)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        work();
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
}

static void *objects[100000];

/* 40 MiB of small, middling and large objects are written and freed. */
static void rise_and_fall(void)
{
    uint64_t random = test_seed();
    size_t count = 0;

    for (size_t bytes = 0; bytes < 40 * MIB; count++) {
        size_t size = 16 + next_random(&random) % (count % 100 == 0 ? MIB : 3000);

        CHECK(count < sizeof objects / sizeof *objects);
        objects[count] = malloc(size);
        CHECK(objects[count]);
        memset(objects[count], 1, size);
        bytes += size;
    }
    while (count-- > 0)
        free(objects[count]);
}

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
    rise_and_fall();
    AWAIT(is_there());
    CHECK(threads(&helper) == 2);
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
    objects[0] = memset(malloc(20 * MIB), 1, 20 * MIB);
    pin(&all);
    free(objects[0]); /* the helper is started, and may go everywhere */
    pin(&here);
    AWAIT(mallinfo2().fsmblks < MIB / 64);
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
    size_t left;

    if (!wanted())
        return;
    left = left_by_a_fall();
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

/* No handler of the program runs on it, but for setuid's, which is the C library's. */
static void signals_are_blocked(void)
{
    char path[64], line[256];
    unsigned long long blocked = 0;
    pid_t helper;
    FILE *file;

    if (!wanted())
        return;
    rise_and_fall();
    AWAIT(is_there());
    threads(&helper);
    snprintf(path, sizeof path, "/proc/self/task/%d/status", helper);
    file = fopen(path, "r");
    CHECK(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "SigBlk:", 7) == 0)
            blocked = strtoull(line + 7, NULL, 16);
    fclose(file);
    CHECKF((blocked | 7ull << 31 | 1ull << 8 | 1ull << 18) == ~0ull, "%llx", blocked);
    CHECK(setuid(getuid()) == 0); /* would wait for a thread that blocks its signal */
}

/* ---- processes that come of it ---- */

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
    rise_and_fall();
    AWAIT(is_there());
    in_child(work_of_child);
}

/* Every file closed, one of them opened again: no number is taken, nothing else is shut. */
static void become_daemon(void)
{
    int status = 0;
    pid_t pid, helper;

    rise_and_fall();
    AWAIT(is_there());
    for (int file = 0; file < 256; file++)
        close(file);
    for (int file = 0; file < 3; file++)
        CHECK(open("/dev/null", O_RDWR) == file);
    pid = fork();
    if (pid == 0) {
        CHECK(setsid() > 0);
        rise_and_fall();
        AWAIT(is_there());
        CHECK(open("/dev/null", O_RDWR) == 3);
        AWAIT(threads(&helper) == 1);
        CHECK(open("/dev/null", O_RDWR) == 4);
        _exit(7);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
}

static void daemons_are_served(void)
{
    if (wanted())
        in_child(become_daemon);
}

/* What unshare says to a child that has done `work` before. */
static int unshare_after(void (*work)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (work)
            work();
        _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : errno);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void until_it_is_there(void)
{
    rise_and_fall();
    AWAIT(is_there());
}

static void until_it_was_there(void)
{
    until_it_is_there();
    AWAIT(!is_there());
}

/* The kernel refuses it to a process that has threads: so while the helper is there. */
static void unshare_is_refused_meanwhile(void)
{
    int alone;

    if (!wanted())
        return;
    alone = unshare_after(NULL);
    CHECKF(unshare_after(until_it_was_there) == alone, "%d when alone", alone);
    if (alone == 0)
        CHECK(unshare_after(until_it_is_there) == EINVAL);
}

/* A process ends with the last of its threads: the helper must not be that for ever. */
static void end_main(void)
{
    until_it_is_there();
    pthread_exit(NULL);
}

static void main_may_end(void)
{
    if (wanted())
        in_child(end_main);
}

/* ---- what libc frees with a lock held that pthread_create takes ---- */

static char *(*touch)(void);

static void *touch_it(void *unused)
{
    (void)unused;
    return touch();
}

/* No stack as long is kept for a next thread: who joins frees the thread's variables. */
static void join_in_child(void)
{
    pthread_attr_t long_stack;
    pthread_t thread;

    CHECK(pthread_attr_init(&long_stack) == 0);
    CHECK(pthread_attr_setstacksize(&long_stack, 64 * MIB) == 0);
    CHECK(pthread_create(&thread, &long_stack, touch_it, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(!is_there());
    rise_and_fall();
    AWAIT(is_there());
}

/* It would wait for itself. */
static void a_join_starts_none(void)
{
    void *library;

    if (!wanted())
        return;
    library = dlopen(getenv("TEST_THREAD_LOCAL"), RTLD_NOW);
    CHECKF(library, "%s", dlerror());
    touch = (char *(*)(void))dlsym(library, "thread_local_touch");
    CHECK(touch);
    in_child(join_in_child);
}

/* ---- a program with a pthread_create of its own, and a lock that it holds there ---- */

static pthread_mutex_t of_program = PTHREAD_MUTEX_INITIALIZER;
static bool asked;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*start)(void *), void *argument)
{
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(
            RTLD_NEXT, "pthread_create");

    asked = true;
    CHECK(pthread_mutex_trylock(&of_program) == 0);
    CHECK(next != NULL);
    CHECK(pthread_mutex_unlock(&of_program) == 0);
    return next(thread, attributes, start, argument);
}

static void free_with_lock(void)
{
    CHECK(pthread_mutex_lock(&of_program) == 0);
    rise_and_fall();
    CHECK(pthread_mutex_unlock(&of_program) == 0);
    AWAIT(is_there());
    CHECK(!asked);
}

static void no_lock_of_the_programs(void)
{
    if (wanted())
        in_child(free_with_lock);
}

/* In a child of vfork it would end with that, and be missed. */
static void vfork_and_free(void)
{
    int status = 0;
    pid_t pid = vfork();

    if (pid == 0) {
        for (int i = 0; i < 10; i++)
            free(memset(malloc(20 * MIB), 1, 20 * MIB));
        _exit(is_there());
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECKF(status == 0, "status 0x%x", status);
    rise_and_fall();
    AWAIT(is_there());
}

static void a_child_of_vfork_starts_none(void)
{
    if (wanted())
        in_child(vfork_and_free);
}

/*
 * Who asked to be notified by a message queue is, though the helper came and went. By the
 * kernel's numbers: not every C library that is tried has the calls.
 */
static void wait_for_message(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    static const char name[] = "mymalloc-notifications";
    struct timespec time = {20, 0};
    sigset_t awaited;
    long queue = syscall(SYS_mq_open, name, O_CREAT | O_RDWR, 0600, NULL);

    if (queue < 0) {
        printf("SKIP: the kernel has no message queues\n");
        return;
    }
    syscall(SYS_mq_unlink, name);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &awaited, NULL) == 0);
    CHECK(syscall(SYS_mq_notify, queue, &event) == 0);
    rise_and_fall();
    AWAIT(is_there());
    AWAIT(!is_there());
    CHECK(syscall(SYS_mq_timedsend, queue, "x", 1, 0, NULL) == 0);
    CHECK(sigtimedwait(&awaited, NULL, &time) == SIGUSR1);
}

static void notifications_stay(void)
{
    if (wanted())
        in_child(wait_for_message);
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
    free(memset(malloc(20 * MIB), 1, 20 * MIB));
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
    {"never_without_being_asked", never_without_being_asked},
    {"idle_memory_goes", idle_memory_goes},
    {"idle_mappings_go", idle_mappings_go},
    {"caches_of_other_cpus_go", caches_of_other_cpus_go},
    {"a_fall_waits_for_the_helper", a_fall_waits_for_the_helper},
    {"signals_are_blocked", signals_are_blocked},
    {"child_has_its_own", child_has_its_own},
    {"daemons_are_served", daemons_are_served},
    {"unshare_is_refused_meanwhile", unshare_is_refused_meanwhile},
    {"main_may_end", main_may_end},
    {"a_join_starts_none", a_join_starts_none},
    {"no_lock_of_the_programs", no_lock_of_the_programs},
    {"a_child_of_vfork_starts_none", a_child_of_vfork_starts_none},
    {"notifications_stay", notifications_stay},
    {"misuse_is_told", misuse_is_told},
    {NULL, NULL},
};
