/*
 * main.c - mymalloc-trace: record, replay and summarise what a program allocates.
 */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Nothing that was printed may be missing while the status says that all is well. */
static void close_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    complain("cannot write to standard output: %s", strerror(errno));
    _exit(EXIT_TROUBLE);
}

int main(int argc, char **argv)
{
    atexit(close_output);
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
