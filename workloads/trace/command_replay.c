/*
 * command_replay.c - `mymalloc-trace replay`: run a trace and report.
 */
#include "replay.h"
#include "tool.h"

#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "Usage: mymalloc-trace replay [OPTION...] FILE\n"
    "\n"
    "Make the calls recorded in FILE again, with as many threads, under the allocator\n"
    "that this process carries (LD_PRELOAD=... mymalloc-trace replay FILE). The trace "
    "is\n"
    "decoded beforehand; a thread makes its calls in the recorded order, and waits "
    "for\n"
    "another only for an object that the other has to allocate first.\n"
    "\n"
    "  -r, --repeat N  passes over the trace, 1 to 1000; default 1\n"
    "  -t, --touch     write every cache line of every object, and check the contents\n"
    "                  when it is resized or freed\n"
    "  -s, --settle S  after the last call stay S seconds without one, 0 to 60, and "
    "read "
    "RSS\n"
    "                  at 0.1, 1, 5, 10 and 60 s; default 0\n"
    "  -j, --json      the result as JSON\n"
    "  -h, --help      this text\n"
    "\n"
    "Exit status: 0; 1 the trace cannot be read, an allocation failed or an object "
    "was\n"
    "damaged; 2 usage.\n";

enum { MOST_PASSES = 1000 };

struct identity {
    const char *path;
    char version[64];
    const char *frontend; /* of mymalloc, else NULL */
};

struct report {
    const char *file;
    char command[sizeof(((struct trace_header *)0)->command)];
    bool touch, json;
    long passes;
    double settle;
    uint32_t threads;
    const struct plan *plan;
    struct identity allocator;
    struct replay_result *results;
};

/* ---- which allocator answers ---- */

static void *symbol(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

static void identify(struct identity *id)
{
    const char *(*my_version)(void), *(*my_frontend)(const char **),
        *(*libc_version)(void);
    const char *(*tc_version)(int *, int *, const char **);
    int (*mi_version)(void);
    int (*control)(const char *, void *, size_t *, void *, size_t);
    const char *jemalloc = NULL;
    size_t length = sizeof(jemalloc);
    Dl_info info;

    *(void **)&my_version = symbol("MyVersion");
    *(void **)&my_frontend = symbol("MyFrontend");
    *(void **)&mi_version = symbol("mi_version");
    *(void **)&tc_version = symbol("tc_version");
    *(void **)&control = symbol("mallctl");
    *(void **)&libc_version = symbol("gnu_get_libc_version");
    id->path = dladdr(symbol("malloc"), &info) ? info.dli_fname : "unknown";
    if (my_frontend)
        id->frontend = my_frontend(NULL);
    if (my_version)
        snprintf(id->version, sizeof(id->version), "%s", my_version());
    else if (mi_version)
        snprintf(id->version, sizeof(id->version), "mimalloc %d.%d.%d",
                 mi_version() / 100, mi_version() / 10 % 10, mi_version() % 10);
    else if (tc_version)
        snprintf(id->version, sizeof(id->version), "%s", tc_version(NULL, NULL, NULL));
    else if (control && control("version", &jemalloc, &length, NULL, 0) == 0)
        snprintf(id->version, sizeof(id->version), "jemalloc %.*s",
                 (int)strcspn(jemalloc, "-"), jemalloc);
    else if (libc_version && strstr(id->path, "libc.so"))
        snprintf(id->version, sizeof(id->version), "glibc %s", libc_version());
    else
        snprintf(id->version, sizeof(id->version), "unknown");
}

/* ---- reporting ---- */

static void print_json_string(const char *key, const char *text)
{
    printf("  \"%s\": \"", key);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ' || c >= 0x7f) /* the command line may be in any encoding */
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    printf("\",\n");
}

static int compare_seconds(const void *left, const void *right)
{
    double a = ((const struct replay_result *)left)->seconds;
    double b = ((const struct replay_result *)right)->seconds;

    return (a > b) - (a < b);
}

static struct replay_result median_pass(const struct report *rep)
{
    struct replay_result sorted[MOST_PASSES];

    memcpy(sorted, rep->results, (size_t)rep->passes * sizeof(sorted[0]));
    qsort(sorted, (size_t)rep->passes, sizeof(sorted[0]), compare_seconds);
    return sorted[(rep->passes - 1) / 2];
}

static double per_second(const struct report *rep, const struct replay_result *result)
{
    return result->seconds > 0 ? (double)rep->plan->steps / result->seconds : 0;
}

static void print_json(const struct report *rep)
{
    struct replay_result median = median_pass(rep);
    uint64_t failed = 0, corrupt = 0;

    for (long i = 0; i < rep->passes; i++) {
        failed += rep->results[i].failed;
        corrupt += rep->results[i].corrupt;
    }
    puts("{");
    print_json_string("trace", rep->file);
    print_json_string("program", rep->command);
    print_json_string("allocator_path", rep->allocator.path);
    print_json_string("allocator_version", rep->allocator.version);
    if (rep->allocator.frontend)
        print_json_string("allocator_frontend", rep->allocator.frontend);
    printf("  \"threads\": %u,\n  \"concurrent_threads\": %u,\n  \"touch\": %s,\n",
           rep->threads, rep->plan->lane_count, rep->touch ? "true" : "false");
    printf("  \"ops\": %lu,\n  \"live_bytes\": %lu,\n", (unsigned long)rep->plan->steps,
           (unsigned long)rep->plan->peak_live);
    printf("  \"seconds\": %.9f,\n  \"ops_per_second\": %.1f,\n", median.seconds,
           per_second(rep, &median));
    printf("  \"failed\": %d,\n  \"failed_allocations\": %lu,\n  \"damaged_objects\": "
           "%lu,\n",
           failed || corrupt, (unsigned long)failed, (unsigned long)corrupt);
    puts("  \"passes\": [");
    for (long i = 0; i < rep->passes; i++) {
        const struct replay_result *r = &rep->results[i];

        printf("    {\"seconds\": %.9f, \"ops_per_second\": %.1f, \"base_rss_bytes\": "
               "%lu, "
               "\"peak_rss_bytes\": %lu, \"rss_end_bytes\": %lu, \"minor_faults\": "
               "%lu}%s\n",
               r->seconds, per_second(rep, r), (unsigned long)r->base_rss,
               (unsigned long)r->peak_rss, (unsigned long)r->end_rss,
               (unsigned long)r->faults, i + 1 < rep->passes ? "," : "");
    }
    puts("  ],");
    printf("  \"began\": %.6f,\n  \"settled_seconds\": %g,\n", rep->results[0].began,
           rep->results[0].settled ? settle_moment[rep->results[0].settled - 1] : 0);
    for (int i = 0; i < rep->results[0].settled; i++)
        printf("  \"rss_after_%gs_bytes\": %lu,\n", settle_moment[i],
               (unsigned long)rep->results[0].settled_rss[i]);
    printf("  \"base_rss_bytes\": %lu,\n  \"peak_rss_bytes\": %lu,\n"
           "  \"rss_end_bytes\": %lu,\n  \"minor_faults\": %lu\n}\n",
           (unsigned long)rep->results[0].base_rss,
           (unsigned long)rep->results[0].peak_rss,
           (unsigned long)rep->results[0].end_rss,
           (unsigned long)rep->results[0].faults);
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static double mib_over(uint64_t bytes, uint64_t base)
{
    return bytes > base ? mib(bytes - base) : 0;
}

static void print_table(const struct report *rep)
{
    struct replay_result median = median_pass(rep);
    uint64_t base = rep->results[0].base_rss;

    printf("trace      %s, %s\n", rep->file, rep->command);
    printf("allocator  %s, %s%s%s\n", rep->allocator.version, rep->allocator.path,
           rep->allocator.frontend ? ", front end " : "",
           rep->allocator.frontend ? rep->allocator.frontend : "");
    printf("threads    %u, at most %u at a time\n", rep->threads,
           rep->plan->lane_count);
    printf("calls      %lu, objects %s\n", (unsigned long)rep->plan->steps,
           rep->touch ? "touched and checked" : "not touched");
    printf("peak live  %.1f MiB as recorded\n\n", mib(rep->plan->peak_live));
    printf("%5s %10s %10s %11s %10s %10s\n", "pass", "seconds", "Mcalls/s", "peak RSS",
           "end RSS", "faults");
    printf("%5s %10s %10s %11s %10s %10s\n", "", "", "", "MiB *", "MiB *", "minor");
    for (long i = 0; i < rep->passes; i++) {
        const struct replay_result *r = &rep->results[i];

        printf("%5ld %10.4f %10.2f %11.1f %10.1f %10lu\n", i + 1, r->seconds,
               per_second(rep, r) / 1e6, mib_over(r->peak_rss, base),
               mib_over(r->end_rss, base), (unsigned long)r->faults);
    }
    if (rep->passes > 1)
        printf("%5s %10.4f %10.2f\n", "mid", median.seconds,
               per_second(rep, &median) / 1e6);
    for (int i = 0; i < rep->results[0].settled; i++)
        printf("%s%g s after the last call %.1f MiB *%s", i ? ", " : "\n",
               settle_moment[i], mib_over(rep->results[0].settled_rss[i], base),
               i + 1 < rep->results[0].settled ? "" : "\n");
    printf("\n* above the %.1f MiB that this process held before the first pass\n",
           mib(base));
    if (!rep->touch)
        puts("  objects were not written (see --touch): only what the allocator wrote "
             "counts");
}

/* ---- the command ---- */

static void parse_options(struct report *rep, int argc, char **argv)
{
    static const struct option options[] = {
        {"repeat", required_argument, NULL, 'r'}, {"touch", no_argument, NULL, 't'},
        {"settle", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int option;
    char *end;

    rep->passes = 1;
    while ((option = getopt_long(argc, argv, "r:ts:jh", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            errno = 0;
            rep->passes = strtol(optarg, &end, 10);
            if (errno || *end || end == optarg || rep->passes < 1 ||
                rep->passes > MOST_PASSES)
                die(EXIT_USAGE, "--repeat takes a number from 1 to %d, not '%s'",
                    MOST_PASSES, optarg);
            break;
        case 't':
            rep->touch = true;
            break;
        case 's':
            rep->settle = strtod(optarg, &end);
            if (*end || end == optarg || !(rep->settle >= 0 && rep->settle <= 60))
                die(EXIT_USAGE, "--settle takes seconds from 0 to 60, not '%s'",
                    optarg);
            break;
        case 'j':
            rep->json = true;
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            die_usage("replay");
        }
    }
    rep->file = only_operand("replay", argc - optind, argv + optind);
}

static void read_plan(struct report *rep, struct plan *plan)
{
    struct trace t;

    if (!trace_open(&t, rep->file))
        die(EXIT_TROUBLE, "%s: %s", rep->file, t.error);
    if (!trace_is_sealed(&t))
        complain("%s: not sealed (record was killed, or is still running)", rep->file);
    memcpy(rep->command, t.header.command, sizeof(rep->command));
    rep->threads = t.threads;
    plan_make(plan, &t);
    trace_close(&t);
    if (plan->steps == 0)
        die(EXIT_TROUBLE, "%s: no allocations in it, nothing to replay", rep->file);
    rep->plan = plan;
}

int command_replay(int argc, char **argv)
{
    struct report rep = {0};
    struct plan plan;
    struct replay *r;
    uint64_t failed = 0, corrupt = 0;

    parse_options(&rep, argc, argv);
    read_plan(&rep, &plan);
    identify(&rep.allocator);
    rep.results = space_take((size_t)rep.passes * sizeof(*rep.results));
    r = replay_make(&plan, rep.touch);
    for (long i = 0; i < rep.passes; i++) {
        replay_run(r, rep.settle, &rep.results[i]);
        failed += rep.results[i].failed;
        corrupt += rep.results[i].corrupt;
    }
    if (rep.json)
        print_json(&rep);
    else
        print_table(&rep);
    if (failed)
        complain("%s: %lu allocations failed", rep.file, (unsigned long)failed);
    if (corrupt)
        complain("%s: %lu objects were damaged: the allocator is at fault", rep.file,
                 (unsigned long)corrupt);
    return failed || corrupt ? EXIT_TROUBLE : 0;
}
