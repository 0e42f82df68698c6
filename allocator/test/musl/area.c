/*
 * area.c - rseq areas that mymalloc registers itself, as musl has none: when a thread gets
 * one, that it is taken back before the thread's TLS goes, and what frees after that.
 */
#include "check.h"
#include "family.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#define SIGNATURE 0x53053053u
#else
#define SIGNATURE 0xd428bc00u
#endif

/* Another area than the thread's own: the kernel takes it from a thread without one only. */
static bool has_area(void)
{
    static _Alignas(32) uint32_t other[8]; /* one thread at a time asks */

    if (syscall(SYS_rseq, other, sizeof other, 0, SIGNATURE) != 0) {
        CHECKF(errno == EINVAL, "errno %d", errno);
        return true;
    }
    CHECK(syscall(SYS_rseq, other, sizeof other, 1, SIGNATURE) == 0);
    return false;
}

static bool is_per_cpu(void)
{
    const char *why;

    return strncmp(MyFrontend(&why), "rseq-", 5) == 0;
}

static void *in_thread(void *run)
{
    ((void (*)(void))run)();
    return NULL;
}

static void in_a_thread(void (*run)(void))
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, in_thread, (void *)run) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void some_calls(void)
{
    for (size_t i = 0; i < 2000; i++)
        free(malloc(opaque(i % 300 + (i % 100 == 0) * 200000)));
}

static void first_call(void)
{
    CHECK(!has_area());
    free(malloc(opaque(100)));
    CHECK(has_area() == is_per_cpu());
}

static void first_call_registers(void)
{
    free(malloc(opaque(100)));
    CHECK(has_area() == is_per_cpu());
    in_a_thread(first_call);
}

static void first_large_call(void)
{
    free(malloc(opaque(200000)));
    CHECK(has_area() == is_per_cpu());
}

static void large_call_registers(void)
{
    in_a_thread(first_large_call);
}

/* Keys of a number above the allocator's: their destructors run after its own. */
static pthread_key_t late;
static atomic_int late_calls;

static void after_ours(void *object)
{
    void *objects[20];
    size_t cached;

    CHECK(!has_area());
    some_calls();
    for (int i = 0; i < 20; i++)
        objects[i] = malloc(opaque(7000));
    cached = MyMallinfo2().fsmblks;
    for (int i = 0; i < 20; i++)
        free(objects[i]);
    /* To the pools: without an area no cache may be touched. */
    CHECKF(MyMallinfo2().fsmblks <= cached, "%zu and then %zu bytes in caches", cached,
           MyMallinfo2().fsmblks);
    CHECK(!has_area());
    free(object);
    late_calls++;
}

static void with_late_key(void)
{
    some_calls();
    CHECK(pthread_setspecific(late, malloc(opaque(100))) == 0);
    CHECK(has_area() == is_per_cpu());
}

static void area_is_taken_back(void)
{
    CHECK(pthread_key_create(&late, after_ours) == 0);
    for (int i = 0; i < 100; i++)
        in_a_thread(with_late_key);
    CHECK(late_calls == 100);
}

/* ---- threads that end, amid signals whose handlers allocate ---- */

static void on_signal(int unused)
{
    (void)unused;
    free(malloc(opaque(64)));
}

static atomic_int detached;

static void *short_life(void *unused)
{
    for (size_t i = 0; i < 50; i++)
        free(malloc(opaque(i)));
    detached--;
    return unused;
}

static void *one_after_the_other(void *unused)
{
    pthread_attr_t attributes;
    pthread_t thread;

    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0);
    for (int i = 0; i < 1500; i++) {
        detached++;
        CHECK(pthread_create(&thread, &attributes, short_life, NULL) == 0);
        while (detached > 20)
            sched_yield();
    }
    return unused;
}

/* musl unmaps the TLS of each from within it. More threads than CPUs, so some are preempted. */
static void detached_threads_end(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    pthread_t threads[3];

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, one_after_the_other, NULL) == 0);
    for (int i = 0; i < 500; i++) { /* to whichever thread takes it */
        CHECK(kill(getpid(), SIGUSR1) == 0);
        sched_yield();
    }
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void child_keeps_its_area(void)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        CHECK(has_area() == is_per_cpu());
        some_calls();
        in_a_thread(first_call);
        _exit(family.verify() != 0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

const struct test tests[] = {{"first_call_registers", first_call_registers},
                             {"large_call_registers", large_call_registers},
                             {"area_is_taken_back", area_is_taken_back},
                             {"detached_threads_end", detached_threads_end},
                             {"child_keeps_its_area", child_keeps_its_area},
                             {NULL, NULL}};
