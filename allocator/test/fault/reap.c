/*
 * reap.c - memory runs out under arenas: NULL with ENOMEM, nothing lost, everything works
 * afterwards; a free always works.
 */
#include "mymalloc/arena.h"

#include "check.h"
#include "family.h"
#include "gate.h"
#include "refuse.h"

#include <errno.h>
#include <string.h>

enum { ARENAS = 4, SLOTS = 150, MIB = 1 << 20 };

static MyArena *arenas[ARENAS];
static struct {
    unsigned char *p;
    size_t size;
    int arena;
} slots[SLOTS];
static unsigned long failures;

static unsigned char mark_of(int slot, size_t at)
{
    return (unsigned char)(slot * 7 + 1 + at / 64);
}

/* The bytes that are written and checked: of 9 MB some 90 pages. */
static size_t next_byte(size_t j)
{
    return j < 4096 ? j + 1 : j + 4096 + j / 20;
}

static void check_slot(int i, size_t size)
{
    for (size_t j = 0; j < size; j = next_byte(j))
        CHECKF(slots[i].p[j] == mark_of(i, j), "slot %d, byte %zu of %zu", i, j, size);
}

static void fill_slot(int i)
{
    for (size_t j = 0; j < slots[i].size; j = next_byte(j))
        slots[i].p[j] = mark_of(i, j);
}

static bool given(const void *p)
{
    if (!p) {
        CHECKF(errno == ENOMEM, "errno %d", errno);
        failures++;
    }
    return p != NULL;
}

static size_t draw(uint64_t *random)
{
    static const size_t limit[] = {200, 3000, 33000, 300000, 9000000};
    uint64_t dice = next_random(random) % 100;

    return 1 + next_random(random) % limit[dice < 40   ? 0
                                           : dice < 70 ? 1
                                           : dice < 90 ? 2
                                           : dice < 98 ? 3
                                                       : 4];
}

static void take_slot(int i, uint64_t *random)
{
    int arena = (int)(next_random(random) % ARENAS);
    size_t size = draw(random);
    unsigned char *p;

    if (!arenas[arena]) {
        errno = 0;
        arenas[arena] = MyArenaCreate(next_random(random) % 2 ? 0 : 20 * MIB);
        if (!given(arenas[arena]))
            return;
    }
    errno = 0;
    switch (next_random(random) % 4) {
    case 0:
        p = MyArenaCalloc(arenas[arena], 1, size);
        break;
    case 1:
        p = MyArenaAllocAligned(arenas[arena], (size_t)32 << next_random(random) % 13,
                                size);
        break;
    default:
        p = MyArenaAlloc(arenas[arena], size);
    }
    if (!given(p))
        return;
    slots[i].p = p;
    slots[i].size = size;
    slots[i].arena = arena;
    fill_slot(i);
}

static void resize_slot(int i, uint64_t *random)
{
    size_t size = draw(random), old = slots[i].size;
    unsigned char *p;

    errno = 0;
    p = MyArenaRealloc(arenas[slots[i].arena], slots[i].p, size);
    if (!given(p)) {
        check_slot(i, old); /* still there, still whole */
        return;
    }
    slots[i].p = p;
    check_slot(i, size < old ? size : old);
    slots[i].size = size;
    fill_slot(i);
}

static void free_slot(int i)
{
    check_slot(i, slots[i].size);
    errno = 77;
    free(slots[i].p);
    CHECK(errno == 77);
    slots[i].p = NULL;
}

static void end_arena(int arena, bool destroy)
{
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].p && slots[i].arena == arena) {
            check_slot(i, slots[i].size);
            slots[i].p = NULL;
        }
    errno = 77;
    if (destroy) {
        MyArenaDestroy(arenas[arena]);
        arenas[arena] = NULL;
    } else {
        MyArenaReset(arenas[arena]);
    }
    CHECK(errno == 77);
}

static void play(uint64_t random, int count)
{
    for (int step = 0; step < count; step++) {
        int i = (int)(next_random(&random) % SLOTS);
        int arena = (int)(next_random(&random) % ARENAS);

        if (!slots[i].p)
            take_slot(i, &random);
        else if (next_random(&random) % 3 == 0)
            resize_slot(i, &random);
        else
            free_slot(i);
        if (step % 200 == 199 && arenas[arena])
            end_arena(arena, next_random(&random) % 2);
        if (step % 512 == 0)
            malloc_trim(0);
        if (step % 256 == 0)
            CHECK(MyVerify() == 0);
    }
}

static void expect_recovery(size_t used_before)
{
    for (int i = 0; i < ARENAS; i++)
        if (arenas[i])
            end_arena(i, true);
    malloc_trim(0);
    CHECK(MyVerify() == 0);
    CHECKF(mallinfo2().uordblks <= used_before + 65536, "%zu bytes were lost",
           mallinfo2().uordblks - used_before);
    play(test_seed(), 300);
    for (int i = 0; i < ARENAS; i++)
        if (arenas[i])
            end_arena(i, true);
}

static const struct refused refused = {
    play, expect_recovery, &failures, true, 3000, 600, 20};

static void every_kth_call_fails(void)
{
    refuse_every_kth(&refused, (const size_t[]){1, 2, 3, 5, 7, 0});
}

static void each_call_fails_once(void)
{
    refuse_each_once(&refused);
}

/* No memory for the bits of freed objects: frees are lost, until all end. */
static void lose_frees(size_t unused)
{
    MyArena *arena = MyArenaCreate(0);
    struct MyArenaInfo info;
    unsigned char *p[100];

    (void)unused;
    for (int i = 0; i < 100; i++) {
        p[i] = MyArenaAlloc(arena, 100);
        CHECK(p[i]);
        memset(p[i], i, 100);
    }
    gate_refuse(1, 0);
    for (int i = 0; i < 50; i++)
        free(p[i]);
    CHECK(gate_allow() > 0);
    MyArenaStats(arena, &info);
    CHECKF(info.objects == 100 && info.freed == 0, "%zu objects", info.objects);
    for (int i = 50; i < 100; i++) {
        CHECK(p[i][0] == i && p[i][99] == i);
        free(p[i]);
    }
    MyArenaStats(arena, &info);
    CHECKF(info.objects == 50 && info.freed > 0, "%zu objects", info.objects);
    CHECK(MyVerify() == 0);
    MyArenaReset(arena);
    MyArenaStats(arena, &info);
    CHECK(info.objects == 0 && info.freed == 0 && MyVerify() == 0);
    MyArenaDestroy(arena);
}

static void frees_never_fail(void)
{
    if (refuse_can())
        run_in_child(lose_frees, 0);
}

/* MYMALLOC_LIMIT holds for what arenas hold, and they leave room when they end. */
static void own_limit_is_kept(void)
{
    size_t limit = (size_t)env_number("TEST_LIMIT", 0);

    for (size_t size = 64; limit && size < limit / 8; size = size * 5 + 16) {
        MyArena *arena = MyArenaCreate(0);
        struct MyArenaInfo info;

        CHECK(arena);
        while (MyArenaAlloc(arena, size))
            ;
        CHECK(errno == ENOMEM);
        MyArenaStats(arena, &info);
        CHECKF(info.held <= limit && info.used >= limit / 10 * 9,
               "%zu bytes held, %zu in objects of %zu, limit %zu", info.held, info.used,
               size, limit);
        CHECK(!malloc(limit / 8) && errno == ENOMEM);
        MyArenaDestroy(arena);
        void *p = malloc(limit / 8);
        CHECK(p && MyVerify() == 0);
        free(p);
    }
}

/* From 7/8 of the limit on what is idle makes room for what is taken, or grows. */
static void idle_memory_makes_room(void)
{
    size_t limit = (size_t)env_number("TEST_LIMIT", 0), size = limit / 8 * 3, idle;
    static void *blocks[40];

    for (unsigned grows = 0; limit && grows < 2; grows++) {
        MyArena *arena = MyArenaCreate(0);
        void *object;

        for (unsigned i = 0; i < 40; i++)
            CHECK((blocks[i] = memset(malloc(MIB), 1, MIB)));
        object = grows ? MyArenaAlloc(arena, MIB) : NULL; /* with room behind it */
        for (unsigned i = 0; i < 40; i += 2) /* what is idle lies between the others */
            free(blocks[i]);
        idle = mallinfo2().keepcost;
        CHECKF(idle >= 15 * MIB, "%zu bytes", idle);
        CHECK((object = MyArenaRealloc(arena, object, size)));
        CHECKF(mallinfo2().keepcost + 20 * MIB + size <= limit / 8 * 7 + MIB,
               "%s: %zu KiB idle, then %zu", grows ? "grows" : "taken", idle / 1024,
               mallinfo2().keepcost / 1024);
        MyArenaDestroy(arena);
        for (unsigned i = 1; i < 40; i += 2)
            free(blocks[i]);
    }
}

/* An arena is full, and what it has is made smaller: never refused, and freed by its size. */
static void full_ones_make_smaller(void)
{
    static const size_t sizes[] = {300000, 100000, 30000, 3000, 100, 1};

    for (size_t from = 0; from < 6; from++)
        for (size_t to = from + 1; to < 6; to++) {
            MyArena *arena = MyArenaCreate(MIB);
            unsigned char *object = MyArenaAllocAligned(arena, 64, sizes[from]), *less;

            CHECK(object);
            memset(object, 7, sizes[from]);
            for (size_t size = MIB; size > 0; size /= 2)
                while (MyArenaAlloc(arena, size))
                    ;
            less = from % 2 ? MyReallocAligned(object, 64, sizes[to])
                            : MyArenaRealloc(arena, object, sizes[to]);
            CHECKF(less, "%zu to %zu", sizes[from], sizes[to]);
            CHECK(less[0] == 7 && less[sizes[to] - 1] == 7);
            if (to % 2)
                MyFreeSized(less, sizes[to]);
            else
                MyArenaFree(arena, less);
            MyArenaDestroy(arena);
        }
}

const struct test tests[] = {
    {"frees_never_fail", frees_never_fail},
    {"full_ones_make_smaller", full_ones_make_smaller},
    {"own_limit_is_kept", own_limit_is_kept},
    {"idle_memory_makes_room", idle_memory_makes_room},
    {"every_kth_call_fails", every_kth_call_fails},
    {"each_call_fails_once", each_call_fails_once},
    {NULL, NULL},
};
