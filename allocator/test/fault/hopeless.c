/*
 * hopeless.c - a request that nothing can serve costs a program nothing that it has: its
 * caches stay filled, free memory stays resident. One that relief can serve is served.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#define MIB    ((size_t)1 << 20)
#define ROUNDS 100

/* As opaque, so that the compiler does not warn of the size. */
static size_t more_than_there_is(unsigned shift)
{
    return opaque((size_t)1 << shift);
}

/* Objects in caches and depots, and resident free runs. */
static void fill_caches(void)
{
    static void *object[2000];

    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < 2000; i++)
            CHECK((object[i] = malloc(32 + i)) != NULL);
        for (unsigned i = 0; i < 2000; i++)
            free(object[i]);
    }
    for (unsigned i = 0; i < 10; i++) {
        CHECK((object[i] = malloc(2 * MIB)) != NULL);
        memset(object[i], 1, 2 * MIB);
    }
    for (unsigned i = 0; i < 10; i++)
        free(object[i]);
}

static void *by_malloc(size_t size)
{
    return malloc(size);
}

static void *by_calloc(size_t size)
{
    return calloc(size, 1);
}

static void *by_aligned(size_t size)
{
    return aligned_alloc(8192, size);
}

/* What is refused stays. */
static void *by_realloc(size_t size)
{
    static void *kept;
    void *more;

    if (kept == NULL)
        kept = malloc(100000);
    more = realloc(kept, size);
    kept = more != NULL ? NULL : kept;
    return more;
}

/* Of little, at such a multiple. */
static void *by_alignment(size_t alignment)
{
    return aligned_alloc(alignment, 4096);
}

typedef void *way(size_t size);
static way *const ways[] = {by_malloc, by_calloc, by_aligned, by_realloc};

static void ask_in_vain_by(way *const *ask, unsigned count, size_t size)
{
    struct mallinfo2 before, after;
    size_t resident;

    for (unsigned i = 0; i < count; i++) {
        void *p = ask[i](size);

        if (p != NULL) { /* the kernel grants it: nothing to see here */
            free(p);
            printf("SKIP: %zu bytes can be had here\n", size);
            return;
        }
        fill_caches();
        resident = resident_bytes();
        before = mallinfo2();
        if (is_mymalloc())
            CHECKF(before.fsmblks > 100000 && before.keepcost >= 4 * MIB,
                   "%zu bytes cached, %zu dirty: nothing to lose", before.fsmblks,
                   before.keepcost);
        for (unsigned round = 0; round < ROUNDS; round++) {
            errno = 0;
            CHECK(!ask[i](size) && errno == ENOMEM);
        }
        after = mallinfo2();
        /* A span may go from a cache to the free runs: growth is a time to look for it. */
        CHECKF(!is_mymalloc() || (after.fsmblks > 100000 &&
                                  after.fsmblks + after.keepcost >=
                                      (before.fsmblks + before.keepcost) / 10 * 9),
               "%zu bytes asked for: cached %zu, then %zu, dirty %zu, then %zu", size,
               before.fsmblks, after.fsmblks, before.keepcost, after.keepcost);
        CHECKF(resident_bytes() + 2 * MIB >= resident,
               "%zu bytes asked for: %zu KiB resident, then %zu", size, resident >> 10,
               resident_bytes() >> 10);
    }
}

static void ask_in_vain(size_t size)
{
    ask_in_vain_by(ways, sizeof(ways) / sizeof(*ways), size);
}

static void more_than_can_be_skipped(void)
{
    static way *const by[] = {by_alignment};

    for (unsigned shift = 42; shift < 64; shift += 3)
        ask_in_vain_by(by, 1, more_than_there_is(shift));
}

static void more_than_an_address(void)
{
    for (unsigned shift = 46; shift < 64; shift += 4)
        ask_in_vain(more_than_there_is(shift));
    ask_in_vain(more_than_there_is(62));
}

static void beyond_address_space(size_t beyond)
{
    size_t room = 200 * MIB;

    limit_growth(RLIMIT_AS, room);
    ask_in_vain(room + beyond);
}

static void more_than_address_space(void)
{
    run_in_child(beyond_address_space, 10 * MIB);
    run_in_child(beyond_address_space, 100 * MIB);
    run_in_child(beyond_address_space, 5000 * MIB);
}

/* A multiple can be next to the heap, by luck: then it is served, and none was refused. */
static bool refuse_all(size_t smallest)
{
    bool all = true;

    for (size_t size = smallest; size <= (size_t)1 << 46; size *= 2) {
        void *lucky = by_alignment(opaque(size));

        for (unsigned i = 0; i < sizeof(ways) / sizeof(*ways); i++)
            CHECKF(!ways[i](opaque(size)), "way %u to %zu bytes", i, size);
        CHECK((uintptr_t)lucky % size == 0);
        all = all && !lucky;
        free(lucky);
    }
    return all;
}

/* Nor of the address space, in which others would find room. */
static void refuse_beyond(size_t room)
{
    size_t now = address_space(), after;
    bool all;

    limit_growth(RLIMIT_AS, room);
    all = refuse_all(2 * room);
    after = address_space();
    CHECKF(!all || after <= now + 8 * MIB, "%zu of %zu KiB were taken",
           (after - now) >> 10, room >> 10);
}

/* One that was freed and is kept, though the kernel is asked to make it longer. */
static void a_mapping_stays(void)
{
    static const size_t size = 33 * MIB;
    size_t before, kept;

    malloc_trim(0); /* nothing else is in its way */
    before = resident_bytes();
    for (unsigned i = 0; i < 6; i++) { /* that such are written all over is known */
        void *p = malloc(size);

        CHECK(p);
        memset(p, 1, size);
        free(p);
    }
    kept = resident_bytes();
    CHECKF(!is_mymalloc() || kept >= before + size - MIB,
           "%zu KiB resident, %zu before: none was kept", kept >> 10, before >> 10);
    for (unsigned i = 0; i < sizeof(ways) / sizeof(*ways); i++)
        CHECK(!ways[i](more_than_there_is(50)));
    CHECKF(resident_bytes() + MIB >= kept, "%zu KiB resident, then %zu", kept >> 10,
           resident_bytes() >> 10);
}

static void what_was_refused_takes_no_address_space(void)
{
    run_in_child(refuse_beyond, 512 * MIB);
}

/* MYMALLOC_LIMIT is 100 MiB in this test. */
static void more_than_the_limit(void)
{
    size_t limit = (size_t)env_number("TEST_LIMIT", 0);
    void *used;

    if (limit == 0)
        return;
    ask_in_vain(limit + 1);
    ask_in_vain(limit + 20 * MIB);
    ask_in_vain(4 * limit);
    used = malloc(limit / 2); /* what is left is not enough, whatever is given back */
    CHECK(used);
    ask_in_vain(limit / 2 + 10 * MIB);
    ask_in_vain(limit - MIB);
    free(used);
}

/* What lies in the cache of a CPU where nobody is any more cannot be had (docs/safety.md). */
static void fill_again_and_again(size_t limit)
{
    size_t size = 500;
    void *first = NULL, *p;

    stay_on_one_cpu();
    for (unsigned round = 0; round < 10; round++) {
        while ((p = malloc(size)) != NULL) {
            *(void **)p = first;
            first = p;
        }
        while (first != NULL) {
            p = first;
            first = *(void **)p;
            free(p);
        }
        p = malloc(limit / 100 * (round % 2 ? 95 : 25));
        CHECKF(p, "round %u", round);
        free(p);
        size = size * 2 + 100;
        size = size < 40000 ? size : 60;
    }
}

/* All that there may be lies in slabs, depots and caches; a child has those of all CPUs. */
static void what_relief_can_serve_is_served(void)
{
    size_t limit = (size_t)env_number("TEST_LIMIT", 0);

    if (limit != 0)
        run_in_child(fill_again_and_again, limit);
}

/*
 * Nor does what was refused count as if it had been in use: a program that has never gone down
 * keeps what it always keeps, 60 MiB, and no more because of it.
 */
static void what_was_refused_was_never_in_use(void)
{
    enum { COUNT = 400 };
    static unsigned char *object[COUNT];
    size_t before = resident_bytes();

    if (env_number("TEST_LIMIT", 0) != 0 || !is_mymalloc())
        return;
    for (unsigned i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        void *p = ways[i](more_than_there_is(45));

        if (p != NULL) {
            free(p);
            printf("SKIP: 32 TiB can be had here\n");
            return;
        }
    }
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK((object[i] = malloc(MIB)) != NULL);
        memset(object[i], 1, MIB);
    }
    for (unsigned i = 0; i < COUNT; i++)
        free(object[i]);
    CHECKF(resident_bytes() <= before + 200 * MIB, "%zu MiB resident, %zu before",
           resident_bytes() / MIB, before / MIB);
}

const struct test tests[] = {
    {"what_was_refused_was_never_in_use", what_was_refused_was_never_in_use},
    {"more_than_can_be_skipped", more_than_can_be_skipped},
    {"more_than_an_address", more_than_an_address},
    {"more_than_address_space", more_than_address_space},
    {"a_mapping_stays", a_mapping_stays},
    {"what_was_refused_takes_no_address_space",
     what_was_refused_takes_no_address_space},
    {"more_than_the_limit", more_than_the_limit},
    {"what_relief_can_serve_is_served", what_relief_can_serve_is_served},
    {NULL, NULL},
};
