/*
 * defrag.c - which objects jemalloc's functions say are worth moving, and what programs gain
 * that move them.
 */
#include "check.h"
#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int (*hint)(void *);

enum { OBJECTS = 100000, BYTES = 320, KEPT = 10 };

static size_t slabs_of(size_t bytes)
{
    char name[64];
    unsigned bin = 0;

    do
        snprintf(name, sizeof name, "arenas.bin.%u.size", bin++);
    while (size_at(name) != bytes);
    snprintf(name, sizeof name, "stats.arenas.0.bins.%u.curslabs", bin - 1);
    refresh();
    return size_at(name);
}

/* As redis does: each object for which that helps is moved past the caches. */
static unsigned move_all(char **object, unsigned count, size_t bytes)
{
    unsigned moved = 0;

    for (unsigned i = 0; i < count; i++)
        if (object[i] != NULL && hint(object[i])) {
            char *to = take(bytes, NO_CACHE);

            memcpy(to, object[i], bytes);
            put(object[i], NO_CACHE);
            object[i] = to;
            moved++;
        }
    return moved;
}

/* One object in ten stays: they come to lie in little more than a tenth of the slabs. */
static void objects_are_moved_together(void)
{
    static char *object[OBJECTS];
    uint64_t random = test_seed();
    size_t full, holey, dense, resident;
    unsigned kept = 0, moved = 0, more = 1;

    find_all();
    find("get_defrag_hint", &hint);
    for (unsigned i = 0; i < OBJECTS; i++) {
        object[i] = take(BYTES, 0);
        memset(object[i], 0, BYTES);
        memcpy(object[i], &i, sizeof i);
    }
    full = slabs_of(BYTES);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (next_random(&random) % KEPT != 0) {
            put(object[i], 0);
            object[i] = NULL;
        } else {
            kept++;
        }
    CHECK(control("arena.0.purge", NULL, NULL, NULL, 0) == 0);
    holey = slabs_of(BYTES);
    CHECKF(holey > full * 9 / 10, "%zu slabs of %zu", holey, full);
    resident = resident_bytes();
    for (unsigned round = 0; more > 0 && round < 10; round++)
        moved += more = move_all(object, OBJECTS, BYTES);
    dense = slabs_of(BYTES);
    CHECKF(more == 0, "no end after %u moves", moved);
    CHECKF(moved < 2 * kept, "%u moves for %u objects", moved, kept);
    CHECKF(dense <= full / KEPT + full / 20 + 2, "%zu slabs, %zu were full, %zu had %u",
           dense, full, holey, kept);
    CHECK(control("arena.0.purge", NULL, NULL, NULL, 0) == 0);
    CHECKF(is_slow() || resident_bytes() + (size_t)OBJECTS * BYTES / 2 < resident,
           "%zu bytes, %zu before", resident_bytes(), resident);
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK(object[i] == NULL || memcmp(object[i], &i, sizeof i) == 0);
        put(object[i], 0);
    }
}

/* What was freed by the usual way lies in caches, from where slabs have it back. */
static void freed_ones_hold_nothing(void)
{
    enum { COUNT = 300000, SMALL = 16 };
    static char *object[COUNT];
    uint64_t random = test_seed();
    unsigned kept = 0, more = 1;
    size_t full, dense;

    find_all();
    find("get_defrag_hint", &hint);
    for (unsigned i = 0; i < COUNT; i++)
        object[i] = take(SMALL, 0);
    full = slabs_of(SMALL);
    for (unsigned i = 0; i < COUNT; i++)
        if (next_random(&random) % 2 != 0) {
            put(object[i], 0);
            object[i] = NULL;
        } else {
            kept++;
        }
    for (unsigned round = 0; more > 0 && round < 10; round++)
        more = move_all(object, COUNT, SMALL);
    dense = slabs_of(SMALL);
    CHECKF(more == 0, "%u moves in the last round", more);
    CHECKF(dense <= full / 2 + full / 20 + 2,
           "%zu slabs, %zu were full, for %u objects", dense, full, kept);
    for (unsigned i = 0; i < COUNT; i++)
        put(object[i], 0);
}

static void hints_are_of_slabs_only(void)
{
    int local = 0;
    void *large;

    find_all();
    find("get_defrag_hint", &hint);
    large = take(LARGE, 0);
    CHECK(hint(NULL) == 0 && hint(&local) == 0 && hint(large) == 0);
    put(large, 0);
}

/* The hardened library's objects go where chance has it: to move them would not end. */
static void hardened_ones_stay(void)
{
    static char *object[OBJECTS];

    find_all();
    find("get_defrag_hint", &hint);
    for (unsigned i = 0; i < OBJECTS; i++)
        object[i] = take(BYTES, 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (i % KEPT != 0)
            put(object[i], 0);
    for (unsigned i = 0; getenv("TEST_SECURE") != NULL && i < OBJECTS; i += KEPT)
        CHECK(!hint(object[i]));
}

static void use_of_slabs_is_told(void)
{
    size_t out[6], batch[6], length = sizeof out;
    void *object[2];

    find_all();
    object[0] = take(BYTES, 0);
    object[1] = take(LARGE, 0);
    CHECK(control("experimental.utilization.query", out, &length, object,
                  sizeof *object) == 0);
    CHECK(out[1] < out[2] && out[3] >= out[2] * BYTES && out[3] % 4096 == 0);
    length = sizeof batch;
    CHECK(control("experimental.utilization.batch_query", batch, &length, object,
                  sizeof object) == 0);
    CHECK(batch[0] == out[1] && batch[1] == out[2] && batch[2] == out[3]);
    CHECK(batch[3] == 0 && batch[4] == 1 && batch[5] >= LARGE);
    CHECK(control("experimental.utilization.batch_query", batch, &length, object,
                  sizeof object - 1) == EINVAL);
    CHECK(control("experimental.utilization.batch_query", batch, &length, object, 0) ==
          EINVAL);
    length--;
    CHECK(control("experimental.utilization.batch_query", batch, &length, object,
                  sizeof object) == EINVAL);
    put(object[0], 0);
    put(object[1], 0);
}

const struct test tests[] = {
    {"use_of_slabs_is_told", use_of_slabs_is_told},
    {"objects_are_moved_together", objects_are_moved_together},
    {"freed_ones_hold_nothing", freed_ones_hold_nothing},
    {"hints_are_of_slabs_only", hints_are_of_slabs_only},
    {"hardened_ones_stay", hardened_ones_stay},
    {NULL, NULL},
};
