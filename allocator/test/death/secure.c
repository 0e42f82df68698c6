/*
 * secure.c - what the hardened build finds wherever it is, linked in as an archive: each word
 * of what was freed, each byte behind an object; and what nobody may write to.
 */
#include "base/secure.h"
#include "cache/cache.h"
#include "dying.h"
#include "mymalloc/mymalloc.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t size, at; /* of the case that a child runs */

/* The memory is somebody's again sooner or later: it waits among at most 32 of its class. */
static void write_after_free(void)
{
    char *p = take(size);

    free(p);
    ((char *)wrong(p))[at] = 1;
    for (int i = 0; i < 100000; i++)
        free(malloc(size));
}

/* calloc reads all of what it returns. */
static void write_after_free_calloc(void)
{
    char *p = take(size);

    free(p);
    ((char *)wrong(p))[at] = 1;
    for (int i = 0; i < 100000; i++)
        free(calloc(1, size));
}

/* malloc looks at two lanes of the middle, each time at others. */
static void write_again_and_again(void)
{
    char *p = take(size);

    free(p);
    for (int i = 0; i < 100000; i++) {
        ((char *)wrong(p))[at] = 1;
        free(malloc(size));
    }
}

static void write_beyond(void)
{
    char *p = take(size);

    ((char *)wrong(p))[size + at] ^= 1;
    free(p);
}

static int check(size_t bytes, size_t place, const char *what, void (*run)(void))
{
    char name[64];
    struct death death = {name, what, run};

    snprintf(name, sizeof name, "%zu at %zu", bytes, place);
    size = bytes;
    at = place;
    return check_death(&death);
}

/* 64 bytes at either end are looked at by malloc, which is all of what is short. */
static void words_that_were_freed(void)
{
    int failed = 0;

    share_culprit();
    for (size_t place = 0; place < 100; place += 16)
        failed += check(100, place + 3, WRITTEN_FREED, write_after_free);
    failed += check(260, 0, WRITTEN_FREED, write_after_free);
    failed += check(260, 63, WRITTEN_FREED, write_after_free);
    failed += check(260, 228, WRITTEN_FREED, write_after_free);
    failed += check(260, 259, WRITTEN_FREED, write_after_free);
    failed += check(16, 15, WRITTEN_FREED, write_after_free);
    failed += check(30000, 29999, WRITTEN_FREED, write_after_free);
    CHECKF(!failed, "%d writes were not found", failed);
}

static void words_in_the_middle(void)
{
    int failed = 0;

    share_culprit();
    for (size_t place = 64; place < 208; place += 48) {
        failed += check(260, place, WRITTEN_FREED, write_after_free_calloc);
        failed += check(260, place, WRITTEN_FREED, write_again_and_again);
    }
    failed += check(4000, 2000, WRITTEN_FREED, write_after_free_calloc);
    failed += check(4000, 2000, WRITTEN_FREED, write_again_and_again);
    CHECKF(!failed, "%d writes were not found", failed);
}

/* 260 bytes have a red zone of 16, 102 one of 2: the rest of it would be the seal. */
static void bytes_behind_an_object(void)
{
    static const size_t long_zone[] = {0, 7, 8, 15}, short_zone[] = {0, 1, 2, 9};
    int failed = 0;

    share_culprit();
    for (int i = 0; i < 4; i++) {
        failed += check(260, long_zone[i], WRITTEN_BEYOND, write_beyond);
        failed += check(102, short_zone[i], WRITTEN_BEYOND, write_beyond);
    }
    CHECKF(!failed, "%d writes were not found", failed);
}

/* ---- what is written at start alone ---- */

static bool can_write(void *word)
{
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        *(volatile char *)word = *(volatile char *)word;
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
    return status == 0;
}

static void tables_are_read_only(void)
{
    free(take(100));
    CHECK(!can_write(mym_secret));
    CHECK(!can_write(&mym_classes[1].size));
    CHECK(!can_write(&mym_class_count));
    CHECK(!can_write(mym_class_of_16));
    CHECK(!can_write(mym_class_of_64));
    CHECK(!can_write(&mym_cache_each_second));
    CHECK(!can_write(&mym_mode));
    CHECK(can_write(&mym_hot)); /* the question can be answered with yes */
}

/* ---- what is in use ---- */

static void *held[200];

static int note_visit(void *object, size_t bytes, void *visits)
{
    (void)bytes;
    for (unsigned i = 0; i < sizeof held / sizeof *held; i++)
        ((unsigned *)visits)[i] += held[i] == object;
    return 0;
}

/* What was freed and waits is not in use; all else is visited once. */
static void a_walk_visits_what_is_in_use(void)
{
    unsigned visits[sizeof held / sizeof *held] = {0};

    for (unsigned i = 0; i < 200; i++)
        CHECK((held[i] = malloc(8 + i * 300 + (i % 20 == 0 ? 300000 : 0))));
    for (unsigned i = 0; i < 200; i += 2)
        free(held[i]);
    CHECK(MyHeapWalk(note_visit, visits) == 0);
    for (unsigned i = 0; i < 200; i++)
        CHECKF(visits[i] == i % 2, "object %u was visited %u times", i, visits[i]);
}

const struct test tests[] = {
    {"words_that_were_freed", words_that_were_freed},
    {"words_in_the_middle", words_in_the_middle},
    {"bytes_behind_an_object", bytes_behind_an_object},
    {"tables_are_read_only", tables_are_read_only},
    {"a_walk_visits_what_is_in_use", a_walk_visits_what_is_in_use},
    {NULL, NULL},
};
