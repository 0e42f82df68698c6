/*
 * os.c - the kernel, seen from the allocator.
 */
#include "os/os.h"

#include "base/syscall.h"

#include <errno.h> /* error numbers only: errno itself is not touched */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* ---- memory ---- */

static long map(uintptr_t addr, size_t bytes, int protection, int flags)
{
    return mym_syscall(SYS_mmap, (long)addr, (long)bytes, protection,
                       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

/* An address from the kernel; NULL when it refused. */
static void *pointer(long result)
{
    return mym_syscall_done(result) ? (void *)result : NULL; /* NOLINT */
}

size_t mym_os_page(void)
{
    static size_t bytes; /* the same value whoever writes it */
    size_t page = __atomic_load_n(&bytes, __ATOMIC_RELAXED);

    if (page == 0) {
        page = getauxval(AT_PAGESZ);
        __atomic_store_n(&bytes, page, __ATOMIC_RELAXED);
    }
    return page;
}

void *mym_os_map(size_t bytes)
{
    return pointer(map(0, bytes, PROT_READ | PROT_WRITE, 0));
}

enum mym_os_result mym_os_map_at(uintptr_t addr, size_t bytes)
{
    long got = map(addr, bytes, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);

    if (!mym_syscall_done(got))
        return got == -EEXIST ? MYM_OS_TAKEN : MYM_OS_NOMEM;
    if ((uintptr_t)got != addr) { /* a kernel before 4.17 takes the flag for a hint */
        mym_os_unmap(pointer(got), bytes);
        return MYM_OS_TAKEN;
    }
    return MYM_OS_OK;
}

void mym_os_unmap(void *addr, size_t bytes)
{
    mym_syscall(SYS_munmap, (long)addr, (long)bytes, 0, 0, 0, 0);
}

void *mym_os_remap(void *addr, size_t old_bytes, size_t new_bytes)
{
    return pointer(mym_syscall(SYS_mremap, (long)addr, (long)old_bytes, (long)new_bytes,
                               MREMAP_MAYMOVE, 0, 0));
}

void *mym_os_remap_to(void *old, size_t old_bytes, void *to, size_t bytes)
{
    return pointer(mym_syscall(SYS_mremap, (long)old, (long)old_bytes, (long)bytes,
                               MREMAP_MAYMOVE | MREMAP_FIXED, (long)to, 0));
}

static bool advise(void *addr, size_t bytes, int advice)
{
    return mym_syscall(SYS_madvise, (long)addr, (long)bytes, advice, 0, 0, 0) == 0;
}

bool mym_os_purge(void *addr, size_t bytes)
{
    return advise(addr, bytes, MADV_DONTNEED);
}

void mym_os_populate(void *addr, size_t bytes)
{
    advise(addr, bytes, MADV_POPULATE_WRITE);
}

void mym_os_huge_pages(void *addr, size_t bytes, bool allow)
{
    advise(addr, bytes, allow ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

bool mym_os_collapse(void *addr, size_t bytes)
{
    return advise(addr, bytes, MADV_COLLAPSE);
}

uintptr_t mym_os_find_window(size_t bytes)
{
    void *probe = pointer(map(0, bytes, PROT_NONE, MAP_NORESERVE));

    if (probe != NULL)
        mym_os_unmap(probe, bytes);
    return (uintptr_t)probe;
}

/* ---- waiting, time ---- */

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    mym_syscall(SYS_futex, (long)word, op | FUTEX_PRIVATE_FLAG, value, 0, 0, 0);
}

void mym_os_futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
    futex(word, FUTEX_WAIT, expected);
}

void mym_os_futex_wake(_Atomic uint32_t *word)
{
    futex(word, FUTEX_WAKE, 1);
}

static bool membarrier(int command)
{
    return mym_syscall(SYS_membarrier, command, 0, 0, 0, 0, 0) == 0;
}

bool mym_os_rseq_fence_register(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);
}

bool mym_os_rseq_fence(void)
{
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ);
}

uint64_t mym_os_coarse_ms(void)
{
    struct timespec now = {0, 0};

    mym_syscall(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, (long)&now, 0, 0, 0, 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- files: at start only ---- */

size_t mym_os_read_file(const char *path, char *out, size_t room)
{
    long file =
        mym_syscall(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    long got =
        file < 0 ? 0 : mym_syscall(SYS_read, file, (long)out, (long)room - 1, 0, 0, 0);

    if (file >= 0)
        mym_syscall(SYS_close, file, 0, 0, 0, 0, 0);
    if (got < 0)
        got = 0;
    out[got] = '\0';
    return (size_t)got;
}

/* The number at the start of a file such as memory.max; SIZE_MAX for "max" or no file. */
static size_t read_limit(const char *path)
{
    char text[32];
    size_t value = 0;
    const char *at = text;

    if (mym_os_read_file(path, text, sizeof text) == 0 || *at < '0' || *at > '9')
        return SIZE_MAX;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, (size_t)10, &value) ||
            __builtin_add_overflow(value, (size_t)(*at - '0'), &value))
            return SIZE_MAX;
    return value;
}

size_t mym_os_memory_limit(void)
{
    static const char root[] = "/sys/fs/cgroup";
    static const char leaf[] = "/memory.max";
    char own[256];
    char path[sizeof own + sizeof root + sizeof leaf];
    size_t length = mym_os_read_file("/proc/self/cgroup", own, sizeof own);
    char *end = memchr(own, '\n', length);
    size_t limit = SIZE_MAX;

    if (end == NULL ||
        memcmp(own, "0::/", 4) != 0) /* version 1, as a container sees it */
        return read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    *end = '\0';
    memcpy(path, root, sizeof root - 1);
    strcpy(path + sizeof root - 1, own + 3);
    /* The group itself and those above it, up to the root, which has no limit. */
    for (length = strlen(path); length >= sizeof root - 1; path[length] = '\0') {
        size_t here;

        strcpy(path + length, leaf);
        here = read_limit(path);
        limit = here < limit ? here : limit;
        while (length-- > sizeof root - 1 && path[length] != '/')
            ;
    }
    return limit;
}
