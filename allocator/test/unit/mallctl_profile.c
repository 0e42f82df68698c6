/* mallctl_profile.c - profiles by jemalloc's control interface. */
#include "check.h"
#include "control.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
    length = 0; /* what cannot be told is not done either */
    CHECK(control("prof.active", &is, &length, &on, sizeof on) == EINVAL);
    length = sizeof is;
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

/* Whether the file that a name follows from is there, and is a profile; it is then removed. */
static bool is_dumped(const char *prefix, unsigned number)
{
    char path[128], text[32] = "";
    int fd;

    snprintf(path, sizeof path, "%s.%d.%u.m%u.heap", prefix, (int)getpid(), number,
             number);
    fd = open(path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0)
        return false;
    CHECK(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    unlink(path);
    return strncmp(text, "heap profile: ", 14) == 0;
}

/* As jemalloc(3) has it, where a program names no file: <prefix>.<pid>.<seq>.m<mseq>.heap. */
static void a_profile_without_a_name_has_one(void)
{
    char folder[] = "/tmp/unit-mallctl-XXXXXX", link[128], before[PATH_MAX];
    const char *none = NULL, *other = "other", *read_back = NULL, *empty = "";
    size_t length = sizeof read_back;
    bool on = true;

    find_all();
    CHECK(getcwd(before, sizeof before) && mkdtemp(folder) && chdir(folder) == 0);
    CHECK(control("prof.active", NULL, NULL, &on, sizeof on) == 0);
    CHECK(control("opt.prof_prefix", &read_back, &length, NULL, 0) == 0);
    CHECK(strcmp(read_back, "jeprof") == 0);
    CHECK(control("prof.dump", NULL, NULL, NULL, 0) == 0 && is_dumped("jeprof", 0));
    CHECK(control("prof.dump", NULL, NULL, &none, sizeof none) == 0);
    CHECK(is_dumped("jeprof", 1));
    CHECK(control("prof.dump", NULL, NULL, &none, sizeof none - 1) == EINVAL);
    CHECK(control("prof.prefix", NULL, NULL, NULL, 0) == EINVAL);
    CHECK(control("prof.prefix", &read_back, &length, NULL, 0) == EPERM);
    CHECK(control("prof.prefix", NULL, NULL, &none, sizeof none) == EFAULT);
    CHECK(control("prof.prefix", NULL, NULL, &other, sizeof other) == 0);
    /* A link of another user under that name is not written through. */
    snprintf(link, sizeof link, "other.%d.2.m2.heap", (int)getpid());
    CHECK(symlink("elsewhere", link) == 0);
    CHECK(control("prof.dump", NULL, NULL, NULL, 0) == 0 && is_dumped("other", 2));
    CHECK(access("elsewhere", F_OK) != 0);
    CHECK(control("prof.prefix", NULL, NULL, &empty, sizeof empty) == 0);
    CHECK(control("prof.dump", NULL, NULL, NULL, 0) == EFAULT);
    CHECK(chdir(before) == 0 && rmdir(folder) == 0);
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
        object[i] = take(i % 2 == 0 ? 100 : MANY, i % 4 < 2 ? 0 : NO_CACHE);
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
    CHECK(stop() == 0 && dump(fd, 0) == 0);
    CHECK(pread(fd, text, sizeof text, 0) > 1000);
    CHECKF(memmem(text, sizeof text, period, sizeof period),
           "the profile is of another rate");
    close(fd);
    unlink(path);
}

const struct test tests[] = {
    {"a_profile_is_taken", a_profile_is_taken},
    {"a_profile_without_a_name_has_one", a_profile_without_a_name_has_one},
    {"a_profile_begins_anew", a_profile_begins_anew},
    {"a_profile_that_begins_anew_keeps_its_rate",
     a_profile_that_begins_anew_keeps_its_rate},
    {NULL, NULL},
};
