/*
 * pages.c - a heap on a kernel with large pages (pagesize.c is preloaded): it grows far,
 * sparse slabs and free runs give pages back, and nothing else is lost with them.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include "base/syscall.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define MIB ((size_t)1 << 20)

/* The library is there, and refuses what it should. */
static void the_page_is_large(void)
{
    size_t page = (size_t)env_number("TEST_PAGE", 4096);
    long got;

    CHECKF(getauxval(AT_PAGESZ) == page, "%lu", getauxval(AT_PAGESZ));
    got = mym_syscall(SYS_mmap, 0, 5000, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECKF((size_t)got % page == 0, "%lx", got);
    if (page == 4096)
        return;
    CHECK(mym_syscall(SYS_madvise, got + 4096, 4096, MADV_DONTNEED, 0, 0, 0) ==
          -EINVAL);
    CHECK(mym_syscall(SYS_munmap, got + 4096, 4096, 0, 0, 0, 0) == -EINVAL);
    *(char *)(got + 8192) = 1; /* NOLINT: the length was rounded up */
    CHECK(mym_syscall(SYS_madvise, got, 1, MADV_DONTNEED, 0, 0, 0) == 0);
    CHECK(*(char *)(got + 8192) == 0); /* NOLINT */
    CHECK(mym_syscall(SYS_munmap, got, 5000, 0, 0, 0, 0) == 0);
}

static unsigned char mark_of(size_t i)
{
    return (unsigned char)(i * 11 + (i >> 9) + 1);
}

/* More than 300 MiB of one size; all but each `part`-th are freed, and those are whole. */
static void grow_and_thin(size_t size, size_t part)
{
    size_t total = (is_slow() ? 200 : 360) * MIB, count = total / size;
    unsigned char **object = malloc(count * sizeof(*object));
    size_t before, live = count / part * size;

    CHECK(object);
    memset(object, 1, count * sizeof(*object));
    before = resident_bytes();
    for (size_t i = 0; i < count; i++) {
        object[i] = malloc(size);
        CHECKF(object[i], "after %zu MiB in objects of %zu", i * size / MIB, size);
        memset(object[i], mark_of(i), size);
    }
    for (size_t i = 0; i < count; i++)
        if (i % part != 0)
            free(object[i]);
    malloc_trim(0);
    CHECKF(resident_bytes() <= before + live + total / 4 + 16 * MIB,
           "%zu MiB resident for %zu in use", resident_bytes() / MIB, live / MIB);
    for (size_t i = 0; i < count; i += part) {
        for (size_t at = 0; at < size; at += 1 + size / 64)
            CHECKF(object[i][at] == mark_of(i), "byte %zu of object %zu of %zu", at, i,
                   size);
        free(object[i]);
    }
    free(object);
    malloc_trim(0);
    CHECKF(resident_bytes() <= before + 8 * MIB, "%zu MiB stay, %zu before",
           resident_bytes() / MIB, before / MIB);
}

/* Few objects to a page: what is beside them goes by pages, on any kernel. */
static void sparse_slabs_give_pages(void)
{
    grow_and_thin(64, 4096);
    grow_and_thin(700, 700);
    grow_and_thin(8000, 64);
}

static void runs_give_pages(void)
{
    grow_and_thin(40000, 128);
    grow_and_thin(200000, 16);
    grow_and_thin(3 * MIB + 5000, 8);
}

/* Own mappings are cut and moved by pages. */
static void own_mappings_are_resized(void)
{
    static const size_t sizes[] = {33 * MIB + 1, 70 * MIB + 5000, 35 * MIB + 70000,
                                   200 * MIB,    34 * MIB + 4096, 20 * MIB + 4096};
    unsigned char *p = malloc(40 * MIB), *wall;

    CHECK(p);
    memset(p, 7, 20 * MIB);
    for (unsigned round = 0; round < 12; round++) {
        unsigned char *moved = realloc(p, sizes[round % 6]);

        CHECKF(moved, "to %zu", sizes[round % 6]);
        p = moved;
        for (size_t at = 0; at < 20 * MIB; at += 4001)
            CHECKF(p[at] == 7, "byte %zu at %zu", at, sizes[round % 6]);
        p[sizes[round % 6] - 1] = 1;
        wall = malloc(36 * MIB + 4096 * round);
        CHECK(wall);
        wall[0] = 1;
        free(wall);
    }
    free(p);
}

const struct test tests[] = {
    {"the_page_is_large", the_page_is_large},
    {"sparse_slabs_give_pages", sparse_slabs_give_pages},
    {"runs_give_pages", runs_give_pages},
    {"own_mappings_are_resized", own_mappings_are_resized},
    {NULL, NULL},
};
