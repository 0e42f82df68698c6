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

#define MIB ((size_t)1 << 20)

enum { MOST = 1 << 16 };
static struct {
    unsigned char *at;
    size_t size;
} object[MOST];
static unsigned count;

static unsigned char mark_of(unsigned i)
{
    return (unsigned char)(i % 251 + 1);
}

static void take(unsigned i, uint64_t *random)
{
    object[i].size = 16 + next_random(random) % 8000;
    object[i].at = malloc(object[i].size);
    CHECK(object[i].at);
    memset(object[i].at, mark_of(i), object[i].size);
}

/* Objects of all sizes in turn, written all over. */
static void fill(size_t bytes)
{
    uint64_t random = test_seed();

    for (count = 0; bytes > 8016; count++) {
        CHECK(count < MOST);
        take(count, &random);
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

static void dense_chunks_become_huge(void)
{
    size_t bytes = 128 * MIB, resident, mappings;

    fill(bytes);
    resident = resident_bytes();
    mappings = mapping_count();
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
    CHECKF(refused >= 32, "%u chunks of 128 MiB were tried", refused);
    CHECK(mym_pages_info().huge == huge);
    all_is_there();
}

/* ---- a chunk that is no longer what it was ---- */

static struct {
    sem_t wanted, done;
    char *asked; /* of which it is wanted, NULL: of none any more */
    char *chunk; /* of which it is done */
} change;

static void *free_what_is_asked_about(void *unused)
{
    for (;;) {
        CHECK(sem_wait(&change.wanted) == 0);
        if (change.asked == NULL)
            return unused;
        for (unsigned i = 0; i < count; i++)
            if ((uintptr_t)object[i].at - (uintptr_t)change.asked < 2 * MIB)
                drop(i);
        CHECK(sem_post(&change.done) == 0);
    }
}

static bool is_of_slabs(const char *chunk)
{
    for (uint32_t unit = 0; unit < 2 * MIB / MYM_UNIT; unit++)
        if (mym_heap.cls[mym_unit_of(chunk) + unit] == 0)
            return false;
    return true;
}

size_t __real_mym_os_resident(void *at, size_t bytes);
size_t __wrap_mym_os_resident(void *at, size_t bytes);
enum mym_collapsed __real_mym_os_collapse(void *at, size_t bytes);
enum mym_collapsed __wrap_mym_os_collapse(void *at, size_t bytes);

/*
 * While the kernel looks at the pages of a dense chunk, its objects are freed; of the next one,
 * too, where caches and pools kept so many of them that it is still a chunk of slabs.
 */
size_t __wrap_mym_os_resident(void *at, size_t bytes)
{
    size_t resident = __real_mym_os_resident(at, bytes);

    if (change.asked && change.chunk == NULL && resident >= bytes - bytes / 32) {
        change.asked = at;
        CHECK(is_of_slabs(at));
        CHECK(sem_post(&change.wanted) == 0 && sem_wait(&change.done) == 0);
        if (!is_of_slabs(at))
            change.chunk = at;
    }
    return resident;
}

enum mym_collapsed __wrap_mym_os_collapse(void *at, size_t bytes)
{
    CHECKF(at != change.chunk, "a chunk that is not of slabs alone is collapsed");
    return __real_mym_os_collapse(at, bytes);
}

static void a_chunk_that_changed_stays_small(void)
{
    pthread_t thread;

    CHECK(sem_init(&change.wanted, 0, 0) == 0 && sem_init(&change.done, 0, 0) == 0);
    fill(128 * MIB);
    CHECK(pthread_create(&thread, NULL, free_what_is_asked_about, NULL) == 0);
    change.asked = (char *)object; /* the first is yet to come */
    collapse_all();
    CHECK(change.chunk != NULL);
    change.asked = NULL;
    CHECK(sem_post(&change.wanted) == 0 && pthread_join(thread, NULL) == 0);
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
                take(i, &random);
        all_is_there();
    }
    stop = true;
    CHECK(pthread_join(thread, NULL) == 0);
    all_is_there();
}

const struct test tests[] = {
    {"dense_chunks_become_huge", dense_chunks_become_huge},
    {"sparse_chunks_stay_small", sparse_chunks_stay_small},
    {"refused_chunks_stay_small", refused_chunks_stay_small},
    {"a_chunk_that_changed_stays_small", a_chunk_that_changed_stays_small},
    {"beside_purges_and_forks", beside_purges_and_forks},
    {NULL, NULL},
};
