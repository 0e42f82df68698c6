/*
 * cgroup.c - what stays resident of freed memory when the cgroup's limit is near.
 *   cgroup before             the limit is there already: print the KiB that stay
 *   cgroup after FILE LIMIT   write it now, and go on until nothing stays
 *   cgroup other MIB          so much at a time, in objects of one size after the other: what
 *                             is idle makes room in time, or the kernel kills
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELD 100 /* MiB: in use, not touched */
#define SIZE (256 << 10)

static size_t resident_kib(void)
{
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (!file || fscanf(file, "%lu %lu", &all, &resident) != 2)
        exit(9);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void *take(size_t size, int value)
{
    char *p = malloc(size);

    if (!p)
        exit(9);
    if (value)
        memset(p, value, size);
    return p;
}

/* Take, touch and free 40 MiB in large and some in small objects: KiB that stay. */
static size_t swing(void)
{
    enum { LARGE = 144, SMALL = 40000 };
    static void *large[LARGE], *small[SMALL];
    size_t before = resident_kib(), after;

    for (int i = 0; i < LARGE; i++)
        large[i] = take(SIZE, 1);
    for (int i = 0; i < SMALL; i++)
        small[i] = take(100, 1);
    for (int i = 0; i < SMALL; i++)
        free(small[i]);
    for (int i = 0; i < LARGE; i++)
        free(large[i]);
    after = resident_kib();
    return after > before ? after - before : 0;
}

static int take_other_sizes(size_t bytes)
{
    static const size_t sizes[] = {100,      1000,  20000,  9 << 20,
                                   35 << 20, 70000, 300000, 5000};
    enum { STEP = 64 << 10 };
    static void *objects[512 << 10];
    char *grown = NULL;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t count = bytes / (sizes[i] + 8);

        for (size_t at = 0; at < count; at++)
            objects[at] = take(sizes[i], 1);
        while (count > 0)
            free(objects[--count]);
    }
    for (size_t size = STEP; size <= bytes; size += STEP) {
        if (!(grown = realloc(grown, size)))
            exit(9);
        memset(grown + size - STEP, 1, STEP);
    }
    printf("%zu KiB in the end\n", resident_kib());
    free(grown);
    return 0;
}

int main(int argc, char **argv)
{
    static void *held[HELD];
    size_t left;

    if (argc == 3 && !strcmp(argv[1], "other"))
        return take_other_sizes((size_t)atoi(argv[2]) << 20);
    for (int i = 0; i < HELD; i++)
        held[i] = take(1 << 20, 0);
    left = swing();
    if (argc == 4 && !strcmp(argv[1], "after")) {
        FILE *file = fopen(argv[2], "w");

        printf("%zu KiB stay without a limit\n", left);
        if (!file || fputs(argv[3], file) < 0 || fclose(file) != 0)
            return 9;
        do {
            size_t before = resident_kib();

            swing();
            left = resident_kib() < before ? 0 : left;
        } while (left > 0);
        left = swing();
    }
    printf("%zu KiB stay\n", left);
    for (int i = 0; i < HELD; i++)
        free(held[i]);
    return left > 8192;
}
