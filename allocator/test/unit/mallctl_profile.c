/* mallctl_profile.c - profiles by jemalloc's control interface. */
#include "check.h"
#include "control.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void a_profile_is_taken(void)
{
    char path[] = "/tmp/unit-mallctl-XXXXXX", text[64] = "";
    const char *file = path, *nowhere = "/no/such/folder/file";
    bool on = true, off = false, is;
    size_t length = sizeof is;
    int fd = mkstemp(path);

    find_all();
    CHECK(fd >= 0);
    CHECK(control("prof.active", &is, &length, &on, sizeof on) == 0 && !is);
    CHECK(control("prof.active", &is, &length, &on, sizeof on) == 0 && is);
    for (unsigned i = 0; i < 100; i++)
        put(take((size_t)1 << 20, 0), 0);
    CHECK(control("prof.active", &is, &length, &off, sizeof off) == 0 && is);
    CHECK(control("prof.dump", NULL, NULL, &file, sizeof file) == 0);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    CHECKF(strncmp(text, "heap profile: ", 14) == 0, "%s", text);
    CHECK(control("prof.dump", NULL, NULL, &nowhere, sizeof nowhere) == EFAULT);
    CHECK(control("prof.dump", &is, &length, NULL, 0) == EPERM);
    close(fd);
    unlink(path);
}

/* What prof.dump says of all stacks: objects and bytes in use, and ever taken. */
static void read_profile(double sums[4])
{
    char path[] = "/tmp/unit-mallctl-XXXXXX", text[256] = "";
    const char *file = path;
    int fd = mkstemp(path);

    CHECK(control("prof.dump", NULL, NULL, &file, sizeof file) == 0);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    CHECKF(sscanf(text, "heap profile: %lf: %lf [%lf: %lf]", &sums[0], &sums[1],
                  &sums[2], &sums[3]) == 4,
           "%s", text);
    close(fd);
    unlink(path);
}

/* The objects in use before are freed as ever, and no sum gets less for it. */
static void a_profile_begins_anew(void)
{
    enum { OBJECTS = 100, MANY = 1 << 20 };
    void *object[OBJECTS];
    bool on = true, off = false;
    size_t every = 0, coarse = 99, bad, length = sizeof bad;
    double sums[4];

    find_all();
    CHECK(control("prof.reset", &bad, &length, NULL, 0) == EPERM);
    CHECK(control("prof.reset", NULL, NULL, &every, sizeof every - 1) == EINVAL);
    CHECK(control("prof.reset", NULL, NULL, &every, sizeof every) == 0);
    CHECK(size_at("prof.lg_sample") == 0);
    CHECK(control("prof.active", NULL, NULL, &on, sizeof on) == 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        object[i] = take(i % 2 == 0 ? 100 : MANY, 0);
    read_profile(sums);
    CHECKF(sums[0] >= OBJECTS && sums[1] >= OBJECTS / 2 * MANY, "%.0f: %.0f", sums[0],
           sums[1]);
    CHECK(control("prof.reset", NULL, NULL, NULL, 0) == 0);
    CHECK(size_at("prof.lg_sample") == 0);
    read_profile(sums);
    CHECKF(sums[0] < 10 && sums[2] < 10 && sums[3] < MANY, "%.0f: %.0f [%.0f: %.0f]",
           sums[0], sums[1], sums[2], sums[3]);
    for (unsigned i = 0; i < OBJECTS; i++)
        put(object[i], 0);
    object[0] = take(MANY, 0);
    read_profile(sums);
    CHECKF(sums[0] >= 1 && sums[0] < 10 && sums[1] >= MANY && sums[1] < 2 * MANY,
           "%.0f: %.0f", sums[0], sums[1]);
    put(object[0], 0);
    CHECK(control("prof.reset", NULL, NULL, &coarse, sizeof coarse) == 0);
    CHECK(size_at("prof.lg_sample") == 40);
    for (unsigned i = 0; i < 1000; i++)
        put(take(100, 0), 0);
    read_profile(sums);
    CHECKF(sums[2] < 10, "%.0f objects", sums[2]);
    CHECK(control("prof.active", NULL, NULL, &off, sizeof off) == 0);
}

/* A rate that is no power of two, and one of which the profile says what it is. */
static void a_profile_that_begins_anew_keeps_its_rate(void)
{
    /* Field 12, the period: 1000 as a number of seven bits each. */
    static const unsigned char period[] = {12 << 3, 0xe8, 0x07};
    int (*start)(size_t) = (int (*)(size_t))dlsym(RTLD_DEFAULT, "MyProfileStart");
    int (*stop)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "MyProfileStop");
    int (*dump)(int, int) = (int (*)(int, int))dlsym(RTLD_DEFAULT, "MyProfileWrite");
    char path[] = "/tmp/unit-mallctl-XXXXXX", text[4096];
    int fd = mkstemp(path);

    find_all();
    CHECK(start && stop && dump && fd >= 0);
    CHECK(start(1000) == 0);
    CHECK(control("prof.reset", NULL, NULL, NULL, 0) == 0);
    CHECK(dump(fd, 0) == 0 && stop() == 0);
    CHECK(pread(fd, text, sizeof text, 0) > 1000);
    CHECKF(memmem(text, sizeof text, period, sizeof period),
           "the profile is of another rate");
    close(fd);
    unlink(path);
}

const struct test tests[] = {
    {"a_profile_is_taken", a_profile_is_taken},
    {"a_profile_begins_anew", a_profile_begins_anew},
    {"a_profile_that_begins_anew_keeps_its_rate",
     a_profile_that_begins_anew_keeps_its_rate},
    {NULL, NULL},
};
