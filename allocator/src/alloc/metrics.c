/*
 * metrics.c - the table of metrics, and its two forms of writing.
 */
#include "alloc/metrics.h"

#include "base/check.h"
#include "cache/cache.h"
#include "mymalloc/mymalloc.h"
#include "os/os.h"
#include "os/out.h"

#include <errno.h> /* numbers only */

const char mym_version[] = MYM_STR(MYMALLOC_VERSION_MAJOR) "." MYM_STR(
    MYMALLOC_VERSION_MINOR) "." MYM_STR(MYMALLOC_VERSION_PATCH);

#define INFO(field)       ((uint32_t)offsetof(struct mym_info, field))
#define CLASS_INFO(field) ((uint32_t)offsetof(struct mym_class_info, field))

/* clang-format off: a row is a line of text, or two */
#define GAUGE(name, field, help)                               \
    {                                                          \
        "mymalloc_" name, help, NULL, NULL, INFO(field), false \
    }
#define COUNTER(name, field, help)                            \
    {                                                         \
        "mymalloc_" name, help, NULL, NULL, INFO(field), true \
    }
#define PROCESS(name, field, help)                           \
    {                                                        \
        "process_" name, help, NULL, NULL, INFO(field), true \
    }
#define PART(name, label, value, field, help)                    \
    {                                                            \
        "mymalloc_" name, help, label, value, INFO(field), false \
    }
#define CLASSES(name, field, counter, help)                                         \
    {                                                                               \
        "mymalloc_class_" name, help, "class", NULL, INFO(cls) + CLASS_INFO(field), \
            counter                                                                 \
    }

const struct mym_metric mym_metrics[] = {
    PART("allocated_bytes", "kind", "small", small_used,
         "Bytes in objects that the program holds, rounded up to their size class."),
    PART("allocated_bytes", "kind", "large", large, NULL),
    PART("allocated_bytes", "kind", "arena", reaps, NULL),
    PART("allocated_bytes", "kind", "mapping", huge, NULL),
    PART("allocated_bytes", "kind", "guarded", guarded_bytes, NULL),
    GAUGE("rounding_max_bytes", rounding,
          "Bytes that rounding up to size classes costs at most in small objects."),
    GAUGE("heap_mapped_bytes", pages.mapped,
          "Address space of the heap, resident or not."),
    GAUGE("free_places_bytes", small_free, "Bytes of free places in slabs."),
    GAUGE("free_pages_bytes", pages.free,
          "Bytes of pages that nobody has, resident or not."),
    GAUGE("free_runs", pages.runs, "Stretches of free pages."),
    GAUGE("free_run_longest_bytes", pages.longest,
          "Bytes of the longest stretch of free pages."),
    PART("idle_bytes", "holder", "pages", pages.dirty,
         "Bytes that may be resident and hold no object, by who has them."),
    PART("idle_bytes", "holder", "mappings", pages.idle, NULL),
    PART("idle_bytes", "holder", "slabs", pages.held[MYM_HOLDS_SLABS], NULL),
    PART("idle_bytes", "holder", "depots", depots, NULL),
    PART("idle_bytes", "holder", "caches", caches, NULL),
    PART("idle_bytes", "holder", "cached_large", spans, NULL),
    PART("idle_bytes", "holder", "quarantine", waiting, NULL),
    PART("idle_bytes", "holder", "quarantine_large", pages.held[MYM_HOLDS_SHELF], NULL),
    PART("idle_bytes", "holder", "records", meta, NULL),
    GAUGE("idle_allowance_bytes", pages.allowance,
          "Bytes of idle memory that may stay."),
    GAUGE("huge_page_bytes", pages.huge, "Bytes for which huge pages were asked for."),
    GAUGE("mappings", huges, "Objects that are mappings of their own."),
    GAUGE("quarantine_large_bytes", waiting_large,
          "Bytes of large objects that were freed and wait, resident or not."),
    GAUGE("guarded_live_objects", guarded, "Guarded objects that the program holds."),
    GAUGE("guarded_page_bytes", guarded_pages,
          "Bytes of the guard's pages that can be touched."),
    COUNTER("guarded_objects_total", guarded_ever, "Objects that were guarded."),
    COUNTER("purged_bytes_total", pages.purged,
            "Bytes that were given back to the kernel."),
    PROCESS("minor_page_faults_total", minor_faults,
            "Page faults of the process that needed no I/O."),
    PROCESS("major_page_faults_total", major_faults,
            "Page faults of the process that needed I/O."),
    CLASSES("slabs", slabs, false, "Slabs of a size class."),
    CLASSES("used_objects", used, false,
            "Objects of a size class that the program holds."),
    CLASSES("cached_objects", cached, false, "Free objects of a size class in caches."),
    CLASSES("depot_objects", depot, false, "Free objects of a size class in depots."),
    CLASSES("free_objects", free, false, "Free places of a size class in slabs."),
    CLASSES("misses_total", misses, true,
            "Times that a cache had no object of a size class."),
    CLASSES("overflows_total", overflows, true,
            "Times that a cache had no room for an object of a size class."),
};
/* clang-format on */

const unsigned mym_metric_count = sizeof mym_metrics / sizeof *mym_metrics;

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "a value is one word");

static uint64_t value_at(const struct mym_info *info, size_t offset)
{
    return *(const uint64_t *)((const char *)info + offset);
}

static bool is_by_class(const struct mym_metric *metric)
{
    return metric->label != NULL && metric->value == NULL;
}

/* The next class that was ever used, after `cls`; MYM_CLASSES: none. */
static unsigned next_class(const struct mym_info *info, unsigned cls)
{
    while (++cls < mym_class_count)
        if (info->cls[cls].places + info->cls[cls].misses + info->cls[cls].overflows >
            0)
            return cls;
    return MYM_CLASSES;
}

static uint64_t class_value(const struct mym_info *info,
                            const struct mym_metric *metric, unsigned cls)
{
    return value_at(info, metric->offset + cls * sizeof info->cls[0]);
}

/* ---- Prometheus ---- */

static void put_all(struct mym_out *out, const char *const *texts)
{
    for (; *texts != NULL; texts++)
        mym_out_text(out, *texts);
}
#define PUT(...) put_all(out, (const char *const[]){__VA_ARGS__, NULL})

static void put_head(struct mym_out *out, const char *name, const char *help,
                     bool counter)
{
    PUT("# HELP ", name, " ", help, "\n# TYPE ", name,
        counter ? " counter\n" : " gauge\n");
}

static void put_value(struct mym_out *out, uint64_t value)
{
    mym_out_text(out, " ");
    mym_out_digits(out, value, 10);
    mym_out_text(out, "\n");
}

/* Any bytes, where the format has UTF-8 alone: what is no character of ASCII is \377. */
static void put_quoted(struct mym_out *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned byte = (unsigned char)*text;
        char octal[] = {'\\', '\\', (char)('0' + (byte >> 6)),
                        (char)('0' + (byte >> 3 & 7)), (char)('0' + (byte & 7))};

        if (byte < ' ' || byte > '~') {
            mym_out_put(out, octal, sizeof octal);
            continue;
        }
        if (byte == '"' || byte == '\\')
            mym_out_text(out, "\\");
        mym_out_put(out, text, 1);
    }
}

/* Behind a sample's other labels, if it has any, the file that it is in. */
static void end_labels(struct mym_out *out, bool any, const char *path)
{
    if (path != NULL) {
        PUT(any ? "," : "{", "file=\"");
        put_quoted(out, path);
        PUT("\"");
    }
    if (any || path != NULL)
        PUT("}");
}

static void prometheus_classes(struct mym_out *out, const struct mym_info *info,
                               const struct mym_metric *metric, const char *path)
{
    for (unsigned c = 0; (c = next_class(info, c)) < MYM_CLASSES;) {
        PUT(metric->name, "{class=\"");
        mym_out_digits(out, mym_classes[c].size, 10);
        PUT("\"");
        end_labels(out, true, path);
        put_value(out, class_value(info, metric, c));
    }
}

static void write_prometheus(struct mym_out *out, const struct mym_info *info,
                             const char *path)
{
    put_head(out, "mymalloc_info", "Which mymalloc serves the program, and how.",
             false);
    PUT("mymalloc_info{version=\"", mym_version, "\",front_end=\"", mym_mode_name(),
        "\"");
    end_labels(out, true, path);
    put_value(out, 1);
    for (unsigned i = 0; i < mym_metric_count; i++) {
        const struct mym_metric *metric = &mym_metrics[i];

        if (metric->help != NULL)
            put_head(out, metric->name, metric->help, metric->counter);
        if (is_by_class(metric)) {
            prometheus_classes(out, info, metric, path);
            continue;
        }
        mym_out_text(out, metric->name);
        if (metric->label != NULL)
            PUT("{", metric->label, "=\"", metric->value, "\"");
        end_labels(out, metric->label != NULL, path);
        put_value(out, value_at(info, metric->offset));
    }
}

/* ---- JSON: a number by name, or an object of numbers by label ---- */

static void json_classes(struct mym_out *out, const struct mym_info *info,
                         const struct mym_metric *metric)
{
    const char *before = "";

    for (unsigned c = 0; (c = next_class(info, c)) < MYM_CLASSES; before = ", ") {
        PUT(before, "\"");
        mym_out_digits(out, mym_classes[c].size, 10);
        mym_out_text(out, "\": ");
        mym_out_digits(out, class_value(info, metric, c), 10);
    }
}

static void write_json(struct mym_out *out, const struct mym_info *info)
{
    PUT("{\n  \"mymalloc_info\": {\"version\": \"", mym_version,
        "\", \"front_end\": \"", mym_mode_name(), "\"}");
    for (unsigned i = 0; i < mym_metric_count; i++) {
        const struct mym_metric *metric = &mym_metrics[i];
        bool last = i + 1 == mym_metric_count || metric[1].help != NULL;

        if (metric->help != NULL)
            PUT(",\n  \"", metric->name, metric->label != NULL ? "\": {" : "\": ");
        if (is_by_class(metric)) {
            json_classes(out, info, metric);
        } else {
            if (metric->label != NULL)
                PUT(metric->help != NULL ? "\"" : ", \"", metric->value, "\": ");
            mym_out_digits(out, value_at(info, metric->offset), 10);
        }
        if (last && metric->label != NULL)
            mym_out_text(out, "}");
    }
    mym_out_text(out, "\n}\n");
}

int mym_metrics_write(int file, enum mym_metrics_form form, const char *path)
{
    struct work {
        struct mym_out out;
        struct mym_info info;
    } *work =
        mym_os_map(sizeof *work); /* some 10 KiB: a thread may have little stack */
    int error;

    if (work == NULL)
        return ENOMEM;
    work->out.file = file;
    mym_info_read(&work->info);
    mym_os_faults(&work->info.minor_faults, &work->info.major_faults);
    if (form == MYM_METRICS_PROMETHEUS)
        write_prometheus(&work->out, &work->info, path);
    else
        write_json(&work->out, &work->info);
    mym_out_flush(&work->out);
    error = work->out.error;
    mym_os_unmap(work, sizeof *work);
    return error;
}
