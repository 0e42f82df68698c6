/*
 * runs.h - the inside of the page heap, shared by the files of this folder.
 */
#ifndef MYM_HEAP_RUNS_H
#define MYM_HEAP_RUNS_H

#include "heap/heap.h"
#include "heap/ledger.h"
#include "heap/mapping.h"

#define MYM_RUN_BINS    192u
#define MYM_IDLE_MAX    8u
#define MYM_GROWTH_STEP 16u /* units, 1 MiB, or a sixteenth of what there is */

MYM_INLINE uint32_t mym_least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Where the chunk begins that the unit is in; where the first one begins from the unit on. */
MYM_INLINE uint32_t mym_chunk_down(uint32_t unit)
{
    return unit / MYM_CHUNK_UNITS * MYM_CHUNK_UNITS;
}

MYM_INLINE uint32_t mym_chunk_up(uint32_t unit)
{
    return mym_chunk_down(unit + MYM_CHUNK_UNITS - 1);
}

MYM_INLINE uint64_t mym_growth_step(uint64_t units)
{
    return units / 16 > MYM_GROWTH_STEP ? units / 16 : MYM_GROWTH_STEP;
}

/* The free runs of one kind, by length. */
struct mym_index {
    uint32_t units; /* sum of their lengths */
    uint32_t count;
    uint32_t bins[MYM_RUN_BINS];        /* lists, most recent first */
    uint64_t filled[MYM_RUN_BINS / 64]; /* bit set: the bin is not empty */
};

/* Loose spans (loose.c): of thin ones no page but the first may be resident. */
enum { MYM_THICK, MYM_THIN, MYM_LOOSE_KINDS };

/* A freed own mapping; its last pages were given back if not all of it is dirty. */
struct mym_idle {
    void *addr;
    size_t bytes;
    uint32_t dirty; /* units that may be resident */
    bool huge;      /* huge pages were asked for */
};

/*
 * mapped == units in spans + clean + dirty + purging
 * idle   == sum of the dirty units of the idle mappings
 * slabs  == units of spans of the kind MYM_SLAB
 * loose_units == units of loose spans
 * firsts == bytes in the first pages of thin ones; spared == units of these without such
 */
struct mym_pages {
    struct mym_mutex lock;
    uint32_t end;                       /* first unit after the last region */
    uint32_t limit;                     /* units the window holds */
    uint32_t mapped;                    /* units in regions */
    uint32_t purging;                   /* units being purged */
    uint32_t slabs;                     /* units in slabs */
    struct mym_ledger ledger;           /* how much idle memory may stay */
    _Atomic uint32_t held[MYM_HOLDERS]; /* units of it that pools and caches hold, */
    uint32_t unused;                    /* the fewest dirty units since mym_idle_cool */
    uint32_t stuck;                     /* dirty units that stay: see mym_idle_stick */
    _Atomic uint32_t grants;            /* and how many they may be granted */
    _Atomic uint32_t hollow; /* units of slabs whose free pages were given back */
    uint64_t high;           /* units in use or dirty above which growth is told */
    _Atomic bool grew;       /* told, and not yet heard */
    uint64_t outside;        /* units in mappings outside the regions */
    uint64_t claimed;        /* units of such that the kernel is being asked for */
    uint64_t most;           /* units that may be in use before requests fail */
    uint64_t near;           /* units in use or dirty from which nothing free is kept */
    uint64_t told_near;      /* ... at which that is told next */
    uint32_t huge;           /* chunks that are huge (chunk.c) */
    bool scarce;             /* address space is: set at start */
    bool early;              /* what was freed is for all that comes */
    _Atomic uint64_t purged; /* bytes given back since start */
    struct mym_index runs[3]; /* MYM_GONE, MYM_CLEAN, MYM_DIRTY */
    uint64_t loose_places;    /* where there are any: loose.c */
    uintptr_t loose[MYM_LOOSE_KINDS][MYM_LOOSE_MOST + 1]; /* the list on top, by place;
                                            their units are in those of MYM_DIRTY */
    uint32_t loose_count, loose_units, firsts, spared;
    uint32_t loose_long; /* the length of those that are longer than MYM_LOOSE_MOST */
    struct mym_idle idles[MYM_IDLE_MAX]; /* freed own mappings, the oldest first */
    uint32_t idle_count, idle;
};

extern MYM_HIDDEN struct mym_pages mym_pages;

MYM_INLINE void mym_pages_lock(void) MYM_ACQUIRES(mym_pages.lock)
{
    mym_mutex_lock(&mym_pages.lock, MYM_RANK_PAGES);
}

MYM_INLINE void mym_pages_unlock(void) MYM_RELEASES(mym_pages.lock)
{
    mym_mutex_unlock(&mym_pages.lock, MYM_RANK_PAGES);
}

MYM_INLINE struct mym_index *mym_runs(unsigned kind)
{
    return &mym_pages.runs[kind - MYM_GONE];
}

/* Units, mappings outside the regions included. */
MYM_INLINE uint64_t mym_pages_in_use(void)
{
    return mym_pages.mapped - mym_runs(MYM_CLEAN)->units - mym_runs(MYM_DIRTY)->units -
           mym_pages.purging + mym_pages.outside;
}

/* So many more may be in use, beside what the kernel is being asked for. */
MYM_INLINE bool mym_pages_may_use(uint64_t units)
{
    return mym_pages_in_use() + mym_pages.claimed + units <= mym_pages.most;
}

/* Units that hold no object and may be resident. */
MYM_INLINE uint32_t mym_pages_dirty(void)
{
    return mym_runs(MYM_DIRTY)->units + mym_pages.idle - mym_pages.spared;
}

/* An idle mapping out of the list, in the caller's hands from now on. */
MYM_INLINE struct mym_idle mym_pages_take_idle(uint32_t at)
{
    struct mym_idle idle = mym_pages.idles[at];

    for (mym_pages.idle_count--; at < mym_pages.idle_count; at++)
        mym_pages.idles[at] = mym_pages.idles[at + 1];
    mym_pages.idle -= idle.dirty;
    return idle;
}

/* An idle mapping is the first to go again. False: others were freed meanwhile, there is no place. */
MYM_INLINE bool mym_pages_put_first(struct mym_idle idle)
{
    if (mym_pages.idle_count == MYM_IDLE_MAX)
        return false;
    for (uint32_t i = mym_pages.idle_count++; i > 0; i--)
        mym_pages.idles[i] = mym_pages.idles[i - 1];
    mym_pages.idles[0] = idle;
    mym_pages.idle += idle.dirty;
    return true;
}

/*
 * More is in use, which counts as growth near a container's limit, and where more may be
 * resident than ever. What was taken is not touched yet.
 */
void mym_pages_watch_growth(void);

/* ---- ledger.c: the caller holds mym_pages.lock ---- */

/* Of what may stay now: sets what others may be granted; returns the units of the rest. */
uint32_t mym_idle_share_out(void);

void mym_idle_watch(void);        /* more, or less, is in use than before */
bool mym_idle_watch_excess(void); /* the same; now more is dirty than may stay */

/*
 * What is dirty now the kernel refuses to take (locked pages before Linux 5.18, a sandbox): it
 * is not asked again for each object that is freed, but at twice as much, or seconds later.
 */
void mym_idle_stick(void);

/* ---- runs.c: the caller holds mym_pages.lock ---- */

unsigned mym_runs_bin_of(uint32_t length);

/* The runs of the longest bin that has any, 0: none; units in the longest one. */
uint32_t mym_runs_longest_bin(enum mym_kind kind);
uint32_t mym_runs_longest(enum mym_kind kind);

/* A stretch becomes a free run, joined with its neighbours of that kind. */
void mym_runs_put(uint32_t first, uint32_t length, enum mym_kind kind);

/* A stretch is taken out of a free run; what is left on both sides stays free. */
void mym_runs_cut(uint32_t run, uint32_t first, uint32_t length);

/* Where in the run `length` units at a multiple of `align` fit; 0: nowhere. */
uint32_t mym_runs_fit(uint32_t run, uint32_t length, uint32_t align);

/*
 * The first unit of a free stretch of `length` units at a multiple of `align`, in *run,
 * a short one if there is one. 0: none.
 */
uint32_t mym_runs_find(enum mym_kind kind, uint32_t length, uint32_t align,
                       uint32_t *run);

/*
 * The same for a stretch of free runs that touch, one of them of `kind`, which is dirty or gone; none
 * is gone if that is not. *run: the one it starts in.
 */
uint32_t mym_runs_find_joined(enum mym_kind kind, uint32_t length, uint32_t align,
                              uint32_t *run);

/*
 * Units of the runs from `at` on, dirty and clean ones, or, where that is the least, gone ones as
 * well; once `need` have been seen.
 */
uint32_t mym_runs_room(enum mym_kind least, uint32_t at, uint32_t need);

/* ---- loose.c: the caller holds mym_pages.lock ---- */

/* mym_pages_put_loose and mym_pages_take_loose, to and from the lists alone. */
void mym_loose_put(uintptr_t list, unsigned kind);
uintptr_t mym_loose_take(uint32_t length);
bool mym_loose_has(uint32_t length); /* no lock is needed: a hint */
/* A thick list of spans that are seldom written all over, 0: none; it comes back as either kind. */
uintptr_t mym_loose_take_thick(void);
/* What was given back as it was is joined with its neighbours. */
void mym_loose_join(void);
/* For the verifier: all are loose spans, and counted right. */
bool mym_loose_adds_up(void);

/* ---- chunk.c: the caller holds mym_pages.lock ---- */

/*
 * The clean units from `first` on, `length` of them, are going to be used, and are
 * followed by clean ones up to `end`. Returns where what becomes resident with them ends.
 */
uint32_t mym_chunk_use(uint32_t first, uint32_t length, uint32_t end,
                       enum mym_dense dense);
/*
 * Chunks that lie whole in the span become huge where its size is known to be dense. Of those
 * that were not before, old pages are to be given back, with no lock held.
 */
struct mym_stretch {
    uint32_t from, to;
};
struct mym_stretch mym_chunk_renew(uint32_t first, uint32_t length);
/* Huge pages are asked for in a heap like this. */
bool mym_chunk_is_worth_it(enum mym_dense dense);
void mym_chunk_forget(uint32_t from, uint32_t to); /* whole chunks were unmapped */
bool mym_chunk_is_huge(uint32_t unit);
/* For the verifier: no chunk of which the clean run [from, to) is a part is huge. */
bool mym_chunk_may_be_clean(uint32_t from, uint32_t to);
bool mym_chunk_adds_up(void);

/* ---- registry.c: own mappings, for mapping.c; no lock is held ---- */

/* It is out of the table; bytes 0: it was not in it. */
struct mym_mapping mym_mapping_forget(const void *ptr);
/* The same of one that mym_mapping_put_back brings again: a place is kept for it. */
struct mym_mapping mym_mapping_lift(const void *ptr);
/* A place for an entry that comes; false: no memory. */
bool mym_mapping_hold_place(void);
/* What a place was kept for comes, or (bytes 0) does not. */
void mym_mapping_put_back(struct mym_mapping mapping);

/* ---- region.c ---- */

/*
 * Gone runs are mapped again for such a stretch, where one has it or they have it with what they
 * touch. Its first unit, in *run; 0: none.
 */
uint32_t mym_region_regain(uint32_t length, uint32_t align, uint32_t *run);

/* The same for the stretch at `unit`, which may go on behind the heap. */
void mym_region_regain_at(uint32_t unit, uint32_t length);

/* Map a further region of at least `length` units; it becomes a clean run. */
bool mym_region_grow(uint32_t length);

#endif
