/*
 * depots.c - what free objects in depots, and a few that are in use, keep resident: what the
 * ledger knows of, in pages.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include "alloc/alloc.h"
#include "alloc/info.h"
#include "heap/runs.h"
#include "heap/sizes.h"
#include "os/os.h"
#include "pool/pool.h"

#include <string.h>
#include <sys/resource.h>

/* A MiB or more of objects taken and freed, so many times: what the depot holds in the end. */
static size_t swing(unsigned size, unsigned times)
{
    static void *objects[1000];
    static struct mym_info info;
    unsigned count = size > 1024 ? 64 : 1000;

    while (times-- > 0) {
        for (unsigned i = 0; i < count; i++)
            CHECK((objects[i] = mym_malloc(opaque(size))));
        for (unsigned i = 0; i < count; i++)
            mym_free(objects[i]);
    }
    CHECK(mym_verify() == 0);
    mym_info_read(&info);
    return info.cls[mym_class_of(size)].depot * size;
}

/* What swings stays in the depot, as part of what is kept, until memory is asked for. */
static void depots_follow_swings(void)
{
    mym_idle_set_keep(1024 * MYM_UNIT);
    CHECK(swing(1024, 1) <= 320 << 10);
    CHECKF(swing(1024, 30) >= 800 << 10, "%zu bytes", swing(1024, 0));
    CHECK(mym_idle_held(MYM_HOLDS_DEPOTS) >= (512u << 10) / MYM_UNIT);
    /* The same of slabs that are an object each. */
    CHECKF(swing(MYM_CLASS_MAX, 30) >= 6 << 20, "%zu bytes", swing(MYM_CLASS_MAX, 0));
    mym_trim(0);
    CHECK(swing(MYM_CLASS_MAX, 0) == 0);
    CHECK(swing(1024, 0) == 0);
    CHECK(mym_idle_held(MYM_HOLDS_DEPOTS) == 0 && mym_idle_held(MYM_HOLDS_SLABS) == 0);
    mym_idle_set_keep(0);
    CHECK(swing(1024, 30) <= 256 << 10); /* nothing is kept */
    mym_trim(0);
}

/* Up and down by so many that most may not stay in the depot, which is granted no more for that. */
static void grants_are_of_use(void)
{
    enum { MANY = 20000, MOST_OBJECTS = 2048 };
    static void *objects[MANY];
    const struct mym_pool *pool = mym_pool_of(0, mym_class_of(1024));
    size_t most =
        MOST_OBJECTS * (mym_classes[mym_pool_class(pool)].size + mym_os_page());

    mym_idle_set_keep(1024 * MYM_UNIT);
    for (unsigned turn = 0; turn < 100; turn++) {
        for (unsigned i = 0; i < MANY; i++)
            CHECK((objects[i] = mym_malloc(opaque(1024))));
        for (unsigned i = 0; i < MANY; i++)
            mym_free(objects[i]);
    }
    CHECKF(pool->loaded_objects > MOST_OBJECTS / 2, "%u objects", pool->loaded_objects);
    CHECKF(pool->grant * MYM_UNIT <= most + most / 2, "%zu bytes, %u objects at most",
           pool->grant * MYM_UNIT, MOST_OBJECTS);
    mym_trim(0);
}

/* ---- what objects in depots keep resident ---- */

#define MOST     ((size_t)12 << 20)
#define SMALLEST ((size_t)208)

/* Bytes that go back together, or stay: a page, of slabs of several units as many. */
static size_t piece_of(const struct mym_class *cls)
{
    return cls->units * mym_os_page();
}

/* A byte for each piece of the heap that the object reaches into; how many had none. */
static size_t mark_object(const struct mym_class *cls, const char *object,
                          unsigned char *marks)
{
    size_t piece = piece_of(cls), marked = 0;
    uint32_t slab = mym_heap.units[mym_unit_of(object)].first;
    uintptr_t start = (uintptr_t)mym_unit_address(slab) - mym_heap.base;
    size_t at = (size_t)(object - (char *)mym_unit_address(slab));

    for (size_t p = at / piece; p <= (at + cls->size - 1) / piece; p++) {
        size_t page = (start + p * piece) / mym_os_page();

        marked += marks[page] == 0;
        marks[page] = 1;
    }
    return marked;
}

/* The same of all objects in the depot; in bytes. */
static size_t mark_pieces(const struct mym_pool *pool, unsigned char *marks)
{
    const struct mym_class *cls = &mym_classes[mym_pool_class(pool)];
    size_t marked = 0;

    for (unsigned s = 0; s < MYM_DEPOT_STACKS; s++)
        for (const struct mym_magazine *m = pool->loaded[s]; m != NULL; m = m->next)
            for (unsigned i = 0; i < m->used; i++)
                marked += mark_object(cls, m->entry[i], marks);
    return marked * piece_of(cls);
}

/*
 * How many pages objects reach into is what it is on average; and the depot has a quarter of what
 * is in use besides, which is the caches'.
 */
static void check_pins(size_t size)
{
    const struct mym_pool *pool = mym_pool_of(0, mym_class_of(size));
    unsigned char *marks = mym_os_map(mym_heap.size / mym_os_page());
    size_t cached = (mym_pool_used(pool) - pool->loaded_objects) *
                    piece_of(&mym_classes[mym_class_of(size)]);
    size_t pins, may = pool->grant * MYM_UNIT;

    CHECK(marks);
    pins = mark_pieces(pool, marks);
    mym_os_unmap(marks, mym_heap.size / mym_os_page());
    CHECKF(pins <= may + may / 2 + cached,
           "depot of %zu: %u objects pin %zu KiB, %zu granted, %zu cached", size,
           pool->loaded_objects, pins >> 10, may >> 10, cached >> 10);
}

static void fill_and_free_at_random(size_t bytes, size_t size)
{
    static void *objects[MOST / SMALLEST];
    uint64_t random = test_seed();
    size_t count = bytes / size;

    for (size_t i = 0; i < count; i++)
        CHECK((objects[i] = mym_malloc(opaque(size))));
    for (size_t i = count; i-- > 0;) {
        size_t other = next_random(&random) % (i + 1);
        void *object = objects[other];

        objects[other] = objects[i];
        mym_free(object);
    }
}

/* Freed at random each can be on a page of its own, in a slab of its own. */
static void depots_are_granted_what_they_pin(void)
{
    static const size_t sizes[] = {SMALLEST, 288,  512,  1024,  1664,
                                   2112,     4096, 8192, 12288, 49152};

    free(malloc(1));
    mym_idle_set_keep(1024 * MYM_UNIT);
    for (size_t bytes = MOST; bytes >= MOST / 16; bytes /= 16)
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            fill_and_free_at_random(bytes, sizes[i]);
            CHECK(mym_verify() == 0);
            check_pins(sizes[i]);
            mym_trim(0);
        }
}

/*
 * While all is freed the depot's share becomes less. What it has is in the short magazines of a
 * second that was quiet, what comes in longer ones: not as many magazines go then, but objects.
 */
static void short_magazines_make_room_for_long_ones(void)
{
    enum { OBJECTS_IN_ALL = 4000, IN_SHORT = 500, LONG = 14 };
    static void *objects[OBJECTS_IN_ALL];
    unsigned cls = mym_class_of(1024);
    struct mym_pool *pool = mym_pool_of(0, cls);

    free(malloc(1));
    mym_idle_set_keep(0);
    mym_trim(0);
    for (unsigned i = 0; i < OBJECTS_IN_ALL; i++)
        CHECK((objects[i] = mym_pool_take(pool)));
    for (unsigned i = 0, used = 1; i < OBJECTS_IN_ALL; i += used) {
        struct mym_magazine *magazine = mym_magazine_make(cls);

        CHECK(magazine);
        if (i == IN_SHORT) {
            CHECKF(pool->loaded_objects == i, "%u of %u", pool->loaded_objects, i);
            used = LONG;
        }
        mym_magazine_set_capacity(magazine, used);
        memcpy(magazine->entry, &objects[i], used * sizeof *objects);
        mym_pool_unload(pool, 0, magazine, used);
    }
    check_pins(1024);
    mym_trim(0);
}

/* One that has not been busy has less granted then, and holds no more than that. */
static void quiet_depots_keep_what_they_are_granted(void)
{
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(1024));

    mym_idle_set_keep(1024 * MYM_UNIT);
    CHECK(swing(1024, 30) >= 800 << 10);
    mym_pool_upkeep(pool, true, false);
    CHECK(swing(1024, 1) >= 800 << 10); /* a few long magazines: no more is needed */
    mym_pool_upkeep(pool, true, false);
    CHECKF(swing(1024, 0) <= pool->grant * MYM_UNIT, "%zu KiB, %zu granted",
           swing(1024, 0) >> 10, pool->grant * MYM_UNIT >> 10);
    mym_trim(0);
}

/* So many of 2 KiB taken and freed: exchanges of as many magazines as that may fill. */
static void exchange(unsigned count)
{
    static void *objects[4000];

    for (unsigned i = 0; i < count; i++)
        CHECK((objects[i] = mym_malloc(opaque(2048))));
    for (unsigned i = 0; i < count; i++)
        mym_free(objects[i]);
}

/* Others have the budget for long magazines: it keeps what it was granted, however busy it is. */
static void busy_depots_keep_what_they_were_granted(void)
{
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(2048));

    mym_idle_set_keep(1024 * MYM_UNIT);
    swing(1024, 60);
    swing(512, 100);
    for (unsigned i = 0; i < 30; i++)
        exchange(1000);
    CHECK(pool->batch < mym_classes[mym_class_of(2048)].room);
    for (unsigned count = 1000; count < 4000; count += 37) {
        uint32_t grant = pool->grant;

        exchange(count);
        mym_pool_upkeep(pool, true, false);
        CHECKF(pool->grant >= grant && grant > 0, "%u units, %u before, %u objects",
               pool->grant, grant, count);
    }
    mym_trim(0);
}

/* ---- what a few objects keep resident ---- */

/* Of each slab the first object stays. */
static size_t leave_one_in_each(void **objects, size_t count)
{
    const void *slab = NULL;
    struct mym_place place;
    size_t stay = 0;

    for (size_t i = 0; i < count; i++) {
        CHECK(mym_pool_place(objects[i], &place));
        if (place.slab != slab)
            objects[stay++] = objects[i];
        else
            mym_free(objects[i]);
        slab = place.slab;
    }
    return stay;
}

static void check_long(const struct mym_class *cls)
{
    static void *objects[MOST / 8192];
    size_t count = MOST / cls->size, shadow = shadow_of(MOST);
    size_t before = anonymous_kib(), stay, most, now;

    for (size_t i = 0; i < count; i++) {
        CHECK((objects[i] = mym_malloc(opaque(cls->size))));
        memset(objects[i], 1, cls->size);
    }
    stay = leave_one_in_each(objects, count);
    CHECK(stay < count);
    mym_trim(0);
    CHECK(mym_verify() == 0);
    most = stay * (cls->size + 2 * piece_of(cls)) + (256u << 10) + shadow;
    now = anonymous_kib();
    CHECKF(now <= before + (most >> 10),
           "%zu objects of %u bytes keep %zu KiB, not %zu at most", stay, cls->size,
           now - before, most >> 10);
    while (stay > 0)
        mym_free(objects[--stay]);
    mym_trim(0);
}

/* Free pages of slabs go back, beside objects of every size. */
static void one_object_keeps_no_slab(void)
{
    free(malloc(1));
    mym_idle_set_keep(0);
    for (unsigned i = mym_class_of(8192); i < mym_class_of(MYM_CLASS_MAX); i++)
        if (mym_classes[i].objects > 1)
            check_long(&mym_classes[i]);
}

/* ---- what swings, slab by slab ---- */

#define OBJECTS 65521u /* a prime: 64 MiB of 1 KiB */

/* Page faults of taking them, in order, and of freeing them all over the slabs. */
static size_t faults_of_swing(void)
{
    static void *objects[OBJECTS];
    struct rusage before, after;

    CHECK(getrusage(RUSAGE_SELF, &before) == 0);
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK((objects[i] = mym_malloc(opaque(1024))));
        *(unsigned *)objects[i] = i;
    }
    for (unsigned i = 0; i < OBJECTS; i++)
        mym_free(objects[(uint64_t)i * 7919 % OBJECTS]);
    CHECK(getrusage(RUSAGE_SELF, &after) == 0);
    return (size_t)(after.ru_minflt - before.ru_minflt);
}

/*
 * Up and down by 64 MiB: all of it may stay, once that is known. Freed at random it is in
 * sparse slabs nearly all of the time, which have to leave none of that to free runs.
 */
static void sparse_slabs_stay_in_a_swing(void)
{
    size_t most = 0;

    mym_idle_set_keep((size_t)32 << 20);
    faults_of_swing();
    faults_of_swing();
    for (unsigned i = 0; i < 4; i++) {
        size_t faults = faults_of_swing();

        most = faults > most ? faults : most;
    }
    CHECKF(most <= 1000, "%zu faults", most);
    CHECK(mym_verify() == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
}

/*
 * In a huge page what a slab has not given out yet is there anyway: to give it back would split
 * the page, a moment before it is taken. It goes when nobody takes it any more.
 */
static void fresh_slabs_keep_their_huge_pages(void)
{
    static void *objects[1010];
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(20000));
    unsigned most = mym_classes[mym_pool_class(pool)].objects, count;

    mym_chunk_set_huge(MYM_HUGE_ALWAYS, false);
    mym_idle_set_keep(1024 * MYM_UNIT);
    for (count = 0; count < 1000; count++) {
        size_t purged = mym_pages.purged;

        CHECK((objects[count] = mym_pool_take(pool)));
        mym_pool_upkeep(pool, false, true);
        CHECKF(mym_pages.purged == purged, "%zu bytes given back at object %u",
               mym_pages.purged - purged, count);
    }
    while (pool->bins[MYM_BIN_SPARSE - 1] == 0 ||
           mym_heap.units[pool->bins[MYM_BIN_SPARSE - 1]].free != most - 1)
        CHECK((objects[count++] = mym_pool_take(pool)));
    mym_trim(0);
    CHECK(pool->bins[MYM_BIN_PURGED] == mym_unit_of(objects[count - 1]));
    CHECK(mym_verify() == 0);
    while (count > 0)
        mym_free(objects[--count]);
    mym_trim(0);
}

const struct test tests[] = {
    {"fresh_slabs_keep_their_huge_pages", fresh_slabs_keep_their_huge_pages},
    {"depots_follow_swings", depots_follow_swings},
    {"grants_are_of_use", grants_are_of_use},
    {"depots_are_granted_what_they_pin", depots_are_granted_what_they_pin},
    {"short_magazines_make_room_for_long_ones",
     short_magazines_make_room_for_long_ones},
    {"quiet_depots_keep_what_they_are_granted",
     quiet_depots_keep_what_they_are_granted},
    {"busy_depots_keep_what_they_were_granted",
     busy_depots_keep_what_they_were_granted},
    {"one_object_keeps_no_slab", one_object_keeps_no_slab},
    {"sparse_slabs_stay_in_a_swing", sparse_slabs_stay_in_a_swing},
    {NULL, NULL},
};
