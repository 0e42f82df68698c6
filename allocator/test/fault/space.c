/*
 * space.c - address space: what limits count is given back when it is needed or asked for,
 * and used again; nothing that somebody else mapped meanwhile is touched.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)
#define KIB ((size_t)1 << 10)

/* Objects in a list of their own, so that no memory but theirs is needed. */
static void *take_until_refused(size_t size, size_t *count)
{
    void *first = NULL, *p;

    for (*count = 0; (p = malloc(size)) != NULL; ++*count) {
        *(void **)p = first;
        first = p;
    }
    CHECK(errno == ENOMEM);
    return first;
}

static void free_list(void *first)
{
    while (first != NULL) {
        void *next = *(void **)first;

        free(first);
        first = next;
    }
}

/* ---- limits ---- */

static size_t before_size; /* of the objects that fill the room first */
static int limited;

/* All of the room was used, then nothing is: half of it and most of it can be had. */
static void fill_then_take(size_t room)
{
    static const size_t percent[] = {50, 90, 20, 85};
    size_t count;

    free(malloc(1));
    limit_growth(limited, room);
    for (size_t i = 0; i < sizeof(percent) / sizeof(*percent); i++) {
        void *list = take_until_refused(before_size, &count);
        unsigned char *array;

        CHECKF(count * before_size >= room / 10 * 8, "only %zu objects of %zu", count,
               before_size);
        free_list(list);
        array = malloc(room / 100 * percent[i]);
        CHECKF(array, "%zu KiB of %zu after objects of %zu were freed",
               (room / 100 * percent[i]) >> 10, room >> 10, before_size);
        memset(array, 1, room / 100 * percent[i] / 64);
        free(array);
    }
}

/* The array is an object of the page heap in the smaller rooms. */
static void one_array(int resource)
{
    static const size_t sizes[] = {100, 5000, 196608, 3 * MIB};

    limited = resource;
    for (size_t room = 28 * MIB; room <= 300 * MIB; room = room * 5 / 2 + MIB)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            before_size = sizes[i];
            if (sizes[i] == 100 && room > 100 * MIB)
                continue; /* as those of 5000 they are in slabs, and touch each page */
            run_in_child(fill_then_take, room);
        }
    before_size = 33 * MIB;
    run_in_child(fill_then_take, 300 * MIB);
}

static void one_array_after_all_was_freed(void)
{
    one_array(RLIMIT_AS);
}

static void one_array_of_the_data(void)
{
    one_array(RLIMIT_DATA);
}

/* What the hardened build holds back of freed large objects is address space, too. */
static void free_large_then_take(size_t size)
{
    enum { ROOM = 100 << 20 };
    void *large[32];
    size_t count = 85 * MIB / size;
    char *array;

    free(malloc(1));
    limit_growth(RLIMIT_AS, ROOM);
    for (size_t i = 0; i < count; i++)
        CHECK((large[i] = malloc(size)));
    for (size_t i = 0; i < count; i++)
        free(large[i]);
    array = malloc(86 * MIB);
    CHECKF(array, "after %zu objects of %zu were freed", count, size);
    free(array);
}

static void large_ones_that_were_freed(void)
{
    static const size_t sizes[] = {4000000, 7 * MIB, 20 * MIB, 40 * MIB};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        run_in_child(free_large_then_take, sizes[i]);
}

/* The last of it is taken too, where it is less than a chunk. */
static void fill_to_the_end(size_t room)
{
    static const char *const names[] = {
        [RLIMIT_AS] = "VmSize", [RLIMIT_DATA] = "VmData"};
    struct rlimit limit;
    size_t count, left;

    free(malloc(1));
    limit_growth(limited, room);
    free_list(take_until_refused(5000, &count));
    CHECK(getrlimit(limited, &limit) == 0);
    left = (size_t)limit.rlim_cur - (status_kib(names[limited]) << 10);
    CHECKF(left <= 384 * KIB, "%zu KiB of %zu were not taken", left >> 10, room >> 10);
}

static void nothing_is_left_of_small_limits(void)
{
    static const int limits[] = {RLIMIT_AS, RLIMIT_DATA};

    for (int i = 0; i < 2; i++) {
        limited = limits[i];
        run_in_child(fill_to_the_end, 2 * MIB - 256 * KIB);
        run_in_child(fill_to_the_end, 9 * MIB + 256 * KIB);
    }
}

/* What malloc_trim unmaps is mapped again beside what it leaves. */
static void fill_trim_and_fill(size_t room)
{
    static const size_t sizes[] = {200, 3000, 200000, MIB, 3 * MIB};
    size_t got, again;

    free(malloc(1));
    limit_growth(RLIMIT_AS, room);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        free_list(take_until_refused(sizes[i], &got));
        malloc_trim(0);
        free_list(take_until_refused(sizes[i], &again));
        CHECKF(again >= got / 4 * 3 && (got == 0 || again > 0),
               "%zu objects of %zu, after malloc_trim %zu", got, sizes[i], again);
    }
}

static void a_trim_takes_nothing_away(void)
{
    for (size_t room = 2 * MIB; room < 8 * MIB; room += room / 7)
        run_in_child(fill_trim_and_fill, room);
}

/* ---- realloc ---- */

/* In place it cannot grow; what was asked for can be had, a quarter more cannot. */
static void grow_at_limit(size_t from)
{
    size_t to = from + from / 8;
    unsigned char *p = malloc(from), *wall = malloc(from), *more;

    CHECK(p && wall);
    memset(p, 7, from);
    limit_growth(RLIMIT_AS, to + to / 32 + 2 * MIB);
    more = realloc(p, to);
    CHECKF(more, "%zu KiB to %zu", from >> 10, to >> 10);
    CHECK(more[0] == 7 && more[from - 1] == 7);
    errno = 0;
    CHECK(!realloc(more, 4 * to) && errno == ENOMEM);
    CHECK(more[0] == 7 && more[from - 1] == 7);
    free(more);
    free(wall);
}

static void realloc_asks_for_no_more_than_needed(void)
{
    static const size_t mib[] = {20, 25, 28, 30, 31, 33, 60};

    for (size_t i = 0; i < sizeof(mib) / sizeof(*mib); i++)
        run_in_child(grow_at_limit, mib[i] * MIB);
}

/* Nothing is left but places of the size that is asked for. */
static void grow_small_at_limit(size_t from)
{
    size_t to = from + from / 8 + 16, count;
    unsigned char *p = malloc(from), *more;
    void *list, *rest;

    CHECK(p);
    memset(p, 7, from);
    limit_growth(RLIMIT_AS, 20 * MIB);
    list = take_until_refused(to, &count);
    rest = list;
    list = *(void **)list;
    free(rest);
    more = realloc(p, to);
    CHECKF(more, "%zu to %zu where %zu of these were just had", from, to, count);
    CHECK(more[0] == 7 && more[from - 1] == 7);
    free(more);
    free_list(list);
}

static void small_objects_take_what_there_is(void)
{
    for (size_t from = 64; from < 29000; from = from * 3 / 2)
        run_in_child(grow_small_at_limit, from);
}

/* ---- trim ---- */

#define SPREAD 400

static struct {
    unsigned char *p;
    size_t size;
} objects[SPREAD];

/* The lowest and the highest address that was given out. */
static uintptr_t lowest = UINTPTR_MAX, highest;

static void take_all(uint64_t *random)
{
    for (unsigned i = 0; i < SPREAD; i++) {
        size_t size = next_random(random) % 2 ? next_random(random) % (40 * KIB)
                                              : next_random(random) % (2 * MIB);
        unsigned char *p = malloc(size + 1);

        CHECK(p);
        memset(p, (int)(i & 0xff), size + 1);
        objects[i].p = p;
        objects[i].size = size + 1;
        if ((uintptr_t)p < lowest)
            lowest = (uintptr_t)p;
        if ((uintptr_t)p + size > highest)
            highest = (uintptr_t)p + size;
    }
}

static void free_all(void)
{
    for (unsigned i = 0; i < SPREAD; i++) {
        for (size_t at = 0; at < objects[i].size; at += 997)
            CHECKF(objects[i].p[at] == (i & 0xff), "byte %zu of object %u", at, i);
        free(objects[i].p);
    }
}

/* Up and down many times: address space, mappings and places are those of the first. */
static void trim_returns_address_space(void)
{
    size_t before, peak = 0, span = 0;

    stay_on_one_cpu();
    before = address_space();
    for (unsigned round = 0; round < 30; round++) {
        uint64_t random = test_seed() + round % 5; /* the same sizes again and again */
        void *survivor;

        take_all(&random);
        if (round < 10 && peak < address_space())
            peak = address_space();
        CHECKF(address_space() <= peak + peak / 10, "%zu MiB in round %u, %zu before",
               address_space() / MIB, round, peak / MIB);
        if (round < 10)
            span = highest - lowest;
        CHECKF(highest - lowest <= span + span / 10, "over %zu MiB in round %u",
               (highest - lowest) / MIB, round);
        CHECKF(mapping_count() < 150, "%zu mappings", mapping_count());
        survivor = malloc(1 + next_random(&random) % (100 * KIB)); /* splits the gap */
        free_all();
        malloc_trim(0);
        CHECKF(address_space() <= before + 24 * MIB,
               "%zu MiB of address space, %zu at first", address_space() / MIB,
               before / MIB);
        free(survivor);
    }
}

/* Somebody else moves into what was unmapped: the heap goes round it. */
static void the_gap_is_anybodys(void)
{
    uint64_t random = test_seed();

    for (unsigned round = 0; round < 8; round++) {
        uintptr_t middle;
        unsigned char *other;

        take_all(&random);
        middle = (uintptr_t)objects[next_random(&random) % SPREAD].p;
        free_all();
        malloc_trim(0);
        /* NOLINTNEXTLINE: an address that was an object's */
        other = mmap((void *)(middle & ~(uintptr_t)0xffff), 16 * KIB,
                     PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (other == MAP_FAILED) /* a chunk that small objects of the test's own pin */
            continue;
        memset(other, 0x77, 16 * KIB);
        take_all(&random);
        for (size_t at = 0; at < 16 * KIB; at++)
            CHECKF(other[at] == 0x77, "byte %zu in round %u", at, round);
        for (unsigned i = 0; i < SPREAD; i++)
            CHECK(objects[i].p + objects[i].size <= other ||
                  objects[i].p >= other + 16 * KIB);
        free_all();
        CHECK(munmap(other, 16 * KIB) == 0);
        random ^= round;
        CHECK(!family.verify || family.verify() == 0);
    }
}

static void the_gap_can_be_taken(void)
{
    uint64_t random = test_seed();
    size_t with;

    take_all(&random);
    with = address_space();
    free_all();
    malloc_trim(0);
    CHECKF(address_space() + 100 * MIB <= with, "%zu MiB, after trimming %zu",
           with / MIB, address_space() / MIB);
    the_gap_is_anybodys();
}

/* Of the hardened build what was freed has no access, and is not always given it back. */
static void fill_again_and_again(size_t size)
{
    static void *taken[2000];
    struct rlimit limit = {(size_t)100 << 20, (size_t)100 << 20};
    size_t used = mallinfo2().uordblks;

    CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    for (int round = 0; round < 8; round++) {
        size_t count = 0;

        while (count < 2000 && (taken[count] = malloc(size)) != NULL)
            *(char *)taken[count++] = 1;
        CHECKF(count > 0 && count < 2000, "round %d: %zu objects", round, count);
        while (count > 0)
            free(taken[--count]);
    }
    malloc_trim(0);
    if (family.verify)
        CHECK(family.verify() == 0);
    CHECKF(mallinfo2().uordblks <= used + 65536, "%zu bytes are lost",
           mallinfo2().uordblks - used);
}

static void filled_again_nothing_is_lost(void)
{
    run_in_child(fill_again_and_again, 300000);
    run_in_child(fill_again_and_again, 3000000);
}

/* ---- what the program maps itself ---- */

/* Of a program that was started with a limit of so much. */
#define ROOM (350 * MIB)

static void map_beside(size_t room, size_t size)
{
    void *list, *own;
    size_t count;

    for (int round = 0; round < 2; round++) {
        list = NULL;
        for (count = 0; count < room / size; count++) {
            void **p = malloc(size);

            CHECKF(p, "%zu objects of %zu, round %d", count, size, round);
            if (size > 32 * MIB) /* else it would not be kept for the next */
                memset(p, 1, size);
            *p = list;
            list = p;
        }
        free_list(list);
    }
    own = mmap(NULL, ROOM / 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
               0);
    CHECKF(own != MAP_FAILED,
           "%zu MiB are mapped, %zu of data, after objects of %zu were freed",
           status_kib("VmSize") >> 10, status_kib("VmData") >> 10, size);
    CHECK(munmap(own, ROOM / 2) == 0);
    CHECKF(mapping_count() < 400, "%zu mappings", mapping_count());
    CHECK(!family.verify || family.verify() == 0);
}

/* By which of the two this program was started in such a room; -1: by none. */
static int started_in(size_t bytes)
{
    struct rlimit space, data;

    CHECK(getrlimit(RLIMIT_AS, &space) == 0 && getrlimit(RLIMIT_DATA, &data) == 0);
    return space.rlim_cur == bytes  ? RLIMIT_AS
           : data.rlim_cur == bytes ? RLIMIT_DATA
                                    : -1;
}

static void started_with_a_limit(void)
{
    static const size_t sizes[] = {100, 40 * KIB, 200 * KIB, 3 * MIB, 33 * MIB};

    if (started_in(ROOM) < 0)
        return;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        map_beside(ROOM / 10 * 6, sizes[i]);
}

/* A sixteenth of it stays where it is freed, the rest is unmapped. */
#define SMALL_ROOM (64 * MIB)

/* What was cut off, and is behind it, is all that there is. */
static void cut_off_and_grow(void)
{
    int resource = started_in(SMALL_ROOM);
    unsigned char *object;

    if (resource < 0)
        return;
    object = malloc(31 * MIB);
    CHECK(object);
    memset(object, 7, 31 * MIB);
    limit_growth(resource, 2 * MIB);
    for (size_t mib = 30; mib > 0; mib -= 5) {
        unsigned char *less = realloc(object, mib * MIB), *more;

        CHECKF(less, "31 MiB to %zu", mib);
        object = less;
        more = realloc(object, 31 * MIB);
        CHECKF(more, "%zu MiB to 31", mib);
        object = more;
        CHECK(object[0] == 7 && object[mib * MIB - 1] == 7);
        memset(object, 7, 31 * MIB);
    }
    free(object);
}

static void start_in(size_t bytes, const char *name)
{
    run_within(RLIMIT_AS, bytes, name);
    run_within(RLIMIT_DATA, bytes, name);
}

/* Threads' stacks, say: address space that nothing is in is not kept from them. */
static void what_is_freed_can_be_mapped(void)
{
    start_in(ROOM, "started_with_a_limit");
}

static void what_is_cut_off_can_be_had_again(void)
{
    start_in(SMALL_ROOM, "cut_off_and_grow");
}

const struct test tests[] = {
    {"large_ones_that_were_freed", large_ones_that_were_freed},
    {"what_is_freed_can_be_mapped", what_is_freed_can_be_mapped},
    {"started_with_a_limit", started_with_a_limit},
    {"what_is_cut_off_can_be_had_again", what_is_cut_off_can_be_had_again},
    {"cut_off_and_grow", cut_off_and_grow},
    {"one_array_after_all_was_freed", one_array_after_all_was_freed},
    {"nothing_is_left_of_small_limits", nothing_is_left_of_small_limits},
    {"a_trim_takes_nothing_away", a_trim_takes_nothing_away},
    {"one_array_of_the_data", one_array_of_the_data},
    {"realloc_asks_for_no_more_than_needed", realloc_asks_for_no_more_than_needed},
    {"small_objects_take_what_there_is", small_objects_take_what_there_is},
    {"trim_returns_address_space", trim_returns_address_space},
    {"the_gap_can_be_taken", the_gap_can_be_taken},
    {"filled_again_nothing_is_lost", filled_again_nothing_is_lost},
    {NULL, NULL},
};
