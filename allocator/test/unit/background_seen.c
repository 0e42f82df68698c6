/*
 * background_seen.c - the helper thread of MYMALLOC_BACKGROUND=on: what a program sees of it
 * that forks, closes files, counts threads or holds locks.
 */
#include "family.h"
#include "waiting.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * No handler of the program runs on it, but that of SIGSYS; nor does it take what the program
 * waits for. Setuid's signal is the C library's.
 */
static void signals_are_blocked(void)
{
    const unsigned long long libc = (1ull << (SIGRTMIN - 1)) - (1ull << 31);
    const unsigned long long others = libc | 1ull << (SIGSYS - 1);
    const struct timespec time = {10, 0};
    char path[64], line[256];
    unsigned long long blocked = 0;
    sigset_t awaited;
    pid_t helper;
    FILE *file;

    if (!wanted())
        return;
    for (int tries = 0; blocked == 0 && tries < 60;
         tries++) { /* it may be gone again */
        until_it_is_there();
        threads(&helper);
        snprintf(path, sizeof path, "/proc/self/task/%d/status", helper);
        file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            if (strncmp(line, "SigBlk:", 7) == 0)
                blocked = strtoull(line + 7, NULL, 16);
        if (file)
            fclose(file);
    }
    CHECKF((blocked | others | 1ull << 8 | 1ull << 18) == ~0ull, "%llx", blocked);
    CHECKF((blocked & others) == 0, "%llx", blocked);
    sigemptyset(&awaited);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        sigaddset(&awaited, number);
    CHECK(sigprocmask(SIG_BLOCK, &awaited, NULL) == 0);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
        CHECK(kill(getpid(), number) == 0);
        CHECK(sigtimedwait(&awaited, NULL, &time) == number);
    }
    CHECK(setuid(getuid()) == 0); /* would wait for a thread that blocks its signal */
}

/* ---- processes that come of it ---- */

/* Every file closed, one of them opened again: no number is taken, nothing else is shut. */
static void become_daemon(void)
{
    int status = 0;
    pid_t pid, helper;

    until_it_is_there();
    for (int file = 0; file < 256; file++)
        close(file);
    for (int file = 0; file < 3; file++)
        CHECK(open("/dev/null", O_RDWR) == file);
    pid = fork();
    if (pid == 0) {
        CHECK(setsid() > 0);
        until_it_is_there();
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
    for (int tries = 0; alone == 0 && tries < 10; tries++) /* it may be gone again */
        alone = unshare_after(until_it_is_there);
    CHECKF(alone != 0, "not even beside the helper");
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
    until_it_is_there();
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
    until_it_is_there();
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
    until_it_is_there();
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
    until_it_is_there();
    AWAIT(!is_there());
    CHECK(syscall(SYS_mq_timedsend, queue, "x", 1, 0, NULL) == 0);
    CHECK(sigtimedwait(&awaited, NULL, &time) == SIGUSR1);
}

static void notifications_stay(void)
{
    if (wanted())
        in_child(wait_for_message);
}

const struct test tests[] = {
    {"signals_are_blocked", signals_are_blocked},
    {"daemons_are_served", daemons_are_served},
    {"unshare_is_refused_meanwhile", unshare_is_refused_meanwhile},
    {"main_may_end", main_may_end},
    {"a_join_starts_none", a_join_starts_none},
    {"no_lock_of_the_programs", no_lock_of_the_programs},
    {"a_child_of_vfork_starts_none", a_child_of_vfork_starts_none},
    {"notifications_stay", notifications_stay},
    {NULL, NULL},
};
