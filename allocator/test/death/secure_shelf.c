/*
 * secure_shelf.c - in the hardened build, linked in as an archive, large objects of a size that
 * is written all over keep their pages while they wait, as idle memory that is granted, and read
 * 0 when they are somebody's again; others give them back.
 */
#include "alloc/secure.h"
#include "dying.h"
#include "heap/heap.h"
#include "proc.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE   ((size_t)1 << 20)
#define OTHERS ((size_t)3 << 20) /* of which nothing is known by those */
#define LONG   ((size_t)9 << 20)
#define ROUNDS 40 /* until it is known how such objects are written */

static bool is_resident(const char *page)
{
    unsigned char there = 0;

    CHECK(mincore((void *)(uintptr_t)page, 1, &there) == 0);
    return there & 1;
}

static void reads_zero(const char *p, size_t size)
{
    for (size_t at = 0; at < size; at++)
        CHECKF(p[at] == 0, "byte %zu of what was freed before", at);
}

/* The last of many objects, of each of which so many bytes were written. */
static char *free_many(size_t size, size_t written)
{
    char *p = NULL;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK((p = malloc(size)));
        reads_zero(p, size);
        memset(p, 0x42, written);
        free(p);
    }
    CHECK(MyVerify() == 0);
    return p;
}

static uint32_t held(void)
{
    return mym_idle_held(MYM_HOLDS_SHELF);
}

static void nobody_has_access(const char *p)
{
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0)
        _exit(*(volatile const char *)opaque((uintptr_t)p));
    CHECK(waitpid(child, &status, 0) == child);
    CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "it ended with 0x%x",
           (unsigned)status);
}

static void dense_ones_stay(void)
{
    const char *p = free_many(SIZE, SIZE);

    CHECK(is_resident(p) && is_resident(p + SIZE / 2));
    CHECKF(held() >= SIZE / MYM_UNIT, "%u units", held());
    nobody_has_access(p);
    malloc_trim(0);
    CHECKF(held() == 0, "%u units", held());
    CHECK(MyVerify() == 0);
}

int mallctl(const char *name, void *old, size_t *old_length, void *new,
            size_t new_length);

static size_t resident_as_told(void)
{
    size_t told = 0, length = sizeof told;
    uint64_t epoch = 1;

    CHECK(mallctl("epoch", NULL, NULL, &epoch, sizeof epoch) == 0);
    CHECK(mallctl("stats.resident", &told, &length, NULL, 0) == 0);
    return told;
}

static void check_is_written(const char *text)
{
    static char all[1 << 16];
    FILE *file = tmpfile();

    CHECK(file && MyStatsWrite(fileno(file), MY_STATS_JSON) == 0);
    CHECK(pread(fileno(file), all, sizeof all - 1, 0) > 0);
    CHECKF(strstr(all, text), "no %s in %s", text, all);
    fclose(file);
}

/* The statistics have what is resident of those that wait, as idle memory. */
static void what_stays_is_told(void)
{
    char text[64];
    size_t more = anonymous_kib(), told;

    free_many(SIZE, SIZE);
    more = (anonymous_kib() - more) << 10;
    told = resident_as_told();
    CHECKF(more > 4 * SIZE && told + SIZE >= more, "%zu KiB of %zu", told >> 10,
           more >> 10);
    snprintf(text, sizeof text, "\"quarantine_large\": %zu", (size_t)held() * MYM_UNIT);
    check_is_written(text);
    malloc_trim(0);
    check_is_written("\"quarantine_large\": 0");
}

static void others_go(void)
{
    const char *p = free_many(OTHERS, 4096);

    CHECK(!is_resident(p) && !is_resident(p + OTHERS / 2));
    CHECKF(held() == 0, "%u units", held());
    nobody_has_access(p);
}

/* What comes back by huge pages goes, and nothing behind it stays. */
static void long_ones_go(void)
{
    size_t more = status_kib("RssAnon");
    const char *p;

    p = free_many(LONG, LONG);
    if (!mym_chunk_would_be_huge(LONG)) /* the kernel makes none */
        return;
    more = (status_kib("RssAnon") - more) << 10;
    CHECK(!is_resident(p) && !is_resident(p + LONG / 2));
    CHECKF(held() == 0, "%u units", held());
    CHECKF(more < LONG / 2, "%zu KiB", more >> 10);
    nobody_has_access(p);
}

static void nothing_may_stay(void)
{
    const char *p;
    size_t keep;

    free_many(SIZE, SIZE);
    malloc_trim(0);
    keep = mym_idle_set_keep(0);
    p = free_many(SIZE, SIZE);
    CHECK(!is_resident(p) && held() == 0);
    nobody_has_access(p);
    mym_idle_set_keep(keep);
}

/* Others hold half of what there is, as slabs do that wait for objects. */
static void half_is_its_own(void)
{
    uint32_t half = (uint32_t)(mym_pages_info().allowance / MYM_UNIT / 4);
    const char *p;

    CHECK(mym_idle_grant(MYM_HOLDS_SPANS, half, 0));
    p = free_many(SIZE, SIZE);
    CHECK(is_resident(p) && is_resident(p + SIZE / 2));
    CHECKF(held() >= 4 * (SIZE / MYM_UNIT), "%u units", held());
    mym_idle_return(MYM_HOLDS_SPANS, half);
    malloc_trim(0);
}

/* In the place of the allocator's. */
static unsigned purges;
bool __wrap_mym_os_purge(void *addr, size_t bytes);
bool __real_mym_os_purge(void *addr, size_t bytes);
bool __wrap_mym_os_purge(void *addr, size_t bytes)
{
    purges++;
    return __real_mym_os_purge(addr, bytes);
}

/* The helper: after two of its rounds, and is left alone then. */
static void what_waits_long_goes(void)
{
    const char *p = free_many(SIZE, SIZE);

    mym_shelf_cool();
    CHECK(is_resident(p) && held() > 0);
    mym_shelf_cool();
    CHECK(!is_resident(p));
    CHECKF(held() == 0, "%u units", held());
    purges = 0;
    mym_shelf_cool();
    CHECKF(purges == 0, "%u given back once more", purges);
    nobody_has_access(p);
    free_many(SIZE, SIZE);
}

/* What a program closed, or opened for reading alone, is overwritten all the same. */
static void closed_ones_are_overwritten(void)
{
    free_many(SIZE, SIZE);
    for (int i = 0; i < ROUNDS; i++) {
        char *p = malloc(SIZE);

        CHECK(p);
        reads_zero(p, SIZE);
        memset(p, 0x42, SIZE);
        CHECK(mprotect((void *)(((uintptr_t)p + SIZE / 2) & ~(uintptr_t)4095), 8192,
                       i % 2 ? PROT_NONE : PROT_READ) == 0);
        free(p);
    }
    CHECK(MyVerify() == 0);
}

static void a_child_counts_anew(void)
{
    int status = 0;
    pid_t child;

    free_many(SIZE, SIZE);
    CHECK(mym_idle_grant(MYM_HOLDS_SHELF, 5, 0)); /* by a thread that the child lacks */
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        malloc_trim(0);
        _exit(held() != 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECKF(status == 0, "it ended with 0x%x", (unsigned)status);
    mym_idle_return(MYM_HOLDS_SHELF, 5);
}

/* A place that says more than was granted is seen. */
static void what_was_not_granted_is_told(void)
{
    free_many(SIZE, SIZE);
    mym_idle_return(MYM_HOLDS_SHELF, SIZE / MYM_UNIT);
    CHECK(mym_shelf_verify() == 1);
    mym_idle_grant(MYM_HOLDS_SHELF, SIZE / MYM_UNIT, 0);
    CHECK(mym_shelf_verify() == 0);
}

const struct test tests[] = {
    {"dense_ones_stay", dense_ones_stay},
    {"what_stays_is_told", what_stays_is_told},
    {"others_go", others_go},
    {"half_is_its_own", half_is_its_own},
    {"long_ones_go", long_ones_go},
    {"nothing_may_stay", nothing_may_stay},
    {"what_waits_long_goes", what_waits_long_goes},
    {"closed_ones_are_overwritten", closed_ones_are_overwritten},
    {"a_child_counts_anew", a_child_counts_anew},
    {"what_was_not_granted_is_told", what_was_not_granted_is_told},
    {NULL, NULL},
};
