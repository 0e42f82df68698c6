/*
 * limit.c - MYMALLOC_LIMIT and realloc: growth in place respects it, what shrinks is served
 * at it, and what is charged is exact after any number of resizes.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#define MIB    ((size_t)1 << 20)
#define KIB    ((size_t)1 << 10)
#define BLOCKS 4096

static size_t limit; /* TEST_LIMIT, the same as MYMALLOC_LIMIT */

static void *blocks[BLOCKS];

/* Take objects of a size until there is no more; their number. */
static unsigned fill_up(size_t size)
{
    unsigned count = 0;

    errno = 0;
    while (count < BLOCKS && (blocks[count] = malloc(size)) != NULL)
        count++;
    CHECKF(count < BLOCKS && errno == ENOMEM, "%u objects of %zu, errno %d", count,
           size, errno);
    return count;
}

static void empty(unsigned count)
{
    while (count > 0)
        free(blocks[--count]);
}

static size_t grow_until_refused(unsigned char **object, size_t size, size_t step)
{
    for (unsigned char *more; (more = realloc(*object, size + step)) != NULL;
         size += step) {
        *object = more;
        CHECKF(size + step <= limit, "%zu MiB at a limit of %zu", (size + step) / MIB,
               limit / MIB);
    }
    CHECK(errno == ENOMEM);
    return size;
}

/* From a span, and from a mapping of its own; alone, and beside another. */
static void growth_stops_at_the_limit(void)
{
    static const size_t from[] = {200 * KIB, 3 * MIB, 20 * MIB, 40 * MIB};

    for (size_t i = 0; i < sizeof(from) / sizeof(*from); i++)
        for (size_t beside = 0; beside <= 40 * MIB; beside += 20 * MIB) {
            unsigned char *object = malloc(from[i]), *other = malloc(beside);
            size_t got;

            CHECK(object && other);
            object[0] = 17;
            got = grow_until_refused(&object, from[i], MIB + 100 * KIB);
            CHECKF(got + beside <= limit, "%zu MiB beside %zu", got / MIB,
                   beside / MIB);
            /* A copy needs both places: from a span into a mapping. */
            CHECKF(got >= (limit - beside) / 2 - 4 * MIB, "only %zu MiB beside %zu",
                   got / MIB, beside / MIB);
            CHECK(object[0] == 17);
            free(object);
            free(other);
        }
}

/* The units behind it are free, and all the same more than may be in use. */
static void growth_in_place_is_charged(void)
{
    unsigned char *first = malloc(31 * MIB), *third = malloc(16 * MIB);
    unsigned char *outside, *grown;

    CHECK(first && third);
    CHECK(realloc(first, 16 * MIB) == first); /* which leaves them behind it */
    outside = malloc(60 * MIB);               /* 92 MiB */
    CHECK(outside);
    grown = realloc(first, 22 * MIB);
    CHECK(grown); /* 98 */
    first = grown;
    errno = 0;
    CHECKF(!realloc(first, 31 * MIB) && errno == ENOMEM, "107 MiB at a limit of %zu",
           limit / MIB);
    free(outside);
    grown = realloc(first, 31 * MIB);
    CHECK(grown);
    free(grown);
    free(third);
}

/* What grows where it is has all the rest. */
static void growth_reaches_the_limit(void)
{
    unsigned char *object = malloc(40 * MIB);
    size_t got;

    CHECK(object);
    got = grow_until_refused(&object, 40 * MIB, 64 * KIB);
    CHECKF(got + 4 * MIB >= limit, "%zu MiB at a limit of %zu", got / MIB, limit / MIB);
    free(object);
}

/* What was freed and waits for its next use is not in the way of what grows. */
static void grow_beside_free_ones(size_t which)
{
    static const size_t sizes[] = {30000, 200000, 1000000, 5000000};
    size_t each = sizes[which / 2], got;
    unsigned count = (unsigned)(40 * MIB / each);
    unsigned char *object = malloc(40 * MIB);

    for (unsigned i = 0; i < count; i++)
        CHECK((blocks[i] = memset(malloc(each), 1, each)));
    empty(count);
    if (which % 2) /* the kernel is what refuses */
        limit_growth(RLIMIT_AS, 20 * MIB);
    got = grow_until_refused(&object, 40 * MIB, 64 * KIB);
    CHECKF(got >= 90 * MIB, "%zu MiB beside what was freed by %zu%s", got / MIB, each,
           which % 2 ? ", in so much space" : "");
}

static void growth_beside_free_ones(void)
{
    for (size_t which = 0; which < 8; which++)
        run_in_child(grow_beside_free_ones, which);
}

/* Nothing is left, and an object is made smaller: no more than before is in use. */
static void shrinking_is_served_at_the_limit(void)
{
    static const size_t to[] = {59 * MIB, 40 * MIB, 33 * MIB, 20 * MIB, 5 * MIB};
    unsigned char *object = malloc(60 * MIB);
    unsigned count = fill_up(64 * KIB);

    CHECK(object);
    memset(object, 9, 5 * MIB);
    for (size_t i = 0; i < sizeof(to) / sizeof(*to); i++) {
        unsigned char *less = realloc(object, to[i]);

        CHECKF(less, "to %zu MiB at the limit", to[i] / MIB);
        object = less;
    }
    for (size_t at = 0; at < 5 * MIB; at += 4093)
        CHECK(object[at] == 9);
    free(object);
    empty(count);
}

/*
 * What is left are places of the size that it grows to, and nothing longer: it has none of the
 * room in which it would grow again.
 */
static void grow_where_little_is_left(size_t old)
{
    size_t size = old + old / 16;
    unsigned char *object = malloc(old);
    void **all = NULL, **next;
    unsigned left = 0;

    CHECK(object);
    memset(object, 9, old);
    for (void **more; (more = malloc(size)) != NULL; all = more)
        *more = all;
    for (size_t any = 32 * MIB; any >= 16; any -= (any + 15) / 16)
        while (malloc(any))
            ;
    for (unsigned i = 0; all; all = next, i++) {
        next = *all;
        if (i % 2) {
            free(all);
            left++;
        }
    }
    CHECKF((object = realloc(object, size)),
           "%zu to %zu bytes, for which %u places are left", old, size, left);
    CHECK(object[0] == 9 && object[old - 1] == 9);
}

static void growth_takes_what_is_left(void)
{
    static const size_t from[] = {24000, 12000, 3000, 400, 100};

    for (size_t i = 0; i < sizeof(from) / sizeof(*from); i++)
        run_in_child(grow_where_little_is_left, from[i]);
}

/* From 7/8 of the limit on what is idle makes room: for spans, and for mappings of their own. */
static void idle_memory_makes_room(void)
{
    static const struct {
        size_t first, size;
    } taken[] = {{0, 20 * MIB}, {0, 60 * MIB}, {MIB, 20 * MIB}, {34 * MIB, 60 * MIB}};

    for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++) {
        void *beside = malloc(60 * MIB - taken[i].size);
        void *object = taken[i].first == 0 ? NULL : malloc(taken[i].first);
        size_t idle;

        CHECK(beside);
        for (unsigned j = 0; j < 40; j++)
            CHECK((blocks[j] = memset(malloc(MIB), 1, MIB)));
        empty(40);
        idle = mallinfo2().keepcost;
        CHECKF(idle > 20 * MIB, "%zu MiB", idle / MIB);
        CHECK((object = realloc(object, taken[i].size)));
        CHECKF(mallinfo2().keepcost + 60 * MIB <= limit / 8 * 7 + MIB,
               "%zu: %zu MiB idle, then %zu", i, idle / MIB,
               mallinfo2().keepcost / MIB);
        free(object);
        free(beside);
    }
}

static size_t draw_size(uint64_t *random)
{
    static const size_t most[] = {100 * KIB, MIB, 10 * MIB, 31 * MIB, 70 * MIB};

    return 1 + next_random(random) % most[next_random(random) % 5];
}

/* Some of these are refused: they must leave no trace either. */
static void play(uint64_t random, unsigned steps)
{
    static unsigned char *object[12];
    static size_t size[12];

    for (unsigned step = 0; step < steps; step++) {
        unsigned i = (unsigned)(next_random(&random) % 12);
        size_t wanted = draw_size(&random);
        unsigned char *moved = next_random(&random) % 4 == 0
                                   ? (free(object[i]), size[i] = 0, malloc(wanted))
                                   : realloc(object[i], wanted);

        if (size[i] == 0)
            object[i] = NULL;
        if (moved == NULL)
            continue;
        CHECKF(size[i] == 0 || moved[0] == (unsigned char)i, "object %u", i);
        object[i] = moved;
        size[i] = wanted;
        moved[0] = moved[wanted - 1] = (unsigned char)i;
    }
    for (unsigned i = 0; i < 12; i++) {
        free(object[i]);
        object[i] = NULL;
        size[i] = 0;
    }
}

static void the_charge_is_exact(void)
{
    static const size_t sizes[] = {MIB, 5 * MIB, 33 * MIB};
    unsigned first[3], now;

    malloc_trim(0);
    for (size_t i = 0; i < 3; i++) {
        first[i] = fill_up(sizes[i]);
        empty(first[i]);
    }
    for (unsigned round = 0; round < 3; round++) {
        play(test_seed() + round, is_slow() ? 200 : 400);
        malloc_trim(0);
        for (size_t i = 0; i < 3; i++) {
            now = fill_up(sizes[i]);
            empty(now);
            CHECKF(now == first[i], "%u of %zu MiB, %u before round %u", now,
                   sizes[i] / MIB, first[i], round);
        }
    }
}

static void with_limit(void (*run)(void))
{
    limit = (size_t)env_number("TEST_LIMIT", 0);
    if (limit != 0)
        run();
    else
        printf("SKIP: no TEST_LIMIT\n");
}

#define CASE(name)               \
    static void run_##name(void) \
    {                            \
        with_limit(name);        \
    }

CASE(growth_stops_at_the_limit)
CASE(growth_in_place_is_charged)
CASE(growth_reaches_the_limit)
CASE(shrinking_is_served_at_the_limit)
CASE(growth_beside_free_ones)
CASE(growth_takes_what_is_left)
CASE(idle_memory_makes_room)
CASE(the_charge_is_exact)

const struct test tests[] = {
    {"growth_stops_at_the_limit", run_growth_stops_at_the_limit},
    {"growth_in_place_is_charged", run_growth_in_place_is_charged},
    {"growth_reaches_the_limit", run_growth_reaches_the_limit},
    {"shrinking_is_served_at_the_limit", run_shrinking_is_served_at_the_limit},
    {"growth_beside_free_ones", run_growth_beside_free_ones},
    {"growth_takes_what_is_left", run_growth_takes_what_is_left},
    {"idle_memory_makes_room", run_idle_memory_makes_room},
    {"the_charge_is_exact", run_the_charge_is_exact},
    {NULL, NULL},
};
