/*
 * arenas.c - which CPUs share an arena, from trees as kernels make them; and what must hold
 * with any number of arenas when memory is short. MYMALLOC_ARENAS is the environment's.
 */
#include "check.h"
#include "family.h"

#include "cache/cache.h"
#include "heap/meta.h"
#include "pool/pool.h"
#include "pool/slabs.h"
#include "pool/topology.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- topology ---- */

static char root[64];
static uint8_t group[MYM_MAX_CPUS];

static void set_up(const char *possible)
{
    char path[128];
    FILE *file;

    strcpy(root, "/tmp/arenas-test-XXXXXX");
    CHECK(mkdtemp(root));
    snprintf(path, sizeof path, "%s/cpu", root);
    CHECK(mkdir(path, 0700) == 0);
    if (!possible)
        return;
    snprintf(path, sizeof path, "%s/cpu/possible", root);
    file = fopen(path, "w");
    CHECK(file && fprintf(file, "%s\n", possible) > 0 && fclose(file) == 0);
}

/* A file below the root, with the directories it needs. */
static void put(const char *name, const char *text)
{
    char command[256];
    int length = snprintf(command, sizeof command,
                          "mkdir -p \"$(dirname %s/%s)\" && echo '%s' > %s/%s", root,
                          name, text, root, name);

    CHECK(length > 0 && (size_t)length < sizeof command && system(command) == 0);
}

static unsigned groups(unsigned together)
{
    char command[96];
    unsigned found = mym_topology_read(root, together, group);

    snprintf(command, sizeof command, "rm -rf '%s'", root);
    CHECK(system(command) == 0);
    for (unsigned cpu = 0; cpu < MYM_MAX_CPUS; cpu++)
        CHECKF(group[cpu] < found, "CPU %u is in group %u of %u", cpu, group[cpu],
               found);
    return found;
}

static void expect_groups(const char *expected)
{
    for (unsigned cpu = 0; expected[cpu]; cpu++)
        CHECKF(group[cpu] == (unsigned)(expected[cpu] - '0'), "CPU %u: %u of %s", cpu,
               group[cpu], expected);
}

/* Two chiplets with two threads a core, numbered as most firmware does. */
static void caches_interleave(void)
{
    set_up("0-7");
    for (int cpu = 0; cpu < 8; cpu++) {
        char name[64];

        snprintf(name, sizeof name, "cpu/cpu%d/cache/index3/shared_cpu_list", cpu);
        put(name, cpu % 4 < 2 ? "0-1,4-5" : "2-3,6-7");
    }
    CHECK(groups(MYM_TOGETHER_LLC) == 2);
    expect_groups("00110011");
    CHECK(group[8] == 0 && group[10] == 1); /* spread like those there are */
}

/* CPU 2 and 3 have no third level: their second is the last. */
static void last_level_differs(void)
{
    set_up("0-3");
    put("cpu/cpu0/cache/index3/shared_cpu_list", "0-1");
    put("cpu/cpu0/cache/index2/shared_cpu_list", "0");
    put("cpu/cpu1/cache/index3/shared_cpu_list", "0-1");
    put("cpu/cpu2/cache/index2/shared_cpu_list", "2-3");
    CHECK(groups(MYM_TOGETHER_LLC) == 2);
    expect_groups("0011");
}

static void nodes_where_no_cache_is_told(void)
{
    set_up("0-5");
    put("node/node0/cpulist", "0,2,4");
    put("node/node3/cpulist", "1,3,5");
    CHECK(groups(MYM_TOGETHER_LLC) == 2);
    expect_groups("010101");
}

static void nothing_is_told(void)
{
    set_up(NULL);
    CHECK(groups(MYM_TOGETHER_LLC) == 1);
    set_up(NULL);
    CHECK(groups(1) == MYM_MAX_ARENAS);
    set_up("nonsense");
    CHECK(groups(MYM_TOGETHER_LLC) == 1);
}

static void numbers_of_cpus(void)
{
    set_up("0-7");
    CHECK(groups(1) == 8);
    expect_groups("01234567");
    set_up("0-7");
    CHECK(groups(3) == 3);
    expect_groups("00011122");
    set_up("0-199");
    CHECK(groups(1) == MYM_MAX_ARENAS);
    set_up("0-99999999999");
    CHECK(groups(MYM_TOGETHER_ALL) == 1);
}

/* ---- short of memory ---- */

static void try_on(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one),
                      &one); /* where there is one CPU all run on that */
}

/* In a child. No further mapping, and what the allocator's records have left is used up. */
static void starve(size_t records)
{
    struct rlimit none = {0, 0};
    void *pages[4];

    if (is_under(QEMU, "RLIMIT_AS") || is_under(MEMCHECK, "stack under RLIMIT_AS")) {
        fflush(stdout);
        _exit(0);
    }
    CHECK(setrlimit(RLIMIT_AS, &none) == 0);
    for (int i = 0; i < 4; i++) /* what comes next is not to need a record itself */
        pages[i] = malloc(1);
    while (mym_meta_take(records, 16))
        ;
    for (int i = 0; i < 4; i++)
        free(pages[i]);
}

enum { COUNT = 2000 };
static void *objects[COUNT];
static atomic_bool ready, done;

static void take_objects(void)
{
    for (int i = 0; i < COUNT; i++) {
        objects[i] = malloc((size_t)(16 + i % 50 * 30));
        CHECK(objects[i]);
    }
}

static void *free_elsewhere(void *unused)
{
    try_on(1);
    while (!ready)
        ;
    for (int i = 0; i < COUNT; i++)
        free(objects[i]);
    done = true;
    return unused;
}

/* 8 KiB are room for a cache, not for an arena. */
static void free_without_records(size_t unused)
{
    pthread_t thread;

    (void)unused;
    try_on(0);
    take_objects();
    CHECK(!pthread_create(&thread, NULL, free_elsewhere, NULL));
    starve(8192);
    ready = true;
    while (!done)
        ;
    CHECK(!pthread_join(thread, NULL));
    CHECK(family.verify() == 0);
}

static void free_needs_no_memory(void)
{
    run_in_child(free_without_records, 0);
}

static void *take_elsewhere(void *unused)
{
    int got = 0;

    try_on(1);
    while (!ready)
        ;
    while (malloc(100))
        got++;
    CHECKF(got > 300, "only %d", got); /* of 500; a cache holds some */
    done = true;
    return unused;
}

/* Slots that are free in the slabs of one arena serve the CPUs of all. */
static void take_from_other_arenas(size_t unused)
{
    static void *slots[3000];
    pthread_t thread;

    (void)unused;
    try_on(0);
    for (int i = 0; i < 3000; i++)
        slots[i] = malloc(100);
    CHECK(!pthread_create(&thread, NULL, take_elsewhere, NULL));
    starve(64);
    while (malloc(30000))
        ;
    while (malloc(100))
        ;
    for (int i = 0; i < 3000; i += 6) /* no slab becomes free as a whole */
        free(slots[i]);
    ready = true;
    while (!done)
        ;
    CHECK(!pthread_join(thread, NULL));
    CHECK(family.verify() == 0);
}

static void slots_of_all_arenas_serve(void)
{
    run_in_child(take_from_other_arenas, 0);
}

/* What another CPU frees is handed back in magazines: the owner's depot has them, also what a drain
   found. */
static void *free_batch(void *batch)
{
    void **slots = batch;

    try_on(0);
    for (int i = 0; i < 3000; i++)
        free(slots[i]);
    if (mym_mode != MYM_MODE_TLS)
        mym_cache_empty(NULL, mym_class_bit(mym_class_of(100)));
    return NULL;
}

static void magazines_go_to_their_owner(void)
{
    static void *slots[3000];
    unsigned cls = mym_class_of(100);
    size_t loaded = 0;
    pthread_t thread;

    try_on(1);
    for (int i = 0; i < 3000; i++)
        slots[i] = malloc(100);
    CHECK(!pthread_create(&thread, NULL, free_batch, slots));
    CHECK(!pthread_join(thread, NULL));
    for (unsigned i = 0; i < mym_arena_count; i++) {
        struct mym_pool *pool = &mym_arenas[i]->pool[cls];

        loaded += pool->loaded_objects;
        for (unsigned j = 0; j < MYM_DEPOT_STACKS; j++)
            for (struct mym_magazine *m = pool->loaded[j]; m != NULL; m = m->next)
                CHECK(mym_pool_owner(cls, m->entry[m->used - 1]) == pool);
    }
    CHECK(loaded > 0);
}

/*
 * What is emptied goes to another arena than the one that it came from, as when a thread wanders, a
 * cache is drained or a magazine is borrowed: no more are made for that, for good.
 */
static void magazines_come_back_from_other_arenas(void)
{
    unsigned cls = mym_class_of(100);
    struct mym_pool *from = &mym_arenas[0]->pool[cls];
    struct mym_pool *to = &mym_arenas[mym_arena_count - 1]->pool[cls];
    size_t records = 0;

    for (int turn = 0; turn < 1000; turn++) {
        struct mym_magazine *magazine = mym_pool_load(from, 0, NULL);

        CHECK(magazine && magazine->used > 0);
        mym_slabs_reclaim(from, magazine->entry, magazine->used);
        mym_pool_unload(to, 0, magazine, 0);
        if (turn == 0)
            records = mym_meta_bytes();
    }
    CHECKF(mym_meta_bytes() == records, "%zu KiB more",
           (mym_meta_bytes() - records) >> 10);
    CHECK(family.verify() == 0);
}

/* Its cache has objects of 4000 bytes; the thread is on CPU 1 then. */
static void leave_cached_on_0(void)
{
    try_on(0);
    for (int i = 0; i < 200; i++)
        CHECK((objects[i] = malloc(4000)));
    for (int i = 0; i < 200; i++)
        free(objects[i]);
    try_on(1);
}

/* What a drain on another CPU asked for goes with the next call on this one. */
static void caches_are_emptied_when_asked(void)
{
    size_t cached[MYM_CLASSES] = {0};

    leave_cached_on_0();
    malloc_trim(0);
    try_on(0);
    free(malloc(100));
    mym_cache_count(cached);
    CHECKF(cached[mym_class_of(4000)] == 0, "%zu objects", cached[mym_class_of(4000)]);
}

/* Also of a program whose own look has just been. */
static void helper_asks_at_each_look(void)
{
    leave_cached_on_0();
    for (int look = 0; look < 2; look++) {
        mym_cache_upkeep();
        mym_cache_cool();
    }
    CHECK(mym_cache_round_is_due() == (mym_mode == MYM_MODE_CPU_ID));
}

const struct test tests[] = {
    {"caches_interleave", caches_interleave},
    {"last_level_differs", last_level_differs},
    {"nodes_where_no_cache_is_told", nodes_where_no_cache_is_told},
    {"nothing_is_told", nothing_is_told},
    {"numbers_of_cpus", numbers_of_cpus},
    {"free_needs_no_memory", free_needs_no_memory},
    {"slots_of_all_arenas_serve", slots_of_all_arenas_serve},
    {"magazines_go_to_their_owner", magazines_go_to_their_owner},
    {"magazines_come_back_from_other_arenas", magazines_come_back_from_other_arenas},
    {"caches_are_emptied_when_asked", caches_are_emptied_when_asked},
    {"helper_asks_at_each_look", helper_asks_at_each_look},
    {NULL, NULL},
};
