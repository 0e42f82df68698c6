/*
 * runs.c - free runs: three indexes, one for each kind, by length; coalescing.
 *
 * Every operation touches a constant number of records: a run is found through the bitmap
 * of filled bins, its neighbours through boundary tags. The bins are those of segregated
 * fits with exact lengths below EXACT_BINS and four per doubling above (compare TLSF:
 * Masmano et al., ECRTS 2004).
 *
 * Locking: the caller holds mym_pages.lock.
 */
#include "heap/runs.h"

#include "base/check.h"

/* One bin for each length up to 63, then four per doubling. */
#define EXACT_BINS 64u

/* Runs that a search tries of those that may be too short or lie wrongly. */
#define TRIES 32u

unsigned mym_runs_bin_of(uint32_t length)
{
    unsigned log;

    if (length < EXACT_BINS)
        return length;
    log = 31 - (unsigned)__builtin_clz(length);
    return EXACT_BINS + (log - 6) * 4 + (length >> (log - 2) & 3);
}

uint32_t mym_runs_longest_bin(enum mym_kind kind)
{
    const struct mym_index *index = mym_runs(kind);

    for (unsigned word = MYM_RUN_BINS / 64; word-- > 0;) {
        uint64_t filled = index->filled[word];

        if (filled != 0)
            return index->bins[word * 64 + 63 - (unsigned)__builtin_clzll(filled)];
    }
    return 0;
}

uint32_t mym_runs_longest(enum mym_kind kind)
{
    uint32_t longest = 0;

    for (uint32_t run = mym_runs_longest_bin(kind); run != 0;
         run = mym_heap.units[run].next)
        if (mym_heap.units[run].length > longest)
            longest = mym_heap.units[run].length;
    return longest;
}

/* Its boundary tags. */
MYM_INLINE void set_run(uint32_t first, uint32_t length, unsigned kind)
{
    struct mym_unit *unit = &mym_heap.units[first];
    struct mym_unit *last = &mym_heap.units[first + length - 1];

    MYM_ASSERT(length > 0 && first + length <= mym_pages.end);
    unit->kind = last->kind = (uint8_t)kind;
    unit->first = last->first = first;
    unit->length = length;
}

/* The run becomes the first of its bin, in front of `next`. */
MYM_INLINE void set_head(struct mym_index *index, unsigned bin, uint32_t first,
                         uint32_t next)
{
    struct mym_unit *unit = &mym_heap.units[first];

    unit->prev = 0;
    unit->next = next;
    if (next != 0)
        mym_heap.units[next].prev = first;
    index->bins[bin] = first;
}

/* Into its bin; its neighbours are known not to be free and of its kind. */
static void link_run(uint32_t first, uint32_t length, enum mym_kind kind)
{
    struct mym_index *index = mym_runs(kind);
    unsigned bin = mym_runs_bin_of(length);

    set_run(first, length, kind);
    set_head(index, bin, first, index->bins[bin]);
    index->filled[bin / 64] |= (uint64_t)1 << bin % 64;
    index->units += length;
    index->count++;
}

static void unlink_run(uint32_t first)
{
    const struct mym_unit *unit = &mym_heap.units[first];
    struct mym_index *index = mym_runs(unit->kind);

    MYM_ASSERT(mym_is_free(unit->kind) && unit->first == first);
    MYM_ASSERT(index->count > 0 && index->units >= unit->length);
    if (unit->next != 0)
        mym_heap.units[unit->next].prev = unit->prev;
    if (unit->prev != 0) {
        mym_heap.units[unit->prev].next = unit->next;
    } else {
        unsigned bin = mym_runs_bin_of(unit->length);

        MYM_ASSERT(index->bins[bin] == first);
        index->bins[bin] = unit->next;
        if (unit->next == 0)
            index->filled[bin / 64] &= ~((uint64_t)1 << bin % 64);
    }
    index->units -= unit->length;
    index->count--;
}

/*
 * The run becomes [first, first + length): what unlinking and linking it does. Mostly it is
 * the first of its bin and stays it.
 */
MYM_INLINE void change_run(uint32_t run, uint32_t first, uint32_t length)
{
    const struct mym_unit *unit = &mym_heap.units[run];
    struct mym_index *index = mym_runs(unit->kind);
    enum mym_kind kind = unit->kind;
    unsigned bin = mym_runs_bin_of(length);

    MYM_ASSERT(mym_is_free(kind) && unit->first == run);
    if (index->bins[bin] == run) {
        index->units += length - unit->length;
        set_head(index, bin, first, unit->next);
        set_run(first, length, kind);
    } else {
        unlink_run(run);
        link_run(first, length, kind);
    }
}

void mym_runs_put(uint32_t first, uint32_t length, enum mym_kind kind)
{
    const struct mym_unit *before = &mym_heap.units[first - 1];
    uint32_t after = first + length;
    bool joins = after < mym_pages.end && mym_heap.units[after].kind == kind;

    if (joins)
        length += mym_heap.units[after].length;
    /* No unit inside a run may still pass for the start of a span: a second free of the
       same pointer must be seen even after the run was joined with others. */
    mym_heap.units[first].kind = (uint8_t)kind;
    if (before->kind == kind) {
        uint32_t start = before->first;

        if (joins)
            unlink_run(after);
        change_run(start, start, length + first - start);
    } else if (joins) {
        change_run(after, first, length);
    } else {
        link_run(first, length, kind);
    }
}

void mym_runs_cut(uint32_t run, uint32_t first, uint32_t length)
{
    enum mym_kind kind = mym_heap.units[run].kind;
    uint32_t end = run + mym_heap.units[run].length, after = first + length;

    MYM_ASSERT(run <= first && after <= end);
    if (first == run && after < end) {
        change_run(run, after, end - after);
    } else {
        unlink_run(run);
        if (first > run)
            link_run(run, first - run, kind);
        if (after < end)
            link_run(after, end - after, kind);
    }
    /* What stays must not be joined with it. */
    mym_heap.units[first].kind = mym_heap.units[after - 1].kind = MYM_PURGING;
}

/* The first filled bin from `bin` on, or MYM_RUN_BINS. */
static unsigned next_filled(const struct mym_index *index, unsigned bin)
{
    return mym_next_bit(index->filled, bin, MYM_RUN_BINS);
}

/* The first aligned unit from `unit` on. Addresses are aligned, not numbers. */
static uint64_t align_up(uint32_t unit, uint32_t align)
{
    uint64_t base = mym_heap.base >> MYM_UNIT_SHIFT;

    return ((base + unit + align - 1) & ~((uint64_t)align - 1)) - base;
}

uint32_t mym_runs_fit(uint32_t run, uint32_t length, uint32_t align)
{
    uint64_t start = align_up(run, align);

    return start + length <= (uint64_t)run + mym_heap.units[run].length
               ? (uint32_t)start
               : 0;
}

uint32_t mym_runs_find(enum mym_kind kind, uint32_t length, uint32_t align,
                       uint32_t *run)
{
    const struct mym_index *index = mym_runs(kind);
    uint32_t padded = length + align - 1;
    /* From this bin on whatever is found fits. */
    unsigned safe = mym_runs_bin_of(padded) + (padded >= EXACT_BINS), tries = 0;
    unsigned bin = next_filled(index, mym_runs_bin_of(length));

    for (; bin < safe; bin = next_filled(index, bin + 1))
        for (*run = index->bins[bin]; *run != 0 && tries < TRIES;
             *run = mym_heap.units[*run].next, tries++) {
            uint32_t start = mym_runs_fit(*run, length, align);

            if (start != 0)
                return start;
        }
    if (bin >= MYM_RUN_BINS)
        return 0;
    *run = index->bins[bin];
    return (uint32_t)align_up(*run, align);
}

uint32_t mym_runs_room(enum mym_kind least, uint32_t at, uint32_t need)
{
    uint32_t room = 0;

    while (room < need && at + room < mym_pages.end) {
        const struct mym_unit *run = &mym_heap.units[at + room];

        if (!mym_is_free(run->kind) || run->kind < least)
            break;
        room += run->length;
    }
    return room;
}

/*
 * Where the clean and dirty runs begin that touch the front of this one, as far as to another of its
 * kind, which is asked itself.
 */
static uint32_t start_beside(uint32_t run, enum mym_kind kind)
{
    const struct mym_unit *before = &mym_heap.units[run - 1];

    while ((before->kind == MYM_CLEAN || before->kind == MYM_DIRTY) &&
           before->kind != kind) {
        run = before->first;
        before = &mym_heap.units[run - 1];
    }
    return run;
}

/*
 * Purging leaves dirty ends of runs between clean middles: without this, blocks of several
 * MiB that come and go would find neither long enough and grow the heap for ever
 * (fault/aligned.c: 2.4 GiB for 100 MiB in use). The same holds beside what is gone: where middles are
 * unmapped, 1.2 GiB for 229 in use; where spans become own mappings (mapping.c), 2.7 for 27. Asked
 * before a region is mapped only; a walk of the dirty runs, of which there are no more than may stay,
 * and of the gone ones, which are holes between mappings.
 */
uint32_t mym_runs_find_joined(enum mym_kind kind, uint32_t length, uint32_t align,
                              uint32_t *run)
{
    const struct mym_index *index = mym_runs(kind);
    enum mym_kind least = kind == MYM_GONE ? MYM_GONE : MYM_CLEAN;

    for (unsigned bin = 0; (bin = next_filled(index, bin)) < MYM_RUN_BINS; bin++)
        for (uint32_t one = index->bins[bin]; one != 0;
             one = mym_heap.units[one].next) {
            uint32_t from = start_beside(one, kind);
            uint64_t start = align_up(from, align), need = start - from + length;

            if (need > UINT32_MAX || mym_runs_room(least, from, (uint32_t)need) < need)
                continue;
            while (from + mym_heap.units[from].length <= start)
                from += mym_heap.units[from].length;
            *run = from;
            return (uint32_t)start;
        }
    return 0;
}
