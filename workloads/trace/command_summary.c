/*
 * command_summary.c - `mymalloc-trace summary`: what a trace holds, for a reader.
 */
#include "tally.h"
#include "tool.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help[] = "Usage: mymalloc-trace summary [-j] FILE\n"
                           "\n"
                           "Say what FILE, recorded by mymalloc-trace record, holds: "
                           "calls, sizes, lifetimes,\n"
                           "frees by another thread than the one that allocated, "
                           "threads, live memory over the\n"
                           "run, and how objects were resized.\n"
                           "\n"
                           "  -j, --json  the counts as JSON\n"
                           "  -h, --help  this text\n"
                           "\n"
                           "Exit status: 0; 1 the trace cannot be read; 2 usage.\n";

enum { BAR = 24, MOST_THREADS = 16 };

/* ---- pieces of text ---- */

/* One of a few rotating buffers, so that a printf can hold several. */
static char *buffer(void)
{
    static char text[8][32];
    static unsigned next;

    return text[next++ % 8];
}

static const char *bytes_text(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    char *text = buffer();
    unsigned unit = 0;

    while (value >= 1024 && unit < 6) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

/* 1234567 as "1,234,567". */
static const char *count_text(uint64_t count)
{
    char digits[24], *text = buffer();
    int length = snprintf(digits, sizeof(digits), "%lu", (unsigned long)count), at = 0;

    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = 0;
    return text;
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static const char *bar_text(double of_hundred)
{
    static char text[BAR * 3 + 1];
    int cells = (int)(of_hundred * BAR / 100 + 0.5);
    char *at = text;

    for (int i = 0; i < cells && i < BAR; i++)
        at = (char *)memcpy(at, "\u2588", 3) + 3;
    if (cells == 0 && of_hundred > 0)
        at = (char *)memcpy(at, "\u258f", 3) + 3;
    *at = 0;
    return text;
}

/* ---- sections ---- */

static void print_head(const char *file, const struct trace *t, const struct tally *y)
{
    static const char *const names[TRACE_KINDS] = {
        [TRACE_MALLOC] = "malloc",         [TRACE_CALLOC] = "calloc",
        [TRACE_ALIGNED] = "aligned",       [TRACE_REALLOC] = "realloc",
        [TRACE_FRESH] = "realloc of NULL", [TRACE_FREE] = "free",
        [TRACE_FAILED] = "failed",
    };
    time_t started = (time_t)(t->header.started / 1000000000);
    char when[32];

    strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime(&started));
    printf("trace     %s, %s\n", file, bytes_text(t->length));
    printf("program   %s\n", t->header.command);
    printf("recorded  %s, process %u, %.2f s\n", when, t->header.pid,
           (double)y->microseconds / 1e6);
    printf("events    %s in %u thread%s, %.1f bytes each\n", count_text(t->events),
           t->threads, t->threads == 1 ? "" : "s",
           t->events ? (double)t->length / (double)t->events : 0);
    printf("taken     %s objects, %s\n", count_text(y->taken),
           bytes_text(y->taken_bytes));
    printf("peak      %s live, %s objects\n", bytes_text(y->peak_bytes),
           count_text(y->peak_objects));
    printf("at end    %s live, %s objects never freed\n", bytes_text(y->left_bytes),
           count_text(y->left));
    printf("\nCalls\n");
    for (int i = 0; i < TRACE_KINDS; i++)
        if (y->calls[i])
            printf("  %-16s %14s  %5.1f %%\n", names[i], count_text(y->calls[i]),
                   percent(y->calls[i], t->events));
}

static void print_holes(const struct trace *t, const struct tally *y)
{
    if (y->unknown)
        printf("  %s frees were of memory taken before or outside the recording\n",
               count_text(y->unknown));
    if (y->implied)
        printf("  %s frees were not recorded; the address was taken again\n",
               count_text(y->implied));
    if (t->header.missed)
        printf("  %s calls from signal handlers or inside the allocator were not "
               "recorded\n",
               count_text(t->header.missed));
    if (t->header.stopped)
        printf("  the recording ended before the program: %s\n",
               strerror((int)t->header.stopped));
    if (t->header.children)
        printf("  the program started other processes, which are not in this trace\n");
}

static void print_sizes(const struct tally *y)
{
    printf("\nSizes (asked for, resizes not counted)\n");
    printf("  %22s %14s %7s %10s %7s\n", "bytes", "objects", "%", "bytes", "%");
    for (unsigned i = 0; i < SIZE_CLASSES; i++) {
        uint64_t from = i > 3 ? (1ull << (i - 1)) + 1 : 0, to = 1ull << i;
        char range[48];
        double share;

        if (i < 3) /* 0 to 8 in one row */
            continue;
        uint64_t count = y->size_count[i], bytes = y->size_bytes[i];
        for (unsigned j = 0; i == 3 && j < 3; j++) {
            count += y->size_count[j];
            bytes += y->size_bytes[j];
        }
        if (!count)
            continue;
        share = percent(count, y->taken);
        snprintf(range, sizeof(range), "%s-%s", count_text(from), count_text(to));
        printf("  %22s %14s %7.2f %10s %7.2f  %s\n", range, count_text(count), share,
               bytes_text(bytes), percent(bytes, y->taken_bytes), bar_text(share));
    }
    for (unsigned i = 0; i < 64; i++)
        if (y->aligned[i])
            printf("  aligned to %-11s %14s\n", bytes_text(1ull << i),
                   count_text(y->aligned[i]));
}

/* Class i holds [2^(i-1), 2^i); rows join two classes, a factor of four. */
static uint64_t life_row(const uint64_t *classes, unsigned row)
{
    uint64_t count =
        classes[2 * row + 1] + (2 * row + 2 < LIFE_CLASSES ? classes[2 * row + 2] : 0);

    return row == 0 ? count + classes[0] : count;
}

static const char *row_end(unsigned row, bool bytes)
{
    uint64_t end = 2 * row + 2 < 64 ? 1ull << (2 * row + 2) : UINT64_MAX;

    return bytes ? bytes_text(end) : count_text(end);
}

static void print_lifetimes(const struct tally *y)
{
    uint64_t calls = 0, bytes = 0;

    printf("\nLifetimes of %s freed objects\n", count_text(y->freed));
    printf("  %14s %7s %7s    %11s %7s %7s\n", "< calls", "%", "sum %", "< bytes", "%",
           "sum %");
    for (unsigned row = 0; row < 32 && (calls < y->freed || bytes < y->freed); row++) {
        uint64_t c = life_row(y->life_calls, row), b = life_row(y->life_bytes, row);

        calls += c;
        bytes += b;
        printf("  %14s %7.2f %7.2f    %11s %7.2f %7.2f\n", row_end(row, false),
               percent(c, y->freed), percent(calls, y->freed), row_end(row, true),
               percent(b, y->freed), percent(bytes, y->freed));
    }
    printf(
        "  (calls made, and bytes taken, by any thread between allocation and free)\n");
}

static void print_threads(const struct trace *t, const struct tally *y)
{
    printf("\nThreads: %.2f %% of frees are remote (by another thread than took it)\n",
           percent(y->remote, y->freed));
    printf("  %6s %13s %10s %13s %9s %17s\n", "thread", "taken", "bytes", "freed",
           "remote %", "seconds");
    for (uint32_t i = 0; i < t->threads && i < MOST_THREADS; i++) {
        const struct thread_tally *th = &y->threads[i];

        printf("  %6u %13s %10s %13s %9.2f %8.2f-%8.2f\n", i, count_text(th->taken),
               bytes_text(th->bytes), count_text(th->freed),
               percent(th->remote, th->freed), (double)th->first / 1e6,
               (double)th->last / 1e6);
    }
    if (t->threads > MOST_THREADS)
        printf("  and %u more\n", t->threads - MOST_THREADS);
}

static void print_curve(const struct tally *y)
{
    static const char *const levels[] = {" ",      "\u2581", "\u2582",
                                         "\u2583", "\u2584", "\u2585",
                                         "\u2586", "\u2587", "\u2588"};
    uint64_t carried = 0;

    printf("\nLive bytes over the calls, peak %s at call %s\n  |",
           bytes_text(y->peak_bytes), count_text(y->peak_call + 1));
    for (unsigned i = 0; i < CURVE; i++) {
        uint64_t level = y->curve[i];

        fputs(
            levels[y->peak_bytes ? (level * 8 + y->peak_bytes - 1) / y->peak_bytes : 0],
            stdout);
    }
    printf("|\n   ");
    for (unsigned i = 0; i < CURVE; i += 16) { /* when those calls were made */
        char mark[32];

        carried = i && y->curve_time[i - 1] > carried ? y->curve_time[i - 1] : carried;
        snprintf(mark, sizeof(mark), "%.2f s", (double)carried / 1e6);
        printf("%-16s", mark);
    }
    printf("%.2f s\n", (double)y->microseconds / 1e6);
}

static void print_resizes(const struct tally *y)
{
    uint64_t all = y->in_place + y->moved;

    if (!all)
        return;
    printf("\nResizes: %s, %.1f %% in place; %s copied by those that moved\n",
           count_text(all), percent(y->in_place, all), bytes_text(y->moved_bytes));
    printf("  shrunk %s, same size %s, grown %s; growth by a factor of\n",
           count_text(y->shrunk), count_text(all - y->shrunk - y->grown),
           count_text(y->grown));
    for (int i = 0; i < GROWTHS; i++) {
        double share = percent(y->growth[i], y->grown);

        if (i < GROWTHS - 1)
            printf("  %s %5.2f", "up to", tally_growths[i]);
        else
            printf("  %11s", "more");
        printf(" %14s %7.2f %%  %s\n", count_text(y->growth[i]), share,
               bar_text(share));
    }
}

/* [at most so many bytes or calls, objects] of each class that has any. */
static void print_classes(const char *key, const uint64_t *count, unsigned classes,
                          bool sizes)
{
    bool first = true;

    printf("  \"%s\": [", key);
    for (unsigned i = 0; i < classes; i++) {
        uint64_t end = i < 64 ? 1ull << i : UINT64_MAX;

        if (!count[i])
            continue;
        printf("%s[%lu, %lu]", first ? "" : ", ",
               (unsigned long)(sizes ? end : end - (i < 64)), (unsigned long)count[i]);
        first = false;
    }
    printf("],\n");
}

static void print_json(const struct trace *t, const struct tally *y)
{
    printf("{\n  \"events\": %lu,\n  \"threads\": %u,\n  \"seconds\": %.2f,\n",
           (unsigned long)t->events, t->threads, (double)y->microseconds / 1e6);
    printf("  \"taken\": %lu,\n  \"taken_bytes\": %lu,\n  \"freed\": %lu,\n",
           (unsigned long)y->taken, (unsigned long)y->taken_bytes,
           (unsigned long)y->freed);
    printf("  \"remote\": %lu,\n  \"left\": %lu,\n  \"left_bytes\": %lu,\n",
           (unsigned long)y->remote, (unsigned long)y->left,
           (unsigned long)y->left_bytes);
    print_classes("sizes", y->size_count, SIZE_CLASSES, true);
    print_classes("life_calls", y->life_calls, LIFE_CLASSES, false);
    printf("  \"resizes\": %lu,\n  \"peak_bytes\": %lu,\n  \"peak_objects\": %lu\n}\n",
           (unsigned long)(y->in_place + y->moved), (unsigned long)y->peak_bytes,
           (unsigned long)y->peak_objects);
}

static void print_text(const char *file, const struct trace *t, const struct tally *y)
{
    print_head(file, t, y);
    print_holes(t, y);
    print_sizes(y);
    print_lifetimes(y);
    print_threads(t, y);
    print_curve(y);
    print_resizes(y);
}

int command_summary(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *file;
    bool json = false;
    struct tally tally;
    struct trace t;
    int option;

    while ((option = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option != 'j')
            die_usage("summary");
        json = true;
    }
    file = only_operand("summary", argc - optind, argv + optind);
    if (!trace_open(&t, file))
        die(EXIT_TROUBLE, "%s: %s", file, t.error);
    if (!trace_is_sealed(&t))
        complain("%s: not sealed (record was killed, or is still running)", file);
    tally_make(&tally, &t);
    if (json)
        print_json(&t, &tally);
    else
        print_text(file, &t, &tally);
    tally_free(&tally, &t);
    trace_close(&t);
    return 0;
}
