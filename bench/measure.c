/*
 * measure.c - run a command and report what the kernel charged it with.
 *
 *     mymalloc-measure REPORT [NAME=VALUE...] -- command args...
 *
 * The peak RSS of a process starts at that of the program it was forked from: measured
 * from the suite's Python it would never be below Python's 100 MiB. So a small program
 * stands between. The variables (LD_PRELOAD among them) are set for the command only.
 *
 * REPORT receives one line of JSON: wait status, wall and CPU seconds, peak RSS and
 * minor faults, of the command and of the children that it waited for; and a timeline,
 * seconds since `began` (CLOCK_MONOTONIC) and the RSS of all processes below this one,
 * every 10 ms. Pages that processes share count in each.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_MS = 10, DEPTH = 16 }; /* processes below processes */

struct point {
    double at;
    uint64_t rss;
};

struct timeline {
    struct point *points;
    size_t count, room;
};

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void become(char **variable, char **command)
{
    for (; *variable; variable++)
        putenv(*variable);
    execvp(command[0], command);
    fprintf(stderr, "%s: %s\n", command[0], strerror(errno));
    _exit(127);
}

/* ---- memory over time ---- */

/* What a file of /proc says; empty when the process is gone. */
static const char *proc_text(pid_t pid, const char *file, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = 0;
    return text;
}

static uint64_t resident_below(pid_t pid, int depth)
{
    char list[4096], statm[128], file[32], *next;
    uint64_t total = 0;

    snprintf(file, sizeof(file), "task/%d/children", (int)pid);
    const char *at = proc_text(pid, file, list, sizeof(list));
    for (pid_t child; (child = (pid_t)strtol(at, &next, 10)) > 0; at = next) {
        const char *pages =
            strchr(proc_text(child, "statm", statm, sizeof(statm)), ' ');
        if (pages)
            total += strtoull(pages, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
        if (depth > 1)
            total += resident_below(child, depth - 1);
    }
    return total;
}

static bool look(struct timeline *line, double began)
{
    if (line->count == line->room) {
        size_t room = line->room ? 2 * line->room : 1024;
        struct point *points = realloc(line->points, room * sizeof(*points));
        if (!points)
            return false;
        line->points = points;
        line->room = room;
    }
    uint64_t rss = resident_below(getpid(), DEPTH);
    line->points[line->count++] = (struct point){now() - began, rss};
    return true;
}

/* Until the child has ended; it is still to be waited for. */
static bool watch(pid_t child, struct timeline *line, double began)
{
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, child, 0),
                           .events = POLLIN};
    int found = 0;

    if (ended.fd < 0)
        return false;
    while (found == 0 || (found < 0 && errno == EINTR)) {
        if (!look(line, began))
            break;
        found = poll(&ended, 1, EVERY_MS);
    }
    close(ended.fd);
    return found > 0;
}

static void print_timeline(FILE *report, const struct timeline *line)
{
    fputs("\"timeline\": [", report);
    for (size_t i = 0; i < line->count; i++)
        fprintf(report, "%s[%.4f, %" PRIu64 "]", i ? ", " : "", line->points[i].at,
                line->points[i].rss);
    fputs("]}\n", report);
}

int main(int argc, char **argv)
{
    int at = 2, status;
    struct rusage used;
    struct timeline line = {0};

    while (at < argc && strcmp(argv[at], "--"))
        at++;
    if (at + 1 >= argc) {
        fprintf(stderr,
                "usage: mymalloc-measure REPORT [NAME=VALUE...] -- command...\n");
        return 2;
    }
    argv[at] = NULL; /* ends the variables */

    double start = now();
    pid_t child = fork();
    if (child == 0)
        become(argv + 2, argv + at + 1);
    if (child < 0 || !watch(child, &line, start) ||
        wait4(child, &status, 0, &used) < 0) {
        perror("mymalloc-measure");
        return 2;
    }
    double seconds = now() - start;

    FILE *report = fopen(argv[1], "we");
    if (!report) {
        perror(argv[1]);
        return 2;
    }
    fprintf(
        report,
        "{\"status\": %d, \"began\": %.6f, \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
        "\"peak_rss_bytes\": %lld, \"minor_faults\": %ld, ",
        status, start, seconds, seconds_of(used.ru_utime) + seconds_of(used.ru_stime),
        used.ru_maxrss * 1024ll, used.ru_minflt);
    print_timeline(report, &line);
    if (fclose(report)) {
        perror(argv[1]);
        return 2;
    }
    return 0;
}
