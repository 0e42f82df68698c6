/* protect.c - what a program did to the pages of an object ends with the object. */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)

static size_t whole_pages(size_t bytes)
{
    return bytes & ~((size_t)getauxval(AT_PAGESZ) - 1);
}

static char *page_inside(char *object, size_t size)
{
    return (char *)whole_pages((size_t)object + size / 2);
}

/* free does not read where the program forbade it: a guard page in a stack, say. */
static void free_does_not_read(void)
{
    static const size_t sizes[] = {100000, 300000, 5 * MIB, 40 * MIB};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        for (unsigned round = 0; round < 10; round++) {
            char *object = malloc(sizes[i]);
            size_t half = whole_pages(sizes[i] / 2);
            char *page;

            CHECK(object);
            memset(object, 1, sizes[i]);
            page = page_inside(object, half);
            CHECK(!mprotect(page, half, PROT_NONE));
            free(object);
            /* Spans are given out again as they are: only a mapping is as good as new. */
            if (sizes[i] < 32 * MIB)
                mprotect(page, half, PROT_READ | PROT_WRITE);
        }
}

/* A mapping of its own is given out as if it were new. */
static void mappings_are_as_new(void)
{
    size_t size = 40 * MIB;

    for (unsigned round = 0; round < 20; round++) {
        char *object = malloc(size);

        CHECK(object);
        memset(object, 1, size); /* dies where an old protection is left */
        if (round % 4 == 3)
            CHECK(!mprotect(page_inside(object, size), 1, PROT_READ));
        free(object);
    }
}

/* Locked memory counts against a limit: it is unlocked with the object. */
static void mappings_are_not_locked(void)
{
    struct rlimit limit;
    size_t size = 34 * MIB, before = status_kib("VmLck");

    CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
    for (unsigned round = 0; round < 6; round++) {
        char *object = malloc(size);

        CHECK(object);
        memset(object, 1, size);
        if (mlock(object, size) != 0) {
            printf("SKIP: mlock is refused\n");
            free(object);
            return;
        }
        free(object);
    }
    CHECKF(status_kib("VmLck") == before, "%zu KiB are locked, before %zu",
           status_kib("VmLck"), before);
}

const struct test tests[] = {
    {"free_does_not_read", free_does_not_read},
    {"mappings_are_as_new", mappings_are_as_new},
    {"mappings_are_not_locked", mappings_are_not_locked},
    {NULL, NULL},
};
