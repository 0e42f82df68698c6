/*
 * library.c - find the library beside this program.
 */
#include "library.h"

#include "preload.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

bool self_path(char *out, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", out, size - 1);

    if (length >= 0) {
        out[length] = '\0';
        return true;
    }
    int error = errno;
    const char *started_as = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    char *real = started_as ? realpath(started_as, NULL) : NULL;
    if (real && strlen(real) < size) {
        strcpy(out, real);
        free(real);
        return true;
    }
    free(real);
    fprintf(stderr,
            "mymalloc-run: cannot find where it is installed: /proc/self/exe: %s; "
            "is /proc mounted?\n",
            strerror(error));
    return false;
}

bool library_find(bool secure, char *out, size_t size)
{
    char self[PATH_MAX], path[2 * PATH_MAX], library[PATH_MAX];

    if (!self_path(self, sizeof self))
        return false;
    snprintf(path, sizeof path, "%s/%s", dirname(self),
             secure ? SECURE_FROM_BIN : LIBRARY_FROM_BIN);
    if (!realpath(path, library)) {
        fprintf(stderr,
                "mymalloc-run: the library is not where it was installed: %s: %s\n",
                path, strerror(errno));
        return false;
    }
    const char *reason = preload_path(library, out, size);
    if (reason)
        fprintf(stderr, "mymalloc-run: %s: %s\n", library, reason);
    return !reason;
}
