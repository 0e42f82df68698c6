/*
 * dense.c - how often objects are looked at to learn whether such are written all over. The
 * kernel compares their words, a system call each: counted by -Wl,--wrap.
 */
#include "check.h"
#include "family.h"

#include "heap/heap.h"
#include "heap/sizes.h"

#include <string.h>

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

const struct test tests[] = {
    {"what_is_sparse_is_looked_at_seldom", what_is_sparse_is_looked_at_seldom},
    {"what_becomes_dense_is_noticed", what_becomes_dense_is_noticed},
    {NULL, NULL},
};
