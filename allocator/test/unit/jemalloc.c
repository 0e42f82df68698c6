/* jemalloc.c - jemalloc's own functions, as jemalloc(3) describes them. */
#include "check.h"

#include <dlfcn.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ZERO     64
#define NO_CACHE 0x100

static struct {
    void *(*mallocx)(size_t, int);
    void *(*rallocx)(void *, size_t, int);
    size_t (*xallocx)(void *, size_t, size_t, int);
    size_t (*sallocx)(const void *, int);
    void (*dallocx)(void *, int);
    void (*sdallocx)(void *, size_t, int);
    size_t (*nallocx)(size_t, int);
} je;

static void find(const char *name, void *slot)
{
    void *found = dlsym(RTLD_DEFAULT, name);

    CHECKF(found, "%s is missing", name);
    memcpy(slot, &found, sizeof(found));
}

static void find_all(void)
{
    find("mallocx", &je.mallocx);
    find("rallocx", &je.rallocx);
    find("xallocx", &je.xallocx);
    find("sallocx", &je.sallocx);
    find("dallocx", &je.dallocx);
    find("sdallocx", &je.sdallocx);
    find("nallocx", &je.nallocx);
}

static bool reads(const unsigned char *from, size_t bytes, unsigned char value)
{
    while (bytes > 0 && *from == value)
        from++, bytes--;
    return bytes == 0;
}

static const size_t sizes[] = {1,    16,    100,   1000,   1030,    4096,   4200,
                               5000, 33000, 70000, 300000, 1100000, 5 << 20};
#define SIZES (sizeof(sizes) / sizeof(*sizes))

static void objects_are_aligned_and_zeroed(void)
{
    find_all();
    for (unsigned i = 0; i < SIZES; i++)
        for (int lg = 0; lg <= 16; lg++) {
            unsigned char *p = je.mallocx(sizes[i], lg);

            CHECK(p && (uintptr_t)p % ((size_t)1 << lg) == 0);
            CHECK(je.sallocx(p, lg) >= sizes[i]);
            CHECKF(je.nallocx(sizes[i], lg) == je.sallocx(p, lg),
                   "%zu bytes at 1 << %d: %zu told, %zu given", sizes[i], lg,
                   je.nallocx(sizes[i], lg), je.sallocx(p, lg));
            memset(p, 0xff, sizes[i]);
            je.dallocx(p, lg);
            p = je.mallocx(sizes[i], lg | ZERO);
            CHECK(p && (uintptr_t)p % ((size_t)1 << lg) == 0);
            CHECKF(reads(p, sizes[i], 0), "%zu bytes, 2^%d", sizes[i], lg);
            CHECK(je.nallocx(sizes[i], lg | ZERO) == je.sallocx(p, lg));
            je.sdallocx(p, sizes[i], lg);
        }
}

static void sizes_agree(void)
{
    find_all();
    for (unsigned i = 0; i < SIZES; i++) {
        void *p = je.mallocx(sizes[i], 0);

        CHECK(je.nallocx(sizes[i], 0) == je.sallocx(p, 0));
        CHECK(je.sallocx(p, 0) == malloc_usable_size(p));
        CHECK(je.xallocx(p, sizes[i], 0, 0) >= sizes[i]);
        free(p); /* one heap: what one family gave the other takes */
        p = malloc(sizes[i]);
        je.dallocx(p, 0);
    }
    for (int lg = 0; lg <= 16; lg += 4) {
        size_t size = ((size_t)40 << 20) + 1;
        void *p = je.mallocx(size, lg);

        CHECKF(je.nallocx(size, lg) == je.sallocx(p, lg),
               "1 << %d: %zu told, %zu given", lg, je.nallocx(size, lg),
               je.sallocx(p, lg));
        je.dallocx(p, lg);
        CHECK(je.nallocx(PTRDIFF_MAX, lg) == 0 && je.nallocx(SIZE_MAX, lg) == 0);
    }
}

static void growing_keeps_and_zeroes(void)
{
    find_all();
    for (unsigned i = 0; i + 1 < SIZES; i++)
        for (int lg = 0; lg <= 13; lg += 13) {
            unsigned char *p = je.mallocx(sizes[i], lg);
            size_t real = je.sallocx(p, lg);
            size_t more = sizes[i + 1] > real ? sizes[i + 1] : real + 1;

            memset(p, 0xa5, real);
            p = je.rallocx(p, more, lg | ZERO);
            CHECK(p && (uintptr_t)p % ((size_t)1 << lg) == 0);
            CHECK(je.sallocx(p, lg) >= more && reads(p, real, 0xa5));
            CHECKF(reads(p + real, more - real, 0), "%zu to %zu bytes, 2^%d", real,
                   more, lg);
            p = je.rallocx(p, 1, lg);
            CHECK(p && *p == 0xa5);
            je.sdallocx(p, 1, lg);
        }
}

/* What was all zero is so when it has grown, whatever its place held before. */
static void zeros_go_on(void)
{
    find_all();
    for (unsigned i = 0; i + 1 < SIZES; i++)
        for (int lg = 0; lg <= 13; lg += 13) {
            unsigned char *p = je.mallocx(sizes[i], lg);
            size_t real = je.sallocx(p, lg);

            memset(p, 0xff, real);
            je.dallocx(p, lg);
            p = je.mallocx(sizes[i], lg | ZERO);
            CHECKF(reads(p, je.sallocx(p, lg), 0), "%zu bytes, 2^%d", sizes[i], lg);
            p = je.rallocx(p, sizes[i + 1], lg | ZERO);
            CHECKF(reads(p, sizes[i + 1], 0), "%zu to %zu bytes, 2^%d", sizes[i],
                   sizes[i + 1], lg);
            je.dallocx(p, lg);
        }
}

/* In a place of more bytes than were copied to it, too, or of fewer than the one before. */
static void zeros_go_on_elsewhere(void)
{
    static const struct {
        size_t size;
        int from, to; /* alignments, as powers */
    } moves[] = {{1, 0, 12}, {100, 0, 12}, {10500, 16, 0}};

    find_all();
    for (unsigned i = 0; i < sizeof moves / sizeof *moves; i++) {
        size_t size = moves[i].size, more = size + 9;
        unsigned char *p = je.mallocx(size, moves[i].from | ZERO),
                      *soiled = je.mallocx(size + 1, moves[i].to);

        je.dallocx(memset(soiled, 0xff, je.sallocx(soiled, moves[i].to)), moves[i].to);
        p = je.rallocx(p, size + 1, moves[i].to | ZERO);
        p = je.rallocx(p, more, ZERO);
        CHECKF(reads(p, more, 0), "%zu bytes", size);
        je.dallocx(p, 0);
    }
}

/* A slab takes an object past the caches, too, only as what it is. */
static void a_wrong_size_is_told(void)
{
    int status;

    find_all();
    if (dlsym(RTLD_DEFAULT, "MyVersion") == NULL) /* jemalloc itself believes it */
        return;
    if (fork() == 0) {
        freopen("/dev/null", "w", stderr);
        je.sdallocx(je.mallocx(1000, NO_CACHE), 100, NO_CACHE);
        _exit(0);
    }
    CHECK(wait(&status) > 0);
    CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status 0x%x", status);
}

const struct test tests[] = {
    {"objects_are_aligned_and_zeroed", objects_are_aligned_and_zeroed},
    {"sizes_agree", sizes_agree},
    {"growing_keeps_and_zeroes", growing_keeps_and_zeroes},
    {"zeros_go_on", zeros_go_on},
    {"zeros_go_on_elsewhere", zeros_go_on_elsewhere},
    {"a_wrong_size_is_told", a_wrong_size_is_told},
    {NULL, NULL},
};
