/*
 * report.c - a file whose name the user gave at start: made then, written later.
 */
#include "base/check.h"
#include "os/os.h"
#include "os/out.h"

#include <errno.h> /* numbers only */
#include <string.h>

static const char *reason_of(int error)
{
    switch (error) {
    case ENOENT:
        return "no such folder";
    case EACCES:
    case EPERM:
        return "permission denied";
    case EEXIST:
        return "what has that name cannot be replaced";
    case EISDIR:
        return "it is a folder";
    case ENXIO:
    case EPIPE:
        return "it is a pipe that nobody reads";
    case EROFS:
        return "the file system is read-only";
    case ENOSPC:
    case EDQUOT:
        return "no space left";
    case EFBIG:
        return "the limit on the length of files is reached";
    case EMFILE:
    case ENFILE:
        return "too many open files";
    case ENOMEM:
        return "no memory";
    case ENOSYS:
        return "nothing here can walk a stack; link a static program with "
               "-Wl,-u,backtrace";
    case EDEADLK:
        return "the process ends in a signal handler that came within malloc or free";
    case EBUSY:
        return "another one is being taken";
    default:
        return "it cannot be written";
    }
}

void mym_report_complain(const char *what, const char *who, int error)
{
    MYM_WARN_ALL(who, ": ", what, ": ", reason_of(error));
}

int mym_report_at(struct mym_report *report, const char *path, size_t length, int owner)
{
    int process = mym_os_process(), file;

    memcpy(report->path, path, length);
    report->path[length] = '\0';
    report->is_stream = mym_os_is_stream(report->path);
    if (owner == 0 || owner == process) {
        file = mym_os_create(report->path);
        if (file < 0)
            return -file;
        mym_os_close(file);
        owner = process;
    }
    report->process = owner;
    return 0;
}

int mym_report_open(const struct mym_report *report, const char *name)
{
    return strcmp(name, report->path) == 0 ? mym_os_create(name)
                                           : mym_os_create_new(name);
}

char *mym_report_append(char *to, const char *mark, unsigned number)
{
    char digits[10], *end = digits + sizeof digits, *at = mym_digits(end, number, 10);
    size_t length = strlen(mark);

    memcpy(to, mark, length);
    memcpy(to + length, at, (size_t)(end - at));
    to += length + (size_t)(end - at);
    *to = '\0';
    return to;
}

char *mym_report_name(const struct mym_report *report, char *name, unsigned number)
{
    int process = mym_os_process();
    char *end = name + strlen(report->path);

    strcpy(name, report->path);
    if (report->is_stream)
        return end;
    if (process != report->process)
        end = mym_report_append(end, ".", (unsigned)process);
    return number == 0 ? end : mym_report_append(end, ".s", number);
}
