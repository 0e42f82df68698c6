/*
 * runs.h - the inside of the page heap, shared by pages.c, keep.c, runs.c and region.c.
 */
#ifndef MYM_HEAP_RUNS_H
#define MYM_HEAP_RUNS_H

#include "heap/heap.h"

#define MYM_RUN_BINS 192u

/*
 * mapped == units in spans + free + busy
 * free   == sum of the lengths of the runs in the bins
 * dirty  == number of set dirty bits of the units of these runs
 * slabs  == units of spans of the kind MYM_SLAB
 */
struct mym_pages {
    struct mym_mutex lock;
    uint32_t end;    /* first unit after the last region */
    uint32_t limit;  /* units the window holds */
    uint32_t tables; /* units the tables are mapped for, > end */
    uint32_t mapped; /* units in regions */
    uint32_t free;   /* units in bins */
    uint32_t dirty;  /* of these, dirty */
    uint32_t busy;   /* units being purged */
    uint32_t slabs;  /* units in slabs */
    uint32_t keep;   /* dirty units that may stay */
    uint32_t gone;   /* units purged lately and not taken again since */
    _Atomic uint32_t
        regret;       /* dirty units that may stay beyond keep: such were taken again */
    uint64_t falling; /* units put since as many were taken */
    _Atomic uint32_t spare;      /* units that pools keep: part of `keep` */
    _Atomic uint32_t spare_most; /* 0 when `keep` is, or a limit is near */
    uint32_t high;               /* units in use or dirty at which growth is told */
    _Atomic bool grew;           /* told, and not yet heard */
    uint64_t outside;            /* units in mappings outside the regions */
    uint64_t most;               /* units that may be in use before requests fail */
    uint64_t near;   /* units in use or dirty from which nothing free is kept */
    uint64_t purged; /* units given back since start */
    uint32_t bins[MYM_RUN_BINS];
    uint64_t filled[MYM_RUN_BINS / 64]; /* bit set: the bin is not empty */
};

extern MYM_HIDDEN struct mym_pages mym_pages;

/* Units, mappings outside the regions included. */
MYM_INLINE uint64_t mym_pages_in_use(void)
{
    return mym_pages.mapped - mym_pages.free - mym_pages.busy + mym_pages.outside;
}

/* ---- keep.c ---- */

uint32_t mym_keep_now(void); /* dirty units that may stay */

/* A span was taken, so many of its units resident; given back; a second has passed. */
void mym_keep_took(uint32_t length, uint32_t dirty);
void mym_keep_gave(uint32_t length);
void mym_keep_age(void);

/* ---- runs.c ---- */

uint32_t mym_runs_count_dirty(uint32_t from, uint32_t to);
/* None of the units is marked yet. */
void mym_runs_mark_dirty(uint32_t from, uint32_t to);
uint32_t mym_runs_mark_clean(uint32_t from, uint32_t to); /* how many were dirty */
bool mym_runs_is_dirty(uint32_t unit);
unsigned mym_runs_bin_of(uint32_t length);

/* Put a run into its bin; its neighbours are known not to be free. */
void mym_runs_link(uint32_t first, uint32_t length);
void mym_runs_unlink(uint32_t first);

/* The same for a run whose neighbours may be free: it is joined with them. */
void mym_runs_put(uint32_t first, uint32_t length);

/* A free run of at least `length` units: resident memory first, then best fit. 0: none. */
uint32_t mym_runs_find(uint32_t length);

/* ---- region.c ---- */

/* Map a further region of at least `length` units behind the last one. */
bool mym_region_grow(uint32_t length);

#endif
