/* signals.c - a signal's handler allocates where malloc and free are interrupted. */
#include "check.h"
#include "family.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

enum { OBJECT = 64 };
static unsigned char *volatile handlers; /* the object that the handler has */
static volatile int handled, damaged;

static bool is_all(const unsigned char *object, int byte)
{
    for (int i = 0; i < OBJECT; i++)
        if (object[i] != byte)
            return false;
    return true;
}

static void swap_object(int signal)
{
    (void)signal;
    damaged += !is_all(handlers, 0xee);
    free(handlers);
    handlers = malloc(OBJECT);
    memset(handlers, 0xee, OBJECT);
    handled++;
}

/* Calls that neither empty nor overflow a magazine stay on the fast paths. */
static void stay_inside(unsigned char **objects, int count, int rounds)
{
    while (rounds-- > 0) {
        for (int i = 0; i < count; i++) {
            objects[i] = malloc(OBJECT);
            memset(objects[i], i, OBJECT);
        }
        for (int i = 0; i < count; i++) {
            CHECK(is_all(objects[i], i));
            free(objects[i]);
        }
    }
}

static void stay_here(void)
{
    cpu_set_t cpu;

    CPU_ZERO(&cpu);
    CPU_SET(sched_getcpu(), &cpu);
    CHECK(sched_setaffinity(0, sizeof cpu, &cpu) == 0);
}

/*
 * No object is handed out twice when a handler interrupts malloc or free. Only the fast
 * paths: a handler that interrupts a slow path may wait for its own thread, as where that
 * comes to a CPU whose cache is empty, so it stays on one. In the hardened build no calls
 * stay on the fast paths: what is freed waits in another magazine.
 */
static void handlers_get_their_own_objects(void)
{
    struct sigaction action = {.sa_handler = swap_object};
    struct itimerval often = {{0, 53}, {0, 53}}, never = {{0, 0}, {0, 0}};
    unsigned char *objects[40];
    sigset_t alarms;
    int wanted = is_slow() ? 20 : 2000;

    if (!is_mymalloc() || getenv("TEST_SECURE"))
        return;
    stay_here();
    handlers = malloc(OBJECT);
    memset(handlers, 0xee, OBJECT);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    while (handled < wanted) {
        stay_inside(objects, 40, 1); /* without signals: to the midst of a magazine */
        stay_inside(objects, 20, 1);
        setitimer(ITIMER_REAL, &often, NULL);
        stay_inside(objects, 2, 500);
        setitimer(ITIMER_REAL, &never, NULL);
    }
    sigprocmask(SIG_BLOCK, &alarms, NULL);
    CHECKF(!damaged, "%d of %d objects of the handler were overwritten", damaged,
           handled);
    free(handlers);
}

const struct test tests[] = {
    {"handlers_get_their_own_objects", handlers_get_their_own_objects},
    {NULL, NULL},
};
