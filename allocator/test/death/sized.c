/* sized.c - objects freed with a size or an alignment that is not theirs, see dying.h. */
#include "dying.h"

static void sized_smaller(void)
{
    family.free_sized(wrong(take_in_slab(200)), 100);
}

static void sized_larger(void)
{
    family.free_sized(wrong(take_in_slab(200)), 400);
}

static void sized_small_for_large(void)
{
    family.free_sized(wrong(take(1 << 20)), 1000);
}

static void sized_large_for_small(void)
{
    family.free_sized(wrong(take_in_slab(64)), 1 << 20);
}

static void aligned_sized_wrong_size(void)
{
    void *p = aligned_alloc(256, 1000);

    CHECK(p);
    family.free_aligned_sized(wrong(p), 256, 5000);
}

/* Addresses that happen to have an alignment prove nothing: take one that has not. */
static void aligned_sized_wrong_alignment(void)
{
    char *p = take_in_slab(48);

    while ((uintptr_t)p % 4096 == 0)
        p = take_in_slab(48);
    family.free_aligned_sized(wrong(p), 4096, 48);
}

static void sized_foreign(void)
{
    static char buffer[256] __attribute__((aligned(16)));

    family.free_sized(wrong(buffer), 256);
}

static void sized_twice(void)
{
    void *p = take_in_slab(64);

    family.free_sized(p, 64);
    family.free_sized(wrong(p), 64);
}

static void sized_twice_large(void)
{
    void *p = take(1 << 20);

    family.free_sized(p, 1 << 20);
    family.free_sized(wrong(p), 1 << 20);
}

/* The size is right, the pointer is not: seen as free sees it. */
static void sized_interior(void)
{
    family.free_sized(wrong(take_in_slab(100) + 16), 100);
    malloc_trim(0);
}

static void aligned_sized_interior(void)
{
    char *p = aligned_alloc(64, 192);

    CHECK(p);
    family.free_aligned_sized(wrong(p + 64), 64, 192);
    malloc_trim(0);
}

static const struct death deaths[] = {
    {"sized_smaller", WRONG_SIZE, sized_smaller},
    {"sized_larger", WRONG_SIZE, sized_larger},
    {"sized_small_for_large", WRONG_SIZE, sized_small_for_large},
    {"sized_large_for_small", WRONG_SIZE, sized_large_for_small},
    {"aligned_sized_wrong_size", WRONG_SIZE, aligned_sized_wrong_size},
    {"aligned_sized_wrong_alignment", WRONG_ALIGNMENT, aligned_sized_wrong_alignment},
    {"sized_foreign", NEVER_ALLOCATED, sized_foreign},
    {"sized_twice", DOUBLE_FREE, sized_twice},
    {"sized_twice_large", DOUBLE_FREE, sized_twice_large},
    {"sized_interior", INTERIOR, sized_interior},
    {"aligned_sized_interior", INTERIOR, aligned_sized_interior},
};

void all_sized_deaths(void)
{
    check_deaths(deaths, sizeof(deaths) / sizeof(*deaths));
}

/* An object of a class freed by the size of another. */
static struct {
    size_t size, claimed;
    bool aligned;
} sized_wrongly;

static void sized_by_another_class(void)
{
    void *p = take(sized_wrongly.size);

    if (sized_wrongly.aligned)
        family.free_aligned_sized(wrong(p), 16, sized_wrongly.claimed);
    else
        family.free_sized(wrong(p), sized_wrongly.claimed);
}

/* Of every class, spans too: a byte more than it holds, and less than realloc would leave in place. */
void wrong_classes_are_told(void)
{
    const struct death death = {"sized_by_another_class", WRONG_SIZE,
                                sized_by_another_class};
    int failed = 0;

    share_culprit();
    for (size_t size = 1; size <= 5u << 20;) {
        void *p = malloc(size);
        size_t usable = malloc_usable_size(p);

        free(p);
        sized_wrongly.size = size;
        sized_wrongly.aligned = !sized_wrongly.aligned; /* from class to class */
        sized_wrongly.claimed = usable + 1;
        failed += check_death(&death);
        sized_wrongly.claimed = usable / 2 - 1;
        if (usable >= 64)
            failed += check_death(&death);
        size = usable + 1;
    }
    CHECKF(!failed, "%d were not as they should be", failed);
}
