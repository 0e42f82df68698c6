/*
 * between.c - what others do between two instructions of a malloc or free: a word of a cache is the
 * same again, and what lies below the object that it names is another; or a magazine is another.
 *
 * The thread runs in single steps; after the Nth a signal handler does what another thread of
 * the CPU could do there. Or it has memory look for one step as another processor may show it.
 */
#include "check.h"
#include "family.h"

#include "alloc/alloc.h"
#include "heap/runs.h"

#include <signal.h>
#include <ucontext.h>

#define SIZE    opaque((size_t)256 << 10)
#define OBJECTS 6
#define TRAP    0x100 /* the flag by which the processor traps after each instruction */
#define ENOUGH \
    20 /* steps: fewer than there are before the first sequence, in any build */

static volatile int stepping, locked;
static volatile unsigned steps, when;
static void *volatile first, *volatile second, *volatile other;

/* There the thread takes locks, and nobody may call malloc from a handler. */
static bool is_past_the_caches(void)
{
#ifdef MYM_DEBUG
    for (enum mym_rank rank = MYM_RANK_HELPER; rank <= MYM_RANK_META; rank++)
        if (mym_rank_is_held(rank))
            return true;
#endif
    return mym_locks_held > 0 || mym_pages.lock.state != 0;
}

static void (*come_between)(void);

static void step(int number, siginfo_t *info, void *context)
{
    greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];

    (void)number;
    (void)info;
    if (stepping && steps++ >= when)
        come_between();
    *flags = stepping ? *flags | TRAP : *flags & ~(greg_t)TRAP;
}

static void in_steps(void (*others)(void))
{
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};

    stay_on_one_cpu();
    CHECK(!sigaction(SIGTRAP, &action, NULL));
    come_between = others;
}

static void begin_steps(void)
{
    steps = 0;
    stepping = 1;
    raise(SIGTRAP);
}

/* One more trap, and it ends. True: nobody came between. */
static bool end_steps(void)
{
    bool was = stepping;

    stepping = 0;
    return was;
}

/* first, second, ... -> first, other, ...: with as many below as before. */
static void change_below(void)
{
    stepping = 0;
    locked = is_past_the_caches();
    if (locked)
        return;
    first = mym_malloc(SIZE);
    second = mym_malloc(SIZE);
    mym_free(other);
    mym_free(first);
}

static void *malloc_in_steps(void)
{
    void *object;

    begin_steps();
    object = mym_malloc(SIZE);
    end_steps();
    return object;
}

static void take_all(void *objects[OBJECTS])
{
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK((objects[i] = mym_malloc(SIZE)));
}

static void free_all(void *objects[OBJECTS])
{
    for (unsigned i = 0; i < OBJECTS; i++)
        mym_free(objects[i]);
}

static void check_different(void *const *objects, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < i; j++)
            CHECKF(objects[i] != objects[j], "step %u: %p is two objects'", when,
                   objects[i]);
}

static void lists_are_followed_at_once(void)
{
    void *objects[OBJECTS + 2];

    mym_free(mym_malloc(SIZE));
    if (mym_mode < MYM_MODE_CPU_ID) {
        printf("a cache per thread: nobody comes between\n");
        return;
    }
    in_steps(change_below);
    for (when = 0; !locked; when++) {
        mym_cache_drain();
        take_all(objects);
        free_all(objects);
        take_all(objects); /* again: from now on all of them are kept */
        other = objects[OBJECTS - 1];
        for (unsigned i = 0; i < OBJECTS - 1; i++)
            mym_free(objects[i]);
        second = NULL;
        objects[OBJECTS] = malloc_in_steps();
        objects[OBJECTS + 1] = second;
        CHECK(objects[OBJECTS] && (second || locked));
        take_all(objects);
        check_different(objects, OBJECTS + 1 + !locked);
        free_all(objects);
        mym_free(objects[OBJECTS]);
        mym_free(objects[OBJECTS + 1]);
    }
    CHECKF(when > ENOUGH, "the page heap after %u steps", when);
    CHECK(!family.verify || family.verify() == 0);
}

/* ---- what another CPU pushes is seen late ---- */

static void **place, *there; /* what lies in the place, which shows another object */

/* For one step. */
static void show_late(void)
{
    if (place != NULL) {
        *place = there;
        place = NULL;
        stepping = 0;
        return;
    }
    locked = mym_locks_held > 0; /* what follows is the pool's */
    place = mym_slot_of(mym_cache_of(mym_rseq_id()), mym_class_of(64)) - 1;
    there = *place;
    CHECK(!mym_is_wall(there));
    *place = other;
}

/*
 * A thread that was moved on after it had found its CPU's cache reads a slot of another CPU, of
 * which a processor may show the word of now, and of the object below what was there before: the
 * one that the thread has taken there, and frees.
 */
static void no_free_is_taken_for_a_second_one(void)
{
    void *objects[OBJECTS];

    if (mym_mode < MYM_MODE_CPU_ID)
        return;
    in_steps(show_late);
    locked = 0;
    for (when = 0; !locked; when++) {
        for (unsigned i = 0; i < OBJECTS; i++)
            CHECK((objects[i] = mym_malloc(opaque(64))));
        other = objects[0];
        for (unsigned i = 1; i < OBJECTS; i++)
            mym_free(objects[i]);
        begin_steps();
        mym_free(other);
        CHECK(steps > when && !end_steps());
    }
    CHECKF(when > ENOUGH, "the pool after %u steps", when);
    CHECK(!family.verify || family.verify() == 0);
}

/* ---- a full magazine that leaves half of its objects ---- */

#define LONG   opaque((size_t)4000)
#define AROUND 130 /* more than a magazine has */
#define STRIDE 11  /* of some 2,000 steps it is another part each time */

static void *held[3 * AROUND]; /* in nobody else's hands */
static unsigned held_count;

static void hold(unsigned count)
{
    while (count-- > 0)
        CHECK((held[held_count++] = mym_malloc(LONG)));
}

static void let_go(unsigned count)
{
    while (count-- > 0)
        mym_free(held[--held_count]);
}

/* What others do on this CPU meanwhile: they take, free, or both. */
static void take_or_free(void)
{
    stepping = 0;
    if (is_past_the_caches())
        return;
    if (when % 3 != 1)
        hold(3);
    if (when % 3 != 0)
        let_go(2);
}

/* The current one is full after it. */
static void fill_current(void)
{
    const struct mym_cache *cache = mym_cache_of(mym_rseq_id());
    unsigned cls = mym_class_of(LONG);

    hold(AROUND);
    while (*mym_slot_of(cache, cls) != MYM_CEILING)
        let_go(1);
}

static void halves_are_left_at_once(void)
{
    mym_free(mym_malloc(LONG));
    if (mym_mode < MYM_MODE_CPU_ID)
        return;
    in_steps(take_or_free);
    when = test_seed() % STRIDE;
    for (bool within = true; within; when += STRIDE) {
        void *object;

        fill_current();
        object = held[--held_count];
        begin_steps();
        mym_free(object);
        within = !end_steps();
        hold(AROUND);
        check_different(held, held_count);
        let_go(held_count);
    }
    CHECKF(when > ENOUGH, "%u steps", when);
    CHECK(!family.verify || family.verify() == 0);
}

const struct test tests[] = {
    {"lists_are_followed_at_once", lists_are_followed_at_once},
    {"no_free_is_taken_for_a_second_one", no_free_is_taken_for_a_second_one},
    {"halves_are_left_at_once", halves_are_left_at_once},
    {NULL, NULL},
};
