/*
 * secure_quarantine.c - in the hardened build, linked in as an archive, what was freed waits;
 * who frees it again meanwhile, or while it is being freed, is told.
 */
#include "dying.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

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

/* A number of the statistics: the first behind `key` after `metric`. */
static unsigned long number_of(const char *metric, const char *key)
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
    CHECK((found = strstr(text, metric)));
    CHECK((found = strstr(found, key)));
    return strtoul(found + strlen(key), NULL, 10);
}

/* Large ones of all kinds: nobody has access, and malloc's next one lies elsewhere. */
static void large_ones_wait(void)
{
    static const size_t sizes[] = {300000, 5000000, 20000000, 40000000, 200000000};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *freed = take(sizes[i]), *p;
        pid_t child;
        int status = 0;

        free((void *)(uintptr_t)freed);
        CHECK(number_of("mymalloc_quarantine_large_bytes", ": ") >= sizes[i]);
        CHECK((child = fork()) >= 0);
        if (child == 0)
            _exit(*(volatile const char *)opaque((uintptr_t)freed + sizes[i] / 2));
        CHECK(waitpid(child, &status, 0) == child);
        CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
               "%zu bytes were freed, and a read of them ended with 0x%x", sizes[i],
               (unsigned)status);
        p = take(sizes[i]);
        CHECKF(p != freed, "of %zu bytes", sizes[i]);
        free((void *)(uintptr_t)p);
        malloc_trim(0); /* nothing waits any longer, and all of it can be had again */
        CHECK(number_of("mymalloc_quarantine_large_bytes", ": ") == 0);
        CHECK(MyVerify() == 0);
        free(take(sizes[i]));
    }
}

/* Magazines that caches have had from pools for objects of 500 bytes. */
static unsigned long misses(void)
{
    return number_of("mymalloc_class_misses_total", "\"512\": ");
}

/* Up and down by less than a magazine: what was freed waits, and is taken again, where it is. */
static void what_waits_stays_in_the_cache(void)
{
    static void *held[48];
    unsigned long before, random = 1;
    unsigned live = 0;

    while (live < 40)
        held[live++] = take(500);
    before = misses();
    for (unsigned i = 0; i < 100000; i++) {
        random = random * 6364136223846793005u + 1;
        if (live < 48 && (live == 40 || random >> 63))
            held[live++] = take(500);
        else
            free(held[--live]);
    }
    before = misses() - before;
    while (live > 0)
        free(held[--live]);
    CHECKF(before < 100, "%lu magazines", before);
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

const struct test tests[] = {
    {"the_first_ones_wait", the_first_ones_wait},
    {"large_ones_wait", large_ones_wait},
    {"what_waits_stays_in_the_cache", what_waits_stays_in_the_cache},
    {"nobody_gets_what_is_in_use", nobody_gets_what_is_in_use},
#if defined(__x86_64__)
    {"a_free_within_a_free", a_free_within_a_free},
#endif
    {NULL, NULL},
};
