/*
 * right.c - what looks like misuse and is none: no build may refuse it. Each case runs in a child
 * that ends by exit(3), and has to end with 0.
 */
#include "check.h"
#include "family.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t sizes[] = {0,      1,       15,      16,       24,      64,
                               100,    504,     1000,    1024,     1025,    4096,
                               20000,  32768,   40000,   100000,   131072,  131073,
                               300000, 4194304, 6000000, 33554432, 40000000};
#define SIZES (sizeof sizes / sizeof *sizes)

static void touch(void *p, size_t size)
{
    CHECK(p);
    memset(p, 0x5a, size < 65536 ? size : 65536);
    if (size > 65536)
        memset((char *)p + size - 4096, 0x5a, 4096);
}

static void each_takers_object_is_freed(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        size_t size = sizes[i], round = (size + 4095) & ~(size_t)4095;
        void *p[9];

        p[0] = malloc(size);
        p[1] = calloc(size, 1);
        p[2] = realloc(NULL, size);
        p[3] = reallocarray(NULL, size, 1);
        p[4] = aligned_alloc(64, size);
        CHECK(posix_memalign(&p[5], 4096, size) == 0);
        p[6] = memalign(256, size);
        p[7] = valloc(size);
        p[8] = pvalloc(size);
        for (int j = 0; j < 8; j++)
            touch(p[j], size);
        touch(p[8], round);
        for (int j = 8; j >= 0; j--)
            free(p[j]);
    }
    free(NULL);
    free(strdup("a text"));
    free(strndup("a text", 3));
    free(realpath("/", NULL));
}

/* All that malloc_usable_size tells of may be written to, and goes along. */
static void all_that_is_usable(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        char *p = malloc(sizes[i]);
        size_t usable = malloc_usable_size(p);

        CHECK(p && usable >= sizes[i]);
        touch(p, usable);
        CHECK((p = realloc(p, usable + 1000)));
        CHECK(usable == 0 || (p[0] == 0x5a && p[usable - 1] == 0x5a));
        touch(p, malloc_usable_size(p));
        free(p);
    }
}

static void resized_to_and_from_nothing(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        void *p = realloc(malloc(0), sizes[i] + 1), *q;

        touch(p, sizes[i] + 1);
        CHECK(realloc(p, 0) == NULL);
        p = malloc(0);
        q = malloc(0);
        CHECK(p && q && p != q);
        free(p);
        free(q);
    }
}

/* From size to size, up and down: each object ends where it was last. */
static void resized_again_and_again(void)
{
    char *p = NULL;

    for (size_t i = 0; i < SIZES * SIZES; i++) {
        size_t size = sizes[i * 7 % SIZES] + 1;

        CHECK((p = realloc(p, size)));
        touch(p, size);
    }
    free(p);
}

static void large_alignments_of_small_sizes(void)
{
    for (size_t alignment = 8; alignment <= (size_t)64 << 20; alignment *= 2)
        for (size_t size = 0; size < 3000; size = size * 3 + 1) {
            void *p;

            CHECK(posix_memalign(&p, alignment, size) == 0);
            CHECK((uintptr_t)p % alignment == 0);
            touch(p, size);
            free(p);
        }
}

/* C++ has the size that was asked for, and the alignment. */
static void operators_in_pairs(void)
{
    void *(*take)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
    void *(*take_array)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znam");
    void *(*take_aligned)(size_t, size_t) =
        (void *(*)(size_t, size_t))dlsym(RTLD_DEFAULT, "_ZnwmSt11align_val_t");
    void (*put)(void *, size_t) =
        (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "_ZdlPvm");
    void (*put_array)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "_ZdaPv");
    void (*put_aligned)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "_ZdlPvmSt11align_val_t");

    if (!take || !take_array || !take_aligned || !put || !put_array || !put_aligned)
        return; /* libc's malloc without a C++ library */
    for (size_t i = 0; i < SIZES; i++) {
        void *p = take(sizes[i]), *q = take_array(sizes[i]);

        touch(p, sizes[i]);
        touch(q, sizes[i]);
        put(p, sizes[i]);
        put_array(q);
        put(NULL, sizes[i]);
        for (size_t alignment = 16; alignment <= 8192; alignment *= 2) {
            p = take_aligned(sizes[i], alignment);
            touch(p, sizes[i]);
            put_aligned(p, sizes[i], alignment);
        }
    }
}

static void *objects[SIZES];

static void *take_all(void *unused)
{
    for (size_t i = 0; i < SIZES; i++)
        touch(objects[i] = malloc(sizes[i]), sizes[i]);
    return unused;
}

static void *put_all(void *unused)
{
    for (size_t i = 0; i < SIZES; i++)
        free(objects[i]);
    return unused;
}

static void in_a_thread(void *(*run)(void *))
{
    pthread_t thread;

    CHECK(!pthread_create(&thread, NULL, run, NULL));
    CHECK(!pthread_join(thread, NULL));
}

/* Who took them is gone, and so is who freed others. */
static void freed_by_others(void)
{
    in_a_thread(take_all);
    put_all(NULL);
    take_all(NULL);
    in_a_thread(put_all);
    in_a_thread(take_all);
    in_a_thread(put_all);
}

/* Each has its own, child and parent. */
static void freed_on_both_sides_of_fork(void)
{
    int status;
    pid_t child;

    take_all(NULL);
    CHECK((child = fork()) >= 0);
    put_all(NULL);
    if (child == 0)
        exit(0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* In use, or waiting, when the program ends, and freed as it does. */
static void put_all_at_exit(void)
{
    put_all(NULL);
}

static void left_at_the_end(void)
{
    CHECK(atexit(put_all_at_exit) == 0);
    take_all(NULL);
    put_all(NULL);
    for (size_t i = 0; i < 3000; i++)
        touch(malloc(i), i);
    take_all(NULL);
}

/* Alone, all of an object's pages are its program's: also at the end. */
static void without_access_at_the_end(void)
{
    for (size_t pages = 1; pages < 100; pages += pages / 3 + 1) {
        void *p;

        CHECK(posix_memalign(&p, 4096, pages * 4096) == 0);
        touch(p, pages * 4096);
        CHECK(mprotect(p, pages * 4096, PROT_NONE) == 0);
    }
}

/* A pointer to the middle is all that there is, and is written through. */
static void known_by_its_middle(void)
{
    for (size_t i = 3; i < SIZES; i++) {
        char *middle = (char *)malloc(sizes[i]) + sizes[i] / 2;

        free(malloc(sizes[i]));
        middle[0] = middle[-1] = 'm';
        free(middle - sizes[i] / 2);
    }
}

/* The same address again and again is no second free. */
static void freed_as_often_as_taken(void)
{
    for (int i = 0; i < 20000; i++) {
        void *p = malloc(sizes[i % 15]), *q = malloc(sizes[i % 15]);

        free(p);
        free(q);
    }
}

static void (*const right[])(void) = {each_takers_object_is_freed,
                                      all_that_is_usable,
                                      resized_to_and_from_nothing,
                                      resized_again_and_again,
                                      large_alignments_of_small_sizes,
                                      operators_in_pairs,
                                      freed_by_others,
                                      freed_on_both_sides_of_fork,
                                      left_at_the_end,
                                      without_access_at_the_end,
                                      known_by_its_middle,
                                      freed_as_often_as_taken};

static void nothing_right_is_refused(void)
{
    for (unsigned i = 0; i < sizeof right / sizeof *right; i++) {
        int status;
        pid_t child;

        fflush(stdout);
        CHECK((child = fork()) >= 0);
        if (child == 0) {
            right[i]();
            exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECKF(status == 0, "case %u ended with 0x%x", i, (unsigned)status);
    }
}

const struct test tests[] = {{"nothing_right_is_refused", nothing_right_is_refused},
                             {NULL, NULL}};
