/*
 * magazines.c - how many objects a magazine may have, while how many caches share them changes and
 * seconds pass; and what a pool makes of one that is shorter or longer than that.
 */
#include "check.h"
#include "family.h"

#include "alloc/alloc.h"
#include "alloc/info.h"
#include "heap/sizes.h"
#include "pool/pool.h"
#include "pool/slabs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* Seconds pass where the test says so. */
static _Atomic uint64_t now = 1000000;

uint64_t __wrap_mym_os_coarse_ms(void);
uint64_t __wrap_mym_os_coarse_ms(void)
{
    return now;
}

/* ---- threads that start at any time make the ration of a magazine less ---- */

#define MANY 100000u /* caches: a ration of no object */

/* All of them together hold what 256 full ones would: by the square of how many there are. */
static void the_more_there_are_the_shorter_they_are(void)
{
    static const unsigned part[][2] = {
        {1, 1}, {128, 1}, {256, 4}, {512, 16}, {1280, 100}};

    free(malloc(1));
    for (unsigned i = 0; i < sizeof part / sizeof *part; i++) {
        unsigned ration;

        mym_magazines_share(part[i][0]);
        ration = mym_magazine_ration(1600);
        mym_magazines_share(1);
        CHECKF(ration <= 1600 / part[i][1] && ration + 1 >= 1600 / part[i][1],
               "%u of 1600 where there are %u", ration, part[i][0]);
    }
}

static void a_full_magazine_is_not_made_shorter(void)
{
    unsigned cls = mym_class_of(64);
    struct mym_magazine *magazine;

    free(malloc(1));
    magazine = mym_magazine_make(cls);
    CHECK(magazine);
    mym_magazine_set_capacity(magazine, 16);
    mym_magazines_share(1);
    CHECK(mym_magazine_is_short(cls, magazine));
    mym_magazines_share(MANY);
    mym_magazine_lengthen(cls, magazine);
    CHECK(magazine->capacity == 32 && mym_magazine_is_whole(magazine, 32));
    mym_magazines_share(1);
    mym_magazine_lengthen(cls, magazine);
    CHECK(magazine->capacity == 64 && mym_magazine_is_whole(magazine, 64));
    mym_pool_unload(mym_pool_of(0, cls), 0, magazine, 0);
}

/* Whatever it is made for: a wide one for 32 has as many entries as another for 64. */
static void a_short_one_becomes_longer(void)
{
    free(malloc(1));
    for (unsigned cls = 1; cls < mym_class_count; cls++) {
        struct mym_magazine *magazine = mym_magazine_make(cls);

        CHECK(magazine);
        for (unsigned objects = 1; objects <= mym_classes[cls].room; objects++) {
            unsigned before;

            mym_magazine_set_capacity(magazine, objects);
            before = magazine->capacity;
            CHECK(before <= mym_classes[cls].entries);
            if (!mym_magazine_is_short(cls, magazine))
                continue;
            mym_magazine_lengthen(cls, magazine);
            CHECKF(magazine->capacity > before &&
                       magazine->capacity <= mym_classes[cls].entries,
                   "class %u: %u, %u before", cls, magazine->capacity, before);
            CHECK(magazine->entry[before] != MYM_CEILING);
        }
        mym_pool_unload(mym_pool_of(0, cls), 0, magazine, 0);
    }
}

/* Each object is in the depot or still there, the newest on top; the depot has what came first. */
static void a_wide_one_leaves_the_half_that_came_first(void)
{
    unsigned cls = mym_class_of(4096), half;
    struct mym_pool *pool = mym_pool_of(0, cls);
    struct mym_magazine *wide, *left;
    void *objects[256];

    free(mym_malloc(opaque(4096)));
    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_trim(0);
    wide = mym_pool_exchange(pool, 0, NULL, 0);
    CHECK(wide && wide->is_wide && wide->used == 0);
    CHECK(wide->capacity % 2 == 0 && wide->capacity <= 256);
    half = wide->capacity / 2u;
    for (unsigned i = 0; i < 2 * half; i++)
        CHECK((objects[i] = wide->entry[i] = mym_pool_take(pool)));
    CHECK(mym_pool_exchange(pool, 0, wide, 2 * half) == wide);
    CHECK(wide->used == half && mym_magazine_is_whole(wide, half) &&
          wide->capacity > half);
    CHECK(memcmp(wide->entry, objects + half, half * sizeof *objects) == 0);
    CHECK((left = mym_pool_load(pool, 0, NULL)));
    CHECK(left != wide && left->used == half && mym_magazine_is_whole(left, half));
    CHECK(memcmp(left->entry, objects, half * sizeof *objects) == 0);
    mym_pool_unload(pool, 0, left, half);
    mym_pool_unload(pool, 0, wide, half);
    CHECK(mym_verify() == 0);
    mym_trim(0);
}

/* A new one of the pool, full of its objects. */
static struct mym_magazine *full_one(struct mym_pool *pool)
{
    struct mym_magazine *magazine = mym_pool_exchange(pool, 0, NULL, 0);

    CHECK(magazine && magazine->used == 0);
    for (unsigned i = 0; i < magazine->capacity; i++)
        CHECK((magazine->entry[i] = mym_pool_take(pool)));
    return magazine;
}

/* It was made while the pool moved fewer objects: nothing of it goes, but by a cache that meets its
   wall at each turn. */
static void a_wide_one_that_is_short_becomes_longer(void)
{
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(512));
    struct mym_magazine *magazine;
    unsigned most;

    free(mym_malloc(opaque(512)));
    mym_trim(0);
    magazine = mym_pool_exchange(pool, 0, NULL, 0);
    CHECK(magazine && magazine->is_wide);
    most = magazine->capacity;
    for (unsigned objects = 1; objects < most / 2; objects++) {
        mym_magazine_set_capacity(magazine, objects);
        for (unsigned i = magazine->used; i < 2 * objects; i++)
            CHECK((magazine->entry[i] = mym_pool_take(pool)));
        CHECK(mym_pool_exchange(pool, 0, magazine, 2 * objects) == magazine);
        CHECKF(magazine->used == 2 * objects && magazine->capacity >= most,
               "%u of %u, of %u before", magazine->used, magazine->capacity,
               2 * objects);
    }
    mym_pool_unload(pool, 0, magazine, magazine->used);
    CHECK(mym_verify() == 0);
    mym_trim(0);
}

/* What caches may hold is less by now: a wide one that keeps a half of what it held is not. */
static void a_wide_one_that_is_too_long_goes_whole(void)
{
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(512));
    struct mym_magazine *magazine;

    free(mym_malloc(opaque(512)));
    mym_idle_set_keep(1024 * MYM_UNIT);
    for (unsigned caches = 256; caches <= 512; caches *= 2) {
        unsigned used;

        magazine = full_one(pool);
        used = magazine->capacity;
        CHECK(magazine->is_wide && used >= 8);
        mym_magazines_share(caches);
        magazine = mym_pool_exchange(pool, 0, magazine, used);
        CHECK(magazine && mym_magazine_is_whole(magazine, magazine->used));
        CHECKF(magazine->capacity < used && magazine->used <= used / 4,
               "%u caches: %u of %u, of %u before", caches, magazine->used,
               magazine->capacity, used);
        mym_pool_unload(pool, 0, magazine, magazine->used);
        mym_magazines_share(1);
        mym_trim(0);
    }
    CHECK(mym_verify() == 0);
}

/* ---- who brought a magazine gets it back ---- */

/* They are in the depot with an object each, in the order of the ids that brought them. */
static void bring(struct mym_pool *pool, struct mym_magazine *magazines[],
                  unsigned count)
{
    for (unsigned id = 0; id < count; id++) {
        CHECK((magazines[id] = mym_magazine_make(mym_pool_class(pool))));
        CHECK((magazines[id]->entry[0] = mym_pool_take(pool)));
        mym_pool_unload(pool, id, magazines[id], 1);
    }
}

static void a_cache_gets_its_own_back(void)
{
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(64));
    struct mym_magazine *magazines[MYM_DEPOT_STACKS];
    void *kept[64]; /* so that the depot may hold as many */

    for (unsigned i = 0; i < 64; i++)
        CHECK((kept[i] = malloc(64)));
    mym_trim(0);
    for (unsigned first = 0; first < MYM_DEPOT_STACKS; first++) {
        bring(pool, magazines, MYM_DEPOT_STACKS);
        for (unsigned i = 0; i < MYM_DEPOT_STACKS; i++) {
            unsigned id = (first + i) % MYM_DEPOT_STACKS;

            CHECK(mym_pool_load(pool, id, NULL) == magazines[id]);
        }
        for (unsigned id = 0; id < MYM_DEPOT_STACKS; id++)
            mym_pool_unload(pool, 0, magazines[id], 1);
        /* Where it has brought none, another's will do. */
        for (unsigned id = 0; id < MYM_DEPOT_STACKS; id++) {
            struct mym_magazine *magazine = mym_pool_load(pool, first, NULL);

            CHECK(magazine != NULL && magazine->used == 1);
            mym_pool_put(pool, magazine->entry[0]);
            mym_pool_unload(pool, 0, magazine, 0);
        }
    }
    for (unsigned i = 0; i < 64; i++)
        free(kept[i]);
    CHECK(mym_verify() == 0);
}

/* What went out since the last look is needed; what lay there since then is not. */
static void what_was_needed_stays(void)
{
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(64));
    struct mym_magazine *magazines[MYM_DEPOT_STACKS];
    void *kept[64];

    for (unsigned i = 0; i < 64; i++)
        CHECK((kept[i] = malloc(64)));
    mym_trim(0);
    bring(pool, magazines, MYM_DEPOT_STACKS);
    mym_pool_upkeep(pool, false, false);
    for (unsigned id = 1; id < MYM_DEPOT_STACKS; id++)
        CHECK(mym_pool_load(pool, id, NULL) == magazines[id]);
    for (unsigned id = 1; id < MYM_DEPOT_STACKS; id++)
        mym_pool_unload(pool, id, magazines[id], 1);
    mym_pool_upkeep(pool, false, false);
    CHECKF(pool->loaded_count == MYM_DEPOT_STACKS - 1, "%u of %u", pool->loaded_count,
           MYM_DEPOT_STACKS);
    for (unsigned i = 0; i < 64; i++)
        free(kept[i]);
    mym_trim(0);
}

static _Atomic bool is_over;

static void *share(void *unused)
{
    uint64_t random = test_seed();

    /* In no order: where threads take turns (valgrind) it might fit these. */
    while (!is_over)
        mym_magazines_share(next_random(&random) % 2 ? MANY : 1);
    return unused;
}

static void loads_bear_every_ration(void)
{
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(64));
    unsigned loaded = 0, refused = 0;
    pthread_t other;

    free(malloc(1));
    CHECK(pthread_create(&other, NULL, share, NULL) == 0);
    while (loaded < 2000 || refused < 2000) {
        struct mym_magazine *magazine = mym_pool_load(pool, 0, NULL);

        refused += magazine == NULL;
        if (magazine == NULL)
            continue;
        loaded++;
        CHECK(magazine->used > 0 && mym_magazine_is_whole(magazine, magazine->used));
        mym_slabs_reclaim(pool, magazine->entry, magazine->used);
        mym_pool_unload(pool, 0, magazine, 0);
    }
    is_over = true;
    CHECK(pthread_join(other, NULL) == 0);
    mym_magazines_share(1);
    CHECK(mym_verify() == 0);
}

/* ---- going up and down ---- */

/* So many taken and freed, in turn. */
static void up_and_down(size_t size, unsigned count)
{
    static void *objects[64];

    for (unsigned turn = 0; turn < 300; turn++) {
        for (unsigned i = 0; i < count; i++)
            CHECK((objects[i] = mym_malloc(opaque(size))));
        for (unsigned i = 0; i < count; i++)
            mym_free(objects[i]);
    }
}

/* The first of a class are short. They don't stay so. */
static void what_a_wide_one_holds_needs_no_pool(void)
{
    static const struct {
        size_t size; /* not used before */
        unsigned count;
    } ways[] = {{16500, 9}, {20500, 12}, {24000, 16}};

    stay_on_one_cpu();
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        const struct mym_pool *pool = mym_pool_of(0, mym_class_of(ways[i].size));
        uint64_t before, more;

        CHECK(mym_classes[mym_pool_class(pool)].entries == 16);
        up_and_down(ways[i].size, ways[i].count);
        before = pool->misses + pool->overflows;
        up_and_down(ways[i].size, ways[i].count);
        more = pool->misses + pool->overflows - before;
        CHECKF(more <= 30, "%u of %zu bytes: %llu magazines", ways[i].count,
               ways[i].size, (unsigned long long)more);
    }
}

/* ---- what those that were long in their time leave ---- */

static void be_busy(size_t size)
{
    up_and_down(size, 64);
}

static size_t cached(void)
{
    size_t objects[MYM_CLASSES] = {0}, bytes = 0;

    mym_cache_count(objects);
    for (unsigned cls = 1; cls < mym_class_count; cls++)
        bytes += objects[cls] * mym_classes[cls].size;
    return bytes;
}

/* One after the other has the budget, in a heap that does not grow: each gives its own back. */
static void classes_that_were_busy_keep_no_more_than_others(void)
{
    void *grown;

    stay_on_one_cpu();
    mym_idle_set_keep(1024 * MYM_UNIT);
    CHECK((grown = mym_malloc(opaque(32 << 20) - MYM_UNIT)));
    mym_free(grown);
    for (size_t size = 20000; size <= MYM_CLASS_MAX; size += 8192) {
        be_busy(size);
        for (unsigned quiet = 0; quiet < 2; quiet++) {
            now += 5000;
            mym_cache_upkeep();
        }
        CHECKF(cached() <= (57u << 20) / 10, "%zu bytes after the class of %zu",
               cached(), size); /* docs/memory.md */
    }
    CHECK(mym_verify() == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
}

/* Who asked in vain has nothing of the budget: all of it is there when the others are quiet. */
static void what_was_refused_is_not_taken(void)
{
    const size_t last = 20000;
    const struct mym_pool *pool = mym_pool_of(0, mym_class_of(last));

    stay_on_one_cpu();
    mym_idle_set_keep(1024 * MYM_UNIT);
    for (unsigned turn = 0; turn < 2; turn++) {
        for (size_t size = MYM_CLASS_MAX; size > 40000; size -= 8192)
            be_busy(size);
        for (unsigned quiet = 0; quiet < 2; quiet++) {
            now += 5000;
            mym_cache_upkeep();
        }
    }
    be_busy(last);
    CHECKF(pool->batch == mym_classes[mym_pool_class(pool)].room, "for %u objects",
           pool->batch);
    mym_idle_set_keep(0);
    mym_trim(0);
}

/* ---- long objects ---- */

/* Those of a class that a small program takes a few of are kept nowhere. */
static void few_long_ones_are_not_kept(void)
{
    const size_t size = MYM_COLD_SIZE + 20000; /* not used before */
    const struct mym_pool *pool = mym_pool_of(0, mym_class_of(size));
    size_t objects[MYM_CLASSES] = {0};

    mym_trim(0);
    for (unsigned turn = 1; turn <= MYM_COLD_TURNS; turn++) {
        mym_free(mym_malloc(opaque(size)));
        if (turn < MYM_COLD_TURNS / 2)
            CHECKF(pool->slabs == 0 && pool->batch == 0, "after %u", turn);
    }
    mym_cache_count(objects);
    CHECK(pool->batch > 0 && objects[mym_pool_class(pool)] > 0);
    mym_trim(0);
}

/* ---- who only frees ---- */

static unsigned seconds;

static void count_second(void)
{
    seconds++;
}

/* Whoever brings a part of a magazine has exchanged one. */
static void who_only_frees_looks_after_idle_memory(void)
{
    static void *objects[4000];
    struct mym_pool *pool = mym_pool_of(0, mym_class_of(8000));
    void (*before)(void) = mym_cache_each_second;

    mym_free(mym_malloc(opaque(8000)));
    mym_cache_each_second = count_second;
    now += 5000;
    for (unsigned turn = 0; turn < 20 && seconds == 0; turn++) {
        for (unsigned i = 0; i < 4000; i++)
            CHECK((objects[i] = mym_pool_take(pool)));
        for (unsigned i = 0; i < 4000; i++)
            mym_free(objects[i]);
    }
    mym_cache_each_second = before;
    CHECK(seconds > 0);
    mym_trim(0);
}

const struct test tests[] = {
    {"few_long_ones_are_not_kept", few_long_ones_are_not_kept},
    {"what_a_wide_one_holds_needs_no_pool", what_a_wide_one_holds_needs_no_pool},
    {"the_more_there_are_the_shorter_they_are",
     the_more_there_are_the_shorter_they_are},
    {"a_full_magazine_is_not_made_shorter", a_full_magazine_is_not_made_shorter},
    {"a_short_one_becomes_longer", a_short_one_becomes_longer},
    {"a_wide_one_leaves_the_half_that_came_first",
     a_wide_one_leaves_the_half_that_came_first},
    {"a_wide_one_that_is_short_becomes_longer",
     a_wide_one_that_is_short_becomes_longer},
    {"a_wide_one_that_is_too_long_goes_whole", a_wide_one_that_is_too_long_goes_whole},
    {"a_cache_gets_its_own_back", a_cache_gets_its_own_back},
    {"what_was_needed_stays", what_was_needed_stays},
    {"loads_bear_every_ration", loads_bear_every_ration},
    {"classes_that_were_busy_keep_no_more_than_others",
     classes_that_were_busy_keep_no_more_than_others},
    {"what_was_refused_is_not_taken", what_was_refused_is_not_taken},
    {"who_only_frees_looks_after_idle_memory", who_only_frees_looks_after_idle_memory},
    {NULL, NULL},
};
