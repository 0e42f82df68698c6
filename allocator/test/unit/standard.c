/* standard.c - malloc, calloc, free: ISO C11 7.22.3 and glibc's manual. */
#include "check.h"
#include "family.h"

#include <errno.h>
#include <string.h>

#define MAX_SMALL 4096

/* Every size in a class spacing, then steps that cross large and huge. */
static size_t next_size(size_t size)
{
    return size < MAX_SMALL ? size + 1 : size + size / 7;
}

static size_t size_limit(void)
{
    return is_slow() ? (size_t)1 << 20 : (size_t)1 << 26;
}

static int is_all(const unsigned char *bytes, int value, size_t size)
{
    return !size || (bytes[0] == value && !memcmp(bytes, bytes + 1, size - 1));
}

static void alignment_and_room(void)
{
    for (size_t size = 0; size < size_limit(); size = next_size(size)) {
        unsigned char *p = malloc(opaque(size));

        CHECKF(p, "size %zu", size);
        CHECKF((uintptr_t)p % 16 == 0, "size %zu at %p", size, (void *)p);
        CHECKF(malloc_usable_size(p) >= size, "size %zu", size);
        memset(p, 0xa5, malloc_usable_size(p));
        free(p);
    }
    CHECK(malloc_usable_size(NULL) == 0);
}

/* Live objects of one size never share a byte. */
static void objects_do_not_overlap(void)
{
    enum { COUNT = 2000 };
    static unsigned char *objects[COUNT];

    for (size_t size = 1; size < 3000; size += 1 + size / 3) {
        for (int i = 0; i < COUNT; i++) {
            objects[i] = malloc(size);
            CHECK(objects[i]);
            memset(objects[i], i & 0xff, malloc_usable_size(objects[i]));
        }
        for (int i = 0; i < COUNT; i++)
            CHECKF(is_all(objects[i], i & 0xff, malloc_usable_size(objects[i])),
                   "object %d of size %zu was written by another", i, size);
        for (int i = 0; i < COUNT; i++)
            free(objects[(i * 7) % COUNT]);
    }
}

static void zero_size_is_unique(void)
{
    void *objects[64];

    for (int i = 0; i < 64; i++) {
        objects[i] = i % 3 == 0   ? malloc(opaque(0))
                     : i % 3 == 1 ? calloc(opaque(0), 8)
                                  : calloc(8, opaque(0));
        CHECK(objects[i]);
        for (int j = 0; j < i; j++)
            CHECK(objects[i] != objects[j]);
    }
    for (int i = 0; i < 64; i++)
        free(objects[i]);
    free(NULL);
}

static void too_large_is_enomem(void)
{
    const size_t base[] = {SIZE_MAX, (size_t)PTRDIFF_MAX + 1 + 70000,
                           (size_t)PTRDIFF_MAX + 1 + ((size_t)1 << 62)};

    for (size_t i = 0; i < sizeof(base) / sizeof(*base); i++)
        for (size_t less = 0; less < 70000; less += less < 64 ? 1 : 999) {
            errno = 0;
            CHECKF(!malloc(opaque(base[i] - less)), "%zu", base[i] - less);
            CHECK(errno == ENOMEM);
            errno = 0;
            CHECK(!calloc(1, opaque(base[i] - less)));
            CHECK(errno == ENOMEM);
        }
    errno = 0;
    CHECK(!malloc(opaque((size_t)PTRDIFF_MAX)) && errno == ENOMEM);
    errno = 0;
    /* More than any address space: that of arm64 has room for 2^47. */
    CHECK(!malloc(opaque((size_t)1 << 52)) && errno == ENOMEM);
}

static void calloc_overflow_is_enomem(void)
{
    const size_t pairs[][2] = {{SIZE_MAX, 2},
                               {2, SIZE_MAX},
                               {SIZE_MAX / 2 + 1, 2},
                               {(size_t)1 << 32, (size_t)1 << 32},
                               {((size_t)1 << 32) + 1, (size_t)1 << 32},
                               {SIZE_MAX / 16 + 2, 16},
                               {SIZE_MAX, SIZE_MAX}};

    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        errno = 0;
        CHECKF(!calloc(opaque(pairs[i][0]), opaque(pairs[i][1])), "%zu * %zu",
               pairs[i][0], pairs[i][1]);
        CHECK(errno == ENOMEM);
    }
}

/*
 * How many of a size are dirty: two where the kernel's pages would be most of the test's time.
 * A mapping of its own (from 32 MiB on) is kept dirty only when a few like it were used in full.
 */
static int how_many(size_t size)
{
    return size < (size_t)512 << 10 || size >= (size_t)32 << 20 ? 8 : 2;
}

/* Zero for memory that was dirty before, of every size, up to the bytes asked for. */
static void calloc_is_zero(void)
{
    unsigned char *objects[8];
    size_t limit = is_slow() ? size_limit() : (size_t)40 << 20; /* one such mapping */

    for (size_t size = 1; size < limit; size = next_size(size)) {
        const int many = how_many(size);

        for (int i = 0; i < many; i++) {
            objects[i] = malloc(size);
            CHECK(objects[i]);
            memset(objects[i], 0xff, malloc_usable_size(objects[i]));
        }
        for (int i = 0; i < many; i++)
            free(objects[i]);
        for (int i = 0; i < many; i++) {
            size_t count = size % 3 ? 1 : 3;

            objects[i] = calloc(count, size / count);
            CHECKF(objects[i] && is_all(objects[i], 0, size), "size %zu", size);
        }
        for (int i = 0; i < many; i++)
            free(objects[i]);
    }
}

static void free_keeps_errno(void)
{
    for (size_t size = 0; size < size_limit(); size += 1 + size * 3) {
        void *p = malloc(size);

        CHECK(p);
        errno = 12345;
        free(p);
        CHECKF(errno == 12345, "size %zu", size);
    }
    errno = 12345;
    free(NULL);
    CHECK(errno == 12345);
    errno = 0;
}

/* 64 KiB to 4 GiB; first and last page written, so little is resident. */
static void large_sizes(void)
{
    size_t limit = is_slow() ? (size_t)1 << 28 : (size_t)4 << 30;

    for (size_t size = 65536; size <= limit; size *= 2)
        for (int delta = -1; delta <= 1; delta++) {
            size_t wanted = size + (size_t)(ptrdiff_t)delta;
            unsigned char *p = malloc(wanted);

            CHECKF(p, "size %zu", wanted);
            CHECK((uintptr_t)p % 16 == 0 && malloc_usable_size(p) >= wanted);
            p[0] = 1;
            p[wanted - 1] = 2;
            CHECK(p[0] == 1 && p[wanted - 1] == 2);
            free(p);
        }
}

static void sized_free(void)
{
    if (!family.free_sized || !family.free_aligned_sized) {
        CHECK(!is_mymalloc());
        return;
    }
    for (size_t size = 0; size < size_limit(); size = next_size(size)) {
        void *p = malloc(size);

        CHECK(p);
        family.free_sized(p, size);
        p = calloc(1, size);
        CHECK(p);
        family.free_sized(p, size);
        p = realloc(malloc(1), size ? size : 1);
        CHECK(p);
        family.free_sized(p, size ? size : 1);
    }
    for (size_t size = 16; size <= (size_t)1 << 18; size += 16 + size / 64) {
        void *p = malloc(size);
        size_t more = malloc_usable_size(p) + 1;

        p = realloc(p, more); /* it may get room to grow */
        CHECK(p);
        family.free_sized(p, more);
    }
    for (size_t alignment = 16; alignment <= (size_t)1 << 21; alignment *= 2)
        for (size_t size = 1; size < (size_t)1 << 21; size = size * 3 + 1) {
            void *p = aligned_alloc(alignment, size);

            CHECK(p);
            family.free_aligned_sized(p, alignment, size);
        }
    family.free_sized(NULL, 8);
    family.free_aligned_sized(NULL, 16, 8);
}

/* The promised usable size is the one an object gets. */
static void good_size_is_true(void)
{
    if (!family.good_size) {
        CHECK(!is_mymalloc());
        return;
    }
    for (size_t size = 0; size < size_limit(); size = next_size(size)) {
        void *p = malloc(size);

        CHECKF(family.good_size(size) == malloc_usable_size(p), "size %zu: %zu, %zu",
               size, family.good_size(size), malloc_usable_size(p));
        free(p);
    }
    CHECK(family.good_size(SIZE_MAX) == 0 || family.good_size(SIZE_MAX) == SIZE_MAX);
}

const struct test tests[] = {
    {"alignment_and_room", alignment_and_room},
    {"objects_do_not_overlap", objects_do_not_overlap},
    {"zero_size_is_unique", zero_size_is_unique},
    {"too_large_is_enomem", too_large_is_enomem},
    {"calloc_overflow_is_enomem", calloc_overflow_is_enomem},
    {"calloc_is_zero", calloc_is_zero},
    {"free_keeps_errno", free_keeps_errno},
    {"large_sizes", large_sizes},
    {"sized_free", sized_free},
    {"good_size_is_true", good_size_is_true},
    {NULL, NULL},
};
