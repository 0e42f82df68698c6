/*
 * patterns.c - programs whose allocations are known exactly, for profile.py to compare the
 * heap profile with.
 *
 * Each place that allocates is a function whose name starts with site_. At the end of a case
 * the truth is printed, a line for each site and size: site, usable bytes, objects taken,
 * objects in use, and in use when that was most bytes. It is kept in static memory: only
 * sites allocate.
 */
#include "check.h"
#include "family.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static struct truth {
    const char *site;
    size_t bytes;
    long taken, in_use, at_peak;
} truths[4096];
static long total, highest; /* bytes in use */
static pthread_mutex_t truth_lock = PTHREAD_MUTEX_INITIALIZER;

static void note(const char *site, const void *object, long taken, long more)
{
    size_t bytes = malloc_usable_size((void *)(uintptr_t)object), i = 0;

    pthread_mutex_lock(&truth_lock);
    while (truths[i].site && (truths[i].site != site || truths[i].bytes != bytes))
        i++;
    CHECK(i + 1 < sizeof truths / sizeof *truths);
    truths[i].site = site;
    truths[i].bytes = bytes;
    truths[i].taken += taken;
    truths[i].in_use += more;
    total += more * (long)bytes;
    if (total > highest) {
        highest = total;
        for (struct truth *truth = truths; truth->site; truth++)
            truth->at_peak = truth->in_use;
    }
    pthread_mutex_unlock(&truth_lock);
}

static void *took(const char *site, void *object)
{
    CHECK(object);
    note(site, object, 1, 1);
    return object;
}

static void gave(const char *site, void *object)
{
    note(site, object, 0, -1);
    free(object);
}

/* The call must not be the last thing that a site does, or its frame would be gone. */
#define TAKE(call) took(__func__, call)

/* Fewer with `exact`: each object is a sample then. */
static bool exact;

static long times(long count)
{
    return exact ? count / 200 + 1 : count;
}

/* What stays is not what is taken last: the trap of sampling refills. */
static NOINLINE void *site_stays(void)
{
    return TAKE(malloc(opaque(3000)));
}

static NOINLINE void *site_comes_and_goes(void)
{
    return TAKE(malloc(opaque(3000)));
}

static void stays_behind(void)
{
    for (long i = times(100000); i > 0; i--) {
        site_stays();
        gave("site_comes_and_goes", site_comes_and_goes());
    }
}

/* The same when one call in a thousand is of another site, in step with any magazine. */
static NOINLINE void *site_seldom(void)
{
    return TAKE(malloc(opaque(64)));
}

static NOINLINE void *site_often(void)
{
    return TAKE(malloc(opaque(64)));
}

static void in_step(void)
{
    static void *batch[124];

    for (long i = times(10000); i > 0; i--) {
        for (int j = 0; j < 123; j++)
            batch[j] = site_often();
        site_seldom();
        for (int j = 0; j < 123; j++)
            gave("site_often", batch[j]);
    }
}

/* 16 B to 64 MiB; every third is freed, later. */
static NOINLINE void *site_sizes(size_t size)
{
    return TAKE(malloc(size));
}

static void sizes(void)
{
    static void *waiting[64];
    unsigned next = 0;

    for (size_t size = 8; size <= (size_t)64 << 20; size += size / 2) {
        long count = (long)(((size_t)32 << 20) / (size + 256));

        for (long i = times(count) + 1; i > 0; i--) {
            void *object = site_sizes(size);

            if (i % 3 != 0)
                continue;
            if (waiting[next % 64])
                gave("site_sizes", waiting[next % 64]);
            waiting[next++ % 64] = object;
        }
    }
}

static NOINLINE void *site_calloc(size_t size)
{
    return TAKE(calloc(3, size));
}

static NOINLINE void *site_aligned(size_t alignment, size_t size)
{
    return TAKE(aligned_alloc(alignment, size));
}

static NOINLINE void *site_posix(size_t alignment, size_t size)
{
    void *object;

    CHECK(posix_memalign(&object, alignment, size) == 0);
    return took(__func__, object);
}

static void other_calls(void)
{
    for (long i = times(6000); i > 0; i--) {
        size_t size = (size_t)(i * 61 % 9000) + 1;

        site_calloc(size);
        site_aligned(64, size);
        gave("site_posix", site_posix(4096, size));
    }
    for (long i = times(4000); i > 0; i -= 100) {
        site_calloc(100000);
        gave("site_calloc", site_calloc(20000000));
        site_aligned(1 << 18, 300000);
    }
}

/* Another place or size is another object, to the profile and here. */
static NOINLINE void *site_realloc(void *object, size_t size)
{
    size_t before = malloc_usable_size(object);
    uintptr_t was = (uintptr_t)object;
    void *fresh;

    note(__func__, object, 0, -1);
    fresh = realloc(object, size);
    CHECK(fresh);
    note(__func__, fresh,
         (uintptr_t)fresh != was || malloc_usable_size(fresh) != before, 1);
    return fresh;
}

static NOINLINE void *site_first(void)
{
    return TAKE(malloc(opaque(16)));
}

static void grows(void)
{
    for (long i = times(3000); i > 0; i--) {
        size_t most = i % 30 == 0 ? 3000000 : i % 7 == 0 ? 70000 : 3000;
        void *object = site_first();

        /* Its first object ends at the first realloc. */
        note("site_first", object, 0, -1);
        note("site_realloc", object, 0, 1);
        for (size_t size = 40; size < most; size += size / 2)
            object = site_realloc(object, size);
        if (i % 2 != 0)
            gave("site_realloc", object);
    }
}

static void grows_huge(void)
{
    void *object = site_first();

    note("site_first", object, 0, -1);
    note("site_realloc", object, 0, 1);
    for (size_t size = (size_t)10 << 20; size < (size_t)300 << 20; size += size / 3)
        object = site_realloc(object, size);
    CHECK(realloc(object, opaque(((size_t)1 << 47) - ((size_t)1 << 40))) == NULL);
    object = site_realloc(object, (size_t)100 << 20);
}

/* Four threads take; others free the half of it. */
#define THREADS 4
#define EACH    3000
static void *handed[THREADS][EACH];

static NOINLINE void *site_thread(size_t size)
{
    return TAKE(malloc(size));
}

static void *take_all(void *mine)
{
    void **out = mine;

    for (long i = 0; i < times(EACH); i++)
        out[i] = site_thread((size_t)(i * 53 % 20000) + 1);
    return NULL;
}

static void *free_half(void *others)
{
    void **out = others;

    for (long i = 0; i < times(EACH); i += 2)
        gave("site_thread", out[i]);
    return NULL;
}

static void across_threads(void)
{
    pthread_t thread[THREADS];

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < THREADS; i++)
            CHECK(!pthread_create(&thread[i], NULL, round == 0 ? take_all : free_half,
                                  handed[i]));
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
    }
}

/* Most is in use in the middle, by other sites than at the end. */
static NOINLINE void *site_early(size_t size)
{
    return TAKE(malloc(size));
}

static NOINLINE void *site_middle(size_t size)
{
    return TAKE(malloc(size));
}

static NOINLINE void *site_late(size_t size)
{
    return TAKE(malloc(size));
}

static void peaks(void)
{
    static void *early[10000], *middle[10000];
    long count = times(10000);

    for (long i = 0; i < count; i++)
        early[i] = site_early((size_t)(i * 31 % 5000) + 1);
    for (int round = 0; round < 2; round++) {
        for (long i = 0; i < count; i++)
            middle[i] = site_middle((size_t)(i * 53 % (round == 0 ? 9000 : 20000)) + 1);
        for (long i = 0; i < count; i++)
            gave("site_middle", middle[i]);
    }
    for (long i = 0; i < count; i += 2)
        gave("site_early", early[i]);
    for (long i = 0; i < count; i++)
        site_late((size_t)(i * 31 % 5000) + 1);
}

static const struct pattern {
    const char *name;
    void (*run)(void);
} patterns[] = {
    {"stays_behind", stays_behind},
    {"in_step", in_step},
    {"sizes", sizes},
    {"other_calls", other_calls},
    {"grows", grows},
    {"grows_huge", grows_huge},
    {"across_threads", across_threads},
    {"peaks", peaks},
};

static void tell(FILE *to)
{
    for (const struct truth *truth = truths; truth->site; truth++)
        fprintf(to, "%s %zu %ld %ld %ld\n", truth->site, truth->bytes, truth->taken,
                truth->in_use, truth->at_peak);
}

/* patterns NAME TRUTH [forked | threads]: the truth of the process that goes on last. */
int main(int argc, char **argv)
{
    const char *rate = getenv("TEST_EXACT");
    FILE *to;

    if (argc < 3)
        return 2;
    check_begin(argv[1]);
    exact = rate != NULL;
    dlopen("libm.so.6",
           RTLD_NOW); /* what takes memory lies in the last mapping of all */
    to = fopen(argv[2], "w");
    CHECK(to);
    for (unsigned i = 0; i < sizeof patterns / sizeof *patterns; i++)
        if (strcmp(patterns[i].name, argv[1]) == 0)
            patterns[i].run();
    CHECKF(truths[0].site, "no pattern %s", argv[1]);
    if (argc > 3) { /* the child does it again, and both write what they have */
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
            fclose(to);
            stays_behind();
            to = fopen(argv[3], "w");
            CHECK(to);
            tell(to);
            fclose(to);
            exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        printf("child %d\n", (int)pid);
    }
    tell(to);
    fclose(to);
    if (family.verify)
        CHECK(family.verify() == 0);
    return 0;
}
