/*
 * reap.c - the arenas of mymalloc/arena.h, as the header describes them.
 *
 * Built on My* and, linked to the preload library, on malloc and free themselves.
 */
#include "mymalloc/arena.h"

#include "check.h"
#include "family.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { KIB = 1 << 10, MIB = 1 << 20, SPAN = 64 * KIB, SMALL = 32 * KIB, MANY = 20000 };

static struct MyArenaInfo stats(MyArena *arena)
{
    struct MyArenaInfo info;

    MyArenaStats(arena, &info);
    CHECKF(info.held >= info.used + info.freed, "%zu held, %zu used, %zu freed",
           info.held, info.used, info.freed);
    return info;
}

static MyArena *create(size_t limit)
{
    MyArena *arena = MyArenaCreate(limit);

    CHECK(arena);
    return arena;
}

static void destroy(MyArena *arena)
{
    CHECK(MyVerify() == 0);
    MyArenaDestroy(arena);
    CHECK(MyVerify() == 0);
}

/* ---- objects that know what they hold ---- */

struct object {
    unsigned char *at;
    size_t size;
};

static unsigned char byte_of(const void *at, size_t i)
{
    return (unsigned char)(((uintptr_t)at >> 4) * 31 + i * 7);
}

static struct object filled(void *at, size_t size)
{
    CHECKF(at, "%zu bytes", size);
    CHECKF((uintptr_t)at % 16 == 0, "%p", at);
    CHECKF(MyUsableSize(at) >= size, "%zu of %zu", MyUsableSize(at), size);
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)at)[i] = byte_of(at, i);
    return (struct object){at, size};
}

static void check_object(struct object o)
{
    for (size_t i = 0; i < o.size; i++)
        CHECKF(o.at[i] == byte_of(o.at, i), "byte %zu of %zu at %p", i, o.size,
               (void *)o.at);
}

/* Mostly small, some of each kind. */
static size_t any_size(uint64_t *state)
{
    uint64_t kind = next_random(state) % 100;
    size_t most = kind < 80   ? 512
                  : kind < 98 ? 8 * KIB
                  : kind < 99 ? 40 * KIB
                              : 300 * KIB;

    return next_random(state) % (most + 1);
}

/* ---- taking ---- */

static void sizes_and_alignment(void)
{
    MyArena *arena = create(0);

    for (size_t size = 0; size <= SMALL + 1000; size += size < 2 * KIB ? 1 : 509) {
        void *p = filled(MyArenaAlloc(arena, size), size).at;
        size_t good = size <= SMALL + 64 ? MyGoodSize(size) : SPAN;

        CHECKF(MyUsableSize(p) == good, "%zu: %zu, not %zu", size, MyUsableSize(p),
               good);
    }
    for (size_t size = SMALL + 2 * KIB; size <= 80 * MIB; size *= 3) {
        size_t rounded = (size + SPAN - 1) / SPAN * SPAN;

        CHECK(MyUsableSize(MyArenaAlloc(arena, size)) == rounded);
    }
    destroy(arena);
}

static void objects_are_apart(void)
{
    static struct object o[MANY];
    uint64_t state = test_seed();
    MyArena *arena = create(0);
    size_t bytes = 0;

    for (int i = 0; i < MANY / 4; i++) {
        size_t size = any_size(&state);

        o[i] = filled(MyArenaAlloc(arena, size), size);
        bytes += MyUsableSize(o[i].at);
    }
    for (int i = 0; i < MANY / 4; i++)
        check_object(o[i]);
    CHECKF(stats(arena).used >= bytes && stats(arena).objects == MANY / 4,
           "%zu objects of %d, %zu bytes of %zu", stats(arena).objects, MANY / 4,
           stats(arena).used, bytes);
    destroy(arena);
}

static void aligned(void)
{
    MyArena *arena = create(0);
    static struct object o[400];
    static size_t to[400];
    int n = 0;

    for (size_t alignment = 1; alignment <= MIB; alignment *= 2)
        for (size_t size = 0; size <= 100 * KIB; size = size * 5 + 7) {
            void *p = MyArenaAllocAligned(arena, alignment, size);

            CHECKF((uintptr_t)p % alignment == 0, "%zu bytes to %zu", size, alignment);
            to[n] = alignment;
            o[n++] = filled(p, size);
        }
    /* What was skipped serves others: no memory is added for them. */
    CHECK(MyVerify() == 0);
    for (int i = 0; i < n; i++)
        check_object(o[i]);
    for (int i = 0; i < n; i++)
        MyFreeAlignedSized(o[i].at, to[i], o[i].size);
    CHECK(stats(arena).objects == 0 && stats(arena).used == 0);
    errno = 0;
    CHECK(!MyArenaAllocAligned(arena, 24, 8) && errno == EINVAL);
    CHECK(!MyArenaAllocAligned(arena, 0, 8) && errno == EINVAL);
    destroy(arena);
}

static void zeroed(void)
{
    static const size_t sizes[] = {1, 100, 5000, 200 * KIB};
    MyArena *arena = create(0);

    for (int round = 0; round < 2; round++) { /* of memory that was written to */
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            unsigned char *p = MyArenaCalloc(arena, sizes[i], 3);

            CHECK(p);
            for (size_t j = 0; j < sizes[i] * 3; j++)
                CHECK(p[j] == 0);
            memset(p, 0xff, sizes[i] * 3);
        }
        MyArenaReset(arena);
    }
    errno = 0;
    CHECK(!MyArenaCalloc(arena, opaque(SIZE_MAX / 2), 3) && errno == ENOMEM);
    destroy(arena);
}

static void too_large(void)
{
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 1,
                                   (size_t)1 << 50};
    MyArena *arena = create(0);
    void *p = MyArenaAlloc(arena, 10), *q = MyArenaAlloc(arena, 100 * KIB);

    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = opaque(sizes[i]);

        errno = 0;
        CHECK(!MyArenaAlloc(arena, size) && errno == ENOMEM);
        errno = 0;
        CHECK(!MyArenaAllocAligned(arena, 64, size) && errno == ENOMEM);
        errno = 0;
        CHECK(!MyArenaRealloc(arena, p, size) && errno == ENOMEM);
        errno = 0;
        CHECK(!MyArenaRealloc(arena, q, size) && errno == ENOMEM);
    }
    CHECK(stats(arena).objects == 2);
    destroy(arena);
}

/* ---- freeing one by one ---- */

/* By each of the functions in turn. */
static void free_somehow(MyArena *arena, struct object o, int i)
{
    if (i % 3 == 0)
        MyArenaFree(arena, o.at);
    else if (i % 3 == 1)
        free(o.at);
    else
        MyFreeSized(o.at, o.size);
}

static void freed_memory_serves_again(void)
{
    static struct object o[MANY];
    uint64_t state = test_seed();
    MyArena *arena = create(0);
    size_t held;

    for (int i = 0; i < MANY; i++) {
        size_t size = next_random(&state) % 2000;

        o[i] = filled(MyArenaAlloc(arena, size), size);
    }
    held = stats(arena).held;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            check_object(o[i]);
            free_somehow(arena, o[i], i);
        }
        CHECK(stats(arena).used == 0 && stats(arena).objects == 0);
        CHECK(MyVerify() == 0);
        for (int i = MANY; i-- > 0;)
            o[i] = filled(MyArenaAlloc(arena, o[i].size), o[i].size);
        CHECK(stats(arena).objects == MANY && MyVerify() == 0);
    }
    CHECKF(stats(arena).held <= held + MIB, "%zu KiB, then %zu", held / KIB,
           stats(arena).held / KIB);
    destroy(arena);
}

/* A longer one that was freed is cut for shorter ones. */
static void freed_memory_is_cut(void)
{
    MyArena *arena = create(SPAN);
    void *large[2] = {MyArenaAlloc(arena, 32 * KIB), MyArenaAlloc(arena, 32 * KIB)};
    size_t count = 0;

    CHECK(large[0] && large[1] && !MyArenaAlloc(arena, 1));
    MyArenaFree(arena, large[0]);
    for (; MyArenaAlloc(arena, 100); count++)
        ;
    CHECKF(count == 32 * KIB / MyGoodSize(100), "%zu objects", count);
    CHECK(MyVerify() == 0 && stats(arena).held == SPAN);
    destroy(arena);
}

static void large_ones_go_back_at_once(void)
{
    MyArena *arena = create(0);
    void *p = MyArenaAlloc(arena, 10 * MIB), *q = MyArenaAlloc(arena, 20 * MIB);
    void *r = MyArenaAlloc(arena, 40 * MIB); /* malloc would map it by itself */

    CHECK(p && q && r && stats(arena).held == 70 * MIB);
    MyArenaFree(arena, q);
    CHECK(stats(arena).held == 50 * MIB && stats(arena).objects == 2);
    MyFree(r);
    MyFreeSized(p, 10 * MIB);
    CHECK(stats(arena).held == 0 && stats(arena).peak == 70 * MIB);
    destroy(arena);
}

/* ---- realloc ---- */

static void resized_stays_in_its_arena(void)
{
    static const size_t sizes[] = {10,       100,       3000,      30 * KIB, 100 * KIB,
                                   5 * MIB,  90 * KIB,  31 * KIB,  40 * MIB, 20,
                                   64 * KIB, 128 * KIB, 120 * KIB, 1};
    MyArena *arena = create(0);
    MyArena *other = create(0);

    for (int with = 0; with < 2; with++) {
        size_t had = 0;
        unsigned char *p = NULL;

        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t size = sizes[i], kept = had < size ? had : size;
            unsigned char *q = with == 0 || p == NULL ? MyArenaRealloc(arena, p, size)
                                                      : realloc(p, size);

            CHECKF(q, "%zu", size);
            for (size_t j = 0; j < kept; j++)
                CHECKF(q[j] == (unsigned char)(j % 251), "byte %zu of %zu", j, size);
            for (size_t j = 0; j < size; j++)
                q[j] = (unsigned char)(j % 251);
            CHECK(stats(arena).objects == 1 && stats(other).objects == 0);
            p = q;
            had = size;
        }
        CHECK(MyVerify() == 0);
        p = with == 0 ? MyArenaRealloc(arena, p, 0) : realloc(p, 0);
        CHECK(p == NULL && stats(arena).objects == 0);
    }
    MyArenaDestroy(other);
    destroy(arena);
}

static void last_object_grows_in_place(void)
{
    MyArena *arena = create(0);
    char *p = MyArenaAlloc(arena, 16), *q;

    for (size_t size = 32; size < 32 * KIB; size += 16) {
        q = MyArenaRealloc(arena, p, size);
        CHECKF(q == p, "moved at %zu bytes", size);
    }
    MyArenaAlloc(arena, 1);
    CHECK(MyArenaRealloc(arena, p, 32 * KIB + 64) != NULL);
    CHECK(stats(arena).objects == 2);
    destroy(arena);
}

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
    size_t base = rss_mib(), bytes = is_slow() ? 100 * (size_t)MIB : 256 * (size_t)MIB;
    size_t held;

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
    CHECKF(rss_mib() <= base + 70, "%zu MiB before, %zu after", base, rss_mib());
    MyTrim(0);
    CHECKF(rss_mib() <= base + 8, "%zu MiB before, %zu after", base, rss_mib());
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

static void in_thread(void *(*run)(void *), struct shared *s)
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, run, s) == 0);
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

/* ---- beside malloc ---- */

static void statistics(void)
{
    MyArena *arena = create(5 * MIB + 1);
    struct MyArenaInfo info = stats(arena);
    void *p, *q;

    CHECK(info.held == 0 && info.used == 0 && info.objects == 0 && info.spans == 0);
    CHECK(info.limit == 5 * MIB + SPAN && info.peak == 0);
    p = MyArenaAlloc(arena, 100);
    q = MyArenaAlloc(arena, 100 * KIB);
    info = stats(arena);
    CHECK(info.held == 3 * SPAN && info.spans == 2 && info.objects == 2);
    CHECK(info.used == MyUsableSize(p) + 2 * SPAN && info.peak == 3 * SPAN);
    MyArenaFree(arena, p);
    MyArenaFree(arena, q);
    MyArenaFree(arena, NULL);
    info = stats(arena);
    CHECK(info.held == SPAN && info.objects == 0 && info.used == 0);
    CHECK(info.freed == MyGoodSize(100) && info.peak == 3 * SPAN);
    destroy(arena);
}

const struct test tests[] = {
    /* First: what a program that went up and down before may keep is not known here. */
    {"destroy_returns_memory", destroy_returns_memory},
    {"sizes_and_alignment", sizes_and_alignment},
    {"objects_are_apart", objects_are_apart},
    {"aligned", aligned},
    {"zeroed", zeroed},
    {"too_large", too_large},
    {"freed_memory_serves_again", freed_memory_serves_again},
    {"freed_memory_is_cut", freed_memory_is_cut},
    {"large_ones_go_back_at_once", large_ones_go_back_at_once},
    {"resized_stays_in_its_arena", resized_stays_in_its_arena},
    {"last_object_grows_in_place", last_object_grows_in_place},
    {"reset_serves_again", reset_serves_again},
    {"reset_keeps_what_fits", reset_keeps_what_fits},
    {"long_holes_are_holes", long_holes_are_holes},
    {"arenas_come_and_go", arenas_come_and_go},
    {"limit_is_kept", limit_is_kept},
    {"other_threads", other_threads},
    {"statistics", statistics},
    {NULL, NULL},
};
