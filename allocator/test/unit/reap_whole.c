/*
 * reap_whole.c - an arena as a whole: reset, destroyed, limited, used by several threads.
 *
 * Built as reap.c is.
 */
#include "proc.h"
#include "reap.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* ---- all together ---- */

static void reset_serves_again(void)
{
    MyArena *arena = create(0);
    uint64_t state = test_seed();

    for (int round = 0; round < 200; round++) {
        static struct object o[500];

        for (int i = 0; i < 500; i++) {
            size_t size = any_size(&state);

            o[i] = filled(MyArenaAlloc(arena, size), size);
            if (i % 7 == 3) {
                free_somehow(arena, o[i], i);
                o[i].size = 0;
            }
        }
        for (int i = 0; i < 500; i++)
            check_object(o[i]);
        CHECK(stats(arena).peak >= stats(arena).held);
        MyArenaReset(arena);
        CHECK(stats(arena).objects == 0 && stats(arena).used == 0);
        CHECKF(stats(arena).held <= MIB, "%zu KiB", stats(arena).held / KIB);
        CHECK(round % 20 || MyVerify() == 0);
    }
    destroy(arena);
}

/* Requests of one size after the other: from the second on no span comes or goes. */
static void reset_keeps_what_fits(void)
{
    MyArena *arena = create(0);

    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 3000; i++)
            CHECK(MyArenaAlloc(arena, 100));
        CHECKF(round < 2 || stats(arena).spans == 1, "%zu spans", stats(arena).spans);
        MyArenaReset(arena);
        CHECKF(round == 0 || stats(arena).held == 512 * KIB, "%zu KiB",
               stats(arena).held / KIB);
    }
    destroy(arena);
}

/* The window that stays, and the next one, are as long as windows were, not as large objects. */
static void reset_asks_for_no_more(void)
{
    MyArena *arena = create(0);

    for (int round = 0; round < 3; round++) {
        MyArenaReset(arena);
        CHECK(stats(arena).held == (round == 0 ? 0 : SPAN));
        CHECK(MyArenaAlloc(arena, 10 * MIB) && MyArenaAlloc(arena, 1));
        CHECKF(stats(arena).held == 10 * MIB + SPAN, "%zu KiB",
               stats(arena).held / KIB);
    }
    destroy(arena);
}

/* What an alignment skips, or a window's end leaves, may be longer than any size class. */
static void long_holes_are_holes(void)
{
    MyArena *arena = create(0);

    for (size_t alignment = 64 * KIB; alignment <= 512 * KIB; alignment *= 2)
        for (int i = 0; i < 24; i++) {
            CHECK(MyArenaAlloc(arena, 20 * KIB));
            CHECK(MyArenaAllocAligned(arena, alignment, 100));
            CHECK(MyVerify() == 0);
        }
    for (int i = 0; i < 2000; i++)
        CHECK(MyArenaAlloc(arena, 1000 + (size_t)i));
    CHECK(MyVerify() == 0);
    destroy(arena);
}

static size_t rss_mib(void)
{
    return resident_bytes() / MIB;
}

static void destroy_returns(size_t size)
{
    /* What is idle of the cases before would serve this one. */
    int idle = MyTrim(0);
    struct mallinfo2 before = mallinfo2(), now;
    MyArena *arena = create(0);
    size_t bytes = is_slow() ? 100 * (size_t)MIB : 256 * (size_t)MIB;
    size_t shadow = shadow_of(bytes) / MIB, base = rss_mib(), held;

    (void)idle;
    for (size_t i = 0; i < bytes / size; i++)
        memset(MyArenaAlloc(arena, size), 1, size);
    held = stats(arena).held;
    now = mallinfo2();
    CHECKF(held >= bytes && held <= bytes + bytes / 16 &&
               stats(arena).spans < bytes / SPAN,
           "%zu MiB in %zu spans", held / MIB, stats(arena).spans);
    CHECKF(now.uordblks >= before.uordblks + held, "%zu, %zu, %zu held",
           before.uordblks, now.uordblks, held);
    CHECKF(rss_mib() + 4 >= base + bytes / MIB, "%zu MiB", rss_mib());
    destroy(arena);
    now = mallinfo2();
    CHECKF(now.uordblks <= before.uordblks + MIB, "%zu, then %zu", before.uordblks,
           now.uordblks);
    CHECKF(rss_mib() <= base + 70 + shadow, "%zu MiB before, %zu after", base,
           rss_mib());
    MyTrim(0);
    CHECKF(rss_mib() <= base + 8 + shadow, "%zu MiB before, %zu after", base,
           rss_mib());
}

static void destroy_returns_memory(void)
{
    run_in_child(destroy_returns, 48);
    run_in_child(destroy_returns, 1000);
    run_in_child(destroy_returns, 20 * KIB);
    run_in_child(destroy_returns, 4 * MIB);
}

/* Records are used again: a thousand generations take no more than one. */
static void arenas_come_and_go(void)
{
    static MyArena *arena[100];
    size_t peak = 0;

    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 100; i++) {
            arena[i] = create(0);
            for (int j = 0; j < i; j++)
                CHECK(MyArenaAlloc(arena[i], (size_t)j * 10));
        }
        for (int i = 0; i < 100; i++)
            MyArenaDestroy(arena[(i * 37) % 100]);
        if (round == 5)
            peak = resident_bytes();
    }
    CHECK(MyVerify() == 0);
    if (!is_under(QEMU, "memory of its own alone"))
        CHECKF(resident_bytes() <= peak + 2 * MIB, "%zu KiB, then %zu", peak / KIB,
               resident_bytes() / KIB);
    MyArenaDestroy(NULL);
}

/* ---- the limit ---- */

static void limit_is_kept(void)
{
    static const size_t limits[] = {1, SPAN, 3 * SPAN + 1, MIB, 10 * MIB};

    for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++) {
        size_t units = (limits[i] + SPAN - 1) / SPAN, count = 0;
        MyArena *arena = create(limits[i]);

        CHECK(stats(arena).limit == units * SPAN);
        errno = 0;
        while (MyArenaAlloc(arena, 1000))
            count++;
        CHECK(errno == ENOMEM);
        CHECKF(count == units * (SPAN / 1024) || count >= units * SPAN / 1024 - units,
               "%zu of %zu units", count, units);
        CHECK(stats(arena).held == units * SPAN);
        CHECK(!MyArenaAlloc(arena, SPAN) && MyVerify() == 0);
        MyArenaReset(arena);
        /* the same with large ones, and what grows */
        MyArenaDestroy(arena);
        arena = create(limits[i]);
        CHECK(!MyArenaAlloc(arena, units * SPAN + 1));
        void *p = MyArenaAlloc(arena, units * SPAN);
        CHECK(p && stats(arena).held == units * SPAN);
        CHECK(!MyArenaAlloc(arena, 1) && !MyArenaRealloc(arena, p, units * SPAN + 1));
        CHECK(MyArenaRealloc(arena, p, 40 * KIB) == p);
        CHECK(stats(arena).held == SPAN);
        destroy(arena);
    }
}

/* One beyond all memory is none. */
static void limits_have_no_end(void)
{
    for (unsigned shift = 40; shift <= 64; shift++) {
        MyArena *arena = create(shift < 64 ? (size_t)1 << shift : SIZE_MAX);

        CHECKF(MyArenaAlloc(arena, 1) && MyArenaAlloc(arena, MIB), "at 2^%u", shift);
        destroy(arena);
    }
}

/* What an object has already counts once. */
static void one_that_grows_needs_the_difference(void)
{
    MyArena *arena = create(10 * SPAN);
    void *p = MyArenaAlloc(arena, 10 * SPAN);

    CHECK(p && MyArenaRealloc(arena, p, 6 * SPAN) == p); /* room to grow into */
    CHECK(MyArenaRealloc(arena, p, 8 * SPAN) == p && stats(arena).held == 8 * SPAN);
    CHECK(!MyArenaRealloc(arena, p, 11 * SPAN) && stats(arena).held == 8 * SPAN);
    destroy(arena);
}

/* What an arena may not have is no reason to give back what is idle. */
static void at_its_limit_nothing_is_given_back(void)
{
    MyArena *arena = create(SPAN);
    size_t idle;

    free(memset(malloc(4 * MIB), 1, 4 * MIB));
    idle = mallinfo2().fsmblks + mallinfo2().keepcost;
    while (MyArenaAlloc(arena, 1000))
        ;
    CHECK(!MyArenaAlloc(arena, 300 * KIB));
    CHECKF(mallinfo2().fsmblks + mallinfo2().keepcost + MIB >= idle,
           "%zu KiB idle, then %zu", idle / KIB,
           (mallinfo2().fsmblks + mallinfo2().keepcost) / KIB);
    destroy(arena);
}

/* How many of the same requests, small ones and one large, fit. */
static unsigned fill_alike(MyArena *arena, uint64_t seed)
{
    unsigned fitted = 0, large = (unsigned)(seed % 40);

    for (unsigned i = 0; i < 400; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        fitted += MyArenaAlloc(arena, i == large ? (seed >> 33) % MIB
                                                 : (seed >> 33) % 20000) != NULL;
    }
    return fitted;
}

static void limit_is_the_same_after_a_reset(void)
{
    for (unsigned seed = 0; seed < 100; seed++) {
        MyArena *arena = create(MIB);
        unsigned fitted = fill_alike(arena, seed), again;

        CHECK(fitted < 400);
        MyArenaReset(arena);
        CHECK(stats(arena).held == 0);
        again = fill_alike(arena, seed);
        CHECKF(again == fitted, "%u requests, then %u", fitted, again);
        MyArenaReset(arena);
        CHECK(MyArenaAlloc(arena, MIB));
        MyArenaDestroy(arena);
    }
}

/* ---- threads ---- */

struct shared {
    MyArena *arena;
    struct object object[MANY];
    int from, to;
    uint64_t seed;
};

static void *free_them(void *argument)
{
    struct shared *s = argument;

    for (int i = s->from; i < s->to; i++) {
        check_object(s->object[i]);
        free_somehow(s->arena, s->object[i], i);
    }
    return NULL;
}

static void *take_them(void *argument)
{
    struct shared *s = argument;

    for (int i = s->from; i < s->to; i++) {
        size_t size = any_size(&s->seed);

        s->object[i] = filled(MyArenaAlloc(s->arena, size), size);
    }
    return NULL;
}

static void *reset_and_take(void *argument)
{
    MyArenaReset(((struct shared *)argument)->arena);
    return take_them(argument);
}

static void *take_one(void *arena)
{
    CHECK(MyArenaAlloc(arena, 1));
    return NULL;
}

static void *reset_and_take_one(void *arena)
{
    MyArenaReset(arena);
    return take_one(arena);
}

static void in_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, run, argument) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void other_threads(void)
{
    static struct shared s;

    s = (struct shared){.arena = create(0), .to = MANY / 10, .seed = test_seed()};
    take_them(&s);
    in_thread(free_them, &s);
    CHECK(stats(s.arena).objects == 0 && MyVerify() == 0);
    in_thread(take_them, &s); /* not the owner's */
    take_them(&(struct shared){.arena = s.arena, .to = 100, .seed = s.seed});
    free_them(&s);
    CHECK(stats(s.arena).objects == 100 && MyVerify() == 0);
    in_thread(reset_and_take, &s); /* the owner now */
    free_them(&s);
    take_them(&s); /* not any more */
    free_them(&s);
    CHECK(stats(s.arena).objects == 0);
    destroy(s.arena);
}

/* Who resets it has the window that stays; the other one, opened later, goes back. */
static void windows_of_others_go_back(void)
{
    MyArena *arena = create(0);
    size_t mapped = 0;

    for (int round = 0; round < 300; round++) {
        CHECK(MyArenaAlloc(arena, 1) && stats(arena).spans == 1);
        in_thread(take_one, arena);
        CHECK(stats(arena).spans == 2);
        MyArenaReset(arena);
        CHECK(stats(arena).held == 0);
        if (round == 0)
            mapped = mallinfo2().arena;
    }
    CHECKF(mallinfo2().arena <= mapped + 2 * MIB, "%zu KiB, then %zu", mapped / KIB,
           mallinfo2().arena / KIB);
    CHECK(MyArenaAlloc(arena, 1));
    in_thread(reset_and_take_one, arena);
    CHECKF(stats(arena).spans == 1, "%zu spans", stats(arena).spans);
    destroy(arena);
}

/* ---- beside malloc ---- */

static void statistics(void)
{
    MyArena *arena = create(5 * MIB + 1);
    struct MyArenaInfo info = stats(arena);
    void *p, *q;
    size_t usable;

    CHECK(info.held == 0 && info.used == 0 && info.objects == 0 && info.spans == 0);
    CHECK(info.limit == 5 * MIB + SPAN && info.peak == 0);
    p = MyArenaAlloc(arena, 100);
    q = MyArenaAlloc(arena, 100 * KIB);
    info = stats(arena);
    usable = MyUsableSize(p);
    CHECK(info.held == 3 * SPAN && info.spans == 2 && info.objects == 2);
    CHECK(info.used == usable + 2 * SPAN && info.peak == 3 * SPAN);
    MyArenaFree(arena, p);
    MyArenaFree(arena, q);
    MyArenaFree(arena, NULL);
    info = stats(arena);
    CHECK(info.held == SPAN && info.objects == 0 && info.used == 0);
    CHECK(info.freed == usable && info.peak == 3 * SPAN);
    destroy(arena);
}

struct walked {
    void *until;
    size_t bytes;
    unsigned met, after;
};

static int stop_at(void *object, size_t bytes, void *argument)
{
    struct walked *walked = argument;

    walked->after += walked->met > 0;
    if (object != walked->until)
        return 0;
    walked->met++;
    walked->bytes = bytes;
    return -7;
}

/* At an object of each kind, whatever comes behind it. */
static void a_walk_ends_where_it_is_told(void)
{
    MyArena *arena = create(0);
    void *objects[10];

    for (unsigned i = 0; i < 10; i += 5) {
        objects[i] = malloc(100);
        objects[i + 1] = malloc(300 * KIB);
        objects[i + 2] = malloc(40 * MIB);
        objects[i + 3] = MyArenaAlloc(arena, 100);
        objects[i + 4] = MyArenaAlloc(arena, 300 * KIB);
    }
    for (unsigned i = 0; i < 10; i++) {
        struct walked walked = {.until = objects[i]};

        CHECK(objects[i] && MyHeapWalk(stop_at, &walked) == -7);
        CHECKF(walked.met == 1 && walked.after == 0,
               "object %u is met %u times, and %u others after it", i, walked.met,
               walked.after);
        /* In the hardened library it is the place, which is longer. */
        CHECKF(walked.bytes == MyUsableSize(objects[i]) ||
                   (getenv("TEST_SECURE") && walked.bytes > MyUsableSize(objects[i])),
               "object %u has %zu bytes, not %zu", i, walked.bytes,
               MyUsableSize(objects[i]));
    }
    for (unsigned i = 0; i < 10; i++)
        free(objects[i]);
    destroy(arena);
}

const struct test tests[] = {
    /* First: what a program that went up and down before may keep is not known here. */
    {"destroy_returns_memory", destroy_returns_memory},
    {"reset_serves_again", reset_serves_again},
    {"reset_keeps_what_fits", reset_keeps_what_fits},
    {"reset_asks_for_no_more", reset_asks_for_no_more},
    {"long_holes_are_holes", long_holes_are_holes},
    {"arenas_come_and_go", arenas_come_and_go},
    {"limit_is_kept", limit_is_kept},
    {"limits_have_no_end", limits_have_no_end},
    {"one_that_grows_needs_the_difference", one_that_grows_needs_the_difference},
    {"at_its_limit_nothing_is_given_back", at_its_limit_nothing_is_given_back},
    {"limit_is_the_same_after_a_reset", limit_is_the_same_after_a_reset},
    {"other_threads", other_threads},
    {"windows_of_others_go_back", windows_of_others_go_back},
    {"statistics", statistics},
    {"a_walk_ends_where_it_is_told", a_walk_ends_where_it_is_told},
    {NULL, NULL},
};
