/*
 * disk.c - the recorder's file.
 *
 * System calls by number: open, close and fallocate of libc are cancellation points, and
 * malloc must not become one.
 */
#include "disk.h"
#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int disk_open(const char *name, int flags)
{
    int fd;

    do {
        fd = (int)syscall(SYS_openat, AT_FDCWD, name, flags | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

void disk_close(int fd)
{
    syscall(SYS_close, fd);
}

/* Real space, not a hole. File systems without fallocate get zeroes written. */
static int reserve(int fd, uint64_t offset, size_t length)
{
    static const char zeroes[4096];
    long got;

    do {
        got = syscall(SYS_fallocate, fd, 0, (off_t)offset, (off_t)length);
    } while (got < 0 && errno == EINTR);
    if (got == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return errno;
    for (size_t done = 0; done < length; done += (size_t)got) {
        got = syscall(SYS_pwrite64, fd, zeroes, sizeof(zeroes), (off_t)(offset + done));
        if (got < 0 && errno != EINTR)
            return errno;
        if (got < 0)
            got = 0;
    }
    return 0;
}

void *disk_map(int fd, uint64_t offset, int *error)
{
    void *p = NULL;

    *error = reserve(fd, offset, TRACE_BLOCK);
    if (*error)
        return NULL;
    p = mmap(NULL, TRACE_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (p == MAP_FAILED) {
        *error = errno;
        return NULL;
    }
    madvise(p, TRACE_BLOCK, MADV_DONTFORK);
    return p;
}
