/*
 * memory.c - what a program's memory may come to. Each case prints one number in KiB or
 * a count, and the shell test beside it compares mymalloc's with libc's where the promise
 * is made in those terms.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void *map(size_t bytes)
{
    void *p =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

/*
 * A program that does next to nothing: its own pages, for those of files are shared, and
 * which of them the kernel maps along is chance.
 */
static void trivial(void)
{
    void *objects[100];

    for (int i = 0; i < 100; i++)
        objects[i] = memset(malloc((size_t)i * 10), 1, (size_t)i * 10);
    for (int i = 0; i < 100; i++)
        free(objects[i]);
    printf("trivial %zu\n", anonymous_kib());
}

/* Small objects of one size in many pages: how many mappings they take. */
static void mappings(void)
{
    size_t bytes = (size_t)env_number("TEST_MIB", 512) << 20, count = bytes / 128;
    void **objects = map(count * sizeof(*objects));

    for (size_t i = 0; i < count; i++)
        objects[i] = memset(malloc(100 + i % 28), 1, 100);
    printf("mappings %zu\n", mapping_count());
    for (size_t i = 0; i < count; i++)
        free(objects[i]);
    munmap(objects, count * sizeof(*objects));
}

static void shuffle(void **objects, size_t count, uint64_t *seed)
{
    for (size_t i = 1; i < count; i++) {
        size_t other = next_random(seed) % (i + 1);
        void *swap = objects[i];

        objects[i] = objects[other];
        objects[other] = swap;
    }
}

/* To the other one of the first two CPUs that the thread may run on. */
static void move(void)
{
    static cpu_set_t two;
    static int at;
    cpu_set_t one;

    if (CPU_COUNT(&two) == 0) {
        CHECK(sched_getaffinity(0, sizeof(two), &two) == 0);
        for (int cpu = CPU_SETSIZE; CPU_COUNT(&two) > 2;)
            CPU_CLR(--cpu, &two);
    }
    do
        at = (at + 1) % CPU_SETSIZE;
    while (!CPU_ISSET(at, &two));
    CPU_ZERO(&one);
    CPU_SET(at, &one);
    CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
}

enum how { IN_ORDER, AT_RANDOM, ON_TWO_CPUS };

/*
 * Free much, in order but for the last ones, or all at random, then make no call: what is
 * resident 5 s later beyond the rest.
 */
static void rest(const char *name, size_t least, size_t most, enum how how)
{
    size_t bytes = (size_t)env_number("TEST_MIB", 512) << 20;
    size_t count = bytes / ((least + most) / 2),
           keep = how == IN_ORDER ? count / 64 : 0;
    struct timespec five = {5, 0};
    void **objects = map(count * sizeof(*objects));
    uint64_t seed = test_seed();
    size_t live = count * sizeof(*objects);

    for (size_t i = 0; i < count; i++) {
        size_t size = least + next_random(&seed) % (most - least + 1);

        objects[i] = memset(malloc(size), 1, size);
        live += i < count - keep ? 0 : size;
    }
    if (how != IN_ORDER)
        shuffle(objects, count, &seed);
    for (size_t i = 0; i < count - keep; i++) {
        if (how == ON_TWO_CPUS && i % 1000 == 0)
            move();
        free(objects[i]);
    }
    nanosleep(&five, NULL);
    printf("%s %zd\n", name, ((ssize_t)resident_bytes() - (ssize_t)live) / 1024);
}

static void idle(void)
{
    rest("idle", 200, 200, IN_ORDER);
}

static void idle_mixed(void)
{
    rest("idle-mixed", 16, 4096, IN_ORDER);
}

/* Where objects were freed at random, each that is still cached can pin a page. */
static void idle_random(void)
{
    rest("idle-random", 16, 1024, AT_RANDOM);
}

static void idle_wide(void)
{
    rest("idle-wide", 16, 4096, AT_RANDOM);
}

/* What two caches have left of each size pins pages besides: MYMALLOC_FRONTEND=cpu_id. */
static void idle_moved(void)
{
    rest("idle-moved", 16, 4096, ON_TWO_CPUS);
}

/*
 * Lists that grow by reallocation, each at a time of its own, through sizes that are
 * never used again: what is left of one must not keep the memory from the next.
 */
static void outgrown(void)
{
    enum { LISTS = 10000, STEPS = 14 };
    static struct {
        unsigned char *bytes;
        size_t size;
    } list[LISTS];
    uint64_t random = test_seed();
    size_t live = 0, before;

    memset(list, 0, sizeof(list)); /* resident before anything is measured */
    for (unsigned i = 0; i < LISTS; i++)
        list[i].size = 32;
    before = status_kib("VmHWM");
    for (unsigned done = 0; done < LISTS * STEPS; done++) {
        unsigned i = (unsigned)(next_random(&random) % LISTS);
        size_t size = list[i].size + list[i].size / 3;

        list[i].bytes = realloc(list[i].bytes, size);
        CHECK(list[i].bytes);
        memset(list[i].bytes + list[i].size, 1, size - list[i].size);
        live += size - (list[i].size > 32 ? list[i].size : 0);
        list[i].size = size;
    }
    printf("outgrown %zu live %zu\n", status_kib("VmHWM") - before, live / 1024);
    for (unsigned i = 0; i < LISTS; i++)
        free(list[i].bytes);
}

/*
 * Small objects beside freed mappings, in which they cannot be: these must go before the heap is
 * larger than it was.
 */
static void beside(void)
{
    enum { LARGE = 2, SMALL = 35000, MAPPING = 40 << 20 };
    void *large[LARGE];
    size_t before;

    for (unsigned i = 0; i < LARGE; i++) {
        CHECK(large[i] = malloc(MAPPING));
        memset(large[i], 1, MAPPING);
    }
    for (unsigned i = 0; i < LARGE; i++)
        free(large[i]);
    before = status_kib("VmHWM");
    for (unsigned i = 0; i < SMALL; i++)
        memset(malloc(1024 + i % 1024), 1, 1024);
    CHECKF(status_kib("VmHWM") <= before + 8192, "%zu KiB more than before",
           status_kib("VmHWM") - before);
    printf("beside %zu\n", status_kib("VmHWM") - before);
}

/*
 * Objects of one size are freed, then those of another are as many bytes: they are where the
 * former were, though the heap is no step larger yet.
 */
static void instead(void)
{
    enum {
        HELD = 24 << 20,
        GONE = 12 << 20,
        STAYS = 5000,
        FORMER = 1000,
        LATTER = 4000
    };
    static void *former[GONE / FORMER];
    size_t before;

    memset(former, 1, sizeof(former)); /* resident before anything is measured */
    for (unsigned i = 0; i < HELD / STAYS; i++)
        memset(malloc(STAYS), 1, STAYS);
    for (unsigned i = 0; i < GONE / FORMER; i++)
        former[i] = memset(malloc(FORMER), 1, FORMER);
    for (unsigned i = 0; i < GONE / FORMER; i++)
        free(former[i]);
    before = status_kib("VmHWM");
    for (unsigned i = 0; i < GONE / LATTER * 15 / 16; i++)
        memset(malloc(LATTER), 1, LATTER);
    CHECKF(status_kib("VmHWM") <= before + 512, "%zu KiB more than before",
           status_kib("VmHWM") - before);
    printf("instead %zu\n", status_kib("VmHWM") - before);
}

/* Two objects of each of many sizes, each pair freed before the next: all lie in the same pages. */
static void seldom(void)
{
    enum { LEAST = 36 << 10, MOST = 128 << 10, STEP = 4 << 10, MAY = 1024 };
    size_t before = status_kib("VmHWM");

    for (size_t size = LEAST; size <= MOST; size += STEP) {
        void *one = malloc(size), *other = malloc(size);

        CHECK(one && other);
        memset(one, 1, size);
        memset(other, 1, size);
        free(one);
        free(other);
    }
    CHECKF(status_kib("VmHWM") <= before + MAY, "%zu KiB more than before",
           status_kib("VmHWM") - before);
    printf("seldom %zu\n", status_kib("VmHWM") - before);
}

/*
 * An object of each of many sizes, taken after a large one was freed: they leave its memory to
 * the next of its kind.
 */
static void few(void)
{
    enum { LARGE = 6 << 20, SIZES = 24 }; /* 16 to 512, each a class of its own */
    void *large = malloc(LARGE), *small[SIZES];
    size_t before, may = SIZES * 2 * (size_t)sysconf(_SC_PAGESIZE) / 1024 + 320;

    CHECK(large);
    free(memset(large, 1, LARGE));
    before = status_kib("VmHWM");
    for (unsigned i = 0, size = 0; i < SIZES; i++) {
        size += i < 16 ? 16 : 32;
        CHECK(small[i] = malloc(size));
        memset(small[i], 1, size);
    }
    CHECK(large = malloc(LARGE));
    memset(large, 1, LARGE);
    CHECKF(status_kib("VmHWM") <= before + may, "%zu KiB more than before",
           status_kib("VmHWM") - before);
    printf("few %zu\n", status_kib("VmHWM") - before);
    free(large);
    for (unsigned i = 0; i < SIZES; i++)
        free(small[i]);
}

/* Objects of 32 to 96 KiB of which the ends are written, replaced at random. */
static void ends(void)
{
    enum { OBJECTS = 1000, TURNS = 60000 };
    static unsigned char *object[OBJECTS];
    uint64_t random = test_seed();
    size_t before = resident_bytes();

    for (unsigned turn = 0; turn < TURNS; turn++) {
        unsigned i = turn < OBJECTS ? turn : (unsigned)(next_random(&random) % OBJECTS);
        size_t size = 32768 + next_random(&random) % 65536;

        free(object[i]);
        object[i] = malloc(size);
        CHECK(object[i]);
        object[i][0] = object[i][size - 1] = 1;
    }
    printf("ends %zu\n", (resident_bytes() - before) / (size_t)sysconf(_SC_PAGESIZE));
    for (unsigned i = 0; i < OBJECTS; i++)
        free(object[i]);
}

/* One thread makes, another only frees: resident memory beyond what is in use. */
#define BATCHES 64
#define BATCH   2000

static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    void *batch[BATCHES][BATCH];
    unsigned made, freed;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static const unsigned rounds = 1500;

static void *only_free(void *unused)
{
    for (unsigned round = 0; round < rounds; round++) {
        pthread_mutex_lock(&queue.lock);
        while (queue.made == round)
            pthread_cond_wait(&queue.moved, &queue.lock);
        pthread_mutex_unlock(&queue.lock);
        for (unsigned i = 0; i < BATCH; i++)
            free(queue.batch[round % BATCHES][i]);
        pthread_mutex_lock(&queue.lock);
        queue.freed++;
        pthread_cond_signal(&queue.moved);
        pthread_mutex_unlock(&queue.lock);
    }
    return unused;
}

static void bounded(void)
{
    size_t before = resident_bytes(), peak = 0, live = (size_t)BATCHES * BATCH * 100;
    uint64_t random = test_seed();
    pthread_t consumer;

    memset(queue.batch, 1, sizeof(queue.batch));
    before = resident_bytes();
    CHECK(pthread_create(&consumer, NULL, only_free, NULL) == 0);
    for (unsigned round = 0; round < rounds; round++) {
        pthread_mutex_lock(&queue.lock);
        while (round - queue.freed >= BATCHES)
            pthread_cond_wait(&queue.moved, &queue.lock);
        pthread_mutex_unlock(&queue.lock);
        for (unsigned i = 0; i < BATCH; i++) {
            size_t size = 60 + next_random(&random) % 80;

            queue.batch[round % BATCHES][i] = memset(malloc(size), 1, size);
        }
        pthread_mutex_lock(&queue.lock);
        queue.made++;
        pthread_cond_signal(&queue.moved);
        pthread_mutex_unlock(&queue.lock);
        if (round % 50 == 0 && resident_bytes() > peak)
            peak = resident_bytes();
    }
    CHECK(pthread_join(consumer, NULL) == 0);
    printf("bounded %zu live %zu\n", (peak - before) / 1024, live / 1024);
    CHECKF(peak - before <= live * 13 / 10 + ((size_t)4 << 20),
           "%zu KiB for at most %zu KiB in use", (peak - before) / 1024, live / 1024);
}

/* Threads that each hold a few hundred bytes and wait. */
static pthread_barrier_t all_here, all_done;

static void *hold_little(void *unused)
{
    void *objects[4];

    for (size_t i = 0; i < 4; i++)
        objects[i] = memset(malloc(50 + i * 30), 1, 50);
    pthread_barrier_wait(&all_here);
    pthread_barrier_wait(&all_done);
    for (int i = 0; i < 4; i++)
        free(objects[i]);
    return unused;
}

/* The same after objects of fifty sizes, all of which were freed. */
static void *hold_nothing(void *unused)
{
    for (size_t size = 97; size <= 97 * 50; size += 97) {
        void *objects[4];

        for (int i = 0; i < 4; i++)
            objects[i] = memset(malloc(size), 1, size);
        for (int i = 0; i < 4; i++)
            free(objects[i]);
    }
    return hold_little(unused);
}

static void gather(const char *name, void *(*run)(void *))
{
    unsigned count = (unsigned)env_number("TEST_THREADS", 2000);
    pthread_t *threads = map(count * sizeof(*threads));
    pthread_attr_t attributes;

    pthread_barrier_init(&all_here, NULL, count + 1);
    pthread_barrier_init(&all_done, NULL, count + 1);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    for (unsigned i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], &attributes, run, NULL) == 0);
    pthread_barrier_wait(&all_here);
    printf("%s %zu\n", name, resident_bytes() / 1024);
    pthread_barrier_wait(&all_done);
    for (unsigned i = 0; i < count; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void crowd(void)
{
    gather("crowd", hold_little);
}

static void crowd_tls(void)
{
    gather("crowd-tls", hold_nothing);
}

const struct test tests[] = {
    {"trivial", trivial},
    {"mappings", mappings},
    {"idle", idle},
    {"idle-mixed", idle_mixed},
    {"idle-random", idle_random},
    {"idle-wide", idle_wide},
    {"idle-moved", idle_moved},
    {"bounded", bounded},
    {"crowd", crowd},
    {"crowd-tls", crowd_tls},
    {"outgrown", outgrown},
    {"beside", beside},
    {"few", few},
    {"seldom", seldom},
    {"instead", instead},
    {"ends", ends},
    {NULL, NULL},
};
