/*
 * shrink.c - nothing is left, and objects are made smaller: none is refused, wherever the smaller one
 * would have its place; each is freed afterwards, by who says its size as well.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)

static const size_t sizes[] = {
    100 * MIB, 40 * MIB, 30 * MIB, 20 * MIB, 12 * MIB, 5 * MIB, 3 * MIB, 300000, 100000,
    60000,     30000,    5000,     3000,     400,      100,     20,      1};
#define SIZES (sizeof sizes / sizeof *sizes)

static void take_all(void)
{
    for (size_t size = 64 * MIB; size >= 16; size /= 2)
        while (malloc(size))
            ;
}

static void check_bytes(const unsigned char *p, size_t size)
{
    for (size_t at = 0; at < size; at += 1 + at / 16)
        CHECKF(p[at] == 7, "byte %zu of %zu", at, size);
}

/* From one size to a smaller one, and to the next smaller one. */
static void make_smaller(size_t which)
{
    size_t from = sizes[which / SIZES], to = sizes[which % SIZES];
    unsigned char *p = malloc(from), *less;

    CHECK(p);
    memset(p, 7, from);
    limit_growth(RLIMIT_AS, 60 * MIB);
    take_all();
    CHECKF((less = realloc(p, to)), "%zu to %zu bytes", from, to);
    check_bytes(less, to);
    CHECK(malloc_usable_size(less) >= to);
    p = less;
    CHECKF((less = realloc(p, to / 2 + 1)), "%zu to %zu and %zu", from, to, to / 2 + 1);
    check_bytes(less, to / 2 + 1);
    if (family.free_sized && which % 2 == 0)
        family.free_sized(less, to / 2 + 1);
    else
        free(less);
    CHECK(!family.verify || family.verify() == 0);
}

static void each_is_made_smaller(void)
{
    free(malloc(1));
    for (size_t from = 0; from < SIZES; from++)
        for (size_t to = from + 1; to < SIZES; to++)
            run_in_child(make_smaller, from * SIZES + to);
}

const struct test tests[] = {
    {"each_is_made_smaller", each_is_made_smaller},
    {NULL, NULL},
};
