/*
 * locked.c - memory that the program locked: what was freed goes back to the kernel all the
 * same, where the kernel can (Linux 5.18), and where it cannot the rest does.
 */
#include "check.h"
#include "family.h"
#include "gate.h"
#include "proc.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB   ((size_t)1 << 20)
#define TOTAL (200 * MIB)

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#define DONTNEED_LOCKED 24 /* MADV_DONTNEED_LOCKED */

static unsigned char *objects[TOTAL / 3000];

/*
 * One object in the midst of many is locked, in part or as a whole, and all are freed. What
 * stays beyond `may` bytes is a fault; unlocked later all goes.
 */
static void lock_one(size_t size, size_t locked, size_t may)
{
    size_t before = resident_bytes(), now;
    unsigned count = (unsigned)((is_slow() ? TOTAL / 4 : TOTAL) / size);
    unsigned char *victim;

    for (unsigned i = 0; i < count; i++) {
        objects[i] = malloc(size);
        CHECK(objects[i]);
        memset(objects[i], 1, size);
    }
    victim = objects[count / 2];
    CHECKF(mlock(victim, locked) == 0, "errno %d", errno);
    for (unsigned i = 0; i < count; i++)
        free(objects[i]);
    malloc_trim(0);
    now = resident_bytes();
    CHECK(!family.verify || family.verify() == 0);
    may += 64 * 4096; /* the kernel counts resident pages in steps */
    CHECKF(now <= before + may, "%zu KiB of %zu KiB stay, %zu of them locked",
           (now - before) >> 10, count * size >> 10, locked >> 10);
    munlock(victim, locked); /* an own mapping may be gone by now */
    free(memset(malloc(size), 1, size));
    malloc_trim(0);
    now = resident_bytes();
    CHECKF(now <= before + 2 * MIB, "%zu KiB stay, nothing is locked",
           (now - before) >> 10);
}

static const size_t sizes[] = {3000, 100000, MIB, 5 * MIB, 40 * MIB};

static void one_page_is_locked(void)
{
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        lock_one(sizes[i], sizes[i] < 4096 ? 1 : 4096, 2 * MIB);
}

/* As Linux does since 5.18. */
static bool kernel_takes_locked(void)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool takes;

    CHECK(page != MAP_FAILED);
    takes = madvise(page, 4096, DONTNEED_LOCKED) == 0;
    munmap(page, 4096);
    return takes;
}

static void an_object_is_locked(void)
{
    bool takes = kernel_takes_locked();

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        if (sizes[i] <= 5 * MIB) /* RLIMIT_MEMLOCK is 8 MiB */
            lock_one(sizes[i], sizes[i], (takes ? 0 : sizes[i]) + 2 * MIB);
}

/* A kernel before 5.18, for all calls. */
static long old_kernel(long number, const long arguments[6])
{
    if (number == SYS_madvise && arguments[2] == DONTNEED_LOCKED)
        return -EINVAL;
    return gate_call(number, arguments);
}

static void on_old_kernel(size_t whole)
{
    if (!gate_install_rule(old_kernel, 0, 0)) {
        printf("SKIP: seccomp filters are not allowed here\n");
        return;
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        if (!whole)
            lock_one(sizes[i], sizes[i] < 4096 ? 1 : 4096, 2 * MIB);
        else if (sizes[i] <= 5 * MIB)
            lock_one(sizes[i], sizes[i], sizes[i] + 2 * MIB);
}

/* In children, so that the filter is theirs alone. */
static void old_kernels_keep_what_is_locked(void)
{
    run_in_child(on_old_kernel, false);
    run_in_child(on_old_kernel, true);
}

static size_t asked;

static long refuse_purges(long number, const long arguments[6])
{
    if (number != SYS_madvise ||
        (arguments[2] != MADV_DONTNEED && arguments[2] != DONTNEED_LOCKED))
        return gate_call(number, arguments);
    asked++;
    return -EINVAL;
}

/* Not for each object that is freed: of 1.5 GiB that took a minute. */
static void the_kernel_is_not_asked_again_and_again(size_t size)
{
    size_t count = 100 * MIB / size;

    if (!gate_install_rule(refuse_purges, 0, 0)) {
        printf("SKIP: seccomp filters are not allowed here\n");
        return;
    }
    for (size_t i = 0; i < count; i++)
        CHECK((objects[i] = malloc(size)));
    for (size_t i = 0; i < count; i++)
        free(objects[i]);
    CHECKF(asked < 10000, "%zu calls for %zu objects of %zu", asked, count, size);
    CHECK(!family.verify || family.verify() == 0);
}

static void all_that_is_freed_is_locked(void)
{
    run_in_child(the_kernel_is_not_asked_again_and_again, 4000);
    run_in_child(the_kernel_is_not_asked_again_and_again, 100000);
}

/* ---- mlockall ---- */

static void touch(unsigned char *object, size_t size)
{
    for (size_t at = 0; at < size; at += 4096)
        object[at] = 1;
}

/* What is locked after 100 MiB in objects of a size were taken, in percent of that. */
static size_t lock_future(size_t size)
{
    size_t count = 100 * MIB / size, before = status_kib("VmLck");

    for (size_t i = 0; i < count; i++) {
        unsigned char *object = malloc(size);

        CHECK(object);
        touch(object, size);
    }
    return ((status_kib("VmLck") - before) << 10) * 100 / (count * size);
}

static void all_is_locked(size_t flags)
{
    static const size_t each[] = {64, 1024, 4096, 65536, 300000, 3 * MIB, 50 * MIB};

    for (size_t i = 0; i < sizeof(each) / sizeof(*each); i++) {
        size_t percent;

        if (mlockall((int)flags) != 0) {
            printf("SKIP: mlockall is refused\n");
            return;
        }
        percent = lock_future(each[i]);
        munlockall();
        /* A size of 300000 fills 93 of 100 of its units. */
        CHECKF(percent <= (each[i] == 300000 ? 127 : 120),
               "%zu of 100 locked for objects of %zu", percent, each[i]);
        printf("flags %zu, objects of %zu: %zu of 100 locked\n", flags, each[i],
               percent);
    }
}

static void future_memory_is_locked(void)
{
    if (!may_lock(2000 * MIB)) {
        printf("SKIP: 2000 MiB may not be locked\n");
        return;
    }
    run_in_child(all_is_locked, MCL_FUTURE);
    run_in_child(all_is_locked, MCL_FUTURE | MCL_ONFAULT);
}

const struct test tests[] = {
    {"one_page_is_locked", one_page_is_locked},
    {"an_object_is_locked", an_object_is_locked},
    {"old_kernels_keep_what_is_locked", old_kernels_keep_what_is_locked},
    {"all_that_is_freed_is_locked", all_that_is_freed_is_locked},
    {"future_memory_is_locked", future_memory_is_locked},
    {NULL, NULL},
};
