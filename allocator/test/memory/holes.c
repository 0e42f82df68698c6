/*
 * holes.c - what malloc_trim unmaps of a large heap leaves mappings for the program: each stretch
 * is one more, and a process has 65,530.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <malloc.h>

/* Each second one is freed, so each is a hole. None is written to: they are addresses alone. */
static void mappings_are_left_for_the_program(void)
{
    enum { COUNT = 24000 };
    static void *objects[COUNT];
    unsigned count = 0;

    while (count < COUNT && (objects[count] = malloc(2 << 20)) != NULL)
        count++;
    if (count < COUNT)
        printf("there is no address space for more than %u\n", count);
    for (unsigned i = 0; i < count; i += 2)
        free(objects[i]);
    malloc_trim(0);
    CHECKF(mapping_count() < 9000, "%zu mappings", mapping_count());
    for (unsigned i = 1; i < count; i += 2)
        free(objects[i]);
    malloc_trim(0);
    CHECKF(mapping_count() < 200, "%zu mappings", mapping_count());
    CHECK(family.verify == NULL || family.verify() == 0);
}

/* The hardened build knows of each whether it is in use: 512 bytes for 64 KiB, a page for two of these. */
static void records_of_large_objects_go_back(void)
{
    enum { COUNT = 20000 };
    static void *objects[COUNT];
    size_t before = anonymous_kib(), now;

    for (unsigned i = 0; i < COUNT; i++)
        if ((objects[i] = malloc(200000)) == NULL)
            printf("there is no address space for %u\n", i);
    for (unsigned i = 0; i < COUNT; i++)
        free(objects[i]);
    malloc_trim(0);
    now = anonymous_kib();
    CHECKF(now < before + 16384, "%zu KiB, %zu before", now, before);
}

const struct test tests[] = {
    {"records_of_large_objects_go_back", records_of_large_objects_go_back},
    {"mappings_are_left_for_the_program", mappings_are_left_for_the_program},
    {NULL, NULL},
};
