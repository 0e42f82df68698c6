/*
 * reap.c - the arenas of mymalloc/arena.h, as the header describes them: their objects one by
 * one.
 *
 * Built on My* and, linked to the preload library, on malloc and free themselves.
 */
#include "reap.h"

#include <errno.h>
#include <string.h>

/* ---- taking ---- */

static void sizes_and_alignment(void)
{
    MyArena *arena = create(0);

    for (size_t size = 0; size <= SMALL + 1000; size += size < 2 * KIB ? 1 : 509) {
        void *p = filled(MyArenaAlloc(arena, size), size).at;
        size_t good = size <= SMALL + 64 ? MyGoodSize(size) : SPAN;

        /* In the hardened library malloc's objects alone know what was asked for. */
        CHECKF(MyUsableSize(p) == good || getenv("TEST_SECURE"), "%zu: %zu, not %zu",
               size, MyUsableSize(p), good);
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
    void *large[2] = {MyArenaAlloc(arena, 28 * KIB), MyArenaAlloc(arena, 32 * KIB)};
    size_t count = 1, bytes;
    void *first;

    CHECK(large[0] && large[1]);
    bytes = MyUsableSize(large[0]);
    while (MyArenaAlloc(arena, 1))
        ;
    MyArenaFree(arena, large[0]);
    first = MyArenaAlloc(arena, 100);
    CHECK(first);
    for (; MyArenaAlloc(arena, 100); count++)
        ;
    CHECKF(count == bytes / MyUsableSize(first), "%zu objects", count);
    CHECK(MyVerify() == 0 && stats(arena).held == SPAN);
    destroy(arena);
}

/* What is left at the end of a window that is closed serves others. */
static void what_windows_leave_serves_others(void)
{
    MyArena *arena = create(2 * SPAN);
    size_t each = MyUsableSize(MyArenaAlloc(arena, 24 * KIB)), count = 0;
    size_t fit = (SPAN - 2 * each) / KIB + (SPAN - each) / KIB;

    CHECK(MyArenaAlloc(arena, 24 * KIB) && MyArenaAlloc(arena, 24 * KIB));
    while (MyArenaAlloc(arena, KIB))
        count++;
    CHECKF(count == fit, "%zu objects of %zu", count, fit);
    CHECK(stats(arena).freed < 2 * KIB && MyVerify() == 0);
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

/* Any size is known again, as it was taken and where it was resized. */
static void sizes_are_recognised(void)
{
    MyArena *arena = create(0);

    for (size_t size = 0; size <= 2 * SPAN; size += size < 300 ? 1 : 211) {
        void *p = MyArenaAlloc(arena, size - size / 8), *q;

        CHECK(p && MyArenaAlloc(arena, 1)); /* so that it is not the last */
        q = MyArenaRealloc(arena, p, size + 1);
        CHECKF(q, "%zu bytes", size + 1);
        CHECKF(MyUsableSize(q) / 2 <= size + 1 || size < 32, "%zu bytes for %zu",
               MyUsableSize(q), size + 1);
        MyFreeSized(q, size + 1);
        q = MyArenaRealloc(arena, MyArenaAlloc(arena, size), size / 8 + 1);
        MyFreeSized(q, size / 8 + 1);
        MyFreeSized(MyArenaAlloc(arena, size), size);
        MyFreeAlignedSized(MyArenaAllocAligned(arena, SPAN, size), SPAN, size);
    }
    destroy(arena);
}

/* Where there is no room for a shorter one it stays, and is freed with the size it was to have. */
static void shrink_without_room(size_t size)
{
    MyArena *arena = create(SPAN);
    void *p = MyArenaAlloc(arena, 32 * KIB);

    CHECK(p);
    while (MyArenaAlloc(arena, 1))
        ;
    CHECK(MyArenaRealloc(arena, p, size) == p);
    MyFreeSized(p, size);
    destroy(arena);
}

/* In a child: from then on sizes are not checked as closely. */
static void what_could_not_shrink_is_recognised(void)
{
    run_in_child(shrink_without_room, 100);
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

const struct test tests[] = {
    {"sizes_and_alignment", sizes_and_alignment},
    {"objects_are_apart", objects_are_apart},
    {"aligned", aligned},
    {"zeroed", zeroed},
    {"too_large", too_large},
    {"freed_memory_serves_again", freed_memory_serves_again},
    {"freed_memory_is_cut", freed_memory_is_cut},
    {"what_windows_leave_serves_others", what_windows_leave_serves_others},
    {"large_ones_go_back_at_once", large_ones_go_back_at_once},
    {"sizes_are_recognised", sizes_are_recognised},
    {"what_could_not_shrink_is_recognised", what_could_not_shrink_is_recognised},
    {"resized_stays_in_its_arena", resized_stays_in_its_arena},
    {"last_object_grows_in_place", last_object_grows_in_place},
    {NULL, NULL},
};
