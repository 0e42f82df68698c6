/*
 * tool.c - how the subcommands speak and end.
 */
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void complain(const char *format, ...)
{
    char line[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    fprintf(stderr, "mymalloc-trace: %s\n", line);
}

void die(int status, const char *format, ...)
{
    char line[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    fprintf(stderr, "mymalloc-trace: %s\n", line);
    exit(status);
}

void die_usage(const char *command)
{
    /* getopt_long has named the option. */
    fprintf(stderr, "Try 'mymalloc-trace %s --help'.\n", command);
    exit(EXIT_USAGE);
}

const char *only_operand(const char *command, int argc, char **argv)
{
    if (argc == 0)
        die(EXIT_USAGE, "%s needs a trace to read: mymalloc-trace %s FILE", command,
            command);
    if (argc > 1)
        die(EXIT_USAGE, "%s reads one trace, '%s' is one too many", command, argv[1]);
    return argv[0];
}
