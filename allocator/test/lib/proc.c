/* proc.c - /proc/self, read line by line through a buffer of its own. */
#include "proc.h"

#include "check.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

struct reader {
    int file;
    size_t at, end;
    char room[8192], line[512]; /* what is longer than a line is cut */
};

static void open_proc(struct reader *reader, const char *path)
{
    reader->file = open(path, O_RDONLY | O_CLOEXEC);
    reader->at = reader->end = 0;
    CHECKF(reader->file >= 0, "%s", path);
}

/* NULL at the end, where the file is closed. */
static const char *next_line(struct reader *reader)
{
    size_t length = 0;

    for (;;) {
        if (reader->at == reader->end) {
            ssize_t got = read(reader->file, reader->room, sizeof(reader->room));

            if (got <= 0) {
                close(reader->file);
                return NULL;
            }
            reader->at = 0;
            reader->end = (size_t)got;
        }
        reader->line[length] = reader->room[reader->at++];
        if (reader->line[length] == '\n')
            break;
        length += length < sizeof(reader->line) - 1;
    }
    reader->line[length] = '\0';
    return reader->line;
}

/* The number of a line "Field:   123 kB"; -1: another line. */
static long value_of(const char *line, const char *field)
{
    size_t length = strlen(field);

    return strncmp(line, field, length) == 0 && line[length] == ':'
               ? (long)strtoul(line + length + 1, NULL, 10)
               : -1;
}

size_t status_kib(const char *field)
{
    struct reader reader;
    const char *line;
    long value = -1;

    open_proc(&reader, "/proc/self/status");
    while ((line = next_line(&reader)) != NULL)
        value = value_of(line, field) >= 0 ? value_of(line, field) : value;
    CHECKF(value >= 0, "no %s", field);
    return (size_t)value;
}

size_t address_space(void)
{
    return status_kib("VmSize") << 10;
}

static void set_limit(int resource, size_t bytes)
{
    struct rlimit limit = {bytes, bytes};

    CHECK(setrlimit(resource, &limit) == 0);
}

void limit_growth(int resource, size_t bytes)
{
    set_limit(resource,
              (status_kib(resource == RLIMIT_AS ? "VmSize" : "VmData") << 10) + bytes);
}

static const char *again;
static size_t room;

static void start_again(size_t resource)
{
    set_limit((int)resource, room);
    execl("/proc/self/exe", "again", again, NULL);
    _exit(9);
}

void run_within(int resource, size_t bytes, const char *name)
{
    if (address_space() > bytes / 4)
        return;
    again = name;
    room = bytes;
    run_in_child(start_again, (size_t)resource);
}

#ifdef __SANITIZE_ADDRESS__

static bool reading_is_counted(void)
{
    size_t bytes = (size_t)2 << 20, before = resident_bytes();
    char *area = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool counted;

    CHECK(area != MAP_FAILED);
    for (size_t at = 0; at < bytes; at += 4096)
        (void)*(volatile char *)(area + at);
    counted = resident_bytes() > before + bytes / 2;
    CHECK(munmap(area, bytes) == 0);
    return counted;
}

size_t shadow_of(size_t bytes)
{
    return reading_is_counted() ? bytes / 8 : 0;
}

#else

size_t shadow_of(size_t bytes)
{
    return runs_under(MEMCHECK) ? bytes / 4 : 0;
}

#endif

bool may_lock(size_t bytes)
{
    struct rlimit most = {0, 0};
    size_t more;
    void *area;
    bool may;

    CHECK(getrlimit(RLIMIT_MEMLOCK, &most) == 0);
    if (most.rlim_cur >= bytes)
        return true;
    more = most.rlim_cur / 4096 * 4096 + 4096; /* none of it is there */
    area = mmap(NULL, more, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    may = area != MAP_FAILED && mlock2(area, more, MLOCK_ONFAULT) == 0;
    CHECK(area == MAP_FAILED || munmap(area, more) == 0);
    return may;
}

size_t mapping_count(void)
{
    struct reader reader;
    size_t lines = 0;

    open_proc(&reader, "/proc/self/maps");
    while (next_line(&reader) != NULL)
        lines++;
    return lines;
}

/* "from-to rights ...": the first line of a mapping. Any other leaves both as they are. */
static int reads_range(const char *line, uintptr_t *from, uintptr_t *to)
{
    uintptr_t first, last;
    char *end;

    first = strtoul(line, &end, 16);
    if (end == line || *end != '-')
        return 0;
    last = strtoul(end + 1, &end, 16);
    if (*end != ' ')
        return 0;
    *from = first;
    *to = last;
    return 1;
}

size_t smaps_kib(const char *field, const void *start, size_t bytes)
{
    uintptr_t from = 0, to = 0;
    struct reader reader;
    const char *line;
    size_t sum = 0;

    open_proc(&reader, "/proc/self/smaps");
    while ((line = next_line(&reader)) != NULL)
        if (!reads_range(line, &from, &to) && value_of(line, field) > 0 &&
            to > (uintptr_t)start && from < (uintptr_t)start + bytes)
            sum += (size_t)value_of(line, field);
    return sum;
}

size_t anonymous_kib(void)
{
    return smaps_kib("Anonymous", NULL, SIZE_MAX);
}

int has_vm_flag(const void *address, const char *flag)
{
    uintptr_t from = 0, to = 0;
    struct reader reader;
    const char *line;
    int found = 0;

    open_proc(&reader, "/proc/self/smaps");
    while ((line = next_line(&reader)) != NULL)
        if (!reads_range(line, &from, &to) && strncmp(line, "VmFlags:", 8) == 0 &&
            (uintptr_t)address >= from && (uintptr_t)address < to)
            for (const char *at = line + 8; *at != '\0'; at++)
                found |= *at == ' ' && strncmp(at + 1, flag, 2) == 0;
    return found;
}
