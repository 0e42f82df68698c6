/*
 * secure.c - what the hardened build finds wherever it is, linked in as an archive: each word
 * of what was freed, each byte behind an object; and what nobody may write to.
 */
#include "base/secure.h"
#include "cache/cache.h"
#include "dying.h"
#include "mymalloc/arena.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
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

/* 32 bytes at either end of a place are looked at by malloc: of 112, 288, 32 and 32768 bytes here. */
static void words_that_were_freed(void)
{
    static const struct {
        size_t size, at;
    } words[] = {{100, 3}, {100, 19},      {100, 83},  {100, 99},
                 {260, 0}, {260, 31},      {260, 256}, {260, 259},
                 {16, 15}, {32760, 32759}, {100000, 0}};
    int failed = 0;

    share_culprit();
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        failed += check(words[i].size, words[i].at, WRITTEN_FREED, write_after_free);
    CHECKF(!failed, "%d writes were not found", failed);
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

/* Of a class that nobody else uses: 15 were freed, and the 16th that is makes them malloc's again. */
static void the_first_ones_wait(void)
{
    char *freed[15];

    for (int i = 0; i < 15; i++)
        freed[i] = take(200);
    for (int i = 0; i < 15; i++)
        free(freed[i]);
    for (int taken = 0; taken < 1000; taken++) {
        const char *p = take(200);

        for (int i = 0; i < 15; i++)
            CHECKF(p != freed[i], "malloc %d returns what was freed as number %d",
                   taken, i);
    }
}

/* Magazines that caches have had from pools for objects of up to `bytes`. */
static unsigned long misses_of(const char *bytes)
{
    static char text[1 << 20];
    FILE *file = tmpfile();
    const char *found;
    size_t length;

    CHECK(file && MyStatsWrite(fileno(file), MY_STATS_JSON) == 0);
    rewind(file);
    length = fread(text, 1, sizeof text - 1, file);
    text[length] = 0;
    CHECK(fclose(file) == 0);
    CHECK((found = strstr(text, "mymalloc_class_misses_total")));
    CHECK((found = strstr(found, bytes)));
    return strtoul(found + strlen(bytes), NULL, 10);
}

/* Up and down by less than a magazine: what was freed waits, and is taken again, where it is. */
static void what_waits_stays_in_the_cache(void)
{
    static void *held[48];
    unsigned long misses, random = 1;
    unsigned live = 0;

    while (live < 40)
        held[live++] = take(500);
    misses = misses_of("\"512\": ");
    for (unsigned i = 0; i < 100000; i++) {
        random = random * 6364136223846793005u + 1;
        if (live < 48 && (live == 40 || random >> 63))
            held[live++] = take(500);
        else
            free(held[--live]);
    }
    misses = misses_of("\"512\": ") - misses;
    while (live > 0)
        free(held[--live]);
    CHECKF(misses < 100, "%lu magazines", misses);
}

/* Behind the back of free: the object is in two places, and malloc meets it again in use. */
static void freed_again_with_its_seal(void)
{
    char *p = take(104), *seal = p + 104;
    char word[8];

    memcpy(word, seal, sizeof word);
    free(p);
    memcpy(wrong(seal), word, sizeof word);
    free(wrong(p));
    for (int i = 0; i < 10000; i++) { /* half stay in use, half wait with it */
        CHECK(malloc(104));
        free(malloc(104));
    }
}

static void nobody_gets_what_is_in_use(void)
{
    struct death death = {"sealed again", DOUBLE_FREE, freed_again_with_its_seal};

    share_culprit();
    CHECK(check_death(&death) == 0);
}

/* ---- the same object freed meanwhile ---- */

#if defined(__x86_64__)
#define TRAP 0x100 /* the flag by which the processor traps after each instruction */
#define SIZE 104   /* the seal is right behind it */

static void *volatile freed, *volatile other;
static volatile int stepping;
static volatile unsigned steps, when, until;

static uint64_t seal_of(const void *object)
{
    uint64_t seal;

    memcpy(&seal, (const char *)object + SIZE, sizeof seal);
    return seal;
}

/* Frees it after so many instructions of the free that it interrupts, which took the seal away
   by the end of instruction `until`. */
static void step(int signal, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)signal;
    (void)info;
    if (!stepping) {
        uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
        return;
    }
    uc->uc_mcontext.gregs[REG_EFL] |= TRAP;
    steps++;
    if (until == 0 && seal_of(freed) == 0)
        until = steps;
    if (steps == when) {
        free(wrong(freed));
        free(other);  /* else the cache tells of it: the same was freed last */
        stepping = 0; /* one more trap, and it ends: the rest is as ever */
    }
}

/* What was freed has no seal, whoever asked for it last. */
static void look_at_seal(int signal)
{
    (void)signal;
    if (seal_of(freed) != 0)
        fprintf(stderr, "what was freed reads 0x%lx\n", (unsigned long)seal_of(freed));
}

static void free_in_steps(void)
{
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};

    freed = take(SIZE);
    other = take(SIZE);
    signal(SIGABRT, look_at_seal);
    CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
    stepping = 1;
    raise(SIGTRAP);
    free(wrong(freed));
    stepping = 0;
}

static void *nothing(void *argument)
{
    return argument;
}

/* At each instruction, most of all between the look at the seal and what takes it away. */
static int free_meanwhile(const char *name)
{
    struct death death = {name, DOUBLE_FREE, free_in_steps};
    int failed = 0;

    steps = when = until = 0;
    free_in_steps();
    CHECK(until > 20);
    printf("%s: %u instructions\n", name, until);
    for (unsigned i = 1; i < until + 3; i++) {
        steps = 0;
        when = i;
        failed += check_death(&death);
    }
    return failed;
}

static void a_free_within_a_free(void)
{
    pthread_t thread;
    int failed;

    share_culprit();
    failed = free_meanwhile("within a free");
    CHECK(!pthread_create(&thread, NULL, nothing, NULL));
    CHECK(!pthread_join(thread, NULL));
    failed += free_meanwhile("within a free, where there were threads");
    CHECKF(!failed, "%d of them were told otherwise, or not", failed);
}
#endif

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

/* Shrunk where it is: at most 64 bytes of the place's end are looked at, 960 to 1024 here. */
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
    for (size_t place = 960; place < 976; place += 5)
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
    enum { BYTES = 30000, MANY = 3000 };
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
    {"words_that_were_freed", words_that_were_freed},
    {"words_in_the_middle", words_in_the_middle},
    {"short_ones_are_overwritten", short_ones_are_overwritten},
    {"the_first_ones_wait", the_first_ones_wait},
    {"what_waits_stays_in_the_cache", what_waits_stays_in_the_cache},
    {"nobody_gets_what_is_in_use", nobody_gets_what_is_in_use},
#if defined(__x86_64__)
    {"a_free_within_a_free", a_free_within_a_free},
#endif
    {"bytes_behind_an_object", bytes_behind_an_object},
    {"bytes_far_behind_an_object", bytes_far_behind_an_object},
    {"the_last_object_of_a_slab", the_last_object_of_a_slab},
    {"tables_are_read_only", tables_are_read_only},
    {"a_walk_visits_what_is_in_use", a_walk_visits_what_is_in_use},
    {NULL, NULL},
};
