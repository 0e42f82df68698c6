/*
 * preload.c - a link for libraries whose path LD_PRELOAD cannot carry.
 *
 * The link stays: the program and what it starts need it as long as they run. It is named
 * after the file, so that each installation has one, and lies in a folder that this user
 * alone can write, since whoever can change it chooses the code that is loaded.
 */
#include "preload.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The loader splits LD_PRELOAD at blanks and colons and expands $ORIGIN and its like. */
static bool preload_carries(const char *path)
{
    return !strpbrk(path, " :$");
}

/* A folder in which only this user can make links; the reason on failure. */
static const char *private_folder(char *out, size_t size)
{
    const char *base = getenv("TMPDIR");
    struct stat status;

    if (!base || *base != '/' || !preload_carries(base))
        base = "/tmp";
    if ((size_t)snprintf(out, size, "%s/mymalloc-%u", base, geteuid()) >= size)
        return strerror(ENAMETOOLONG);
    if ((mkdir(out, 0755) != 0 && errno != EEXIST) || lstat(out, &status) != 0)
        return strerror(errno);
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() ||
        (status.st_mode & 022))
        return "it is there, and not a folder of this user alone";
    return NULL;
}

/* The link, in the folder that out names. */
static const char *make_link(const char *library, char *out, size_t size)
{
    char temporary[PATH_MAX], old[PATH_MAX];
    size_t used = strlen(out);
    struct stat status;

    if (stat(library, &status) != 0)
        return strerror(errno);
    snprintf(out + used, size - used, "/preload-%llx-%llx.so",
             (unsigned long long)status.st_dev, (unsigned long long)status.st_ino);
    ssize_t length = readlink(out, old, sizeof old);
    if (length >= 0 && (size_t)length == strlen(library) &&
        memcmp(old, library, (size_t)length) == 0)
        return NULL;
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.%d", out, (int)getpid()) >=
        sizeof temporary)
        return strerror(ENAMETOOLONG);
    if (symlink(library, temporary) == 0 && rename(temporary, out) == 0)
        return NULL;
    int error = errno;
    unlink(temporary);
    return strerror(error);
}

const char *preload_path(const char *library, char *out, size_t size)
{
    static char clause[PATH_MAX + 256];

    if (preload_carries(library)) {
        snprintf(out, size, "%s", library);
        return NULL;
    }
    const char *reason = private_folder(out, size);
    if (!reason)
        reason = make_link(library, out, size);
    if (!reason)
        return NULL;
    snprintf(
        clause, sizeof clause,
        "LD_PRELOAD carries no path with a blank, a colon or a dollar sign, and a link "
        "to it cannot be made in %s: %s",
        out, reason);
    return clause;
}
