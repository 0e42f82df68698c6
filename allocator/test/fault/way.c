/* way.c - somebody else's mapping lies where the heap would grow. */
#include "check.h"
#include "family.h"

#include <stdint.h>
#include <sys/mman.h>

#define MIB   ((size_t)1 << 20)
#define BYTES ((size_t)70 << 30)

enum { MANY = 300 };

/* As near behind the object as nothing is yet; MAP_FAILED: there is no such place. */
static void *stand_behind(const void *object)
{
    uintptr_t at = (uintptr_t)object & ~(64 * MIB - 1);
    void *other = MAP_FAILED;

    for (int i = 0; i < 3 && other == MAP_FAILED; i++) {
        at += 64 * MIB;
        /* NOLINTNEXTLINE: an address of nobody's */
        other = mmap((void *)at, BYTES, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
                     -1, 0);
    }
    return other;
}

/* More is taken than there is room for before it. */
static void a_long_one_is_gone_round(void)
{
    static char *object[MANY];
    void *first = malloc(100000), *other = stand_behind(first);

    if (other == MAP_FAILED) {
        printf("SKIP: there is no such place\n");
        free(first);
        return;
    }
    for (int i = 0; i < MANY; i++) {
        CHECKF((object[i] = malloc(MIB)) != NULL, "%d MiB were had", i);
        object[i][0] = 'x';
    }
    for (int i = 0; i < MANY; i++) {
        CHECK(object[i][0] == 'x');
        free(object[i]);
    }
    free(first);
    CHECK(munmap(other, BYTES) == 0);
    CHECK(!family.verify || family.verify() == 0);
}

const struct test tests[] = {
    {"a_long_one_is_gone_round", a_long_one_is_gone_round},
    {NULL, NULL},
};
