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
 * minor faults, of the command and of the children that it waited for.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

int main(int argc, char **argv)
{
    int at = 2, status;
    struct rusage used;

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
    if (child < 0 || wait4(child, &status, 0, &used) < 0) {
        perror("mymalloc-measure");
        return 2;
    }
    double seconds = now() - start;

    FILE *report = fopen(argv[1], "we");
    if (!report) {
        perror(argv[1]);
        return 2;
    }
    fprintf(report,
            "{\"status\": %d, \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
            "\"peak_rss_bytes\": %lld, \"minor_faults\": %ld}\n",
            status, seconds, seconds_of(used.ru_utime) + seconds_of(used.ru_stime),
            used.ru_maxrss * 1024ll, used.ru_minflt);
    if (fclose(report)) {
        perror(argv[1]);
        return 2;
    }
    return 0;
}
