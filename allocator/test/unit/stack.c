/*
 * stack.c - no call of the family needs more stack than a coroutine or a handler has left:
 * each is run on a stack of its own that is painted before, and what changed is counted.
 */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "check.h"
#include "family.h"

#define STACK ((size_t)256 << 10)
#define PAINT 0x5a
/* Assertions walk whole structures, and the compiler inlines less there. */
#if defined NDEBUG && defined __x86_64__
#define MOST ((size_t)4 << 10)
#elif defined NDEBUG /* libgcc walks the stack, with places for all registers */
#define MOST ((size_t)8 << 10)
#else
#define MOST ((size_t)16 << 10)
#endif
#define OBJECTS 600

static unsigned char *stack;
static void (*body)(void);
static void *objects[OBJECTS];

static void enter(int unused)
{
    (void)unused;
    body();
}

static void nothing(void)
{
}

/* In a signal handler: musl has no makecontext. */
static size_t painted_over(void (*run)(void))
{
    size_t left = 0;

    body = run;
    memset(stack, PAINT, STACK);
    CHECK(raise(SIGUSR1) == 0);
    while (left < STACK && stack[left] == PAINT)
        left++;
    return STACK - left;
}

/* But for what the kernel puts there, which depends on the processor. */
static size_t depth_of(void (*run)(void))
{
    size_t depth = painted_over(run), least = painted_over(nothing);

    return depth > least ? depth - least : 0;
}

static void give_all(void)
{
    for (int i = 0; i < OBJECTS; i++) {
        free(objects[i]);
        objects[i] = NULL;
    }
}

static void take_small(void)
{
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = malloc((size_t)i * 7 + 1);
    give_all();
}

static void take_spans(void)
{
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = malloc(opaque((size_t)i * 1500 + 1));
    give_all();
}

static void take_mappings(void)
{
    for (int i = 0; i < 8; i++)
        objects[i] = malloc(opaque((size_t)(i + 30) << 20));
    give_all();
}

static void take_zeroed(void)
{
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = calloc(opaque((size_t)i * 300 + 1), 3);
    give_all();
}

static void take_aligned(void)
{
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = memalign((size_t)1 << i % 22, (size_t)i * 100 + 1);
    give_all();
}

static void resize(void)
{
    void *object = NULL;

    for (size_t size = 1; size < (size_t)80 << 20; size = size * 3 / 2 + 7)
        CHECK((object = realloc(object, opaque(size))) != NULL);
    for (size_t size = (size_t)80 << 20; size > 1; size = size / 2)
        CHECK((object = realloc(object, opaque(size))) != NULL);
    free(object);
}

static void trim(void)
{
    malloc_trim(0);
}

static void take_and_pause(void)
{
    struct timespec pause = {0, 20000000};

    take_small();
    take_spans();
    nanosleep(&pause, NULL);
}

/* Longer than upkeep waits between two looks at what is due. */
static void take_for_seconds(void)
{
    for (int i = 0; i < 120; i++)
        take_and_pause();
}

static void map_stack(void)
{
    struct sigaction action = {.sa_handler = enter, .sa_flags = SA_ONSTACK};
    stack_t there = {.ss_size = STACK};

    stack =
        mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    there.ss_sp = stack;
    CHECK(sigaltstack(&there, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
}

/* A limit that is looked for, statistics that are written. */
static void what_is_due_each_second_fits(void)
{
    size_t depth;

    map_stack();
    take_and_pause();
    depth = depth_of(take_for_seconds);
    CHECKF(depth <= MOST, "%zu bytes", depth);
}

static void every_call_fits(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } calls[] = {{"small", take_small},
                 {"spans", take_spans},
                 {"mappings", take_mappings},
                 {"calloc", take_zeroed},
                 {"memalign", take_aligned},
                 {"realloc", resize},
                 {"trim", trim}};

    map_stack();
    /* A first time elsewhere: the loader looks up libc's functions on the caller's stack. */
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        calls[i].run();
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        size_t depth = depth_of(calls[i].run);

        CHECKF(depth <= MOST, "%s takes %zu bytes", calls[i].name, depth);
    }
}

const struct test tests[] = {
    {"every_call_fits", every_call_fits},
    {"what_is_due_each_second_fits", what_is_due_each_second_fits},
    {NULL, NULL},
};
