/* heap.c - page heap and slabs by themselves, against plain models; the walker. */
#include "check.h"
#include "family.h"
#include "spans.h"

#include "alloc/alloc.h"
#include "alloc/background.h"
#include "heap/heap.h"
#include "os/os.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

/* ---- page heap ---- */

enum { SPANS = 200 };

static struct span {
    uint32_t first, units;
} spans[SPANS];

static unsigned char *bytes_of(const struct span *span)
{
    return mym_unit_address(span->first);
}

/* The mark of a span is in the first and last word of each of its units. */
static void mark(const struct span *span)
{
    for (uint32_t u = 0; u < span->units; u++) {
        uint64_t word = (uint64_t)span->first << 20 | u;

        memcpy(bytes_of(span) + u * MYM_UNIT, &word, 8);
        memcpy(bytes_of(span) + (u + 1) * MYM_UNIT - 8, &word, 8);
    }
}

static void check_mark(const struct span *span)
{
    for (uint32_t u = 0; u < span->units; u++) {
        uint64_t word = (uint64_t)span->first << 20 | u;

        CHECK(!memcmp(bytes_of(span) + u * MYM_UNIT, &word, 8));
        CHECK(!memcmp(bytes_of(span) + (u + 1) * MYM_UNIT - 8, &word, 8));
    }
}

static void check_zero(const struct span *span)
{
    for (size_t i = 0; i < span->units * MYM_UNIT; i += 8) {
        uint64_t word;

        memcpy(&word, bytes_of(span) + i, 8);
        CHECKF(!word, "byte %zu of %u units said to be zero", i, span->units);
    }
}

static void take_span(struct span *span, uint64_t *random)
{
    uint32_t align = next_random(random) % 4 ? 1 : 1u << next_random(random) % 6;
    bool zeroed = false;

    span->units =
        1 + (uint32_t)(next_random(random) % (next_random(random) % 8 ? 6 : 100));
    span->first =
        mym_pages_take(span->units, align, MYM_LARGE, next_random(random) % 2, &zeroed);
    CHECK(span->first);
    CHECK((uintptr_t)bytes_of(span) % (align * MYM_UNIT) == 0);
    for (int i = 0; i < SPANS; i++)
        if (&spans[i] != span && spans[i].units)
            check_apart(spans[i].first, spans[i].units, span->first, span->units);
    if (zeroed)
        check_zero(span);
    mark(span);
}

static void put_span(struct span *span)
{
    check_mark(span);
    mym_pages_put(span->first);
    span->units = 0;
}

static void resize_span(struct span *span, uint64_t *random)
{
    uint32_t units = 1 + (uint32_t)(next_random(random) % (span->units * 2));

    check_mark(span);
    if (!mym_pages_resize(span->first, units, next_random(random) % 2))
        return;
    if (units < span->units) {
        mym_idle_left(span->units - units);
        span->units = units;
    }
    check_mark(span);
    span->units = units;
    mark(span);
}

/* Random spans, purges between; free memory and its longest run come back whole. */
static void spans_come_and_go(void)
{
    uint64_t random = test_seed();
    size_t in_use, mapped;
    int steps = is_slow() ? 2000 : 20000;
    struct mym_pages_info info = mym_pages_info();

    in_use = info.mapped - info.free;
    for (int step = 0; step < steps; step++) {
        struct span *span = &spans[next_random(&random) % SPANS];

        if (!span->units)
            take_span(span, &random);
        else if (next_random(&random) % 3 == 0)
            resize_span(span, &random);
        else
            put_span(span);
        if (step % 1000 == 0)
            mym_pages_purge((next_random(&random) % 64) << 20);
        if (step % 500 == 0)
            CHECK(mym_pages_verify() == 0);
    }
    for (int i = 0; i < SPANS; i++)
        if (spans[i].units)
            put_span(&spans[i]);
    CHECK(mym_pages_verify() == 0);
    info = mym_pages_info();
    mapped = info.mapped;
    CHECKF(mapped - info.free == in_use, "%zu bytes in use, before %zu",
           mapped - info.free, in_use);
    mym_pages_purge(0);
    info = mym_pages_info();
    CHECK(info.dirty == 0);
    /* Coalesced: what this test freed is in a few long runs, not in hundreds. */
    CHECKF(info.runs <= 12, "%zu runs, the longest of %zu bytes", info.runs,
           info.longest);
}

/* ---- what may stay resident ---- */

enum { KEEP_UNITS = 256, FLOCK = 10, FLOCK_UNITS = 32, MASS = 40 };

/* Take `count` spans of 2 MiB, put them all; units that are dirty then. */
static size_t breathe(unsigned count)
{
    uint32_t first[MASS];

    for (unsigned i = 0; i < count; i++)
        first[i] = take_units(FLOCK_UNITS);
    for (unsigned i = 0; i < count; i++)
        mym_pages_put(first[i]);
    CHECK(mym_pages_verify() == 0);
    return mym_pages_info().dirty / MYM_UNIT;
}

/* What swings may stay (unit/ledger.c has the rule), but not for ever. */
static void swings_stay(void)
{
    size_t flock = FLOCK * FLOCK_UNITS;

    mym_idle_set_keep(KEEP_UNITS * MYM_UNIT);
    mym_pages_purge(0);
    CHECK(breathe(FLOCK) <= KEEP_UNITS);
    CHECKF(breathe(FLOCK) >= flock, "%zu units dirty",
           mym_pages_info().dirty / MYM_UNIT);
    CHECK(mym_idle_is_swinging());
    /* More than that was not seen to be taken again. */
    CHECKF(breathe(MASS) <= KEEP_UNITS + flock, "%zu units dirty",
           mym_pages_info().dirty / MYM_UNIT);
    for (int i = 0; i < 40; i++)
        mym_idle_age();
    CHECK(!mym_idle_is_swinging());
    CHECKF(mym_pages_info().dirty <= KEEP_UNITS * MYM_UNIT, "%zu units dirty",
           mym_pages_info().dirty / MYM_UNIT);
    mym_idle_set_keep(0);
    for (int i = 0; i < 4; i++)
        CHECK(breathe(FLOCK) == 0);
}

/* Growth is told once for each step, and not for memory that was there before. */
static void growth_is_told(void)
{
    uint32_t first[MASS];
    unsigned told = 0;

    for (int twice = 0; twice < 2; twice++) {
        mym_pages_hear_growth();
        told = 0;
        for (unsigned i = 0; i < MASS; i++) {
            first[i] = take_units(FLOCK_UNITS * 16);
            if (mym_pages_hear_growth()) {
                mym_purge_growth();
                told++;
            }
            CHECK(!mym_pages_hear_growth());
        }
        for (unsigned i = 0; i < MASS; i++)
            mym_pages_put(first[i]);
        CHECKF(twice ? told == 0 : told > 10, "told %u times", told);
    }
}

/* A container's limit that falls below what is in use is told as one that is reached. */
static void a_limit_that_falls_is_told(void)
{
    uint32_t high = take_units(600), use, more[4];

    if (mym_pages_hear_growth())
        mym_purge_growth();
    mym_pages_put(high);
    mym_pages_purge(0);
    use = take_units(300); /* less than there was */
    mym_pages_hear_growth();
    mym_pages_set_limit(SIZE_MAX, 150 * MYM_UNIT);
    for (unsigned i = 0; i < 4; i++) { /* with each MiB */
        more[i] = take_units(i % 2 ? 15 : 1);
        CHECKF(mym_pages_hear_growth() == (i % 2 == 0), "step %u", i);
    }
    mym_pages_set_limit(SIZE_MAX, SIZE_MAX);
    for (unsigned i = 0; i < 4; i++)
        mym_pages_put(more[i]);
    mym_pages_put(use);
}

/* ---- where a span comes from ---- */

/*
 * The dirty end of a run that is clean else is too short by itself. It is taken with what is behind
 * it: so much less becomes resident.
 */
static void what_is_dirty_in_front_is_taken(void)
{
    uint32_t first, dirty, clean;

    mym_idle_set_keep(KEEP_UNITS * MYM_UNIT);
    mym_pages_purge(0);
    first = take_units(200);
    dirty = first + 100;
    clean = dirty + 2;
    CHECK(mym_pages_resize(first, 100, MYM_SPARSE));
    mym_pages_purge(2 * MYM_UNIT); /* the topmost ones first */
    CHECK(mym_heap.units[dirty].kind == MYM_DIRTY && mym_heap.units[dirty].length == 2);
    CHECK(mym_heap.units[clean].kind == MYM_CLEAN);
    clean = take_units(mym_heap.units[clean].length); /* nothing else fits as well */
    CHECKF(clean == dirty, "unit %u, not %u", clean, dirty);
    mym_pages_put(first);
    mym_pages_put(clean);
    CHECK(mym_pages_verify() == 0);
}

static void put_loose(uint32_t span)
{
    mym_heap.units[span].reap = NULL;
    mym_span_mark(&mym_heap.units[span], true);
    mym_pages_put_loose((uintptr_t)mym_unit_address(span) + MYM_SPAN_HELD);
}

/* What is loose is free memory all the same: a span in front of it grows into it. */
static void spans_grow_into_what_is_loose(void)
{
    uint32_t first = take_units(48);

    mym_idle_set_keep(KEEP_UNITS * MYM_UNIT);
    mym_pages_put(first);
    first = take_units(8); /* from the same run, and the other one behind it */
    for (uint32_t behind = take_units(8); behind != first + 8; behind = take_units(8))
        first = behind;
    put_loose(first + 8);
    CHECK(mym_pages_resize(first, 16, MYM_SPARSE));
    mym_pages_put(first);
}

/* At the limit no list of them is had, for it may be more than there is left. */
static void what_is_loose_counts_at_the_limit(void)
{
    struct mym_pages_info info;
    uintptr_t list;
    uint32_t span = take_units(8);

    mym_idle_set_keep(KEEP_UNITS * MYM_UNIT);
    put_loose(span);
    info = mym_pages_info();
    mym_pages_set_limit(info.mapped - info.free + 8 * MYM_UNIT, SIZE_MAX);
    CHECK(mym_pages_take_loose(8) == 0);
    mym_pages_set_limit(SIZE_MAX, SIZE_MAX);
    list = mym_pages_take_loose(8);
    CHECK(list == (uintptr_t)mym_unit_address(span) + mym_loose_empty(8) +
                      MYM_SPAN_HELD - MYM_SPAN_ROOM);
    mym_span_mark(&mym_heap.units[span], false);
    mym_pages_put(span);
}

/* ---- slabs ---- */

/* A fresh slab starts with a call's worth from its colour; then the lowest are first. */
static void check_order(void *const *objects, unsigned count)
{
    unsigned descents = 0;

    for (unsigned i = 1; i < count; i++) {
        descents += objects[i] < objects[i - 1];
        CHECK(objects[i] > objects[i - 1] || i == 7);
    }
    CHECK(descents <= 1);
}

/* Small programs touch little else than the first objects: not all in one cache set. */
static const char *misuse; /* none here */
static bool fresh;         /* of a slab: not looked at */

static void first_objects_have_colours(void)
{
    unsigned char lines[MYM_PAGE / MYM_CACHELINE] = {0};

    for (unsigned c = 1; c < mym_class_count && mym_classes[c].size <= 512; c++) {
        uint32_t slab = mym_slab_make(c, 0, &fresh);
        void *object;

        CHECK(slab && mym_slab_take(slab, &object, 1) == 1);
        CHECK(++lines[(uintptr_t)object % MYM_PAGE / MYM_CACHELINE] <= 4);
        CHECK(mym_slab_put(slab, &object, 1, &misuse) == 1);
        mym_pages_put(slab);
    }
}

static void slab_gives_each_object_once(void)
{
    static void *objects[4096];
    static unsigned char seen[4096];

    for (unsigned c = 1; c < mym_class_count; c++) {
        const struct mym_class *cls = &mym_classes[c];
        uint32_t slab = mym_slab_make(c, 0, &fresh);
        char *start = (char *)mym_slab_start(slab); /* NOLINT */
        unsigned got = 0;
        void *first;

        CHECK(slab);
        memset(seen, 0, sizeof(seen));
        while (got < cls->objects) {
            unsigned more = mym_slab_take(slab, objects + got, 7);

            CHECK(more > 0 && more <= 7);
            got += more;
        }
        CHECK(mym_slab_take(slab, objects + got, 7) == 0);
        for (unsigned i = 0; i < got; i++) {
            size_t offset = (size_t)((char *)objects[i] - start);

            CHECK(offset % cls->size == 0 && offset / cls->size < cls->objects);
            CHECK(!seen[offset / cls->size]++);
        }
        check_order(objects, got);
        first = objects[0];
        CHECK(mym_slab_put(slab, objects, got, &misuse) == got && !misuse);
        CHECK(mym_heap.units[slab].free == cls->objects);
        CHECK(mym_slab_take(slab, objects, 1) == 1 && objects[0] == first);
        CHECK(mym_slab_put(slab, objects, 1, &misuse) == 1);
        mym_pages_put(slab);
    }
}

/*
 * The bits behind a slab's are another span's, which has another lock: who takes the last place
 * writes nothing there. Where a page of bitmaps begins behind the slab's, the kernel tells.
 */
static void a_slab_writes_to_no_bits_but_its_own(void)
{
    static void *objects[MYM_UNIT / MYM_ALIGNMENT];
    static uint32_t slabs[256];
    uint32_t each = (uint32_t)(mym_os_page() / sizeof *mym_heap.bits), slab;
    unsigned cls = mym_class_of(16), count = 0;
    uint64_t *behind;

    do {
        CHECK(count < sizeof slabs / sizeof *slabs);
        slab = slabs[count++] = mym_slab_make(cls, 0, &fresh);
        CHECK(slab);
    } while ((slab + 1) % each != 0);
    CHECK(mym_classes[cls].objects == 64 * MYM_BIT_WORDS); /* no word is left over */
    behind = mym_heap.bits[slab + 1];
    CHECK(mprotect(behind, mym_os_page(), PROT_READ) == 0);
    for (unsigned got = 0; got < mym_classes[cls].objects;)
        got += mym_slab_take(slab, objects + got, 7);
    CHECK(mprotect(behind, mym_os_page(), PROT_READ | PROT_WRITE) == 0);
    CHECK(mym_slab_put(slab, objects, mym_classes[cls].objects, &misuse) ==
          mym_classes[cls].objects);
    while (count > 0)
        mym_pages_put(slabs[--count]);
}

/* ---- the walker ---- */

enum { WALKS = 20, WALKED = 20000 };

static int count_object(void *object, size_t bytes, void *objects)
{
    (void)object, (void)bytes;
    ++*(size_t *)objects;
    return 0;
}

static void *help_for_ever(void *done)
{
    while (!__atomic_load_n((bool *)done, __ATOMIC_RELAXED))
        mym_background_work(true);
    return NULL;
}

/* The helper moves what is free between caches, depots and slabs: none of it is visited. */
static void walk_beside_the_helper(void)
{
    static void *objects[WALKED];
    uint64_t random = test_seed();
    bool done = false;
    pthread_t helper;
    size_t others = 0;

    CHECK(MyHeapWalk(count_object, &others) == 0);
    CHECK(pthread_create(&helper, NULL, help_for_ever, &done) == 0);
    for (int walk = 0; walk < WALKS; walk++) {
        size_t held = 0, visited = 0;

        for (int i = 0; i < WALKED; i++)
            CHECK((objects[i] = mym_malloc(opaque(64 + i % 8 * 200u))));
        for (int i = 0; i < WALKED; i++)
            if (next_random(&random) % 20 != 0) {
                mym_free(objects[i]);
                objects[i] = NULL;
            }
        for (int i = 0; i < WALKED; i++)
            held += objects[i] != NULL;
        for (int again = 0; again < 3; again++, visited = 0) {
            CHECK(MyHeapWalk(count_object, &visited) == 0);
            CHECKF(visited == held + others, "%zu objects are visited, not %zu and %zu",
                   visited, held, others);
        }
        for (int i = 0; i < WALKED; i++)
            mym_free(objects[i]);
    }
    __atomic_store_n(&done, true, __ATOMIC_RELAXED);
    CHECK(pthread_join(helper, NULL) == 0);
}

const struct test tests[] = {
    {"spans_come_and_go", spans_come_and_go},
    {"swings_stay", swings_stay},
    {"growth_is_told", growth_is_told},
    {"a_limit_that_falls_is_told", a_limit_that_falls_is_told},
    {"what_is_dirty_in_front_is_taken", what_is_dirty_in_front_is_taken},
    {"spans_grow_into_what_is_loose", spans_grow_into_what_is_loose},
    {"what_is_loose_counts_at_the_limit", what_is_loose_counts_at_the_limit},
    {"slab_gives_each_object_once", slab_gives_each_object_once},
    {"first_objects_have_colours", first_objects_have_colours},
    {"a_slab_writes_to_no_bits_but_its_own", a_slab_writes_to_no_bits_but_its_own},
    {"walk_beside_the_helper", walk_beside_the_helper},
    {NULL, NULL},
};
