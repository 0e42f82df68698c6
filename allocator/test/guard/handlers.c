/* handlers.c - faults of the program, and its own handlers, where objects are guarded. */
#include "guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef TEST_MY
static const bool own_vfork = false; /* libc's: its child must not allocate */
#else
static const bool own_vfork = true;
#endif

static sigjmp_buf back;
static volatile int handled;

static void leave(int signal)
{
    handled++;
    siglongjmp(back, signal);
}

static struct sigaction old;

static void pass_on(int signal, siginfo_t *info, void *context)
{
    handled++;
    if (old.sa_flags & SA_SIGINFO)
        old.sa_sigaction(signal, info, context);
    else
        CHECKF(0, "the old handler is none");
}

/* Flags, mask and the kernel's account of it are as the program wanted them. */
static void look(int signal, siginfo_t *info, void *context)
{
    sigset_t mask;

    (void)context;
    handled++;
    CHECK(signal == SIGSEGV && info->si_addr == (void *)16);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
    CHECK(sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGSEGV));
    siglongjmp(back, 1);
}

static void in_child(void (*work)(char *), char *p)
{
    int status;

    if (fork() == 0)
        work(p);
    CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void set_handler(void (*handler)(int), void (*full)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_flags = full ? SA_SIGINFO | SA_NODEFER : 0};

    sigaddset(&action.sa_mask, SIGUSR2);
    if (full)
        action.sa_sigaction = full;
    else
        action.sa_handler = handler;
    CHECK(sigaction(SIGSEGV, &action, &old) == 0);
    free(take_it(10)); /* a sample: ours comes first again */
}

static void others_fault(void)
{
    read_it((const char *)opaque(16));
}

static void fault_and_come_back(void)
{
    if (!sigsetjmp(back, 1))
        others_fault();
}

/* With no sample so far: a program that sets a handler where there is none sets its own. */
void none_at_start(void)
{
    struct sigaction now;

    CHECK(sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    went_on();
}

void default_for_others(void)
{
    struct sigaction now;

    free(take_it(10)); /* from here on there is a handler */
    /* The fault may be that the stack is full. */
    CHECK(sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_flags & (int)SA_ONSTACK);
    others_fault();
}

void default_for_sent(void)
{
    free(take_it(10));
    kill(getpid(), SIGSEGV);
    pause();
}

void own_handler(void)
{
    set_handler(leave, NULL);
    for (int i = 0; i < 3; i++)
        fault_and_come_back();
    CHECK(handled == 3);
    if (!sigsetjmp(back, 1))
        kill(getpid(), SIGSEGV);
    CHECK(handled == 4);
    set_handler(NULL, look);
    for (int i = 0; i < 3; i++)
        fault_and_come_back();
    CHECK(handled == 7);
    read_it(take_and_free() + 5);
}

void handlers_that_pass_on(void)
{
    free(take_it(10));
    set_handler(NULL, pass_on);
    read_it(take_and_free() + 5);
}

/* Ours, the program's, ours of before, nobody. */
void others_passed_on(void)
{
    free(take_it(10));
    set_handler(NULL, pass_on);
    others_fault();
}

void own_handler_once(void)
{
    struct sigaction action = {.sa_flags = (int)SA_RESETHAND};

    action.sa_handler = leave;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    free(take_it(10));
    fault_and_come_back();
    CHECK(handled == 1);
    others_fault();
}

void ignored(void)
{
    signal(SIGSEGV, SIG_IGN);
    free(take_it(10));
    kill(getpid(), SIGSEGV);
    went_on();
    others_fault();
}

void many_handlers(void)
{
    for (int i = 0; i < 20; i++) {
        set_handler(leave, NULL);
        fault_and_come_back();
        CHECK(handled == i + 1);
    }
    went_on();
}

static void read_freed(char *p)
{
    if (!sigsetjmp(back, 1))
        read_it(p);
    CHECK(handled == 1);
    _exit(0);
}

static void set_and_fork(char *p)
{
    set_handler(leave, NULL);
    in_child(read_freed, p);
    read_freed(p);
}

/* It may be in a sandbox: what it sets stays, in its own children, too. */
void handler_of_a_child(void)
{
    in_child(set_and_fork, take_and_free());
    went_on();
}

static void have_a_child_without_handlers(void)
{
    int status;
    pid_t child = vfork(); /* NOLINT: that it may is what this is about */

    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        free(take_it(10));
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

/* The actions of a child of vfork are its own, while it has the program's memory. */
void handler_after_vforks(void)
{
    free(take_it(10));
    for (int i = 0; i < 5 && own_vfork; i++)
        have_a_child_without_handlers();
    set_handler(leave, NULL);
    read_it(take_and_free() + 5);
}

/* A page of an object that the program itself protects is the program's. */
void protected_by_program(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = aligned_alloc(page, page);

    set_handler(leave, NULL);
    CHECK(p && mprotect(p, page, PROT_READ) == 0);
    if (!sigsetjmp(back, 1))
        write_it(p);
    CHECK(handled == 1 && mprotect(p, page, PROT_READ | PROT_WRITE) == 0);
    free(p);
    went_on();
}

/* So it is where it is freed: what lies behind the object is looked at there. */
void protected_and_freed(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = aligned_alloc(page, page + 64);

    CHECK(p && mprotect(p, 2 * page, PROT_NONE) == 0);
    free(p);
    write_it(take_it(64));
    went_on();
}

/* The end is abort(): a program's handler for it may use the heap, in threads too. */
static void *allocate(void *unused)
{
    for (size_t size = 1; size < 100000; size *= 2)
        free(malloc(opaque(size)));
    return unused;
}

static void at_abort(int signal)
{
    pthread_t thread;

    (void)signal;
    allocate(NULL);
    CHECK(!pthread_create(&thread, NULL, allocate, NULL));
    pthread_join(thread, NULL);
    went_on();
    _exit(0);
}

void allocates_at_the_end(void)
{
    signal(SIGABRT, at_abort);
    read_it(take_and_free());
}
