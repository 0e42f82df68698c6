/*
 * handler.c - a signal handler forks wherever malloc and free are just then, as those of a
 * program with one thread may, calls vfork and _Fork, as those of all may, or ends the process by
 * exit(3), after which reports are written: it neither waits for itself nor finds a heap that is
 * broken.
 *
 * The thread runs in single steps. What is wrong here hangs.
 */
#include "check.h"
#include "family.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define TRAP 0x100 /* the flag by which the processor traps after each instruction */

extern char __libc_single_threaded __attribute__((weak));
extern pid_t _Fork(void) __attribute__((weak)); /* glibc 2.34 */

static volatile int stepping;
static volatile unsigned steps, every;
static pid_t (*volatile make_child)(void);
static volatile pid_t made; /* 0: this is a child that goes on */

/* Slow paths of each kind, in few steps: one takes up to 50 us. */
static void use_the_heap(void)
{
    static const size_t sizes[] = {100, 3000, 70000, 300000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        unsigned char *object = malloc(opaque(sizes[i]));

        CHECK(object);
        object[0] = object[sizes[i] - 1] = (unsigned char)i;
        CHECK(object[0] == i && object[sizes[i] - 1] == i);
        free(object);
    }
}

/* Each child of vfork shuts the caches. Their lock is held for most of the second. */
static void open_and_count(void)
{
    use_the_heap();
    mallinfo2();
}

static void wait_for(pid_t child)
{
    int status = 0;

    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "step %u: status 0x%x", steps,
           (unsigned)status);
}

static void step(int number, siginfo_t *info, void *context)
{
    greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];

    (void)number;
    (void)info;
    if (stepping && steps++ % every == 0) {
        made = make_child();
        if (made == 0)
            stepping = 0;
        else
            wait_for(made);
    }
    *flags = stepping ? *flags | TRAP : *flags & ~(greg_t)TRAP;
}

/* With a child made after each `spread`th instruction; in it, on the way out. */
static void in_steps(void (*what)(void), unsigned spread, pid_t (*child)(void))
{
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};

    malloc_trim(0); /* the caches are empty */
    CHECK(!sigaction(SIGTRAP, &action, NULL));
    alarm(100);
    made = 1;
    make_child = child;
    every = spread;
    steps = 0;
    stepping = 1;
    raise(SIGTRAP);
    what();
    stepping = 0; /* one more trap, and it ends */
    if (made == 0) {
        what();
        _exit(family.verify && family.verify() != 0 ? 3 : 0);
    }
    alarm(0);
    printf("%u steps\n", steps);
}

static pid_t go_on(void)
{
    pid_t child = fork();

    if (child == 0)
        alarm(60);
    return child;
}

static pid_t end_at_once(void)
{
    pid_t child = vfork();

    if (child == 0)
        _exit(0);
    return child;
}

static void forks(void)
{
    if (!&__libc_single_threaded || !__libc_single_threaded) {
        printf("SKIP: the C library does not tell that there is one thread\n");
        return;
    }
    in_steps(use_the_heap, 67, go_on);
}

static pid_t end_by_exit(void)
{
    pid_t child = fork();

    if (child == 0) {
        alarm(60);
        exit(0); /* NOLINT: programs do so */
    }
    return child;
}

/* What is written at the end says so where it cannot be. */
static void exits(void)
{
    if (!&__libc_single_threaded || !__libc_single_threaded) {
        printf("SKIP: the C library does not tell that there is one thread\n");
        return;
    }
    in_steps(use_the_heap, 67, end_by_exit);
}

/* It runs no handlers. What this very thread holds then is held in the child, too. */
static pid_t go_on_bare(void)
{
    pid_t child = _Fork();

    if (child == 0)
        alarm(60);
    return child;
}

static void *wait_for_the_end(void *unused)
{
    pause();
    return unused;
}

static void vforks(void)
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, wait_for_the_end, NULL) == 0);
    in_steps(open_and_count, 197, end_at_once);
}

static void bare_forks(void)
{
    pthread_t thread;

    if (_Fork == NULL) {
        printf("SKIP: the C library has no _Fork\n");
        return;
    }
    CHECK(pthread_create(&thread, NULL, wait_for_the_end, NULL) == 0);
    in_steps(use_the_heap, is_slow() ? 67 : 5, go_on_bare);
}

const struct test tests[] = {
    {"forks", forks},           {"exits", exits}, {"vforks", vforks},
    {"bare_forks", bare_forks}, {NULL, NULL},
};
