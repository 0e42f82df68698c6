/* heap.c - size classes, page heap and slabs by themselves, against plain models. */
#include "check.h"
#include "family.h"

#include "alloc/alloc.h"
#include "alloc/background.h"
#include "alloc/info.h"
#include "cache/cache.h"
#include "heap/heap.h"
#include "heap/runs.h"
#include "heap/sizes.h"
#include "os/os.h"

#include <pthread.h>
#include <string.h>

/* ---- size classes ---- */

static void classes_fit(void)
{
    free(malloc(1)); /* the tables are made at the first request */
    CHECK(mym_class_count > 1 && mym_class_count <= MYM_CLASSES);
    for (unsigned c = 1; c < mym_class_count; c++) {
        const struct mym_class *cls = &mym_classes[c];

        CHECK(cls->size % MYM_ALIGNMENT == 0);
        CHECK(c == 1 || cls->size > mym_classes[c - 1].size);
        CHECK((size_t)cls->objects * cls->size <= cls->units * MYM_UNIT);
        CHECK((size_t)(cls->objects + 1) * cls->size > cls->units * MYM_UNIT);
        CHECK(cls->capacity > 0 && cls->room >= cls->capacity);
    }
    for (size_t size = 0; size <= MYM_CLASS_MAX; size++) {
        unsigned c = mym_class_of(size);

        CHECKF(c > 0 && c < mym_class_count && mym_classes[c].size >= size, "size %zu",
               size);
        CHECKF(c == 1 || mym_classes[c - 1].size < size,
               "size %zu fits a smaller class", size);
    }
}

/* The file promises what is lost inside an object. */
static void classes_waste_little(void)
{
    for (size_t size = 129; size <= MYM_CLASS_MAX; size++) {
        size_t given = mym_classes[mym_class_of(size)].size;
        size_t percent = size <= MYM_SMALL_MAX ? 11 : size <= MYM_FINE_MAX ? 12 : 20;

        CHECKF((given - size) * 100 <= given * percent, "%zu for %zu", given, size);
    }
}

static size_t given_for(size_t size)
{
    return mym_classes[mym_class_of(size)].size;
}

/* A power of two and what programs put in front of it: a link, a header, the header of pages. */
static void headers_cost_little(void)
{
    for (size_t page = 1024; page <= 2048; page *= 2)
        for (size_t header = 1; header <= 64; header++)
            CHECKF(given_for(page + header) == page + 64 ||
                       (page + header <= 1040 && given_for(page + header) == 1040),
                   "%zu + %zu: %zu", page, header, given_for(page + header));
    for (size_t page = 4096; page <= 32768; page *= 2) {
        const struct mym_class *cls = &mym_classes[mym_class_of(page + 1)];

        for (size_t header = 1; header <= 272; header++)
            CHECKF(given_for(page + header) == page + 272, "%zu + %zu: %zu", page,
                   header, given_for(page + header));
        /* Of a slab that is full as many pages are touched as by the shortest header. */
        CHECK(cls->objects % 15 == 0 && 15 * cls->size <= 15 * page + MYM_PAGE);
    }
    CHECK(given_for(1025) == 1040 && given_for(1040) == 1040);
}

static void division_is_exact(void)
{
    for (unsigned c = 1; c < mym_class_count; c++)
        for (uint64_t offset = 0; offset < mym_classes[c].units * MYM_UNIT; offset++)
            CHECKF(offset * mym_classes[c].inverse >> 40 ==
                       offset / mym_classes[c].size,
                   "class %u, offset %llu", c, (unsigned long long)offset);
}

static void aligned_classes_are_aligned(void)
{
    for (size_t alignment = 16; alignment <= MYM_CLASS_MAX; alignment *= 2)
        for (size_t size = 0; size <= MYM_CLASS_MAX; size += 1 + size / 50) {
            unsigned c = mym_class_of_aligned(alignment, size);

            CHECKF(c == 0 || (mym_classes[c].size >= size &&
                              mym_classes[c].size % alignment == 0),
                   "alignment %zu, size %zu: class %u", alignment, size, c);
            CHECKF(c != 0 || size > alignment || alignment > 4096,
                   "alignment %zu, size %zu", alignment, size);
        }
}

/* What the fast paths find is what the tables say, up to the last size that has a class. */
static void check_quick_classes(enum mym_use use)
{
    unsigned c;

    for (size_t size = 0; size <= MYM_CLASS_MAX; size++) {
        unsigned right = mym_class_of(size);

        CHECKF(use == MYM_TO_FREE ||
                   (mym_quick_class(MYM_TO_TAKE, size, &c) && c == right),
               "size %zu", size);
        for (c = 0; c <= mym_class_count; c++)
            CHECKF((size > mym_front.ends[c] && size <= mym_front.ends[c + 1]) ==
                       (c == right && size != 0),
                   "size %zu, class %u", size, c);
    }
    CHECK(!mym_quick_class(MYM_TO_TAKE, MYM_CLASS_MAX + 1, &c) &&
          !mym_quick_class(MYM_TO_TAKE, SIZE_MAX, &c));
    for (size_t alignment = 1; alignment != 0; alignment *= 2) {
        CHECK(!mym_quick_class_aligned(use, alignment, 0, &c));
        CHECK(!mym_quick_class_aligned(use, alignment, SIZE_MAX, &c));
        for (size_t size = 1; size <= MYM_CLASS_MAX + 200;
             size += size < 1100 || size + 300 > MYM_CLASS_MAX ? 1 : 7) {
            unsigned right = mym_class_of_aligned(
                alignment < MYM_ALIGNMENT ? MYM_ALIGNMENT : alignment, size);

            c = 0;
            CHECKF(mym_quick_class_aligned(use, alignment, size, &c) == (right != 0) &&
                       c == right,
                   "alignment %zu, size %zu: class %u, not %u", alignment, size, c,
                   right);
        }
    }
}

static void quick_classes_are_classes(void)
{
    check_quick_classes(MYM_TO_TAKE);
    check_quick_classes(MYM_TO_FREE);
}

/* While samples are taken malloc counts; a sized delete has nothing to do with it. */
static void sizes_to_free_are_quick_while_samples_are_taken(void)
{
    unsigned c;

    CHECK(mym_profile_start((size_t)1 << 40) == 0);
    CHECK(!mym_quick_class(MYM_TO_TAKE, 64, &c));
    CHECK(!mym_quick_class_aligned(MYM_TO_TAKE, 64, 64, &c));
    check_quick_classes(MYM_TO_FREE);
    CHECK(mym_profile_stop() == 0);
}

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
    bool zeroed = false;

    for (unsigned i = 0; i < count; i++)
        CHECK((first[i] = mym_pages_take(FLOCK_UNITS, 1, MYM_LARGE, false, &zeroed)));
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
    bool zeroed = false;
    unsigned told = 0;

    for (int twice = 0; twice < 2; twice++) {
        mym_pages_hear_growth();
        told = 0;
        for (unsigned i = 0; i < MASS; i++) {
            CHECK((first[i] =
                       mym_pages_take(FLOCK_UNITS * 16, 1, MYM_LARGE, false, &zeroed)));
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
        char *start = mym_unit_address(slab);
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

/* ---- magazines ---- */

/* Magazines that the pool of this size gave and got. */
static uint64_t exchanges(size_t size)
{
    static struct mym_info info;

    mym_info_read(&info);
    return info.cls[mym_class_of(size)].misses + info.cls[mym_class_of(size)].overflows;
}

/* The first magazines of a class are short. They don't stay so: what two long ones hold needs
   no pool. */
static void short_magazines_grow(void)
{
    for (unsigned part = 1; part <= 4; part++) {
        /* Classes that were not used before; the last has the longest there are at once. */
        const size_t size = part == 4 ? 32 : 96 + part * 32;
        unsigned count = mym_classes[mym_class_of(size)].capacity * part / 4;
        void *objects[256];
        uint64_t before = 0, more;

        CHECK(count <= 256);
        for (unsigned turn = 0; turn < 1000; turn++) {
            for (unsigned i = 0; i < count; i++)
                CHECK((objects[i] = mym_malloc(opaque(size))));
            for (unsigned i = 0; i < count; i++)
                mym_free(objects[i]);
            if (turn == 10)
                before = exchanges(size);
        }
        more =
            exchanges(size) - before; /* each CPU that the thread is on begins anew */
        CHECKF(more <= 100, "%u of %zu bytes: %llu magazines", count, size,
               (unsigned long long)more);
    }
}

static const struct mym_magazine *current(unsigned cls)
{
    const struct mym_cache *cache =
        mym_mode == MYM_MODE_TLS ? mym_thread_own : mym_cache_of(mym_rseq_id());

    return mym_magazine_of(cls, mym_slot_of(cache, cls));
}

/* A batch that would fit into a magazine of the longest that all may have meets no wall. */
static void batches_fit(void)
{
    const size_t size = 96;
    unsigned cls = mym_class_of(size), walls = 0;
    void *objects[48];

    stay_on_one_cpu();
    mym_trim(0);
    for (unsigned turn = 0; turn < 300; turn++) {
        const void *before = current(cls);

        for (unsigned i = 0; i < 48; i++)
            CHECK((objects[i] = mym_malloc(opaque(size))));
        walls += turn >= 200 && current(cls) != before;
        for (unsigned i = 0; i < 48; i++)
            mym_free(objects[i]);
    }
    CHECKF(walls <= 5, "%u of 100 batches", walls);
}

/* ---- span words ---- */

static size_t in_words(void)
{
    size_t objects[MYM_CLASSES] = {0};

    return mym_cache_count(objects);
}

/* So many of a size taken, then freed in the same order. */
static void take_and_free(unsigned count, size_t size)
{
    void *object[64];

    for (unsigned i = 0; i < count; i++)
        CHECK((object[i] = mym_malloc(opaque(size))));
    for (unsigned i = 0; i < count; i++)
        mym_free(object[i]);
}

/* A span is kept for a size that comes and goes, alone or with others, and for no other. */
static void words_are_for_sizes_in_turn(void)
{
    size_t mib = (size_t)1 << 20, unit = MYM_UNIT;
    void *others[2];

    stay_on_one_cpu();
    mym_trim(0);
    mym_idle_set_keep(1024 * MYM_UNIT);
    for (int i = 0; i < 10; i++) {
        take_and_free(1, mib);
        take_and_free(1, 5 * unit);
    }
    CHECKF(in_words() == mib + 5 * unit, "%zu bytes", in_words());
    for (int i = 0; i < 2; i++) /* in vain */
        CHECK((others[i] = mym_malloc(opaque((6 + (unsigned)i) * unit))));
    CHECKF(in_words() == 0, "%zu bytes", in_words());
    for (int i = 0; i < 2; i++)
        mym_free(others[i]);
    mym_trim(0);
    take_and_free(8, mib); /* many at once: a word keeps one of them */
    CHECKF(in_words() == mib, "%zu bytes", in_words());
    CHECK(mym_pages.loose_places == (uint64_t)1 << 15);
    for (int i = 0; i < 10; i++) /* again: as many as may be, the others stay whole */
        take_and_free(8, mib);
    CHECKF(in_words() == MYM_SPAN_MAX, "%zu bytes", in_words());
    CHECK(mym_pages.loose_places == (uint64_t)1 << 15);
    mym_free(mym_malloc(opaque(7 * mib))); /* what another length needs is joined */
    CHECK(mym_pages.loose_places == 1);    /* its own */
    take_and_free(1, mib);
    CHECKF(in_words() == MYM_SPAN_MAX, "%zu bytes", in_words());
    CHECK(mym_verify() == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
}

static void age(struct mym_pool *pool, void *context)
{
    (void)context;
    mym_pool_upkeep(pool, true, false);
    mym_pool_upkeep(pool, true, false);
}

/* What comes and goes in batches meets its pool for every eighth object, large as it is. */
static void busy_magazines_are_long(void)
{
    const struct mym_pool *pool = &mym_arenas[0]->pool[mym_class_of(MYM_UNIT)];
    uint64_t before = 0;

    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_pools_each(age, NULL); /* no other has any of the budget */
    for (int i = 0; i < 100; i++) {
        before = pool->misses;
        take_and_free(64, MYM_UNIT);
    }
    CHECKF(pool->misses - before <= 64 / 8, "%zu misses",
           (size_t)(pool->misses - before));
    mym_idle_set_keep(0);
    mym_trim(0);
}

/* Of what no cache keeps, those of one length stay whole until anything else is asked for. */
static void long_ones_of_a_length_are_loose(void)
{
    size_t mib = (size_t)1 << 20;
    void *first, *second, *other, *asked[2]; /* what is asked for last a cache keeps */

    mym_trim(0);
    mym_idle_set_keep(1024 * MYM_UNIT);
    CHECK((first = mym_malloc(opaque(8 * mib))));
    CHECK((second = mym_malloc(opaque(8 * mib))));
    CHECK((other = mym_malloc(opaque(9 * mib))));
    CHECK((asked[0] = mym_malloc(opaque(10 * mib))));
    mym_free(first);
    mym_free(second);
    CHECK(mym_pages.loose_count == 2 && mym_pages.loose_units == 16 * mib / MYM_UNIT);
    CHECK(mym_malloc(opaque(8 * mib)) == second);
    CHECK(mym_malloc(opaque(8 * mib)) == first && mym_pages.loose_count == 0);
    CHECK((asked[1] = mym_malloc(opaque(10 * mib))));
    mym_free(first);
    mym_free(second);
    mym_free(other); /* another length has their place */
    CHECK(mym_pages.loose_count == 1 && mym_pages.loose_units == 9 * mib / MYM_UNIT);
    CHECK((first = mym_malloc(opaque(8 * mib))) && mym_pages.loose_count == 0);
    mym_free(first);
    mym_free(asked[0]);
    mym_free(asked[1]);
    CHECK(mym_verify() == 0 && mym_pages.loose_count == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
}

/* One of them is kept, once it is known whether such are written all over; in no word's stead. */
static void a_long_one_is_kept(void)
{
    size_t mib = (size_t)1 << 20;

    mym_trim(0);
    mym_idle_set_keep(1024 * MYM_UNIT);
    take_and_free(1, mib);
    for (int i = 0; i < 10; i++)
        take_and_free(1, 8 * mib);
    CHECKF(in_words() == 8 * mib, "%zu bytes", in_words());
    CHECK(mym_verify() == 0);
    take_and_free(1, 9 * mib); /* in vain, twice */
    take_and_free(1, 9 * mib);
    CHECKF(in_words() != 8 * mib, "%zu bytes", in_words());
    for (int i = 0; i < 3; i++)
        take_and_free(1, 9 * mib);
    CHECKF(in_words() == 9 * mib, "%zu bytes", in_words());
    for (int i = 0; i < 3; i++)
        take_and_free(1, mib); /* all may stand for 4 MiB, or for one that is longer */
    CHECKF(in_words() == mib, "%zu bytes", in_words());
    CHECK(mym_verify() == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
    CHECK(in_words() == 0);
}

/* What was given back last stays whole, but no more than can be joined at once. */
static void few_are_loose(void)
{
    static void *objects[3000];
    uint32_t most = 0;

    mym_idle_set_keep((size_t)4 << 30);
    for (unsigned i = 0; i < 3000; i++)
        CHECK((objects[i] = mym_malloc(opaque(3 * MYM_UNIT))));
    for (unsigned i = 0; i < 3000; i++) {
        mym_free(objects[i]);
        most = mym_pages.loose_count > most ? mym_pages.loose_count : most;
    }
    CHECKF(most > 900 && most <= 1024, "%u are loose", most);
    CHECK(mym_verify() == 0 && mym_pages.loose_count == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
}

#define SPARSE_SLABS 64u

/* Many slabs, of which all but the first object is freed; those stay in kept[]. */
static void make_sparse(void **kept)
{
    static void *objects[SPARSE_SLABS * MYM_UNIT / 1024];
    unsigned count = sizeof objects / sizeof *objects;
    unsigned keep = 0;

    for (unsigned i = 0; i < count; i++)
        CHECK((objects[i] = mym_malloc(opaque(1024))));
    for (unsigned i = 0; i < count; i++)
        if ((uintptr_t)objects[i] % MYM_UNIT < 1024 && keep < SPARSE_SLABS)
            kept[keep++] = objects[i];
        else
            mym_free(objects[i]);
    CHECK(keep >= SPARSE_SLABS / 2 && mym_verify() == 0);
    while (keep < SPARSE_SLABS)
        kept[keep++] = NULL;
}

static void free_all(void **kept)
{
    for (unsigned i = 0; i < SPARSE_SLABS; i++)
        mym_free(kept[i]);
    mym_trim(0);
    CHECK(mym_idle_held(MYM_HOLDS_DEPOTS) == 0 && mym_idle_held(MYM_HOLDS_SLABS) == 0);
}

/* The sums are held against what pools and caches have. */
static void sums_are_verified(void)
{
    uint32_t open;

    for (unsigned holder = 0; holder < MYM_HOLDS_SPANS; holder++) {
        mym_idle_grant(holder, 1, 0);
        CHECK(mym_verify() == 1);
        mym_idle_return(holder, 1);
    }
    mym_idle_set_keep(1024 * MYM_UNIT);
    for (int i = 0; i < 3; i++)
        mym_free(mym_malloc(opaque(1 << 20)));
    open = mym_idle_held(MYM_HOLDS_SPANS);
    CHECK(open > 0 && mym_verify() == 0);
    mym_idle_return(MYM_HOLDS_SPANS, open);
    CHECK(mym_verify() == 1);
    mym_idle_grant(MYM_HOLDS_SPANS, open, 0);
    mym_idle_set_keep(0);
    mym_trim(0);
    mym_idle_add_hollow(1);
    CHECK(mym_verify() == 1);
    mym_idle_add_hollow(-1);
    CHECK(mym_verify() == 0);
}

/* Slabs that a few objects pin keep their pages as part of what is kept, and no more. */
static void sparse_slabs_are_part_of_keep(void)
{
    static void *again[SPARSE_SLABS * 32];
    void *kept[SPARSE_SLABS];
    uint64_t purged;

    if (mym_os_page() >= MYM_UNIT) /* no page of such a slab is free */
        return;
    mym_idle_set_keep(4 * SPARSE_SLABS * MYM_UNIT);
    purged = mym_pages_info().purged;
    make_sparse(kept);
    CHECK(mym_pages_info().purged == purged);
    CHECKF(mym_idle_held(MYM_HOLDS_SLABS) >= SPARSE_SLABS / 2, "%u units",
           mym_idle_held(MYM_HOLDS_SLABS));
    free_all(kept);

    mym_idle_set_keep(16 * MYM_UNIT);
    purged = mym_pages_info().purged;
    make_sparse(kept);
    CHECK(mym_pages_info().purged >= purged + SPARSE_SLABS / 2 * MYM_UNIT);
    CHECKF(mym_idle_held(MYM_HOLDS_SLABS) <= 16, "%u units",
           mym_idle_held(MYM_HOLDS_SLABS));
    CHECK(!mym_idle_is_swinging());
    for (unsigned i = 0; i < SPARSE_SLABS * 32; i++) /* their pages are wanted again */
        CHECK((again[i] = mym_malloc(opaque(1024))));
    CHECK(mym_idle_is_swinging());
    for (unsigned i = 0; i < SPARSE_SLABS * 32; i++)
        mym_free(again[i]);
    for (unsigned i = 0; i < SPARSE_SLABS; i++)
        mym_free(kept[i]);
    mym_idle_set_keep(0);
    mym_trim(0);
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
    {"classes_fit", classes_fit},
    {"classes_waste_little", classes_waste_little},
    {"headers_cost_little", headers_cost_little},
    {"division_is_exact", division_is_exact},
    {"aligned_classes_are_aligned", aligned_classes_are_aligned},
    {"quick_classes_are_classes", quick_classes_are_classes},
    {"sizes_to_free_are_quick_while_samples_are_taken",
     sizes_to_free_are_quick_while_samples_are_taken},
    {"spans_come_and_go", spans_come_and_go},
    {"swings_stay", swings_stay},
    {"growth_is_told", growth_is_told},
    {"slab_gives_each_object_once", slab_gives_each_object_once},
    {"first_objects_have_colours", first_objects_have_colours},
    {"short_magazines_grow", short_magazines_grow},
    {"batches_fit", batches_fit},
    {"sums_are_verified", sums_are_verified},
    {"words_are_for_sizes_in_turn", words_are_for_sizes_in_turn},
    {"busy_magazines_are_long", busy_magazines_are_long},
    {"long_ones_of_a_length_are_loose", long_ones_of_a_length_are_loose},
    {"a_long_one_is_kept", a_long_one_is_kept},
    {"few_are_loose", few_are_loose},
    {"sparse_slabs_are_part_of_keep", sparse_slabs_are_part_of_keep},
    {"walk_beside_the_helper", walk_beside_the_helper},
    {NULL, NULL},
};
