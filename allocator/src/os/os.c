/*
 * os.c - the kernel, seen from the allocator.
 */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

void *mym_os_map(size_t bytes)
{
    int saved = errno;
    void *addr =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    errno = saved;
    return addr == MAP_FAILED ? NULL : addr;
}

enum mym_os_result mym_os_map_at(uintptr_t addr, size_t bytes)
{
    void *want = (void *)addr;
    int saved = errno;
    enum mym_os_result result = MYM_OS_OK;
    void *got = mmap(want, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (got == MAP_FAILED) {
        result = errno == EEXIST ? MYM_OS_TAKEN : MYM_OS_NOMEM;
    } else if (got != want) { /* a kernel before 4.17 takes the flag for a hint */
        munmap(got, bytes);
        result = MYM_OS_TAKEN;
    }
    errno = saved;
    return result;
}

void mym_os_unmap(void *addr, size_t bytes)
{
    int saved = errno;

    munmap(addr, bytes);
    errno = saved;
}

void *mym_os_remap(void *addr, size_t old_bytes, size_t new_bytes)
{
    int saved = errno;
    void *moved = mremap(addr, old_bytes, new_bytes, MREMAP_MAYMOVE);

    errno = saved;
    return moved == MAP_FAILED ? NULL : moved;
}

static bool advise(void *addr, size_t bytes, int advice)
{
    int saved = errno;
    bool done = madvise(addr, bytes, advice) == 0;

    errno = saved;
    return done;
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

uintptr_t mym_os_find_window(size_t bytes)
{
    int saved = errno;
    void *probe = mmap(NULL, bytes, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (probe != MAP_FAILED)
        munmap(probe, bytes);
    errno = saved;
    return probe == MAP_FAILED ? 0 : (uintptr_t)probe;
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    int saved = errno;
    long result =
        syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);

    errno = saved;
    return result;
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
    int saved = errno;
    bool done = syscall(SYS_membarrier, command, 0, 0) == 0;

    errno = saved;
    return done;
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
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* vDSO: cannot fail, keeps errno */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

size_t mym_os_read_file(const char *path, char *out, size_t room)
{
    int saved = errno;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, out, room - 1);

    if (fd >= 0)
        close(fd);
    errno = saved;
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
