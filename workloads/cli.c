/*
 * cli.c - the `workload` program: run one workload, print what it did.
 *
 *   workload larson --threads 2 --seconds 2
 *
 * Built once without any allocator, for LD_PRELOAD, and once per allocator found, linked
 * to it. Exit status: 0, 1 damaged payload, 2 bad input, 3 out of memory.
 */
#include "harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPT_HELP = 1000, OPT_VARIANT, OPT_SAMPLES, OPT_LIST };

static const char *human_bytes(double bytes, char *text, size_t size)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double magnitude = bytes < 0 ? -bytes : bytes;
    unsigned power = 0;

    for (; power < 4 && magnitude >= 1024; power++)
        magnitude /= 1024;
    snprintf(text, size, "%.*f %s", power ? 1 : 0, bytes < 0 ? -magnitude : magnitude,
             unit[power]);
    return text;
}

static void print_list(void)
{
    size_t count;
    const struct workload *const *list = workload_list(&count);

    for (size_t i = 0; i < count; i++) {
        printf("%-12s %s\n", list[i]->name, list[i]->summary);
        for (size_t v = 0; v < list[i]->variant_count; v++)
            printf("    %-14s %s\n", list[i]->variants[v].name,
                   list[i]->variants[v].summary);
    }
}

static void print_usage(void)
{
    printf(
        "usage: %s NAME [--variant V] [--option value]...\n"
        "       %s NAME --help     the options of one workload\n"
        "       %s --list          every workload with its variants\n"
        "\n"
        "Runs one allocation workload under the allocator of this process and prints\n"
        "throughput, live bytes, RSS and page faults. To choose the allocator:\n"
        "    LD_PRELOAD=/path/to/liballocator.so workload larson --threads 2\n"
        "\n"
        "Exit status: 0 done, 1 a payload was damaged, 2 bad input, 3 out of memory.\n",
        program_invocation_short_name, program_invocation_short_name,
        program_invocation_short_name);
}

/* `text` from the present column on, broken between words before column 88. */
static void print_wrapped(unsigned column, const char *text)
{
    unsigned at = column;

    while (*text) {
        size_t word = strcspn(text, " ");
        if (at > column && at + 1 + word > 88) {
            printf("\n%*s", (int)column, "");
            at = column;
        }
        printf("%s%.*s", at > column ? " " : "", (int)word, text);
        at += (unsigned)word + (at > column);
        text += word + (text[word] == ' ');
    }
    printf("\n");
}

static void print_option_help(const struct option_spec *option)
{
    char text[512];

    snprintf(text, sizeof(text), "%s%s%s [%s]", option->choices ? option->choices : "",
             option->choices ? ": " : "", option->help, option->initial);
    for (char *c = text; option->choices && *c != ':'; c++)
        if (*c == ' ')
            *c = '|';
    printf("  --%-14s ", option->name);
    print_wrapped(19, text);
}

static void print_workload_help(const struct workload *w)
{
    printf("%s - %s\nSource: %s.\nOne operation: %s.\n\nVariants (--variant):\n",
           w->name, w->summary, w->source, w->op);
    for (size_t v = 0; v < w->variant_count; v++)
        printf("  %-14s %s%s\n", w->variants[v].name, w->variants[v].summary,
               v ? "" : " (default)");
    printf("\nOptions [default; a variant may set another]:\n");
    for (size_t i = 0; i < w->option_count; i++)
        print_option_help(&w->options[i]);
    printf("  --%-14s %s\n", "samples", "also print live bytes and RSS over time");
}

/* The long options of one workload, for getopt_long. */
static void make_long_options(const struct workload *w, struct option *table)
{
    size_t n = 0;

    for (; n < w->option_count; n++)
        table[n] = (struct option){w->options[n].name, required_argument, NULL, (int)n};
    table[n++] = (struct option){"variant", required_argument, NULL, OPT_VARIANT};
    table[n++] = (struct option){"samples", no_argument, NULL, OPT_SAMPLES};
    table[n++] = (struct option){"help", no_argument, NULL, OPT_HELP};
    table[n] = (struct option){NULL, 0, NULL, 0};
}

static _Noreturn void refuse_variant(const struct workload *w, const char *name)
{
    char names[256] = "";
    size_t used = 0;

    for (size_t v = 0; v < w->variant_count && used < sizeof(names); v++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, " %s",
                                 w->variants[v].name);
    die(2, "%s has no variant '%s': must be one of:%s", w->name, name, names);
}

/* An amount of work was asked for: it, not the variant's time, ends the run. */
static void choose_end(const struct workload *w, const char *const *given,
                       struct settings *set)
{
    const char *work = NULL;
    size_t seconds = w->option_count;

    for (size_t i = 0; i < w->option_count; i++) {
        if (w->options[i].kind == OPTION_SECONDS && w->options[i].work)
            seconds = i;
        else if (w->options[i].work && given[i])
            work = w->options[i].name;
    }
    if (!work || seconds == w->option_count)
        return;
    if (given[seconds] && set->value[seconds] > 0)
        die(2, "--seconds and --%s: which of the two ends the run?", work);
    set->value[seconds] = 0;
}

/* Variant first, wherever it stands, then the options over it. */
static bool read_options(const struct workload *w, int argc, char **argv,
                         struct settings *set)
{
    struct option table[WORKLOAD_OPTIONS + 4];
    const char *variant = NULL, *given[WORKLOAD_OPTIONS] = {NULL};
    bool samples = false;
    char why[256];
    int opt;

    make_long_options(w, table);
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", table, NULL)) != -1) {
        switch (opt) {
        case OPT_VARIANT:
            variant = optarg;
            break;
        case OPT_SAMPLES:
            samples = true;
            break;
        case OPT_HELP:
            print_workload_help(w);
            exit(0);
        case ':':
            die(2, "%s needs a value; see %s %s --help", argv[optind - 1],
                program_invocation_short_name, w->name);
        case '?':
            die(2, "%s has no option '%s'; see %s %s --help", w->name, argv[optind - 1],
                program_invocation_short_name, w->name);
        default:
            given[opt] = optarg;
        }
    }
    if (optind < argc)
        die(2, "'%s' is not an option; see %s %s --help", argv[optind],
            program_invocation_short_name, w->name);
    if (!workload_defaults(w, variant, set))
        refuse_variant(w, variant);
    for (size_t i = 0; i < w->option_count; i++)
        if (given[i] &&
            !workload_set(w, set, w->options[i].name, given[i], why, sizeof(why)))
            die(2, "%s", why);
    choose_end(w, given, set);
    if (!workload_consistent(w, set, why, sizeof(why)))
        die(2, "%s", why);
    return samples;
}

static void print_settings(const struct workload *w, const struct settings *set)
{
    char text[64];

    printf("%-16s", w->name);
    for (size_t i = 0; i < w->option_count; i++) {
        workload_show(&w->options[i], set->value[i], text, sizeof(text));
        printf(" %s=%s", w->options[i].name, text);
    }
    printf("\n");
}

/* Whose malloc answers: the file that the symbol resolves to. */
static void print_allocator(void)
{
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "malloc");

    printf("%-16s %s\n", "malloc from",
           symbol && dladdr(symbol, &info) ? info.dli_fname : "unknown");
    fflush(stdout);
}

static void print_bytes(const char *name, double bytes, const char *note)
{
    char text[32];

    printf("%-16s %14s%s%s\n", name, human_bytes(bytes, text, sizeof(text)),
           *note ? "   " : "", note);
}

static void print_latency(const char *name, const struct latency *h)
{
    printf("%-16s %14.0f ns p50   %.0f ns p99   %.0f ns p99.9   %.0f ns p99.99   %.0f "
           "ns max   (%llu calls)\n",
           name, latency_percentile(h, 0.5), latency_percentile(h, 0.99),
           latency_percentile(h, 0.999), latency_percentile(h, 0.9999), latency_max(h),
           (unsigned long long)h->count);
}

static void print_memory(const struct workload_result *r)
{
    char note[96] = "", name[32];

    print_bytes("live peak", (double)r->live_peak, "asked for and not yet freed");
    if (r->live_peak >= 1 << 20) /* of less, the ratio is about the program itself */
        snprintf(note, sizeof(note), "%.2f x live, above the start",
                 (double)(r->peak_rss - r->base_rss) / (double)r->live_peak);
    print_bytes("RSS peak", (double)r->peak_rss, note);
    if (r->huge_rss)
        print_bytes("in huge pages", (double)r->huge_rss, "at the end of the work");
    print_bytes("RSS at start", (double)r->base_rss, "");
    if (r->has_held) {
        snprintf(note, sizeof(note), "%.2f x the bytes then live, above the start",
                 ((double)r->held_rss - (double)r->base_rss) / (double)r->held_live);
        print_bytes("RSS held", (double)r->held_rss, note);
    }
    for (int i = 0;
         r->has_settled && i < SETTLE_MOMENTS && settle_moment[i] <= r->settled_for;
         i++) {
        snprintf(name, sizeof(name), "RSS after %g s", settle_moment[i]);
        print_bytes(name, (double)r->settled_rss[i], i ? "" : "no call since");
    }
    print_bytes("RSS at end", (double)r->end_rss, "");
    print_bytes("harness", (double)r->harness_bytes, "of its own, part of every RSS");
    if (r->has_slope)
        print_bytes("RSS slope", r->rss_slope, "per second, over the second half");
    printf("%-16s %14llu minor   %llu major\n", "page faults",
           (unsigned long long)r->minor_faults, (unsigned long long)r->major_faults);
}

static void print_throughput(const struct workload_result *r)
{
    double rate = (double)r->ops / r->seconds;
    const char *unit = rate >= 1e6 ? "million " : rate >= 1e3 ? "thousand " : "";

    printf("%-16s %14.3f %soperations/s   %.1f ns each\n", "throughput",
           rate >= 1e6   ? rate / 1e6
           : rate >= 1e3 ? rate / 1e3
                         : rate,
           unit, 1e9 / rate);
}

static void print_result(const struct workload *w, const struct workload_result *r)
{
    printf("%-16s %14.0f   %s\n", "operations", (double)r->ops, w->op);
    printf("%-16s %14.3f s\n", "time", r->seconds);
    print_throughput(r);
    if (r->has_remote)
        printf("%-16s %14.1f %% by another thread than the maker\n", "remote frees",
               100 * workload_remote_share(r));
    print_memory(r);
    if (r->has_latency) {
        print_latency("malloc", &r->malloc_latency);
        print_latency("free", &r->free_latency);
        printf("%-16s %14.0f ns are the timer's own\n", "", latency_timer_ns());
    }
    printf("%-16s %14llu objects, all intact\n", "verified",
           (unsigned long long)r->checked);
}

static void print_samples(const struct workload_result *r)
{
    printf("\n%10s %16s %16s\n", "seconds", "live bytes", "RSS bytes");
    for (size_t i = 0; i < r->sample_count; i++)
        printf("%10.3f %16lld %16llu\n", r->samples[i].at,
               (long long)r->samples[i].live, (unsigned long long)r->samples[i].rss);
}

int main(int argc, char **argv)
{
    static struct workload_result result;
    struct settings set;

    if (argc < 2)
        die(2, "which workload? see %s --list and --help",
            program_invocation_short_name);
    if (!strcmp(argv[1], "--help")) {
        print_usage();
        return 0;
    }
    if (!strcmp(argv[1], "--list")) {
        print_list();
        return 0;
    }
    const struct workload *w = workload_find(argv[1]);
    if (!w)
        die(2, "no workload '%s'; see %s --list", argv[1],
            program_invocation_short_name);
    bool samples = read_options(w, argc - 1, argv + 1, &set);
    print_settings(w, &set);
    print_allocator();
    workload_run(w, &set, &result);
    if (result.errors)
        die(1,
            "%s: %llu of %llu objects checked were damaged, misaligned or not zeroed",
            w->name, (unsigned long long)result.errors,
            (unsigned long long)result.checked);
    if (!result.ops)
        die(1, "%s: no operation was finished in this time", w->name);
    if (result.live_end)
        die(1, "%s: %lld bytes are still counted live at the end", w->name,
            (long long)result.live_end);
    print_result(w, &result);
    if (samples)
        print_samples(&result);
    return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
