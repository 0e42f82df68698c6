/*
 * death.c - misuse ends the program, see dying.h.
 *
 * Small objects: one that is freed twice, with one other between at most, is told at once; other misuse when
 * the object's magazine goes back to its slabs, so those cases trim after it.
 * docs/protocols.md (misuse) says which is which.
 */
#include "dying.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- double free ---- */

static void twice(size_t size)
{
    void *p = take_in_slab(size);

    free(p);
    free(wrong(p));
    malloc_trim(0);
}

static void twice_small(void)
{
    twice(64);
}

static void twice_medium(void)
{
    twice(20000);
}

static void twice_large(void)
{
    twice(1 << 20);
}

static void twice_huge(void)
{
    void *p = take((size_t)100 << 20);

    free(p);
    free(wrong(p));
}

static void twice_with_others_between(void)
{
    void *others[30], *p;

    for (int i = 0; i < 30; i++)
        others[i] = take(48);
    p = take_in_slab(48);
    free(p);
    for (int i = 0; i < 30; i++)
        free(others[i]);
    free(wrong(p));
    malloc_trim(0);
}

static void twice_after_reclaim(void)
{
    void *p = take_in_slab(64);

    free(p);
    malloc_trim(0);
    free(wrong(p));
    malloc_trim(0);
}

static void twice_by_realloc(void)
{
    char *p = take(1 << 20), *q = realloc(p, (size_t)200 << 20);

    CHECK(q && q != p);
    free(wrong(p));
}

/* The slab is gone too; where its other objects were, nothing can be told. */
static void twice_without_slab(void)
{
    void *objects[2000];

    for (int i = 0; i < 2000; i++)
        objects[i] = take(64);
    for (int i = 0; i < 2000; i++)
        free(objects[i]);
    malloc_trim(0);
    free(wrong(objects[1000]));
    malloc_trim(0);
}

/* ---- pointers that no malloc returned ---- */

static void foreign_stack(void)
{
    char buffer[256];

    free(wrong((void *)(((uintptr_t)buffer + 31) & ~(uintptr_t)15)));
}

static void foreign_static(void)
{
    static char buffer[256] __attribute__((aligned(16)));

    free(wrong(buffer));
}

static void foreign_code(void)
{
    free(wrong((void *)((uintptr_t)foreign_code & ~(uintptr_t)15)));
}

static void foreign_mapping(void)
{
    char *p =
        mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    free(wrong(p + 4096));
}

static void foreign_break(void)
{
    uintptr_t end = (uintptr_t)syscall(SYS_brk, 0); /* musl's sbrk moves nothing */

    CHECK(syscall(SYS_brk, end + 4096) == (long)end + 4096);
    free(wrong((void *)((end + 15) & ~(uintptr_t)15)));
}

static void foreign_small_integer(void)
{
    free(wrong((void *)16));
}

static void foreign_top(void)
{
    free(wrong((void *)-16));
}

static void foreign_not_canonical(void)
{
    free(wrong((void *)0xdead00000000beb0));
}

static void foreign_to_realloc(void)
{
    static char buffer[256] __attribute__((aligned(16)));
    void *p = realloc(wrong(buffer), 1000);

    free(p);
}

/* Inside the heap, beyond all that was ever handed out of its large object's space. */
static void never_given_out(void)
{
    char *p = take((size_t)4 << 20);

    free(p);
    free(wrong(p + (3 << 20)));
}

/* ---- pointers into an object ---- */

static void interior_small(void)
{
    free(wrong(take_in_slab(100) + 16));
    malloc_trim(0);
}

static void interior_medium(void)
{
    free(wrong(take_in_slab(20000) + 4096));
    malloc_trim(0);
}

/* One object a slab: a page of it, and the second unit of a slab of two. */
static void interior_whole_units(void)
{
    free(wrong((char *)take(65536) + 4096));
    malloc_trim(0);
}

static void interior_second_unit(void)
{
    free(wrong((char *)take(131072) + 65536));
    malloc_trim(0);
}

static void interior_small_to_realloc(void)
{
    free(realloc(wrong(take_in_slab(1000) + 16), 5000));
}

static void interior_large(void)
{
    free(wrong((char *)take(1 << 20) + 16));
}

static void interior_large_page(void)
{
    free(wrong((char *)take(1 << 20) + 65536));
}

static void interior_huge(void)
{
    free(wrong((char *)take((size_t)100 << 20) + (50 << 20)));
}

static void misaligned_small(void)
{
    free(wrong(take_in_slab(64) + 1));
    malloc_trim(0);
}

static void misaligned_half(void)
{
    free(wrong(take_in_slab(64) + 8));
    malloc_trim(0);
}

static void misaligned_large(void)
{
    free(wrong((char *)take(1 << 20) + 1));
}

static void interior_to_realloc(void)
{
    char *p = take(1 << 20);

    p = realloc(wrong(p + 4096), 3 << 20);
    free(p);
}

/* ---- the same object twice, seen by the free itself ---- */

static struct {
    size_t size;
    int before;   /* other objects that are freed first */
    bool between; /* and one between the two */
} at_once;

static void twice_at_once(void)
{
    void *others[64], *p, *other;

    malloc_trim(0); /* empty caches, also of the CPU that this child came to */
    for (int i = 0; i < at_once.before; i++)
        others[i] = take(at_once.size);
    p = take(at_once.size);
    other = at_once.between ? take(at_once.size) : NULL;
    for (int i = 0; i < at_once.before; i++)
        free(others[i]);
    free(p);
    free(other);
    free(wrong(p));
}

static const struct death deaths[] = {
    {"twice_small", DOUBLE_FREE, twice_small},
    {"twice_medium", DOUBLE_FREE, twice_medium},
    {"twice_large", DOUBLE_FREE, twice_large},
    {"twice_huge", NEVER_ALLOCATED, twice_huge},
    {"twice_with_others_between", DOUBLE_FREE, twice_with_others_between},
    {"twice_after_reclaim", DOUBLE_FREE, twice_after_reclaim},
    {"twice_without_slab", DOUBLE_FREE, twice_without_slab},
    {"twice_by_realloc", DOUBLE_FREE, twice_by_realloc},
    {"foreign_stack", NEVER_ALLOCATED, foreign_stack},
    {"foreign_static", NEVER_ALLOCATED, foreign_static},
    {"foreign_code", NEVER_ALLOCATED, foreign_code},
    {"foreign_mapping", NEVER_ALLOCATED, foreign_mapping},
    {"foreign_break", NEVER_ALLOCATED, foreign_break},
    {"foreign_small_integer", NEVER_ALLOCATED, foreign_small_integer},
    {"foreign_top", NEVER_ALLOCATED, foreign_top},
    {"foreign_not_canonical", NEVER_ALLOCATED, foreign_not_canonical},
    {"foreign_to_realloc", NEVER_ALLOCATED, foreign_to_realloc},
    {"never_given_out", NEVER_ALLOCATED, never_given_out},
    {"interior_small", INTERIOR, interior_small},
    {"interior_medium", INTERIOR, interior_medium},
    {"interior_whole_units", INTERIOR, interior_whole_units},
    {"interior_second_unit", INTERIOR, interior_second_unit},
    {"interior_small_to_realloc", INTERIOR, interior_small_to_realloc},
    {"interior_large", INTERIOR, interior_large},
    {"interior_large_page", INTERIOR, interior_large_page},
    {"interior_huge", INTERIOR, interior_huge},
    {"misaligned_small", INTERIOR, misaligned_small},
    {"misaligned_half", INTERIOR, misaligned_half},
    {"misaligned_large", INTERIOR, misaligned_large},
    {"interior_to_realloc", INTERIOR, interior_to_realloc},
};

static void all_deaths(void)
{
    check_deaths(deaths, sizeof(deaths) / sizeof(*deaths));
}

/* ---- pointers into an object that covers where others were ---- */

static size_t offset;

static void interior_among_old_spans(void)
{
    enum { SPANS = 40 };
    void *spans[SPANS];

    for (int i = 0; i < SPANS; i++)
        spans[i] = take(192 << 10);
    for (int i = 0; i < SPANS; i++)
        free(spans[i]);
    malloc_trim(0);
    free(wrong((char *)take(6 << 20) + offset));
    malloc_trim(0);
}

static void interior_is_told(void)
{
    const struct death death = {"interior_among_old_spans", INTERIOR,
                                interior_among_old_spans};
    int failed = 0;

    share_culprit();
    for (offset = 65536; offset < 6 << 20; offset += 65536)
        failed += check_death(&death);
    CHECKF(!failed, "%d were not as they should be", failed);
}

/* Objects of every class; and wherever in a magazine, or at its end, the first free is. */
static void twice_at_short_distance(void)
{
    const struct death death = {"twice_at_once", DOUBLE_FREE, twice_at_once};
    int failed = 0;

    share_culprit();
    for (at_once.size = 1; at_once.size <= 131072;) {
        void *p = malloc(at_once.size);

        at_once.before = 0;
        failed += check_death(&death);
        at_once.size = malloc_usable_size(p) + 1;
        free(p);
    }
    at_once.size = 1000;
    for (at_once.before = 1; at_once.before < 40; at_once.before++)
        failed += check_death(&death);
    at_once.before = 0; /* none of the magazines, empty before, ends there */
    at_once.between = true;
    for (at_once.size = 16; at_once.size <= 1024; at_once.size *= 2)
        failed += check_death(&death);
    CHECKF(!failed, "%d were not as they should be", failed);
}

/* A dangling pointer may damage its object, never the allocator's records. */
static void use_after_free_is_contained(void)
{
    enum { COUNT = 5000 };
    static unsigned char *objects[COUNT];
    static size_t sizes[COUNT];
    uint64_t random = test_seed();

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT; i++) {
            sizes[i] = 1 + next_random(&random) % 3000;
            objects[i] = take(sizes[i]);
        }
        for (int i = 0; i < COUNT; i++)
            free(objects[i]);
        /* Small objects stay mapped while their slab is cached; the test owns no byte. */
        for (int i = 0; i < COUNT; i++)
            memset((void *)opaque((uintptr_t)objects[i]), (int)next_random(&random),
                   sizes[i]);
        CHECK(family.verify() == 0);
    }
}

const struct test tests[] = {
    {"all_deaths", all_deaths},
    {"all_sized_deaths", all_sized_deaths},
    {"twice_at_short_distance", twice_at_short_distance},
    {"interior_is_told", interior_is_told},
    {"wrong_classes_are_told", wrong_classes_are_told},
    {"use_after_free_is_contained", use_after_free_is_contained},
    {NULL, NULL},
};
