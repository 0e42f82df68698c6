/*
 * listen.c - who listens to the probes raises their semaphores, and sampling goes on and off by
 * itself; a profile is taken beside.
 */
#include "check.h"
#include "family.h"

#include "profile/profile.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

extern volatile uint16_t mym_probe_alloc_semaphore, mym_probe_free_semaphore;

static void listen(unsigned short listeners)
{
    mym_probe_alloc_semaphore = mym_probe_free_semaphore = listeners;
}

static bool is_sampling(void)
{
    return __atomic_load_n(&mym_watch.on, __ATOMIC_RELAXED);
}

/* Slow paths, of all kinds; each object is freed by the next round. */
static void work(void)
{
    static void *objects[4096];

    for (unsigned i = 0; i < 4096; i++) {
        size_t size = i % 64 == 0 ? (size_t)1 << (17 + i / 64 % 9) : 16 + i * 37 % 6000;

        free(objects[i]);
        objects[i] = malloc(size);
        CHECK(objects[i]);
        *(char *)objects[i] = 1;
        if (i % 97 == 0)
            CHECK((objects[i] = realloc(objects[i], size + size / 2)) != NULL);
    }
}

/* It is looked at once a second. */
static void work_until(bool sampling)
{
    struct timespec start, now;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        work();
        clock_gettime(CLOCK_MONOTONIC, &now);
        CHECKF(now.tv_sec - start.tv_sec < 60, "sampling is still %d", is_sampling());
    } while (is_sampling() != sampling);
    work();
    CHECK(MyVerify() == 0);
}

static void comes_and_goes(void)
{
    work();
    CHECK(!is_sampling());
    for (int i = 0; i < 2; i++) {
        listen(1);
        work_until(true);
        listen(0);
        work_until(false);
    }
}

/* Each ends without ending the other. */
static void beside_a_profile(void)
{
    int file = open("/dev/null", O_WRONLY);

    CHECK(file >= 0);
    listen(1);
    work_until(true);
    CHECK(MyProfileStart(1000) == 0);
    work();
    CHECK(MyProfileWrite(file, MY_PROFILE_PROTO) == 0);
    CHECK(MyProfileStop() == 0);
    work_until(true);
    CHECK(MyProfileStart(1000) == 0);
    listen(0);
    for (int i = 0; i < 3; i++) {
        sleep(1);
        work();
        CHECK(is_sampling());
    }
    CHECK(MyProfileStop() == 0);
    CHECK(!is_sampling());
    CHECK(MyProfileWrite(file, MY_PROFILE_TEXT) == 0);
    close(file);
}

const struct test tests[] = {
    {"comes_and_goes", comes_and_goes},
    {"beside_a_profile", beside_a_profile},
    {NULL, NULL},
};
