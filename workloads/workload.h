/*
 * workload.h - what a program does with memory, as a library.
 *
 * A workload is a documented allocation pattern, one .c file each, that calls plain
 * malloc and free: whichever allocator the process carries answers. It knows no
 * allocator and no benchmark framework. A caller picks a workload, starts from one of
 * its variants, changes options by name, runs it once and reads the result:
 *
 *     struct settings set;
 *     const struct workload *w = workload_find("larson");
 *     workload_defaults(w, "fixed", &set);
 *     workload_set(w, &set, "threads", "4", why, sizeof(why));
 *     workload_run(w, &set, &result);
 *
 * Run one workload per process: peak RSS and the allocator's state are per process.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include "latency.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { WORKLOAD_OPTIONS = 20, WORKLOAD_SAMPLES = 512, SETTLE_MOMENTS = 5 };

enum option_kind {
    OPTION_COUNT,   /* a whole number */
    OPTION_BYTES,   /* a whole number, K M G accepted as powers of 1024 */
    OPTION_SECONDS, /* a decimal number */
    OPTION_CHOICE   /* one of `choices`; the value is its index */
};

struct option_spec {
    const char *name;
    enum option_kind kind;
    unsigned work; /* 0, or the amount of work: workload_scale multiplies it, a count
                      never to less than this: it would be another workload */
    const char *initial; /* default, as text */
    double min, max;     /* accepted range; unused by a choice */
    const char *choices; /* "fifo lifo random" */
    const char *help;
};

struct variant {
    const char *name;
    const char *settings; /* "threads=2 seconds=5", over the defaults */
    const char *summary;
};

struct settings {
    double value[WORKLOAD_OPTIONS];
};

struct run; /* harness.h: what a workload sees of the run */

struct workload {
    const char *name;
    const char *summary; /* one line */
    const char *source;  /* the paper or program it follows */
    const char *op;      /* what one operation is: "free + malloc of one object" */
    const struct option_spec *options;
    size_t option_count;
    const struct variant *variants; /* the first is the default */
    size_t variant_count;
    void (*run)(struct run *run);
};

/* Live bytes and RSS at one moment, seconds since the clock of the workload started. */
struct memory_sample {
    double at;
    int64_t live;
    uint64_t rss;
};

/*
 * What a run left. Live bytes are the sizes the workload asked for and has not freed;
 * RSS is the kernel's. Bytes and seconds unless the name says otherwise.
 */
struct workload_result {
    uint64_t ops;
    double seconds;
    int64_t live_peak; /* the highest total seen, by sampling where threads run */
    int64_t live_end;  /* 0 in a correct run */
    uint64_t base_rss; /* after the harness mapped its own arrays, before the work */
    uint64_t peak_rss; /* VmHWM at the end of the work */
    uint64_t huge_rss; /* in huge pages at the end of the work, of the RSS then */
    uint64_t end_rss;  /* everything freed, threads joined */
    uint64_t harness_bytes; /* the harness's own arrays, resident, part of base_rss */
    uint64_t minor_faults, major_faults;
    uint64_t checked;      /* objects whose payload was verified */
    uint64_t errors;       /* of those, damaged */
    uint64_t remote_frees; /* objects freed by another thread than their maker's */
    uint64_t frees;        /* of all, where an operation has not just one; else 0 */
    bool has_remote;

    bool has_held; /* RSS while survivors are held: what fragmentation is judged by */
    int64_t held_live;
    uint64_t held_rss;

    bool has_settled; /* all freed, no further call to the allocator */
    int64_t settled_live;
    uint64_t settled_rss[SETTLE_MOMENTS]; /* as far as settled_for */
    double settled_for;

    bool has_slope;   /* least squares over the second half of the work */
    double rss_slope; /* bytes per second, meaningful where live is constant */

    bool has_latency;
    struct latency malloc_latency, free_latency;

    size_t sample_count;
    struct memory_sample samples[WORKLOAD_SAMPLES];
};

/* Of all frees. */
static inline double workload_remote_share(const struct workload_result *result)
{
    uint64_t frees = result->frees ? result->frees : result->ops;
    return (double)result->remote_frees / (double)frees;
}

/* When RSS is read while nothing happens, in seconds: 0.1, 1, 5, 10, 60. */
extern const double settle_moment[SETTLE_MOMENTS];

/* Every workload, in the order to show them. */
const struct workload *const *workload_list(size_t *count);

/* The same, with malloc and free replaced by a stub: the cost of the harness itself. */
const struct workload *const *null_workload_list(size_t *count);

/* NULL when there is none of that name. */
const struct workload *workload_find(const char *name);

/* variant NULL: the first one. false when there is no such variant. */
bool workload_defaults(const struct workload *w, const char *variant,
                       struct settings *set);

/* false: `why` says in one line what was wrong and what is accepted. */
bool workload_set(const struct workload *w, struct settings *set, const char *option,
                  const char *text, char *why, size_t why_size);

/* Options that contradict each other; false and a line as above. */
bool workload_consistent(const struct workload *w, const struct settings *set,
                         char *why, size_t why_size);

/* Multiply fixed work, and times, keeping every option within its range. */
void workload_scale(const struct workload *w, struct settings *set, double work,
                    double time);

/*
 * Run once. An allocation that fails ends the process: one line on standard error,
 * exit status 3, so that it can never be taken for a time.
 */
void workload_run(const struct workload *w, const struct settings *set,
                  struct workload_result *result);

/* No damaged payload and nothing left live. */
bool workload_verified(const struct workload_result *result);

/* The value of an option as a user would type it. */
void workload_show(const struct option_spec *option, double value, char *text,
                   size_t size);

#ifdef __cplusplus
}
#endif
#endif
