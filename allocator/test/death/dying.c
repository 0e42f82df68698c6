/* dying.c - a child that misuses the heap, and what it said. */
#include "dying.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Shared with the child: the pointer that it misuses. */
static void *volatile *culprit;

void *wrong(const void *p)
{
    return *culprit = (void *)opaque((uintptr_t)p);
}

/* Filled; of a large object the front alone: what tells misuse of it is not beside it. */
void *take(size_t size)
{
    void *p = malloc(size);

    CHECK(p);
    return memset(p, 0x42, size < 65536 ? size : 65536);
}

char *take_in_slab(size_t size)
{
    char *p = NULL;

    for (int i = 0; i < 40; i++)
        p = i == 20 ? (char *)take(size) : (take(size), p);
    return p;
}

/*
 * A crash reporter: it uses the heap of the program that misused it, in every size and
 * in another thread too. Where the report came with a lock held it waits for ever. Here
 * abort() ends the program when it returns.
 */
static void *use_all_sizes(void *unused)
{
    for (size_t size = 16; size < 100000000; size += size / 2) {
        int many = size < 100000 ? 40 : 1;
        void *objects[40];

        for (int i = 0; i < many; i++)
            objects[i] = malloc(size);
        for (int i = 0; i < many; i++)
            free(objects[i]);
    }
    return unused;
}

static void report(int signal)
{
    pthread_t thread;

    (void)signal;
    use_all_sizes(NULL);
    malloc_trim(0);
    if (pthread_create(&thread, NULL, use_all_sizes, NULL) == 0)
        pthread_join(thread, NULL);
}

static void die_here(const struct death *death, int error_pipe)
{
    const struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, report);
    alarm(60);
    stay_on_one_cpu(); /* where a second free is seen at once (docs/safety.md) */
    dup2(error_pipe, STDERR_FILENO);
    death->run();
    _exit(0); /* not noticed */
}

/* Bytes that the child wrote until it ended. */
static size_t read_all(int fd, char *text, size_t room)
{
    size_t used = 0;
    ssize_t got;

    while (used < room - 1 && (got = read(fd, text + used, room - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    return used;
}

int check_death(const struct death *death)
{
    char said[2048], expected[256];
    int ends[2], status = 0;
    pid_t child;

    CHECK(pipe(ends) == 0);
    *culprit = NULL;
    fflush(stdout);
    child = fork();
    if (!child)
        die_here(death, ends[1]);
    close(ends[1]);
    read_all(ends[0], said, sizeof(said));
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    snprintf(expected, sizeof(expected), "mymalloc: %s: 0x%lx\n", death->what,
             (unsigned long)*culprit);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && *culprit &&
        !strcmp(said, expected)) {
        printf("ok %s\n", death->name);
        return 0;
    }
    printf("FAILED %s: status 0x%x, expected SIGABRT and\n    %s  it said\n    %s\n",
           death->name, (unsigned)status, expected, *said ? said : "(nothing)");
    return 1;
}

void share_culprit(void)
{
    culprit =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(culprit != MAP_FAILED && is_mymalloc());
}

void check_deaths(const struct death *deaths, size_t count)
{
    const char *only = getenv("TEST_DEATH");
    int failed = 0, ran = 0;

    share_culprit();
    for (size_t i = 0; i < count; i++) {
        if (only && strcmp(only, deaths[i].name) != 0)
            continue;
        failed += check_death(&deaths[i]);
        ran++;
    }
    CHECKF(ran && !failed, "%d of %d deaths were not as they should be", failed, ran);
}
