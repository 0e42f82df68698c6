/*
 * exit.c - the profile that is written when the process ends.
 *
 * The file is made at start, so that a name that cannot be written is told before the
 * program has run for hours. A child of fork goes on with the profile and writes one of
 * its own, PATH.PID, if it ends by exit(3), too.
 */
#include "profile/profile.h"

#include "base/check.h"
#include "os/os.h"

#include <errno.h> /* numbers only */
#include <string.h>

#define PID_ROOM 12 /* "." and the digits of an int */

static struct {
    char path[MYM_PROFILE_PATH + PID_ROOM];
    int process; /* whose name it is; 0: nothing is written */
    enum mym_profile_form form;
} at_exit;

static const char *reason_of(int error)
{
    switch (error) {
    case ENOENT:
        return "no such folder";
    case EACCES:
    case EPERM:
        return "permission denied";
    case EISDIR:
        return "it is a folder";
    case EROFS:
        return "the file system is read-only";
    case ENOSPC:
    case EDQUOT:
        return "no space left";
    case EMFILE:
    case ENFILE:
        return "too many open files";
    case ENOMEM:
        return "no memory";
    case ENOSYS:
        return "nothing here can walk a stack; link a static program with "
               "-Wl,-u,backtrace";
    case EBUSY:
        return "another one is being taken";
    default:
        return "it cannot be written";
    }
}

void mym_profile_complain(const char *path, int error)
{
    static const char saying[] = "no heap profile: ";
    const char *reason = reason_of(error);
    char text[128];

    memcpy(text, saying, sizeof saying);
    strcpy(text + sizeof saying - 1, reason);
    mym_warn(path, text);
}

int mym_profile_at_exit(const char *path, size_t length, enum mym_profile_form form)
{
    int file;

    memcpy(at_exit.path, path, length);
    at_exit.path[length] = '\0';
    file = mym_os_create(at_exit.path);
    if (file < 0)
        return -file;
    mym_os_close(file);
    at_exit.form = form;
    at_exit.process = mym_os_process();
    return 0;
}

static void add_process(int process)
{
    char digits[PID_ROOM];
    size_t at = sizeof digits, length = strlen(at_exit.path);

    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + process % 10);
    while ((process /= 10) != 0);
    digits[--at] = '.';
    memcpy(at_exit.path + length, digits + at, sizeof digits - at);
}

/* After the program's own: what these free is no leak. */
__attribute__((destructor(101))) static void write_at_exit(void)
{
    int process = at_exit.process == 0 ? 0 : mym_os_process();
    int file, error;

    if (process == 0)
        return;
    if (process != at_exit.process)
        add_process(process);
    file = mym_os_create(at_exit.path);
    error = file < 0 ? -file : mym_profile_write(file, at_exit.form);
    if (file >= 0)
        mym_os_close(file);
    if (error != 0)
        mym_profile_complain(at_exit.path, error);
}
