/*
 * config.h - what the environment may say: MYMALLOC_* variables, read once at start.
 */
#ifndef MYM_ALLOC_CONFIG_H
#define MYM_ALLOC_CONFIG_H

#include "alloc/metrics.h"
#include "heap/heap.h"

struct mym_config {
    const char *front_end; /* NULL: the best there is */
    unsigned together;     /* CPUs that share an arena, or MYM_TOGETHER_LLC */
    size_t keep;           /* free bytes that may stay resident */
    size_t limit;          /* bytes of memory in use at most */
    /* The limit of the memory cgroup: read at start, again each second, or never. */
    enum { MYM_CGROUP_START, MYM_CGROUP_WATCH, MYM_CGROUP_OFF } cgroup;
    enum mym_huge huge;
    struct mym_profile_config {
        const char *path; /* `length` bytes of the environment; NULL: no heap profile */
        size_t length;
        int owner;    /* the process that PATH is of; 0: this one */
        size_t every; /* bytes between samples */
        size_t depth; /* frames of a stack */
        int signal;   /* that asks for one more; 0: none */
        bool text;
    } profile;
    struct mym_stats_config stats;
    bool names; /* of mappings, for /proc/PID/smaps */
    struct {
        size_t every; /* bytes between samples; 0: none is guarded */
        bool go_on;   /* after a report */
    } guard;
    bool background; /* a helper thread gives idle memory back */
    bool verbose;
};

/* Bad values are told once and the default is used. Setuid programs get the defaults. */
void mym_config_read(struct mym_config *config);

#endif
