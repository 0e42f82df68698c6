/*
 * cgroup.c - what the process's memory cgroup may use.
 *
 * /proc/self/cgroup has a line "number:controllers:/path" for each hierarchy. Version 2 is
 * "0::/path"; where a line names the memory controller, version 1 (or a hybrid of the two)
 * keeps the limits. A container may see the path of its host, whose files are not there:
 * then the root it sees is its own group, which is looked at last.
 */
#include "os/os.h"

#include <fcntl.h>
#include <limits.h>
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
static size_t read_number(const char *path)
{
    struct reader reader = {.file = mym_os_open(path)};
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

enum version { NO_GROUP, VERSION_1, VERSION_2 };

/* The path of the group that has the limit. */
static enum version find_group(const char *groups, char *path, size_t room)
{
    struct reader reader = {.file = mym_os_open(groups)};
    enum version found = NO_GROUP;

    path[0] = '\0';
    if (reader.file < 0)
        return found;
    for (;;) {
        char number[8], controllers[256];
        bool memory;

        if (read_field(&reader, ':', number, sizeof number) != ':' ||
            read_field(&reader, ':', controllers, sizeof controllers) != ':')
            break;
        memory = names_memory(controllers);
        if (memory || (strcmp(number, "0") == 0 && controllers[0] == '\0')) {
            found = memory ? VERSION_1 : VERSION_2;
            if (read_field(&reader, '\n', path, room) != '\n' || memory)
                break;
        } else if (read_field(&reader, '\n', controllers, sizeof controllers) != '\n') {
            break;
        }
    }
    mym_os_close(reader.file);
    return found;
}

/*
 * The least of the group and those above it. path is "/mount/a/b", the part before `root`
 * being the mount.
 */
static size_t least_upwards(char *path, size_t root, size_t room, const char *leaf)
{
    size_t length = strlen(path);
    size_t limit = SIZE_MAX;

    for (;;) {
        if (length + strlen(leaf) < room) {
            size_t here;

            strcpy(path + length, leaf);
            here = read_number(path);
            limit = here < limit ? here : limit;
        }
        if (length <= root)
            return limit;
        while (--length > root && path[length] != '/')
            ;
    }
}

bool mym_os_group_file(const char *groups, const char *mount, const char *leaf,
                       char *path, size_t room)
{
    size_t root = strlen(mount), length;
    int file;

    if (root + strlen(leaf) >= room ||
        find_group(groups, path + root, room - root - strlen(leaf)) != VERSION_2)
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
    static const char memory[] = "/memory"; /* where version 1 is mounted */
    char path[PATH_MAX];
    char *group = path + strlen(mount) + sizeof memory - 1;
    enum version version =
        find_group(groups, group, sizeof path - (size_t)(group - path));
    size_t root = strlen(mount);

    memcpy(path, mount, root);
    if (version == VERSION_1) {
        memcpy(path + root, memory, sizeof memory - 1);
        root += sizeof memory - 1;
    } else {
        memmove(path + root, group, strlen(group) + 1);
    }
    if (path[root] == '/' && path[root + 1] == '\0') /* the root's own path */
        path[root] = '\0';
    return version == NO_GROUP
               ? SIZE_MAX
               : least_upwards(path, root, sizeof path,
                               version == VERSION_1 ? "/memory.limit_in_bytes"
                                                    : "/memory.max");
}
