/*
 * secure.c - what the hardened build finds wherever it is, linked in as an archive: each word
 * of what was freed, each byte behind an object; and what nobody may write to.
 */
#include "base/secure.h"
#include "cache/cache.h"
#include "dying.h"
#include "mymalloc/arena.h"

#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t size, at; /* of the case that a child runs */

/* The memory is somebody's again sooner or later: when malloc has used up what else there is. */
static void write_after_free(void)
{
    char *p = take(size);

    free(p);
    ((char *)wrong(p))[at] = 1;
    for (int i = 0; i < 100000; i++)
        free(malloc(size));
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

/* 32 bytes at either end of a place are looked at by malloc: of 112, 288, 32 and 33088 bytes here. */
static void words_that_were_freed(void)
{
    static const struct {
        size_t size, at;
    } words[] = {{100, 3}, {100, 19},      {100, 83},  {100, 99},
                 {260, 0}, {260, 31},      {260, 256}, {260, 259},
                 {16, 15}, {33080, 33079}, {100000, 0}};
    int failed = 0;

    share_culprit();
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        failed += check(words[i].size, words[i].at, WRITTEN_FREED, write_after_free);
    CHECKF(!failed, "%d writes were not found", failed);
}

/* What is cut off is as what was freed, but for the red zone at the end of the place. */
static void what_is_cut_off_reads_zero(void)
{
    char *p = malloc(1000);

    CHECK(p);
    memset(p, 0x42, 1000);
    CHECK(realloc(p, 900) == p);
    for (size_t byte = 900; byte < 1024 - MYM_REACH; byte++)
        CHECKF(((volatile char *)p)[byte] == 0, "byte %zu", byte);
    free(p);
}

static void free_as_another_size(void)
{
    MyFreeSized(wrong(take(size)), at);
}

static void free_as_another_size_in_an_arena(void)
{
    MyFreeSized(wrong(MyArenaAlloc(MyArenaCreate(0), size)), at);
}

/* Each wrong one is told, also where it would do no harm, which is enough for the catalogue. */
static void sizes_of_all_objects(void)
{
    int failed = 0;

    share_culprit();
    failed += check(300000, 1000, WRONG_SIZE, free_as_another_size);
    failed += check(100, 99, WRONG_SIZE, free_as_another_size);
    failed += check(40000000, 40000001, WRONG_SIZE, free_as_another_size);
    failed += check(1000, 24, WRONG_SIZE, free_as_another_size_in_an_arena);
    failed += check(300000, 1000, WRONG_SIZE, free_as_another_size_in_an_arena);
    CHECKF(!failed, "%d sizes were not found wrong", failed);
}

#if MYM_SECURE_ZERO_ON_FREE == MYM_ZERO_ALL
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
#else
/* Nobody looks there, so calloc does not rely on it. */
static void words_in_the_middle(void)
{
    char *p = take(4000), *q = NULL;

    share_culprit();
    free(p);
    ((char *)wrong(p))[2000] = 1;
    for (int i = 0; i < 100000 && q != p; i++) {
        CHECK((q = calloc(1, 4000)));
        for (size_t byte = 0; byte < 4000; byte++)
            CHECKF(q[byte] == 0, "byte %zu of what calloc returned is %d", byte,
                   q[byte]);
        free(q);
    }
    CHECK(q == p);
}
#endif

/* Whatever is in it, and wherever: nobody reads it when it was freed. */
static void short_ones_are_overwritten(void)
{
    for (size_t bytes = 1; bytes <= 120; bytes++) {
        const char *volatile freed;
        char *p = take(bytes);

        freed = p;
        free(p);
        for (size_t byte = 0; byte < bytes; byte++)
            CHECKF(freed[byte] == 0, "byte %zu of %zu is %d", byte, bytes, freed[byte]);
    }
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

/* Shrunk where it is: at most 64 bytes of the place's end are looked at, 976 to 1040 here. */
static char *take_shrunk(void)
{
    char *p = take(1000), *q = realloc(p, 900);

    CHECK(q == p);
    return q;
}

static void write_into_the_zone(void)
{
    char *p = take_shrunk();

    ((char *)wrong(p))[at] ^= 1;
    free(p);
}

/* It is not right behind the object, and is gone when that was freed. */
static void bytes_far_behind_an_object(void)
{
    int failed = 0;

    share_culprit();
    for (size_t place = 976; place < 992; place += 5)
        failed += check(900, place, WRITTEN_BEYOND, write_into_the_zone);
    CHECKF(!failed, "%d writes were not found", failed);
    for (int i = 0; i < 10000; i++) { /* each waits before it is looked at */
        free(take_shrunk());
        free(malloc(1000));
    }
}

/* ---- a pointer into the last object before pages without access ---- */

static char *last;

static void ask_its_size(void)
{
    malloc_usable_size(wrong(last + 512));
}

static void grow_it(void)
{
    CHECK(realloc(wrong(last + 512), 60000));
}

static void free_it(void)
{
    free(wrong(last + 512));
}

static size_t unit_of(const void *p)
{
    return (uintptr_t)p / MYM_UNIT;
}

/* Before a large object, which cannot be read when it was freed. */
static bool find_last(void)
{
    enum { BYTES = 65000, MANY = 3000 }; /* a class that fills its slab */
    static char *small[MANY], *large[MANY / 10];

    for (unsigned i = 0; i < MANY; i++) {
        small[i] = take(BYTES);
        if (i % 10 == 0)
            large[i / 10] = take(200000);
    }
    for (unsigned i = 0; i < MANY; i++) {
        const char *end =
            small[i] + mym_classes[mym_class_of(BYTES + MYM_SEAL_BYTES)].size;

        for (unsigned j = 0; j < MANY / 10; j++)
            if (unit_of(end + 504) == unit_of(large[j]) &&
                unit_of(end - 1) + 1 == unit_of(large[j])) {
                last = small[i];
                free(large[j]);
                return true;
            }
    }
    return false;
}

static void the_last_object_of_a_slab(void)
{
    const struct death deaths[] = {{"usable size", INTERIOR, ask_its_size},
                                   {"realloc", INTERIOR, grow_it},
                                   {"free", INTERIOR, free_it}};

    share_culprit();
    CHECKF(find_last(), "no slab ends where a large object begins");
    for (unsigned i = 0; i < 3; i++)
        CHECK(check_death(&deaths[i]) == 0);
}

/* ---- large objects ---- */

/* How a child ends that reads there: 0, or of a signal. */
static int end_of_read(const void *where)
{
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        (void)*(volatile const char *)where;
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void check_fence(const char *p, size_t bytes, const char *how)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t end = (bytes + MYM_SEAL_BYTES + page - 1) / page * page;
    int status;

    CHECK(p);
    status = end_of_read(p + end);
    CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
           "%s of %zu bytes: a read at %zu ended with 0x%x", how, bytes, end,
           (unsigned)status);
    CHECKF(end_of_read(p + end - 1) == 0, "%s of %zu bytes: no seal can be read", how,
           bytes);
}

/* Wherever it lies, and wherever its end moves to. */
static void a_page_without_access_is_behind(void)
{
    static const size_t sizes[] = {200000, 1000000, 5000000, 20000000, 40000000};

    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t bytes = sizes[i];
        char *p = malloc(bytes), *was = p;

        check_fence(p, bytes, "malloc");
        check_fence(p = realloc(p, bytes - bytes / 20), bytes - bytes / 20,
                    "shrinking");
        CHECKF(p == was, "%zu bytes moved", bytes);
        check_fence(p = realloc(p, bytes + bytes / 8), bytes + bytes / 8, "growing");
        check_fence(p = realloc(p, bytes + bytes / 6), bytes + bytes / 6,
                    "growing more");
        check_fence(p = realloc(p, 2 * bytes), 2 * bytes, "doubling");
        free(p);
        malloc_trim(0); /* it waits no longer */
        check_fence(p = calloc(1, bytes), bytes, "calloc");
        free(p);
        check_fence(p = aligned_alloc(1 << 20, bytes), bytes, "aligned_alloc");
        free(p);
    }
}

/* There are so many at most, and each that ends leaves room for another. */
static void fences_come_and_go(void)
{
    enum { MANY = 9000, BYTES = 200000 };
    static char *many[MANY];

    for (unsigned i = 0; i < MANY; i++)
        CHECK((many[i] = malloc(BYTES)));
    for (unsigned i = 0; i < MANY; i++) {
        CHECKF(realloc(many[i], BYTES / 4 * 3) == many[i], "object %u moved", i);
        free(many[i]);
    }
    a_page_without_access_is_behind();
}

/* Whoever has the memory next reads nothing of what was in it; nor is it resident meanwhile. */
static void large_ones_are_wiped(void)
{
    static const size_t sizes[] = {200000, 1000000, 5000000};
    static char *held[4];

    for (unsigned round = 0; round < 90; round++) {
        size_t bytes = sizes[round % 3];
        char *p = malloc(bytes);

        CHECK(p);
        CHECKF(memchr(p, 0x5a, bytes) == NULL, "round %u: %zu bytes have another's",
               round, bytes);
        memset(p, 0x5a, bytes);
        free(held[round % 4]);
        held[round % 4] = p;
    }
    for (unsigned i = 0; i < 4; i++)
        free(held[i]);
}

/* Of each kind: what a profile knows of it ends with it. */
static void profiles_know_what_ended(void)
{
    static const size_t sizes[] = {100, 10000, 100000, 300000, 5000000, 40000000};
    FILE *file = tmpfile();
    long objects = -1, bytes = -1;

    CHECK(file && MyProfileStart(1) == 0);
    for (unsigned i = 0; i < 5 * sizeof sizes / sizeof *sizes; i++) {
        char *p = malloc(sizes[i / 5]);

        CHECK(p && (p = realloc(p, sizes[i / 5] / 10 * 11)));
        free(p);
    }
    CHECK(MyProfileWrite(fileno(file), MY_PROFILE_TEXT) == 0);
    CHECK(MyProfileStop() == 0);
    rewind(file);
    CHECK(fscanf(file, "heap profile: %ld: %ld [", &objects, &bytes) == 2);
    CHECKF(bytes < 10000, "%ld bytes in %ld objects are in use", bytes, objects);
    CHECK(fclose(file) == 0);
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

/* An object that takes its pages along leaves no mark where an arena's will lie. */
static void who_moves_out_leaves_no_mark(void)
{
    enum { OBJECTS = 16, PARTS = 7000 };
    static char *object[OBJECTS], *left[OBJECTS];
    static void *part[PARTS];
    MyArena *arena = MyArenaCreate(0);
    struct MyArenaInfo info;
    unsigned at_the_start = 0;

    CHECK(arena);
    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK((left[i] = object[i] = malloc((size_t)20 << 20)));
    for (unsigned i = 0; i < OBJECTS; i += 2) /* the others stand between */
        CHECK((object[i] = realloc(object[i], (size_t)40 << 20)));
    for (unsigned i = 0; i < PARTS; i++) {
        CHECK((part[i] = MyArenaAlloc(arena, 30000)));
        for (unsigned j = 0; j < OBJECTS; j += 2)
            at_the_start += part[i] == left[j];
    }
    CHECKF(at_the_start > 0, "no object of the arena lies where another began");
    for (unsigned i = PARTS; i-- > 0;)
        MyArenaFree(arena, part[i]);
    MyArenaStats(arena, &info);
    CHECKF(info.objects == 0, "%zu objects are left", info.objects);
    MyArenaDestroy(arena);
    for (unsigned i = 0; i < OBJECTS; i++)
        free(object[i]);
    CHECK(MyVerify() == 0);
}

const struct test tests[] = {
    {"who_moves_out_leaves_no_mark", who_moves_out_leaves_no_mark},
    {"what_is_cut_off_reads_zero", what_is_cut_off_reads_zero},
    {"sizes_of_all_objects", sizes_of_all_objects},
    {"words_that_were_freed", words_that_were_freed},
    {"words_in_the_middle", words_in_the_middle},
    {"short_ones_are_overwritten", short_ones_are_overwritten},
    {"bytes_behind_an_object", bytes_behind_an_object},
    {"bytes_far_behind_an_object", bytes_far_behind_an_object},
    {"the_last_object_of_a_slab", the_last_object_of_a_slab},
    {"a_page_without_access_is_behind", a_page_without_access_is_behind},
    {"fences_come_and_go", fences_come_and_go},
    {"large_ones_are_wiped", large_ones_are_wiped},
    {"profiles_know_what_ended", profiles_know_what_ended},
    {"tables_are_read_only", tables_are_read_only},
    {"a_walk_visits_what_is_in_use", a_walk_visits_what_is_in_use},
    {NULL, NULL},
};
