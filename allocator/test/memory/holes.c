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

const struct test tests[] = {
    {"mappings_are_left_for_the_program", mappings_are_left_for_the_program},
    {NULL, NULL},
};
