/* realloc.c - realloc and reallocarray: contents, edges, failure. */
#include "check.h"
#include "family.h"

#include <errno.h>
#include <string.h>

/* Byte i of an object with this key; no period that a page copy could hide in. */
static unsigned char expected(size_t i, unsigned key)
{
    return (unsigned char)((i * 167 + (i >> 8) * 59 + (i >> 16) * 13 + key) & 0xff);
}

/* Small objects whole; of larger ones the ends and 16 bytes in each page. */
static size_t stride_at(size_t i, size_t size)
{
    return size <= 8192 || i % 4096 < 16 || size - i < 64 ? 1 : 4096 - i % 4096;
}

/* Bytes of one row of 256 differ from those of another by a number: made once, then copied. */
static void fill(unsigned char *p, size_t from, size_t size, unsigned key)
{
    static unsigned char rows[256][256];

    for (size_t i = 0; !rows[255][255] && i < sizeof(rows); i++)
        rows[i / 256][i % 256] = expected(i % 256, (unsigned)(i / 256));
    for (size_t end; from < size; from = end) {
        end = (from | 255) + 1 < size ? (from | 255) + 1 : size;
        memcpy(p + from, &rows[expected(from & ~(size_t)255, key)][from & 255],
               end - from);
    }
}

static void verify(const unsigned char *p, size_t size, unsigned key, size_t from,
                   size_t to)
{
    for (size_t i = 0; i < size; i += stride_at(i, size))
        CHECKF(p[i] == expected(i, key), "byte %zu of %zu after %zu -> %zu", i, size,
               from, to);
}

static void null_is_malloc(void)
{
    for (size_t size = 0; size < (size_t)1 << 22; size = size * 3 + 1) {
        unsigned char *p = realloc(NULL, opaque(size));

        CHECK(p && (uintptr_t)p % 16 == 0 && malloc_usable_size(p) >= size);
        memset(p, 1, size);
        free(p);
    }
}

/* glibc: realloc(p, 0) frees p and returns NULL. A leak here would show as growth. */
static void zero_size_frees(void)
{
    size_t before;
    int rounds = is_slow() ? 20 : 4000;

    for (int i = 0; i < 100; i++)
        CHECK(!realloc(malloc(100000), opaque(0)));
    before = resident_bytes();
    for (int i = 0; i < rounds; i++) {
        unsigned char *p = malloc(100000);

        CHECK(p);
        memset(p, 1, 100000);
        CHECK(!realloc(p, opaque(0)));
    }
    if (!is_slow())
        CHECKF(resident_bytes() < before + ((size_t)100 << 20),
               "leaked by realloc(p, 0)");
}

/* From every size of a ladder to every other; of a mapping, to every fourth small one. */
static void contents_survive(void)
{
    enum { MAPPED = 33000000 };
    const size_t ladder[] = {1,       7,       8,       15,      16,      17,
                             24,      64,      100,     255,     256,     1000,
                             1024,    4000,    4097,    8191,    16384,   32000,
                             32768,   32769,   65535,   65537,   100000,  262144,
                             1000000, 2097152, 3000000, 5000000, 33554432};
    const size_t count = sizeof(ladder) / sizeof(*ladder) - (is_slow() ? 5 : 0);

    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            unsigned char *p, *q;

            if (ladder[i] > MAPPED && ladder[j] < 1000000 && j % 4)
                continue; /* 8192 pages are written each time */
            p = malloc(ladder[i]);
            CHECK(p);
            fill(p, 0, ladder[i], (unsigned)i);
            q = realloc(p, ladder[j]);
            CHECKF(q, "%zu -> %zu", ladder[i], ladder[j]);
            CHECK((uintptr_t)q % 16 == 0 && malloc_usable_size(q) >= ladder[j]);
            verify(q, ladder[i] < ladder[j] ? ladder[i] : ladder[j], (unsigned)i,
                   ladder[i], ladder[j]);
            q[ladder[j] - 1] = 1;
            free(q);
        }
}

/* One object grows step by step to 64 MiB and shrinks again, neighbours present. */
static void grow_and_shrink(void)
{
    enum { NEIGHBOURS = 64 };
    unsigned char *neighbour[NEIGHBOURS] = {0}, *p = NULL;
    size_t size = 0, limit = is_slow() ? (size_t)1 << 22 : (size_t)1 << 26;
    unsigned step = 0;

    while (size < limit) {
        size_t wanted = size + 1 + size / 5;

        p = realloc(p, wanted);
        CHECK(p);
        verify(p, size, 5, size, wanted);
        fill(p, size, wanted, 5);
        free(neighbour[step % NEIGHBOURS]);
        neighbour[step % NEIGHBOURS] = malloc(wanted / 3 + 1);
        CHECK(neighbour[step % NEIGHBOURS]);
        memset(neighbour[step % NEIGHBOURS], 0xee, wanted / 3 + 1);
        size = wanted;
        step++;
    }
    while (size > 1) {
        size_t wanted = size - size / 4 - 1;

        if (!wanted)
            break;
        p = realloc(p, wanted);
        CHECK(p);
        verify(p, wanted, 5, size, wanted);
        size = wanted;
    }
    free(p);
    for (int i = 0; i < NEIGHBOURS; i++)
        free(neighbour[i]);
}

/* Whatever steps it takes down, a sized free knows it by its last size. */
static void sized_frees_take_what_shrank(void)
{
    const size_t step = is_slow() ? 2000 : 1000, wide = is_slow() ? 24000 : 5000;

    for (size_t first = 131073; family.free_sized && first < 600000; first += 150000)
        for (size_t second = 70000; second < first; second += wide)
            for (size_t third = 30000; third < second; third += step) {
                void *p = realloc(realloc(malloc(first), second), third);

                CHECK(p);
                family.free_sized(p, third);
            }
}

/* Huge mappings move page tables, not bytes: the contents must come along. */
static void huge_grows(void)
{
    size_t size = (size_t)8 << 20,
           limit = is_slow() ? (size_t)32 << 20 : (size_t)1 << 30;
    unsigned char *p = malloc(size), *wall;

    CHECK(p);
    for (size_t i = 0; i < size; i += 4096)
        p[i] = expected(i, 9);
    while (size < limit) {
        wall = malloc(size);
        CHECK(wall);
        p = realloc(p, size * 2);
        CHECK(p);
        for (size_t i = 0; i < (size_t)8 << 20; i += 4096)
            CHECKF(p[i] == expected(i, 9), "page %zu at %zu bytes", i / 4096, size * 2);
        p[size * 2 - 1] = 1;
        free(wall);
        size *= 2;
    }
    p = realloc(p, 4096);
    CHECK(p && p[0] == expected(0, 9));
    free(p);
}

static void failure_leaves_object(void)
{
    for (size_t size = 1; size < (size_t)1 << 22; size = size * 5 + 1) {
        const size_t wanted[] = {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1,
                                 (size_t)1 << 52};
        unsigned char *p = malloc(size);

        CHECK(p);
        fill(p, 0, size, 3);
        for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
            errno = 0;
            CHECK(!realloc(p, opaque(wanted[i])));
            CHECK(errno == ENOMEM);
            verify(p, size, 3, size, wanted[i]);
        }
        errno = 0;
        CHECK(!reallocarray(p, opaque(SIZE_MAX / 4), opaque(8)));
        CHECK(errno == ENOMEM);
        errno = 0;
        CHECK(!reallocarray(p, opaque((size_t)1 << 32), opaque((size_t)1 << 32)));
        CHECK(errno == ENOMEM);
        verify(p, size, 3, size, 0);
        free(p);
    }
}

static void reallocarray_multiplies(void)
{
    unsigned char *p = reallocarray(NULL, 100, 30);

    CHECK(p && malloc_usable_size(p) >= 3000);
    fill(p, 0, 3000, 4);
    p = reallocarray(p, 1000, 300);
    CHECK(p && malloc_usable_size(p) >= 300000);
    verify(p, 3000, 4, 3000, 300000);
    p = reallocarray(p, 3, 5);
    CHECK(p);
    verify(p, 15, 4, 300000, 15);
    free(p);
}

/* An over-aligned object may lose its alignment, never its contents. */
static void aligned_objects(void)
{
    for (size_t alignment = 32; alignment <= (size_t)1 << 21; alignment *= 2)
        for (size_t size = 1; size < 200000; size = size * 7 + 1) {
            unsigned char *p = aligned_alloc(alignment, size);

            CHECK(p);
            fill(p, 0, size, 8);
            p = realloc(p, size * 3);
            CHECK(p);
            verify(p, size, 8, size, size * 3);
            p = realloc(p, size / 2 + 1);
            CHECK(p);
            verify(p, size / 2 + 1, 8, size * 3, size / 2 + 1);
            free(p);
        }
}

/* One that is asked for its own size stays where it is, the smallest too. */
static void same_size_stays(void)
{
    if (!is_mymalloc()) /* a sanitizer moves it */
        return;
    for (size_t size = 1; size <= 4096; size++) {
        char *object = malloc(size), *same;

        CHECK(object);
        object[size - 1] = 'x';
        same = realloc(object, size);
        CHECKF(same == object && same[size - 1] == 'x', "size %zu", size);
        free(same);
    }
}

const struct test tests[] = {
    {"null_is_malloc", null_is_malloc},
    {"zero_size_frees", zero_size_frees},
    {"contents_survive", contents_survive},
    {"grow_and_shrink", grow_and_shrink},
    {"same_size_stays", same_size_stays},
    {"sized_frees_take_what_shrank", sized_frees_take_what_shrank},
    {"huge_grows", huge_grows},
    {"failure_leaves_object", failure_leaves_object},
    {"reallocarray_multiplies", reallocarray_multiplies},
    {"aligned_objects", aligned_objects},
    {NULL, NULL},
};
