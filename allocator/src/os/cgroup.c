/*
 * cgroup.c - what the process's memory cgroup may use.
 *
 * /proc/self/cgroup has a line "number:controllers:/path" for each hierarchy. Version 2 is
 * "0::/path"; where a line names the memory controller, version 1 (or a hybrid of the two)
 * keeps the limits. A container may see the path of its host, whose files are not there:
 * then the root it sees is its own group, which is looked at in any case.
 */
#include "os/os.h"

#include <fcntl.h>
#include <string.h>

/* A file read byte by byte, through a buffer that fits any stack. */
struct reader {
    int file;
    size_t at, end;
    char buffer[256];
};

static int next(struct reader *reader)
{
    if (reader->at == reader->end) {
        reader->end = mym_os_read(reader->file, reader->buffer, sizeof reader->buffer);
        reader->at = 0;
        if (reader->end == 0)
            return -1;
    }
    return (unsigned char)reader->buffer[reader->at++];
}

/* The number at the start of a file such as memory.max; SIZE_MAX for "max" or no file. */
static size_t read_number(int folder, const char *name)
{
    struct reader reader = {.file = mym_os_open_in(folder, name)};
    size_t value = 0;
    int c;

    if (reader.file < 0)
        return SIZE_MAX;
    c = next(&reader);
    if (c < '0' || c > '9')
        value = SIZE_MAX;
    for (; c >= '0' && c <= '9'; c = next(&reader))
        if (__builtin_mul_overflow(value, (size_t)10, &value) ||
            __builtin_add_overflow(value, (size_t)(c - '0'), &value)) {
            value = SIZE_MAX;
            break;
        }
    mym_os_close(reader.file);
    return value;
}

/* A field up to its separator or the end of the line, into out; what ended it. */
static int read_field(struct reader *reader, int separator, char *out, size_t room)
{
    size_t used = 0;
    int c;

    while ((c = next(reader)) >= 0 && c != separator && c != '\n')
        if (used < room - 1)
            out[used++] = (char)c;
    out[used] = '\0';
    return c;
}

static bool names_memory(const char *controllers)
{
    const char *found = strstr(controllers, "memory");

    return found != NULL && (found == controllers || found[-1] == ',') &&
           (found[6] == '\0' || found[6] == ',');
}

/*
 * The next group that may have the limit, whose path is read next: that of version 2, or with
 * *memory the one that has. False: there is no more.
 */
static bool next_group(struct reader *reader, bool *memory)
{
    for (;;) {
        char number[8], controllers[256];

        if (read_field(reader, ':', number, sizeof number) != ':' ||
            read_field(reader, ':', controllers, sizeof controllers) != ':')
            return false;
        *memory = names_memory(controllers);
        if (*memory || (strcmp(number, "0") == 0 && controllers[0] == '\0'))
            return true;
        if (read_field(reader, '\n', controllers, sizeof controllers) != '\n')
            return false;
    }
}

/*
 * What one group may use. Where it has more than memory.high nothing fails, but all its threads
 * wait while the kernel looks for what it can take: without swap it finds none of what is idle.
 */
static size_t limit_of(int folder, bool version_1)
{
    size_t most, high;

    if (version_1)
        return read_number(folder, "memory.limit_in_bytes");
    most = read_number(folder, "memory.max");
    high = read_number(folder, "memory.high");
    return high < most ? high : most;
}

/*
 * The least of the group and those above it, which is met on the way down: a path may be longer
 * than the stack of who looks has room for (MYMALLOC_CGROUP=watch).
 */
static size_t least_below(int folder, struct reader *path, bool version_1)
{
    size_t least = limit_of(folder, version_1);
    char name[256];
    int end = '/';

    while (end == '/') {
        int above = folder;
        size_t here;

        end = read_field(path, '/', name, sizeof name);
        if (name[0] == '\0')
            continue;
        folder = mym_os_open_folder(above, name);
        mym_os_close(above);
        here = limit_of(folder, version_1);
        least = here < least ? here : least;
    }
    mym_os_close(folder);
    return least;
}

/* The path of the group of version 2; false: there is none, or version 1 has the memory. */
static bool find_group(const char *groups, char *path, size_t room)
{
    struct reader reader = {.file = mym_os_open(groups)};
    bool memory, found = false;

    path[0] = '\0';
    if (reader.file < 0)
        return found;
    while (next_group(&reader, &memory)) {
        found = !memory;
        if (memory || read_field(&reader, '\n', path, room) != '\n')
            break;
    }
    mym_os_close(reader.file);
    return found;
}

bool mym_os_group_file(const char *groups, const char *mount, const char *leaf,
                       char *path, size_t room)
{
    size_t root = strlen(mount), length;
    int file;

    if (root + strlen(leaf) >= room ||
        !find_group(groups, path + root, room - root - strlen(leaf)))
        return false;
    memcpy(path, mount, root);
    length = strlen(path);
    strcpy(path + length, leaf);
    file = mym_os_open(path);
    if (file >= 0)
        mym_os_close(file);
    else
        strcpy(path + root, leaf);
    return true;
}

size_t mym_os_memory_limit(const char *groups, const char *mount)
{
    struct reader reader = {.file = mym_os_open(groups)};
    size_t limit = SIZE_MAX;
    bool memory = false;

    if (reader.file < 0)
        return limit;
    while (!memory && next_group(&reader, &memory)) {
        int folder = mym_os_open_folder(AT_FDCWD, mount), root = folder;

        if (memory) { /* where version 1 is mounted */
            folder = mym_os_open_folder(root, "memory");
            mym_os_close(root);
        }
        limit = least_below(folder, &reader, memory);
    }
    mym_os_close(reader.file);
    return limit;
}
