/*
 * early.c - the recipe of programs for real time: all that is free may stay, nothing is mapped by
 * itself, much is taken, written and freed; then nothing that is taken faults, whatever its size.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <malloc.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

enum { EARLY = 256, LATER = 128 }; /* MiB */

static unsigned char *objects[LATER * MIB / 512];

static size_t faults(void)
{
    struct rusage usage;

    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (size_t)(usage.ru_minflt + usage.ru_majflt);
}

static unsigned char *written(size_t size)
{
    unsigned char *object = malloc(size);

    CHECK(object);
    return memset(object, 1, size);
}

static void take_early(void)
{
    CHECK(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    CHECK(mallopt(M_MMAP_MAX, 0) == 1);
    memset(objects, 0, sizeof(objects));
    free(written(EARLY * MIB));
}

/* Of the pages that are written a 32nd, for the allocator's own records. */
static void take_later(size_t size)
{
    size_t before = faults(), count = LATER * MIB / size, most;

    for (size_t i = 0; i < count; i++)
        objects[i] = written(size);
    most = LATER * MIB / (size_t)sysconf(_SC_PAGESIZE) / 32;
    CHECKF(faults() - before <= most, "%zu faults of %zu-byte objects, %zu allowed",
           faults() - before, size, most);
    for (size_t i = 0; i < count; i++)
        free(objects[i]);
}

static void later_ones_do_not_fault(void)
{
    take_early();
    for (size_t size = 512; size <= 32 * MIB; size *= 4)
        take_later(size);
    take_later(3000);
    CHECK(family.verify == NULL || family.verify() == 0);
}

/* The heap grows, which is when others lose what they do not use. */
static void what_a_few_pin_stays(void)
{
    size_t size = 512, count = LATER * MIB / size, before;

    take_early();
    for (size_t i = 0; i < count; i++)
        objects[i] = written(size);
    for (size_t i = 0; i < count; i++)
        if (i % 128 != 0)
            free(objects[i]);
    free(written((EARLY + 64) * MIB));
    free(written((EARLY + 128) * MIB));
    before = faults();
    for (size_t i = 0; i < count; i++)
        if (i % 128 != 0)
            objects[i] = written(size);
    CHECKF(faults() - before <= 1000, "%zu faults", faults() - before);
    for (size_t i = 0; i < count; i++)
        free(objects[i]);
    CHECK(family.verify == NULL || family.verify() == 0);
}

static void nor_where_all_is_locked(void)
{
    if (!may_lock(2000 * MIB)) {
        printf("SKIP: 2000 MiB may not be locked\n");
        return;
    }
    CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
    later_ones_do_not_fault();
    munlockall();
}

/* The first one can grow where it is, or is copied to what was freed. */
static void one_that_grows_does_not(void)
{
    unsigned char *object = NULL;
    size_t before;

    take_early();
    before = faults();
    for (size_t size = 4 * MIB; size <= 96 * MIB; size += 4 * MIB) {
        CHECK((object = realloc(object, size)));
        memset(object + size - 4 * MIB, (int)(size / MIB), 4 * MIB);
    }
    CHECKF(faults() - before <= 256, "%zu faults", faults() - before);
    for (size_t i = 0; i < 96 * MIB; i += MIB)
        CHECK(object[i] == i / (4 * MIB) * 4 + 4);
    free(object);
}

/* Who says nothing of what may stay gets back what is free, as ever. */
static void one_call_alone_keeps_nothing(void)
{
    size_t size = 512, count = LATER * MIB / size, before, more;

    CHECK(mallopt(M_MMAP_MAX, 0) == 1);
    memset(objects, 0, sizeof(objects));
    before = resident_bytes();
    for (size_t i = 0; i < count; i++)
        objects[i] = written(size);
    for (size_t i = 0; i < count; i++)
        if (i % 256 != 0)
            free(objects[i]);
    more = resident_bytes() - before;
    CHECKF(family.verify == NULL || more <= 72 * MIB, "%zu MiB", more / MIB);
    for (size_t i = 0; i < count; i += 256)
        free(objects[i]);
}

/* Objects of before and after are resized, and given back, as any. */
static void it_can_be_changed_at_any_time(void)
{
    unsigned char *object[8];

    CHECK(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    for (int i = 0; i < 8; i++) {
        CHECK(mallopt(M_MMAP_MAX, i % 2 == 0 ? 0 : 65536) == 1);
        CHECK((object[i] = calloc(1, 33 * MIB)) && object[i][33 * MIB - 1] == 0);
        object[i][5] = (unsigned char)i;
    }
    for (int i = 0; i < 8; i++) {
        CHECK(mallopt(M_MMAP_MAX, i % 3 == 0 ? 0 : 65536) == 1);
        CHECK(malloc_usable_size(object[i]) >= 33 * MIB);
        CHECK((object[i] = realloc(object[i], 65 * MIB)) && object[i][5] == i);
        CHECK((object[i] = realloc(object[i], 34 * MIB)) && object[i][5] == i);
        if (i % 4 == 1)
            CHECK((object[i] = realloc(object[i], 1000)) && object[i][5] == i);
    }
    for (int i = 0; i < 8; i++)
        free(object[i]);
    CHECK(family.verify == NULL || family.verify() == 0);
}

/* As without mallopt: what is promised, and what is refused. */
static void sizes_are_what_they_are(void)
{
    static const size_t beyond[] = {(size_t)1 << 48, ((size_t)1 << 48) + 48 * MIB,
                                    ((size_t)1 << 60) + 64 * MIB, SIZE_MAX / 4};
    unsigned char *object;

    CHECK(mallopt(M_TRIM_THRESHOLD, -1) == 1);
    CHECK(mallopt(M_MMAP_MAX, 0) == 1);
    for (size_t size = 33 * MIB; size < 40 * MIB; size += 345678) {
        CHECK((object = malloc(size)));
        CHECK(family.good_size == NULL ||
              family.good_size(size) == malloc_usable_size(object));
        object[0] = object[size - 1] = 7;
        for (unsigned i = 0; i < sizeof beyond / sizeof *beyond; i++)
            CHECKF(realloc(object, beyond[i]) == NULL, "%zu bytes", beyond[i]);
        CHECK(malloc_usable_size(object) >= size);
        CHECK(object[0] == 7 && object[size - 1] == 7);
        free(object);
    }
}

const struct test tests[] = {
    {"later_ones_do_not_fault", later_ones_do_not_fault},
    {"what_a_few_pin_stays", what_a_few_pin_stays},
    {"nor_where_all_is_locked", nor_where_all_is_locked},
    {"one_that_grows_does_not", one_that_grows_does_not},
    {"one_call_alone_keeps_nothing", one_call_alone_keeps_nothing},
    {"it_can_be_changed_at_any_time", it_can_be_changed_at_any_time},
    {"sizes_are_what_they_are", sizes_are_what_they_are},
    {NULL, NULL},
};
