/*
 * collapse.c - chunks that became dense are made huge pages: what the helper does, called by
 * the test, so that it can be refused, and done beside everything else.
 */
#include "check.h"
#include "family.h"
#include "gate.h"
#include "heap/heap.h"
#include "os/os.h"
#include "proc.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { MOST = 1 << 16, MIXED = 8016 };
static struct {
    unsigned char *at;
    size_t size;
} object[MOST];
static unsigned count;

static unsigned char mark_of(unsigned i)
{
    return (unsigned char)(i % 251 + 1);
}

static void take(unsigned i, uint64_t *random, size_t most)
{
    object[i].size = 16 + next_random(random) % (most - 16);
    object[i].at = malloc(object[i].size);
    CHECK(object[i].at);
    memset(object[i].at, mark_of(i), object[i].size);
}

/* Objects of all sizes below this in turn, written all over. */
static void fill_below(size_t most, size_t bytes)
{
    uint64_t random = test_seed();

    for (count = 0; bytes > most; count++) {
        CHECK(count < MOST);
        take(count, &random, most);
        bytes -= object[count].size;
    }
}

static void fill(size_t bytes)
{
    fill_below(MIXED, bytes);
}

/* The same, of 32, 64, 96 KiB: spans of their own, without a page to spare. */
static void fill_large(size_t bytes)
{
    uint64_t random = test_seed();

    for (count = 0; bytes > 96 * KIB; count++) {
        object[count].size = 32 * KIB * (1 + next_random(&random) % 3);
        CHECK(count < MOST && (object[count].at = malloc(object[count].size)));
        memset(object[count].at, mark_of(count), object[count].size);
        bytes -= object[count].size;
    }
}

static void all_is_there(void)
{
    for (unsigned i = 0; i < count; i++)
        if (object[i].at)
            CHECKF(object[i].at[0] == mark_of(i) &&
                       object[i].at[object[i].size / 2] == mark_of(i) &&
                       object[i].at[object[i].size - 1] == mark_of(i),
                   "object %u", i);
    CHECK(MyVerify() == 0);
}

static void drop(unsigned i)
{
    free(object[i].at);
    object[i].at = NULL;
}

static void nothing(void)
{
}

static void collapse_all(void)
{
    mym_idle_when_much = nothing; /* as if there were a helper */
    mym_collapse_tell();
    while (mym_collapse_is_due())
        mym_collapse();
}

static size_t huge_bytes(void)
{
    return smaps_kib("AnonHugePages", NULL, SIZE_MAX) * 1024;
}

/* EAGAIN: somebody else has a page of it just then, as DAMON, reclaim and migration do. */
static bool collapses(void *at, size_t bytes)
{
    for (int tries = 0; tries < 1000; tries++) {
        if (madvise(at, bytes, MADV_COLLAPSE) == 0)
            return true;
        if (errno != EAGAIN)
            return false;
        usleep(1000);
    }
    return false;
}

/* The kernel makes a huge page of small ones: not before Linux 6.1, nor where there are none. */
static bool kernel_collapses(void)
{
    char *at =
        mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *chunk = (char *)(((uintptr_t)at + 2 * MIB - 1) & ~(2 * MIB - 1));
    bool does;

    CHECK(at != MAP_FAILED);
    madvise(at, 4 * MIB, MADV_NOHUGEPAGE);
    memset(at, 1, 4 * MIB);
    madvise(at, 4 * MIB, MADV_HUGEPAGE);
    does = collapses(chunk, 2 * MIB);
    munmap(at, 4 * MIB);
    if (!does)
        printf("SKIP: this kernel collapses nothing\n");
    return does;
}

/* What was filled becomes huge, no more is resident, and all but a 16th can be given back. */
static void becomes_huge(size_t bytes)
{
    size_t resident = resident_bytes(), mappings = mapping_count();

    collapse_all();
    all_is_there();
    CHECKF(resident_bytes() <= resident + resident / 32, "%zu MiB, %zu before",
           resident_bytes() / MIB, resident / MIB);
    CHECKF(mapping_count() <= mappings + 100, "%zu mappings, %zu before",
           mapping_count(), mappings);
    /* The last slabs of each class are a large part of so small a heap: of a GiB 97 %. */
    if (kernel_collapses())
        CHECKF(huge_bytes() >= bytes / 4 * 3, "%zu MiB of %zu", huge_bytes() / MIB,
               bytes / MIB);
    for (unsigned i = 0; i < count; i++)
        if (i % 16 != 0)
            drop(i);
    malloc_trim(0);
    all_is_there();
    CHECKF(resident_bytes() <= resident / 2, "%zu MiB when most was freed",
           resident_bytes() / MIB);
}

static void dense_chunks_become_huge(void)
{
    fill(128 * MIB);
    becomes_huge(128 * MIB);
}

/* A chunk that is there costs nothing: not in a small heap either, where none becomes huge in advance. */
static void in_a_small_heap_too(void)
{
    size_t resident;

    fill_below(4096, 40 * MIB);
    resident = resident_bytes();
    CHECK(huge_bytes() == 0);
    collapse_all();
    all_is_there();
    CHECKF(resident_bytes() <= resident + resident / 32, "%zu MiB, %zu before",
           resident_bytes() / MIB, resident / MIB);
    if (kernel_collapses())
        CHECKF(huge_bytes() >= 24 * MIB, "%zu MiB", huge_bytes() / MIB);
}

static void large_objects_too(void)
{
    fill_large(128 * MIB);
    becomes_huge(128 * MIB);
}

/* A chunk that is more than one mapping is refused, not those behind it. */
static void a_refused_chunk_keeps_no_other_small(void)
{
    char *page;

    fill_large(128 * MIB);
    page = (char *)object[count / 64 * 16].at + 4096;
    page -= (uintptr_t)page % 4096;
    CHECK(mprotect(page, 4096, PROT_READ) == 0);
    becomes_huge(128 * MIB);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
}

/* Of 16 objects one stays: nothing is dense, nothing becomes resident again. */
static void sparse_chunks_stay_small(void)
{
    size_t resident, huge;

    fill(160 * MIB);
    for (unsigned i = 0; i < count; i++)
        if (i % 16 != 0)
            drop(i);
    malloc_trim(0);
    resident = resident_bytes();
    huge = huge_bytes();
    collapse_all();
    CHECKF(resident_bytes() <= resident + 2 * MIB && huge_bytes() <= huge + 2 * MIB,
           "%zu MiB, %zu before; %zu huge", resident_bytes() / MIB, resident / MIB,
           huge_bytes() / MIB);
    all_is_there();
}

/* All but a 32nd is resident; that is a clean unit, which a huge chunk has not. */
static void clean_a_unit_of_each_chunk(bool read)
{
    static const unsigned char *clean[128 * MIB / MYM_UNIT];
    unsigned dropped = 0;

    for (count = 0; count < 128 * MIB / MYM_UNIT; count++) {
        object[count].size = MYM_UNIT;
        CHECK(object[count].at = malloc(MYM_UNIT));
        memset(object[count].at, mark_of(count), MYM_UNIT);
    }
    for (unsigned i = 0; i < count; i++)
        if ((uintptr_t)object[i].at % (2 * MIB) < MYM_UNIT) {
            clean[dropped++] = object[i].at;
            drop(i);
        }
    CHECK(dropped >= 32);
    malloc_trim(0);
    for (unsigned i = 0; read && i < dropped; i++)
        mym_os_differs((const uint32_t *)clean[i], 0);
    collapse_all();
    all_is_there();
}

static void clean_units_keep_chunks_small(void)
{
    clean_a_unit_of_each_chunk(false);
}

/* By who looks at an object that has ended meanwhile (dense.c): its page is there then. */
static void clean_units_that_were_read_do_too(void)
{
    clean_a_unit_of_each_chunk(true);
}

static unsigned refused;
static long refusal = -EINVAL;

static long refuse_collapse(long number, const long arguments[6])
{
    if (number != SYS_madvise || arguments[2] != MADV_COLLAPSE)
        return gate_call(number, arguments);
    refused++;
    return refusal;
}

static void refused_chunks_stay_small(void)
{
    size_t huge;

    fill(128 * MIB);
    huge = mym_pages_info().huge;
    if (!gate_install_rule(refuse_collapse, 0, 0)) {
        printf("no seccomp here: nothing is refused\n");
        return;
    }
    for (unsigned round = 1; round <= 3; round++) {
        collapse_all();
        CHECKF(refused == round, "%u calls in %u rounds", refused, round);
        CHECK(mym_pages_info().huge == huge);
    }
    /* A page that somebody else has tells nothing of the next chunk. */
    refusal = -EAGAIN;
    refused = 0;
    collapse_all();
    CHECKF(refused >= (128 * MIB - huge) / (4 * MIB),
           "%u chunks of 128 MiB were tried, %zu MiB are huge", refused, huge / MIB);
    CHECK(mym_pages_info().huge == huge);
    all_is_there();
}

/* ---- a chunk that leaves the heap ---- */

static struct {
    char *object; /* that grows while the kernel looks at its chunk */
    size_t bytes;
    sem_t wanted;
    char *chunk;
    char *grown;
} leaver;

static void *grow(void *unused)
{
    CHECK(sem_wait(&leaver.wanted) == 0);
    leaver.grown = realloc(leaver.object, 64 * MIB);
    CHECK(leaver.grown);
    return unused;
}

size_t __real_mym_os_resident(void *at, size_t bytes, size_t each);
size_t __wrap_mym_os_resident(void *at, size_t bytes, size_t each);

size_t __wrap_mym_os_resident(void *at, size_t bytes, size_t each)
{
    size_t resident;

    mym_os_has_own_files = !mym_os_has_own_files; /* both ways to ask, in turn */
    resident = __real_mym_os_resident(at, bytes, each);
    if (leaver.object != NULL && leaver.chunk == NULL &&
        (uintptr_t)at - (uintptr_t)leaver.object < leaver.bytes) {
        leaver.chunk = at;
        CHECK(sem_post(&leaver.wanted) == 0);
        usleep(
            20000); /* it has the time, if nothing keeps it; the lock of purges does */
        CHECK(leaver.grown == NULL);
    }
    return resident;
}

/* Its pages move to a mapping: what is left must not be marked as huge. */
static void a_chunk_that_leaves_is_not_looked_at(void)
{
    pthread_t thread;

    if (!kernel_collapses()) /* then few chunks are looked at, or none */
        return;
    CHECK(sem_init(&leaver.wanted, 0, 0) == 0);
    fill_large(96 * MIB);
    leaver.bytes = 20 * MIB;
    leaver.object = malloc(leaver.bytes);
    CHECK(leaver.object && mym_in_heap(leaver.object));
    memset(leaver.object, 77, leaver.bytes);
    CHECK(pthread_create(&thread, NULL, grow, NULL) == 0);
    collapse_all();
    CHECK(leaver.chunk != NULL && pthread_join(thread, NULL) == 0);
    CHECK(leaver.grown[0] == 77 && leaver.grown[leaver.bytes - 1] == 77);
    all_is_there();
    for (unsigned i = 0; i < count; i++)
        drop(i);
    malloc_trim(0);
    fill_large(96 * MIB); /* also where it was */
    all_is_there();
}

/* ---- beside purges and forks ---- */

static _Atomic bool stop;

static void *collapse_on_and_on(void *unused)
{
    while (!stop) {
        mym_collapse_tell();
        mym_collapse();
    }
    return unused;
}

static void child_has_all(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        all_is_there();
        for (unsigned i = 0; i < count; i += 2)
            drop(i);
        malloc_trim(0);
        all_is_there();
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
}

static void beside_purges_and_forks(void)
{
    unsigned rounds = is_slow() ? 8 : 24;
    uint64_t random = test_seed();
    pthread_t thread;

    mym_idle_when_much = nothing;
    fill(72 * MIB);
    CHECK(pthread_create(&thread, NULL, collapse_on_and_on, NULL) == 0);
    for (unsigned round = 0; round < rounds; round++) {
        unsigned from = (unsigned)(next_random(&random) % count);
        unsigned to = from + count / 8 < count ? from + count / 8 : count;

        for (unsigned i = from; i < to; i++)
            if (object[i].at && next_random(&random) % 16 != 0)
                drop(i);
        if (round % 4 == 1)
            malloc_trim(0);
        if (round % 8 == 2)
            child_has_all();
        for (unsigned i = from; i < to; i++)
            if (!object[i].at)
                take(i, &random, MIXED);
        all_is_there();
    }
    stop = true;
    CHECK(pthread_join(thread, NULL) == 0);
    all_is_there();
}

const struct test tests[] = {
    {"dense_chunks_become_huge", dense_chunks_become_huge},
    {"in_a_small_heap_too", in_a_small_heap_too},
    {"large_objects_too", large_objects_too},
    {"a_refused_chunk_keeps_no_other_small", a_refused_chunk_keeps_no_other_small},
    {"sparse_chunks_stay_small", sparse_chunks_stay_small},
    {"clean_units_keep_chunks_small", clean_units_keep_chunks_small},
    {"clean_units_that_were_read_do_too", clean_units_that_were_read_do_too},
    {"refused_chunks_stay_small", refused_chunks_stay_small},
    {"a_chunk_that_leaves_is_not_looked_at", a_chunk_that_leaves_is_not_looked_at},
    {"beside_purges_and_forks", beside_purges_and_forks},
    {NULL, NULL},
};
