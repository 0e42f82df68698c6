/*
 * dump.c - print a trace one call a line, for the tests: thread, call, object, size,
 * log2 of the alignment.
 */
#include "trace.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    static const char *const names[TRACE_KINDS] = {
        [TRACE_MALLOC] = "malloc",   [TRACE_CALLOC] = "calloc",
        [TRACE_ALIGNED] = "aligned", [TRACE_REALLOC] = "realloc",
        [TRACE_FRESH] = "fresh",     [TRACE_FREE] = "free",
        [TRACE_FAILED] = "failed",
    };
    struct trace t;
    struct life life;
    struct act a;

    if (argc != 2 || !trace_open(&t, argv[1])) {
        fprintf(stderr, "dump: %s\n", argc == 2 ? t.error : "usage: dump FILE");
        return 1;
    }
    life_open(&life, &t);
    while (life_next(&life, &a))
        printf("%u %s %d %lu %u %s\n", a.thread, names[a.kind], (int)a.slot,
               (unsigned long)a.size, a.align,
               a.is_implied   ? "implied"
               : a.is_unknown ? "unknown"
                              : "-");
    return 0;
}
