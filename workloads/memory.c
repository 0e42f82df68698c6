/*
 * memory.c - reading /proc without stdio, which allocates.
 */
#include "memory.h"
#include "harness.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t mapped;

static const char *read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    if (got <= 0)
        die(1, "cannot read %s: memory cannot be measured here", path);
    text[got] = 0;
    return text;
}

/* The number after `key` in a "key: 123 kB" file, in bytes. */
static uint64_t field_bytes(const char *path, const char *key)
{
    char text[4096];
    const char *at = strstr(read_file(path, text, sizeof(text)), key);

    if (!at)
        die(1, "no %s in %s: memory cannot be measured here", key, path);
    return strtoull(at + strlen(key), NULL, 10) * 1024;
}

uint64_t memory_rss_quick(void)
{
    char text[128];
    const char *at = strchr(read_file("/proc/self/statm", text, sizeof(text)), ' ');

    return strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t memory_rss(void)
{
    if (access("/proc/self/smaps_rollup", R_OK)) /* not everywhere, gVisor for one */
        return memory_rss_quick();
    return field_bytes("/proc/self/smaps_rollup", "\nRss:");
}

uint64_t memory_huge(void)
{
    if (access("/proc/self/smaps_rollup", R_OK))
        return 0;
    return field_bytes("/proc/self/smaps_rollup", "\nAnonHugePages:");
}

uint64_t memory_peak_rss(void)
{
    return field_bytes("/proc/self/status", "VmHWM:");
}

void *memory_map(size_t bytes)
{
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED)
        die(3, "out of memory: the harness cannot map %zu bytes for its own arrays",
            bytes);
    mapped += bytes;
    return p;
}

uint64_t memory_mapped(void)
{
    return mapped;
}
