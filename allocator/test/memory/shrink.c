/*
 * shrink.c - an object that realloc makes smaller gives back what it no longer needs: at
 * once but for what may stay (TEST_KEEP, in MiB), however it was taken and whatever its
 * size was; and its contents stay.
 */
#include "check.h"
#include "family.h"

#include <string.h>

#define MIB       ((size_t)1 << 20)
#define COUNT_MAX 64u

static unsigned char *objects[COUNT_MAX];

static void *by_malloc(size_t size)
{
    return malloc(size);
}

static void *by_calloc(size_t size)
{
    return calloc(1, size);
}

static void *by_page(size_t size)
{
    return aligned_alloc(4096, size);
}

static void *by_two_mib(size_t size)
{
    return aligned_alloc(2 * MIB, size);
}

/* By growing: what realloc made is no different. */
static void *by_realloc(size_t size)
{
    return realloc(malloc(size / 2), size);
}

static const struct {
    const char *name;
    void *(*take)(size_t size);
} ways[] = {{"malloc", by_malloc},
            {"calloc", by_calloc},
            {"aligned to a page", by_page},
            {"aligned to 2 MiB", by_two_mib},
            {"realloc", by_realloc}};

static unsigned char mark_of(unsigned i)
{
    return (unsigned char)(i * 5 + 1);
}

static void take_all(void *(*take)(size_t), unsigned count, size_t size)
{
    for (unsigned i = 0; i < count; i++) {
        objects[i] = take(size);
        CHECK(objects[i]);
        memset(objects[i], mark_of(i), size);
    }
}

/* What is resident beyond what is in use and what may stay, in MiB. */
static void shrink_all(const char *way, unsigned count, size_t size, size_t before)
{
    size_t may = before + count * size + (size_t)env_number("TEST_KEEP", 0) * MIB;
    size_t now;

    for (unsigned i = 0; i < count; i++) {
        objects[i] = realloc(objects[i], size);
        CHECK(objects[i]);
    }
    now = resident_bytes();
    CHECKF(now <= may + 6 * MIB, "%u of %zu KiB by %s: %zu MiB resident, %zu may be",
           count, size >> 10, way, now / MIB, may / MIB);
    for (unsigned i = 0; i < count; i++)
        for (size_t at = 0; at < size; at += 1021)
            CHECKF(objects[i][at] == mark_of(i), "byte %zu of object %u", at, i);
}

static void free_all(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        free(objects[i]);
    malloc_trim(0);
}

/* From `size` to each of the sizes in turn; the list ends with 0. */
static void shrinks(unsigned count, size_t size, const size_t *to)
{
    for (unsigned way = 0; way < sizeof(ways) / sizeof(*ways); way++) {
        size_t before = resident_bytes();

        take_all(ways[way].take, count, size);
        for (unsigned i = 0; to[i] != 0; i++)
            shrink_all(ways[way].name, count, to[i], before);
        free_all(count);
    }
}

/* The buffer of a reader that was made as large as could be. */
static void spans_shrink(void)
{
    static const size_t to[] = {200 << 10, 0};
    unsigned count = is_slow() ? 8 : 24;

    shrinks(count, 20 * MIB, to);
}

static void spans_shrink_by_steps(void)
{
    static const size_t to[] = {19 * MIB,  9 * MIB, 3 * MIB, 300 << 10,
                                100 << 10, 5000,    0};

    shrinks(is_slow() ? 4 : 8, 24 * MIB, to);
}

/* Down to a size that is still a mapping of its own, one that need not be, a small one. */
static void own_mappings_shrink(void)
{
    static const size_t to[] = {40 * MIB, 20 * MIB, MIB, 0};

    shrinks(is_slow() ? 1 : 2, 100 * MIB, to);
}

/* What was given back is taken again, zeroed where that was asked for. */
static void what_shrank_grows_again(void)
{
    enum { COUNT = 10 };

    for (unsigned round = 0; round < 3; round++) {
        size_t before = resident_bytes();

        take_all(by_malloc, COUNT, 16 * MIB);
        shrink_all("malloc", COUNT, 100 << 10, before);
        for (unsigned i = 0; i < COUNT; i++) {
            unsigned char *zeroed = calloc(1, 8 * MIB);

            CHECK(zeroed);
            for (size_t at = 0; at < 8 * MIB; at += 509)
                CHECKF(zeroed[at] == 0, "byte %zu", at);
            memset(zeroed, 0xee, 8 * MIB);
            free(zeroed);
            objects[i] = realloc(objects[i], 4 * MIB);
            CHECK(objects[i]);
            memset(objects[i], mark_of(i), 4 * MIB);
        }
        shrink_all("malloc", COUNT, 4 * MIB, before);
        free_all(COUNT);
    }
}

const struct test tests[] = {
    {"spans_shrink", spans_shrink},
    {"spans_shrink_by_steps", spans_shrink_by_steps},
    {"own_mappings_shrink", own_mappings_shrink},
    {"what_shrank_grows_again", what_shrank_grows_again},
    {NULL, NULL},
};
