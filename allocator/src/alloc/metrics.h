/*
 * metrics.h - statistics for machines: one table of what there is to know, written as
 * JSON or as Prometheus' text format, version 0.0.4.
 *
 * Names follow https://prometheus.io/docs/practices/naming/: the unit last, _total where
 * a number only grows, "process_" where it is not the heap's. A further metric is a row of
 * the table, here and in every reader: mymalloc-stats finds the table in the process that it
 * looks at (layout.h).
 */
#ifndef MYM_ALLOC_METRICS_H
#define MYM_ALLOC_METRICS_H

#include "alloc/info.h"

/* Lines of the same name follow each other; all but the first have no help. */
struct mym_metric {
    const char *name, *help;
    const char *label,
        *value;      /* NULL: no label; "class", NULL: for each class by size */
    uint32_t offset; /* of a size_t or uint64_t in struct mym_info */
    bool counter;    /* only grows; else a gauge */
};
extern MYM_HIDDEN const struct mym_metric mym_metrics[];
extern MYM_HIDDEN const unsigned mym_metric_count;
extern MYM_HIDDEN const char mym_version[];

/*
 * 0, or an error number. Takes locks one after the other, each as shortly as a slow path
 * does; allocates nothing. `path`: Prometheus' samples name it, for its collector of files
 * refuses those of a second program with the same labels; NULL: they do not.
 */
enum mym_metrics_form { MYM_METRICS_JSON, MYM_METRICS_PROMETHEUS };
int mym_metrics_write(int file, enum mym_metrics_form form, const char *path);

/* ---- stats.c: MYMALLOC_STATS, a file ---- */

struct mym_stats_config {
    const char *path; /* `length` bytes of the environment; NULL: none */
    size_t length;
    size_t every; /* seconds; 0: at the end alone */
    int owner;    /* the process that PATH is of; 0: this one */
    enum mym_metrics_form form;
};
void mym_stats_start(const struct mym_stats_config *config);

/* Once a second, no lock held: write it if it is time to. */
void mym_stats_each_second(void);

#endif
