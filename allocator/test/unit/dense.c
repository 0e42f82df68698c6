/*
 * dense.c - how often objects are looked at to learn whether such are written all over. The
 * kernel compares their words, a system call each: counted by -Wl,--wrap.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include "alloc/info.h"
#include "heap/runs.h"
#include "heap/sizes.h"

#include <pthread.h>
#include <string.h>
#include <sys/resource.h>

static size_t compared;

bool __real_mym_os_differs(const uint32_t *word, uint32_t value); /* NOLINT */
bool __wrap_mym_os_differs(const uint32_t *word, uint32_t value); /* NOLINT */

bool __wrap_mym_os_differs(const uint32_t *word, uint32_t value) /* NOLINT */
{
    compared++;
    return __real_mym_os_differs(word, value);
}

#define COUNT 500u

/* Each in a slab that was not there before: nothing may stay. The slabs that it took. */
static size_t take_and_free(size_t size, size_t written)
{
    static void *objects[COUNT];
    const struct mym_class *cls = &mym_classes[mym_class_of(size)];

    for (unsigned i = 0; i < COUNT; i++) {
        CHECK((objects[i] = malloc(opaque(size))));
        memset(objects[i], 1, written);
    }
    for (unsigned i = 0; i < COUNT; i++)
        free(objects[i]);
    malloc_trim(0);
    return COUNT / cls->objects;
}

static void what_is_sparse_is_looked_at_seldom(void)
{
    static const size_t sizes[] = {MYM_CLASS_MAX, 64 << 10, 20000};

    mym_idle_set_keep(0);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t slabs = 0;

        compared = 0;
        for (unsigned round = 0; round < 20; round++)
            slabs += take_and_free(sizes[i], 8);
        CHECK(mym_is_dense(sizes[i]) == MYM_SPARSE);
        CHECKF(compared > 0 && compared <= slabs, "%zu calls for %zu slabs of %zu",
               compared, slabs, sizes[i]);
    }
}

/* Seldom is not never: nobody looks at the end of an object that lies in a slab. */
static void what_becomes_dense_is_noticed(void)
{
    size_t size = 64 << 10;

    mym_idle_set_keep(0);
    for (unsigned round = 0; round < 4; round++)
        take_and_free(size, 8);
    CHECK(mym_is_dense(size) == MYM_SPARSE);
    for (unsigned round = 0; round < 4; round++)
        take_and_free(size, size);
    CHECK(mym_is_dense(size) != MYM_SPARSE);
}

/* Slabs start their objects some lines later, wherever in a page of the kernel's that is. */
static void what_is_written_all_over_is_dense(void)
{
    mym_idle_set_keep(0);
    for (unsigned cls = 1; cls < mym_class_count; cls++)
        if (mym_classes[cls].lines > 0 && mym_classes[cls].size > MYM_PLACE_MAX) {
            size_t size = mym_classes[cls].size;

            take_and_free(size, size);
            CHECKF(mym_is_always_dense(size), "of %zu bytes", size);
        }
}

/* A word of each page makes it resident: of those that the object begins, or that the kernel does. */
static void touch_and_free(size_t size, bool at_pages)
{
    static char *objects[COUNT];
    unsigned count =
        size <= MYM_CLASS_MAX ? COUNT : 4; /* each, or the first of a slab */

    for (unsigned i = 0; i < count; i++) {
        CHECK((objects[i] = malloc(opaque(size))));
        for (size_t at = at_pages ? -(uintptr_t)objects[i] % MYM_PAGE : 0; at < size;
             at += MYM_PAGE)
            objects[i][at] = 1;
    }
    for (unsigned i = 0; i < count; i++)
        free(objects[i]);
    malloc_trim(0);
}

static void a_word_of_each_page_is_enough(void)
{
    static const size_t units[] = {5, 9, 17, 33, 77, 138};
    const unsigned slabs = 2, count = slabs + sizeof units / sizeof *units;

    mym_idle_set_keep(0);
    for (unsigned i = 0; i < count; i++) {
        size_t size = i < slabs ? mym_classes[mym_class_of(70000 >> i)].size
                                : units[i - slabs] * MYM_UNIT - MYM_LINES_ROOM;

        for (unsigned round = 0; round < 4; round++)
            touch_and_free(size, i % 2 != 0);
        CHECKF(mym_is_dense(size) != MYM_SPARSE, "of %zu bytes", size);
    }
}

/* Their spans are as long as a power of two, they are not. */
static void what_ends_tells_of_its_own_size(void)
{
    static const size_t sizes[] = {1000000, 4150000, 16750000};

    mym_idle_set_keep(0);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (unsigned round = 0; round < 8; round++) {
            char *object = malloc(opaque(sizes[i]));

            CHECK(object);
            memset(object, 1, sizes[i]);
            free(object);
        }
        CHECKF(mym_is_dense(sizes[i]) != MYM_SPARSE, "of %zu bytes", sizes[i]);
    }
}

/* What its span has behind it nobody could write: lengths are rounded up, by an eighth at most. */
static void what_lies_behind_it_tells_nothing(void)
{
    static const size_t sizes[] = {270000, 540688, 1081360, 2162704, 4325392};

    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *object = malloc(opaque(sizes[i]));
        size_t span = mym_heap.units[mym_unit_of(object)].length * (size_t)MYM_UNIT;

        memset(object, 1, sizes[i]);
        for (unsigned ends = 0; ends < 20000; ends++) { /* one in 128 is looked at */
            mym_dense_freed(object, span);
            CHECKF(ends < 16 || mym_is_always_dense(span), "of %zu bytes, end %u",
                   sizes[i], ends);
        }
        free(object);
    }
}

/* The lower half of 1.0 is 0. */
static void a_double_of_each_page_is_enough(void)
{
    size_t size = 700000, span;
    char *object = malloc(opaque(size));

    CHECK(object);
    span = mym_heap.units[mym_unit_of(object)].length * (size_t)MYM_UNIT;
    for (size_t at = 0; at + sizeof(double) <= size; at += MYM_PAGE)
        *(double *)(object + at) = 1; /* NOLINT: it is aligned */
    for (unsigned ends = 0; ends < 20000; ends++)
        mym_dense_freed(object, span);
    CHECK(mym_is_always_dense(span));
    free(object);
}

#define TAKERS 20u /* more than threads have places for what they took last */

static pthread_barrier_t barrier;

/* All take theirs before any is written. */
static void *take_write_free(void *unused)
{
    size_t size = 3000000;

    for (unsigned round = 0; round < 3; round++) {
        char *object = malloc(opaque(size));

        CHECK(object);
        pthread_barrier_wait(&barrier);
        CHECKF(round == 0 || mym_is_always_dense(size), "round %u", round);
        pthread_barrier_wait(&barrier);
        memset(object, 1, size);
        free(object);
        pthread_barrier_wait(&barrier);
    }
    return unused;
}

static void of_others_objects_nothing_is_known(void)
{
    pthread_t takers[TAKERS];

    mym_idle_set_keep(0);
    CHECK(pthread_barrier_init(&barrier, NULL, TAKERS) == 0);
    for (unsigned i = 0; i < TAKERS; i++)
        CHECK(pthread_create(&takers[i], NULL, take_write_free, NULL) == 0);
    for (unsigned i = 0; i < TAKERS; i++)
        CHECK(pthread_join(takers[i], NULL) == 0);
    pthread_barrier_destroy(&barrier);
}

/* ---- what becomes of them in the page heap ---- */

static size_t faults(void)
{
    struct rusage usage;

    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (size_t)usage.ru_minflt;
}

#define SPANS 1000u
#define KEEP  ((size_t)32 << 20)

/* Page faults of taking so many, each written to in part, and freeing them. */
static size_t faults_of_batch(size_t size, size_t written)
{
    static void *objects[SPANS];
    size_t before = faults();

    for (unsigned i = 0; i < SPANS; i++) {
        CHECK((objects[i] = malloc(opaque(size))));
        memset(objects[i], (int)i + 1, written);
    }
    for (unsigned i = 0; i < SPANS; i++)
        free(objects[i]);
    return faults() - before;
}

/* 244 MiB of them and more, of which 4 are resident: no more than may stay, so all of that does. */
static void first_pages_of_sparse_ones_stay(void)
{
    static const size_t sizes[] = {250000, 500000, 256 << 10, 6 << 20};

    mym_idle_set_keep(KEEP);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t most = 0;

        for (unsigned round = 0; round < 4; round++)
            most = faults_of_batch(sizes[i], 8);
        CHECKF(most <= SPANS / 10, "%zu faults of %u x %zu", most, SPANS, sizes[i]);
        CHECKF(mym_pages.spared > KEEP / MYM_UNIT, "%u units", mym_pages.spared);
        CHECK(mym_verify() == 0 && mym_pages.spared == 0); /* that joins them */
        malloc_trim(0);
    }
}

/* What is counted as a page is one, whatever was written; swinging, three times `keep` may stay. */
static void no_more_stays_where_they_become_dense(void)
{
    size_t shadow = shadow_of(SPANS * 5 * MYM_UNIT);
    size_t before = resident_bytes(), after;

    mym_idle_set_keep(KEEP);
    for (unsigned round = 0; round < 4; round++)
        faults_of_batch(256 << 10, 8);
    CHECK(mym_pages.spared > 0);
    faults_of_batch(256 << 10, 256 << 10);
    after = resident_bytes();
    CHECKF(mym_pages_dirty() <= 3 * KEEP / MYM_UNIT &&
               after < before + 3 * KEEP + shadow + (4 << 20),
           "%u dirty units, %zu KiB became %zu", mym_pages_dirty(), before >> 10,
           after >> 10);
    mym_idle_set_keep(0); /* then not even those pages */
    CHECK(mym_pages_dirty() == 0 && mym_pages.spared == 0);
    CHECKF(resident_bytes() < before + shadow + (4 << 20), "%zu KiB",
           resident_bytes() >> 10);
}

const struct test tests[] = {
    {"what_is_sparse_is_looked_at_seldom", what_is_sparse_is_looked_at_seldom},
    {"what_becomes_dense_is_noticed", what_becomes_dense_is_noticed},
    {"what_is_written_all_over_is_dense", what_is_written_all_over_is_dense},
    {"a_word_of_each_page_is_enough", a_word_of_each_page_is_enough},
    {"a_double_of_each_page_is_enough", a_double_of_each_page_is_enough},
    {"what_ends_tells_of_its_own_size", what_ends_tells_of_its_own_size},
    {"what_lies_behind_it_tells_nothing", what_lies_behind_it_tells_nothing},
    {"of_others_objects_nothing_is_known", of_others_objects_nothing_is_known},
    {"first_pages_of_sparse_ones_stay", first_pages_of_sparse_ones_stay},
    {"no_more_stays_where_they_become_dense", no_more_stays_where_they_become_dense},
    {NULL, NULL},
};
