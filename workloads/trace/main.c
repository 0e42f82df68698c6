/*
 * main.c - mymalloc-trace: record, replay and summarise what a program allocates.
 */
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int, char **);
    const char *what;
} commands[] = {
    {"record", command_record, "run a program and record its allocations in a file"},
    {"replay", command_replay, "run a recording under the allocator of this process"},
    {"summary", command_summary, "say what a recording holds"},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

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

static void print_help(FILE *out)
{
    fputs("Usage: mymalloc-trace COMMAND [OPTION...]\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].what);
    fputs("\nExample:\n"
          "  mymalloc-trace record -o t.mtrace -- python3 -c 'print(1)'\n"
          "  mymalloc-trace summary t.mtrace\n"
          "  LD_PRELOAD=libmymalloc_preload.so mymalloc-trace replay t.mtrace\n\n"
          "'mymalloc-trace COMMAND --help' explains a command, mymalloc-trace(1) the "
          "rest.\n",
          out);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        puts("mymalloc-trace " TRACE_TOOL_VERSION);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    die(EXIT_USAGE, "unknown command '%s'; known are record, replay, summary", argv[1]);
}
