/*
 * paths.c - one allocation path, COUNT times, for ci/gate-instructions to count.
 *
 * Linked with the preload library: malloc here is mymalloc's. The count of one round is
 * the difference between two runs of different COUNT, so start-up does not enter.
 */
#include "mymalloc/mymalloc.h"

#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 1000, RANDOM_SIZE_MAX = 1024 };

/* C++'s operators by their names in the ABI. */
void *_Znwm(size_t size);
void *_ZnwmSt11align_val_t(size_t size, size_t alignment);
void _ZdlPv(void *ptr);
void _ZdlPvm(void *ptr, size_t size);
void _ZdlPvmSt11align_val_t(void *ptr, size_t size, size_t alignment);

/* The compiler must take the pointer for used. */
static void *use(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr) : : "memory");
    return ptr;
}

static void pair_64(void)
{
    free(use(malloc(64)));
}

static void pair_1k(void)
{
    free(use(malloc(1024)));
}

static void pair_32k(void)
{
    free(use(malloc(32 << 10)));
}

static void pair_1m(void)
{
    free(use(malloc(1 << 20)));
}

static void calloc_64(void)
{
    free(use(calloc(1, 64)));
}

static void aligned_64(void)
{
    free(use(aligned_alloc(64, 64)));
}

static void new_64(void)
{
    _ZdlPv(use(_Znwm(64)));
}

static void new_sized_64(void)
{
    _ZdlPvm(use(_Znwm(64)), 64);
}

static void new_sized_4k(void)
{
    _ZdlPvm(use(_Znwm(4096)), 4096);
}

static void new_sized_1m(void)
{
    _ZdlPvm(use(_Znwm(1 << 20)), 1 << 20);
}

static void new_aligned_64(void)
{
    _ZdlPvmSt11align_val_t(use(_ZnwmSt11align_val_t(192, 64)), 192, 64);
}

static void realloc_same_class(void)
{
    void *ptr = use(malloc(60));
    free(use(realloc(ptr, 64)));
}

static void batch_64(void)
{
    static void *objects[BATCH];

    for (int i = 0; i < BATCH; i++)
        objects[i] = use(malloc(64));
    for (int i = 0; i < BATCH; i++)
        free(objects[i]);
}

/* A working set of mixed sizes, one object replaced at a time. */
static void replace_mixed(void)
{
    static void *objects[BATCH];
    static unsigned state = 1;

    for (int i = 0; i < BATCH; i++) {
        state = state * 1664525u + 1013904223u;
        unsigned slot = (state >> 8) % BATCH;
        free(objects[slot]);
        objects[slot] = use(malloc(1 + (state >> 20) % RANDOM_SIZE_MAX));
    }
}

/* From the first call on samples are taken, so seldom that none is. */
static void watch(void)
{
    static int on;

    if (!on && MyProfileStart((size_t)1 << 40) != 0)
        abort();
    on = 1;
}

static void watched_64(void)
{
    watch();
    pair_64();
}

static void watched_new_64(void)
{
    watch();
    new_64();
}

static void watched_new_sized_64(void)
{
    watch();
    new_sized_64();
}

static const struct path {
    const char *name;
    void (*round)(void);
    const char *what;
} paths[] = {
    {"pair_64", pair_64, "malloc and free of 64 B"},
    {"pair_1k", pair_1k, "malloc and free of 1 KiB"},
    {"pair_32k", pair_32k, "malloc and free of 32 KiB"},
    {"pair_1m", pair_1m, "malloc and free of 1 MiB"},
    {"calloc_64", calloc_64, "calloc and free of 64 B"},
    {"aligned_64", aligned_64, "aligned_alloc and free of 64 B"},
    {"new_64", new_64, "operator new and delete of 64 B"},
    {"new_sized_64", new_sized_64, "operator new and sized delete of 64 B"},
    {"new_sized_4k", new_sized_4k, "operator new and sized delete of 4 KiB"},
    {"new_sized_1m", new_sized_1m, "operator new and sized delete of 1 MiB"},
    {"new_aligned_64", new_aligned_64,
     "operator new of 192 B aligned to 64, and its sized delete"},
    {"watched_64", watched_64, "pair_64 while samples are taken"},
    {"watched_new_64", watched_new_64, "new_64 while samples are taken"},
    {"watched_new_sized_64", watched_new_sized_64,
     "new_sized_64 while samples are taken"},
    {"realloc_same_class", realloc_same_class, "malloc 60 B, realloc to 64 B, free"},
    {"batch_64", batch_64, "1000 mallocs of 64 B, then 1000 frees"},
    {"replace_mixed", replace_mixed,
     "1000 replacements among 1000 objects of 1-1024 B"},
};

int main(int argc, char **argv)
{
    size_t all = sizeof paths / sizeof *paths;

    if (argc == 1) { /* the catalogue */
        for (size_t i = 0; i < all; i++)
            printf("%s\t%s\n", paths[i].name, paths[i].what);
        return 0;
    }
    for (size_t i = 0; argc == 3 && i < all; i++) {
        if (strcmp(argv[1], paths[i].name) != 0)
            continue;
        for (long count = strtol(argv[2], NULL, 10); count > 0; count--)
            paths[i].round();
        return 0;
    }
    fprintf(stderr, "usage: gate-paths [NAME COUNT]; without arguments: the names\n");
    return 2;
}
