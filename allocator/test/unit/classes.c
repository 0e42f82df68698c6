/* classes.c - size classes: the tables, and what the fast paths find in them. */
#include "check.h"
#include "family.h"

#include "alloc/alloc.h"
#include "cache/cache.h"
#include "heap/heap.h"
#include "heap/sizes.h"

#include <string.h>

static void classes_fit(void)
{
    free(malloc(1)); /* the tables are made at the first request */
    CHECK(mym_class_count > 1 && mym_class_count <= MYM_CLASSES);
    for (unsigned c = 1; c < mym_class_count; c++) {
        const struct mym_class *cls = &mym_classes[c];

        CHECK(cls->size % MYM_ALIGNMENT == 0);
        CHECK(mym_class_before(c) < cls->size);
        CHECK((size_t)cls->objects * cls->size + cls->lines * MYM_CACHELINE <=
              cls->units * MYM_UNIT);
        CHECK((size_t)(cls->objects + 1) * cls->size > cls->units * MYM_UNIT);
        CHECK(cls->capacity > 0 && cls->room >= cls->capacity);
    }
    for (size_t size = 0; size <= MYM_CLASS_MAX; size++) {
        unsigned c = mym_class_of(size);

        CHECKF(c > 0 && c < mym_class_count && mym_classes[c].size >= size, "size %zu",
               size);
        CHECKF(c == 1 || mym_class_before(c) < size, "size %zu fits a smaller class",
               size);
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

/* docs/memory.md: 3.7 MiB a CPU, in two magazines of each class, where none is busy. */
static void caches_hold_what_is_told(void)
{
    const size_t tenth = ((size_t)1 << 20) / 10;
    size_t bytes = 0;

    for (unsigned c = 1; c < mym_class_count; c++)
        bytes += (size_t)2 * mym_classes[c].capacity * mym_classes[c].size;
    CHECKF(bytes / tenth == 37, "%zu bytes", bytes);
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
        size_t most = page == 4096 ? 272 : 320;

        for (size_t header = 1; header <= most; header++)
            CHECKF(
                given_for(page + header) == page + most ||
                    (page == 4096 && header <= 64 && given_for(page + header) == 4160),
                "%zu + %zu: %zu", page, header, given_for(page + header));
        /* As many pages are touched as by objects that are a line longer. */
        CHECK(page > 8192 || mym_classes[mym_class_of(page + most)].objects == 15);
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
        for (c = 0; c <= mym_class_of(MYM_CLASS_MAX); c++)
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

static bool is_prime_to_lines(size_t size)
{
    return size % 128 == 64;
}

/*
 * What malloc gives is an odd number of lines long, but where it would fill its slab, and where
 * steps are shorter than a page.
 */
static void pages_are_odd_lines(void)
{
    for (size_t size = 3841; size <= MYM_CLASS_MAX; size++)
        CHECKF(is_prime_to_lines(given_for(size)) || given_for(size) == 4368 ||
                   given_for(size) == 65536 || given_for(size) == 131072,
               "%zu for %zu", given_for(size), size);
}

/*
 * A column of a matrix: the same place of rows that are vectors of n numbers. In few sets of a
 * second-level cache of 2048 sets with 8 lines each, those would push each other out.
 */
static void columns_have_many_sets(void)
{
    static const size_t rows[] = {500,  512,  640,  768,  1000, 1024, 1200,
                                  1500, 1536, 1800, 2000, 2048, 3000};

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        static uint16_t set[2048];
        char *row[3000];
        size_t crowded = 0;

        memset(set, 0, sizeof set);
        for (size_t k = 0; k < rows[i]; k++) {
            CHECK(row[k] = malloc(rows[i] * sizeof(double)));
            crowded += ++set[(uintptr_t)row[k] / MYM_CACHELINE % 2048] > 8;
        }
        CHECKF(MYM_SECURE || crowded <= rows[i] / 10, "%zu of %zu rows", crowded,
               rows[i]);
        for (size_t k = 0; k < rows[i]; k++)
            free(row[k]);
    }
}

/* The same for a first-level cache of 64 sets: a column of what it could hold is in more than 8. */
static void short_rows_have_many_sets(void)
{
    for (size_t bytes = 961; bytes <= 4096; bytes++) {
        unsigned char set[64] = {0};
        char *row[256];

        for (unsigned k = 0; k < 256; k++) {
            CHECK(row[k] = malloc(bytes));
            set[(uintptr_t)row[k] / MYM_CACHELINE % 64]++;
        }
        for (unsigned k = 0; k < 64; k++)
            CHECKF(MYM_SECURE || set[k] < 256 / 8, "%zu bytes: %d of 256 in one", bytes,
                   set[k]);
        for (unsigned k = 0; k < 256; k++)
            free(row[k]);
    }
}

/* Where 16 of a size lie at one place of their pages, a loop over all has one set of the cache. */
static void large_ones_start_at_lines_of_their_own(void)
{
    static const size_t sizes[] = {4096,   8000,   16000,  40000,  80000,   100000,
                                   120000, 140000, 240000, 800000, 3000000, 8000000};

    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *object[16];
        uint64_t lines = 0;

        for (unsigned k = 0; k < 16; k++) {
            CHECK(object[k] = malloc(sizes[i]));
            CHECK(malloc_usable_size(object[k]) == family.good_size(sizes[i]));
            object[k][0] = object[k][malloc_usable_size(object[k]) - 1] = (char)k;
            lines |= (uint64_t)1 << (uintptr_t)object[k] / MYM_CACHELINE % 64;
        }
        CHECKF(MYM_SECURE || __builtin_popcountll(lines) >= 4, "%zu bytes: %#llx",
               sizes[i], (unsigned long long)lines);
        for (unsigned k = 0; k < 16; k++) {
            CHECK(object[k][0] == (char)k);
            free(object[k]);
        }
    }
}

/* Nothing is lost of what leaves no room, nor of what is to lie at a page. */
static void pages_are_whole_where_they_are_asked_for(void)
{
    void *whole = malloc(5 * MYM_UNIT), *aligned = memalign(4096, 300000);

    CHECK((uintptr_t)whole % MYM_UNIT == 0 &&
          malloc_usable_size(whole) == 5 * MYM_UNIT);
    CHECK((uintptr_t)aligned % 4096 == 0 &&
          malloc_usable_size(aligned) == 5 * MYM_UNIT);
    free(whole);
    free(aligned);
}

/* As they grow and shrink where they are, what is told of their size can be used. */
static void those_that_start_later_are_resized(void)
{
    static const size_t steps[] = {250000, 258112,   262144, 400000,
                                   140000, 40000000, 300000};
    size_t had = 200000;
    char *object = malloc(had);

    CHECK(object);
    memset(object, 7, had);
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        CHECK(object = realloc(object, steps[i]));
        CHECK(malloc_usable_size(object) >= steps[i]);
        for (size_t at = 0; at < (had < steps[i] ? had : steps[i]); at += 997)
            CHECK(object[at] == 7);
        had = malloc_usable_size(object);
        memset(object, 7, had);
    }
    family.free_sized(object, steps[sizeof steps / sizeof *steps - 1]);
    for (size_t size = 30000; size < 300000; size += 499) {
        CHECK(object = malloc(size < 200000 ? 200000 : 140000));
        CHECK(object = realloc(object, size));
        family.free_sized(object, size);
    }
    CHECK(family.verify() == 0);
}

const struct test tests[] = {
    {"classes_fit", classes_fit},
    {"classes_waste_little", classes_waste_little},
    {"caches_hold_what_is_told", caches_hold_what_is_told},
    {"headers_cost_little", headers_cost_little},
    {"division_is_exact", division_is_exact},
    {"aligned_classes_are_aligned", aligned_classes_are_aligned},
    {"quick_classes_are_classes", quick_classes_are_classes},
    {"sizes_to_free_are_quick_while_samples_are_taken",
     sizes_to_free_are_quick_while_samples_are_taken},
    {"pages_are_odd_lines", pages_are_odd_lines},
    {"columns_have_many_sets", columns_have_many_sets},
    {"short_rows_have_many_sets", short_rows_have_many_sets},
    {"large_ones_start_at_lines_of_their_own", large_ones_start_at_lines_of_their_own},
    {"pages_are_whole_where_they_are_asked_for",
     pages_are_whole_where_they_are_asked_for},
    {"those_that_start_later_are_resized", those_that_start_later_are_resized},
    {NULL, NULL},
};
