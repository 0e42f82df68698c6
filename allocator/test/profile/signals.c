/*
 * signals.c - a profile is written at a signal, to whatever thread it comes and in the midst
 * of whatever that one does, on a small stack of its own. signals.py reads what was written.
 *
 * Prints what is in use and was taken when the first one is written, and the child's id.
 */
#include "check.h"
#include "family.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define SIGNALS 200

static void *kept[1000];
static atomic_bool ended;

/* An alternate stack of the least that can be asked for and two pages, with a guard below. */
static void take_small_stack(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = ((size_t)sysconf(_SC_MINSIGSTKSZ) + 3 * page - 1) / page * page;
    char *place = mmap(NULL, page + bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = place + page, .ss_size = bytes};

    CHECK(place != MAP_FAILED && mprotect(place, page, PROT_NONE) == 0);
    CHECK(sigaltstack(&stack, NULL) == 0);
}

static void *allocate(void *arg)
{
    void *objects[64] = {NULL};
    unsigned seed = (unsigned)(uintptr_t)arg;

    take_small_stack();
    while (!ended) {
        unsigned i = (seed = seed * 1664525 + 1013904223) >> 26;

        free(objects[i]);
        objects[i] = malloc(seed >> 8 & 0x3fff);
        CHECK(objects[i]);
    }
    for (unsigned i = 0; i < 64; i++)
        free(objects[i]);
    return NULL;
}

static void signals_to_threads(void)
{
    pthread_t thread[THREADS];

    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(!pthread_create(&thread[i], NULL, allocate, (void *)(i + 1)));
    for (int i = 0; i < SIGNALS; i++) {
        CHECK(pthread_kill(thread[i % THREADS], SIGUSR2) == 0);
        usleep(1000);
    }
    ended = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

/* What a program waits for goes on, and a stack that is small is not made use of. */
static void check_flags(void)
{
    const int wanted = (int)(SA_RESTART | SA_ONSTACK);
    struct sigaction action;

    CHECK(sigaction(SIGUSR2, NULL, &action) == 0);
    CHECKF((action.sa_flags & wanted) == wanted, "flags 0x%x",
           (unsigned)action.sa_flags);
}

int main(void)
{
    long taken = 0, in_use = 0;
    int status, file;
    pid_t pid;

    check_flags();
    for (unsigned i = 0; i < 1000; i++, taken++)
        CHECK((kept[i] = malloc(i * 20)) != NULL);
    for (unsigned i = 0; i < 1000; i += 3, in_use--)
        free(kept[i]);
    in_use += taken;
    raise(SIGUSR2);
    close(file = dup(STDOUT_FILENO));
    signals_to_threads();
    raise(SIGUSR2);
    CHECK(dup(STDOUT_FILENO) == file); /* none stays open */
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        raise(SIGUSR2);
        raise(SIGUSR2);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    printf("%ld %ld %d\n", taken, in_use, (int)pid);
    return 0;
}
