/* aligned.c - posix_memalign, aligned_alloc, memalign, valloc, pvalloc, MyReallocAligned. */
#include "check.h"
#include "family.h"

#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static const size_t sizes[] = {0,     1,     8,     16,     17,      63,      100,
                               512,   1000,  4095,  4096,   4097,    20000,   32768,
                               32769, 65536, 70000, 200000, 1 << 20, 3000000, 2 << 20};
#define SIZES (sizeof(sizes) / sizeof(*sizes))

static void use(void *p, size_t alignment, size_t size)
{
    CHECKF(p, "alignment %zu, size %zu", alignment, size);
    CHECKF((uintptr_t)p % alignment == 0, "%p, alignment %zu, size %zu", p, alignment,
           size);
    CHECKF(malloc_usable_size(p) >= size, "alignment %zu, size %zu", alignment, size);
    memset(p, 0x5a, malloc_usable_size(p));
}

/* Several live at once, so that a lucky first address does not pass for alignment. */
static void every_alignment(void)
{
    enum { COUNT = 5 };
    void *objects[COUNT];

    for (size_t alignment = 1; alignment <= (size_t)1 << 22; alignment *= 2)
        for (size_t i = 0; i < SIZES; i++) {
            for (int j = 0; j < COUNT; j++) {
                if (j % 3 == 0 && alignment >= sizeof(void *))
                    CHECK(!posix_memalign(&objects[j], alignment, sizes[i]));
                else if (j % 3 == 1)
                    objects[j] = memalign(alignment, sizes[i]);
                else
                    objects[j] = aligned_alloc(alignment, sizes[i]);
                use(objects[j], alignment, sizes[i]);
            }
            for (int j = 0; j < COUNT; j++)
                free(objects[j]);
        }
}

/* Linux refuses one mapping of more than all of the memory, and so what is aligned to it. */
static size_t largest_alignment(void)
{
    struct sysinfo machine;
    size_t most = (size_t)1 << 32;

    CHECK(!sysinfo(&machine));
    while (most > (size_t)machine.totalram * machine.mem_unit / 2)
        most /= 8;
    return most;
}

static void huge_alignment(void)
{
    for (size_t alignment = (size_t)1 << 23, most = largest_alignment();
         alignment <= most; alignment *= 8) {
        unsigned char *p = NULL, *q;

        CHECKF(!posix_memalign((void **)&p, alignment, 100), "alignment %zu",
               alignment);
        CHECK((uintptr_t)p % alignment == 0);
        memset(p, 1, 100);
        q = aligned_alloc(alignment, (size_t)9 << 20);
        CHECK(q && (uintptr_t)q % alignment == 0);
        q[((size_t)9 << 20) - 1] = 1;
        free(p);
        free(q);
    }
}

/* POSIX: the error is the return value; *out and errno stay. */
static void posix_memalign_errors(void)
{
    const size_t wrong[] = {
        0, 1, 2, 3, 4, 7, 9, 12, 24, 100, 4095, SIZE_MAX, (size_t)PTRDIFF_MAX};
    void *mark = &mark, *out = mark;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        errno = 4321;
        CHECKF(posix_memalign(&out, opaque(wrong[i]), 64) == EINVAL, "alignment %zu",
               wrong[i]);
        CHECK(out == mark && errno == 4321);
    }
    for (size_t alignment = 8; alignment <= (size_t)1 << 40; alignment *= 4) {
        errno = 4321;
        CHECK(posix_memalign(&out, alignment, opaque(SIZE_MAX)) == ENOMEM);
        CHECK(posix_memalign(&out, alignment, opaque(SIZE_MAX - alignment)) == ENOMEM);
        CHECK(posix_memalign(&out, alignment, opaque((size_t)PTRDIFF_MAX)) == ENOMEM);
        CHECK(out == mark);
        /* glibc lets errno slip to ENOMEM here; POSIX does not speak of it. */
        if (is_mymalloc())
            CHECK(errno == 4321);
    }
    CHECK(posix_memalign(&out, opaque((size_t)1 << 62), opaque((size_t)1 << 62)) ==
          ENOMEM);
    CHECK(out == mark);
}

static void overflow_is_enomem(void)
{
    for (size_t alignment = 16; alignment <= (size_t)1 << 40; alignment *= 4) {
        errno = 0;
        CHECK(!aligned_alloc(alignment, opaque(-alignment)));
        CHECK(errno == ENOMEM);
        errno = 0;
        CHECK(!memalign(alignment, opaque(SIZE_MAX - 100)));
        CHECK(errno == ENOMEM);
    }
}

/* glibc before 2.38 treats aligned_alloc as memalign: defined only for a good alignment. */
static void aligned_alloc_errors(void)
{
    const size_t wrong[] = {0, 3, 24, 100, SIZE_MAX};

    if (!is_mymalloc())
        return;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        errno = 0;
        CHECKF(!aligned_alloc(opaque(wrong[i]), 64), "alignment %zu", wrong[i]);
        CHECK(errno == EINVAL);
    }
}

/* glibc: memalign rounds an odd alignment up; beyond SIZE_MAX/2+1 there is none. */
static void memalign_rounds(void)
{
    void *p = memalign(opaque(48), 100);

    use(p, 64, 100);
    free(p);
    p = memalign(opaque(0), 100);
    use(p, 16, 100);
    free(p);
    p = memalign(opaque(3000), 100);
    use(p, 4096, 100);
    free(p);
    errno = 0;
    CHECK(!memalign(opaque(SIZE_MAX / 2 + 2), 16));
    CHECK(errno == EINVAL);
}

static void whole_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    for (size_t i = 0; i < SIZES; i++) {
        void *p = valloc(sizes[i]), *q = pvalloc(sizes[i]);

        use(p, page, sizes[i]);
        use(q, page, (sizes[i] + page - 1) / page * page);
        free(p);
        free(q);
    }
    errno = 0;
    CHECK(!valloc(opaque(SIZE_MAX)) && errno == ENOMEM);
    errno = 0;
    CHECK(!pvalloc(opaque(SIZE_MAX)) && errno == ENOMEM);
    errno = 0;
    CHECK(!pvalloc(opaque(SIZE_MAX - page)) && errno == ENOMEM);
}

/* Aligned objects mixed with plain ones, freed in another order. */
static void mixed_lifetimes(void)
{
    enum { COUNT = 3000 };
    static unsigned char *objects[COUNT];
    static size_t lengths[COUNT];
    uint64_t random = test_seed();

    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < COUNT; i++) {
            if (objects[i] && next_random(&random) % 2) {
                for (size_t j = 0; j < lengths[i]; j += 1 + lengths[i] / 64)
                    CHECKF(objects[i][j] == (i & 0xff), "object %d, byte %zu", i, j);
                free(objects[i]);
                objects[i] = NULL;
            }
            if (!objects[i]) {
                size_t alignment = (size_t)1 << (3 + next_random(&random) % 12);

                lengths[i] =
                    next_random(&random) % (next_random(&random) % 16 ? 600 : 40000);
                CHECK(!posix_memalign((void **)&objects[i], alignment, lengths[i]));
                CHECK((uintptr_t)objects[i] % alignment == 0);
                memset(objects[i], i & 0xff, lengths[i]);
            }
        }
    }
    for (int i = 0; i < COUNT; i++) {
        free(objects[i]);
        objects[i] = NULL;
    }
}

#ifdef TEST_MY
static void check_kept(const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        CHECKF(p[i] == (unsigned char)i, "byte %zu of %zu", i, size);
}

/* Whatever it lay on before. */
static void realloc_aligned_keeps_both(void)
{
    for (size_t alignment = 1; alignment <= (size_t)1 << 20; alignment *= 4)
        for (size_t from = 1; from < SIZES; from++)
            for (size_t to = 1; to < SIZES; to++) {
                size_t least = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
                unsigned char *p = malloc(sizes[from]);

                CHECK(p);
                for (size_t i = 0; i < least; i++)
                    p[i] = (unsigned char)i;
                p = MyReallocAligned(p, alignment, sizes[to]);
                CHECKF(p, "alignment %zu, size %zu", alignment, sizes[to]);
                check_kept(p, least);
                use(p, alignment, sizes[to]);
                free(p);
            }
}

static void realloc_aligned_errors(void)
{
    static const size_t wrong[] = {0, 3, 24, SIZE_MAX};
    void *p = malloc(100);

    CHECK(p);
    memset(p, 7, 100);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        errno = 0;
        CHECK(!MyReallocAligned(p, wrong[i], 200) && errno == EINVAL);
        CHECK(!MyReallocAligned(NULL, wrong[i], 200) && errno == EINVAL);
    }
    errno = 0;
    CHECK(!MyReallocAligned(p, 64, PTRDIFF_MAX) && errno == ENOMEM);
    for (size_t i = 0; i < 100; i++)
        CHECK(((unsigned char *)p)[i] == 7);
    CHECK(!MyReallocAligned(p, 64, 0)); /* it is free, as by MyRealloc */
    p = MyReallocAligned(NULL, 64, 100);
    use(p, 64, 100);
    free(p);
}
#endif

const struct test tests[] = {
    {"every_alignment", every_alignment},
    {"huge_alignment", huge_alignment},
    {"posix_memalign_errors", posix_memalign_errors},
    {"overflow_is_enomem", overflow_is_enomem},
    {"aligned_alloc_errors", aligned_alloc_errors},
    {"memalign_rounds", memalign_rounds},
    {"whole_pages", whole_pages},
    {"mixed_lifetimes", mixed_lifetimes},
#ifdef TEST_MY
    {"realloc_aligned_keeps_both", realloc_aligned_keeps_both},
    {"realloc_aligned_errors", realloc_aligned_errors},
#endif
    {NULL, NULL},
};
