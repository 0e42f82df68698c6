/*
 * tool.h - what the subcommands of mymalloc-trace share.
 */
#ifndef TRACE_TOOL_H
#define TRACE_TOOL_H

/* Exit statuses; `record` otherwise passes on the program's own. */
enum {
    EXIT_TROUBLE = 1, /* the trace, the machine or the allocator is at fault */
    EXIT_USAGE = 2,   /* the command line is */
};

int command_record(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_summary(int argc, char **argv);

/* One line "mymalloc-trace: ..." on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* getopt_long refused an option: say so and where help is. */
_Noreturn void die_usage(const char *command);

/* The one operand of a subcommand, or a usage error. */
const char *only_operand(const char *command, int argc, char **argv);

#endif
