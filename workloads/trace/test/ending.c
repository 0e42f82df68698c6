/*
 * ending.c - a program that makes a known number of allocations and ends in the way that
 * its argument names. All of them must be in the trace whatever that way is.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 20000, SIZE = 30001 };

static void *volatile last;

static void allocate(size_t size)
{
    for (int i = 0; i < COUNT; i++) {
        last = malloc(size);
        free(last);
    }
}

static _Noreturn void *allocate_and_stay(void *ready)
{
    allocate(SIZE + 1);
    *(volatile int *)ready = 1;
    for (;;)
        pause();
}

/* A key's destructor runs after the thread has left its block. */
static void allocate_late(void *unused)
{
    (void)unused;
    allocate(SIZE + 2);
}

static void *die_with_key(void *key)
{
    pthread_setspecific(*(pthread_key_t *)key, key);
    allocate(SIZE + 1);
    return NULL;
}

static void *allocate_once(void *unused)
{
    (void)unused;
    return malloc(SIZE);
}

static void start_stayer(void)
{
    static volatile int ready;
    pthread_t thread;

    if (pthread_create(&thread, NULL, allocate_and_stay, (void *)(uintptr_t)&ready))
        exit(9);
    while (!ready)
        usleep(1000);
}

static void run_child(size_t size)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        allocate(size);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status)
        exit(9);
}

static void *volatile shared[16];
static volatile int is_over;

/* Objects wander between threads by exchange, so that most frees are remote. */
static void *exchange_objects(void *unused)
{
    (void)unused;
    for (unsigned i = 0; !is_over; i++)
        free(__atomic_exchange_n(&shared[i * 7 % 16],
                                 realloc(malloc(1 + i % 900), 1 + i % 1300),
                                 __ATOMIC_ACQ_REL));
    return NULL;
}

/* fork at any moment of the other threads' calls. */
static void fork_in_storm(void)
{
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, exchange_objects, NULL))
            exit(9);
    for (int i = 0; i < 20; i++)
        run_child(SIZE + 1);
    is_over = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "";
    pthread_key_t key;
    pthread_t thread;

    allocate(SIZE);
    if (!strcmp(way, "exit")) {
        start_stayer();
        exit(4);
    } else if (!strcmp(way, "_exit")) {
        start_stayer();
        _exit(5);
    } else if (!strcmp(way, "abort")) {
        start_stayer();
        abort();
    } else if (!strcmp(way, "kill")) {
        start_stayer();
        kill(getpid(), SIGKILL);
    } else if (!strcmp(way, "thread")) {
        pthread_key_create(&key, allocate_late);
        if (pthread_create(&thread, NULL, die_with_key, &key))
            return 9;
        pthread_join(thread, NULL);
    } else if (!strcmp(way, "churn")) { /* many short threads, one after the other */
        for (int i = 0; i < 500; i++) {
            if (pthread_create(&thread, NULL, allocate_once, NULL))
                return 9;
            pthread_join(thread, NULL);
        }
    } else if (!strcmp(way, "fork")) {
        run_child(SIZE + 1);
        allocate(SIZE + 2);
    } else if (!strcmp(way, "daemon")) {
        if (daemon(1, 1) != 0)
            return 9;
        usleep(500000); /* the trace is sealed by then */
        allocate(SIZE + 1);
    } else if (!strcmp(way, "storm")) {
        fork_in_storm();
    } else if (!strcmp(way, "exec")) {
        execl("/proc/self/exe", argv[0], "last", (char *)NULL);
        return 9;
    } else if (strcmp(way, "last")) {
        fprintf(stderr, "ending: unknown way '%s'\n", way);
        return 9;
    }
    return 6;
}
