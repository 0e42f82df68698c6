/*
 * pages.c - the page heap: spans of 64 KiB units, cut from regions mapped by mmap.
 *
 * Free runs are kept in bins by length and always coalesced: two free runs never touch
 * (boundary tags: the first and last record of a run name its ends). A request takes
 * resident memory before other, and of equals the shortest run that fits, so that long
 * runs survive (best fit; Wilson et al., 1995).
 *
 * A free unit is dirty while its pages may be resident. Dirty free memory beyond `keep`,
 * and beyond what the program was seen to take again (regret), is given back at once,
 * longest runs first: memory comes back without a helper thread and without a later call,
 * and the price is bounded by what was freed.
 *
 * Locking: mym_pages.lock guards everything here. madvise runs outside it, on runs that
 * are marked MYM_BUSY and in no bin meanwhile.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

#include <string.h>

struct mym_pages mym_pages;

#define LOCK()   mym_mutex_lock(&mym_pages.lock, MYM_RANK_PAGES)
#define UNLOCK() mym_mutex_unlock(&mym_pages.lock, MYM_RANK_PAGES)

/* ---- growth ---- */

#define GROWTH_STEP 16u /* units, 1 MiB, or a sixteenth of what there is */

static void watch_growth(void)
{
    uint64_t now = mym_pages_in_use() - mym_pages.outside + mym_pages.dirty;

    if (now <= mym_pages.high)
        return;
    mym_pages.high =
        (uint32_t)(now + (now / 16 > GROWTH_STEP ? now / 16 : GROWTH_STEP));
    atomic_store_explicit(&mym_pages.grew, true, memory_order_relaxed);
}

bool mym_pages_has_grown(void)
{
    return atomic_load_explicit(&mym_pages.grew, memory_order_relaxed);
}

bool mym_pages_grew(void)
{
    return mym_pages_has_grown() && atomic_exchange(&mym_pages.grew, false);
}

/* ---- taking and giving ---- */

/* Make [first, first + length) a span; the caller has unlinked it. */
static void set_span(uint32_t first, uint32_t length, enum mym_kind kind)
{
    for (uint32_t i = 0; i < length; i++)
        mym_heap.units[first + i].first = first;
    mym_heap.units[first].kind = (uint8_t)kind;
    mym_heap.units[first + length - 1].kind = (uint8_t)kind;
    mym_heap.units[first].length = length;
}

uint32_t mym_pages_take(uint32_t length, uint32_t align, enum mym_kind kind,
                        bool *zeroed)
{
    /* Addresses are to be aligned, not unit numbers: the base may be less aligned. */
    uint64_t base = mym_heap.base >> MYM_UNIT_SHIFT;
    uint32_t padded = length + align - 1;
    uint32_t run, has, dirty, first = 0;

    LOCK();
    if (mym_pages_in_use() + length > mym_pages.most)
        goto out;
    while ((run = mym_runs_find(padded)) == 0)
        if (!mym_region_grow(padded))
            goto out;
    mym_runs_unlink(run);
    has = mym_heap.units[run].length;
    first = (uint32_t)((base + run + align - 1) / align * align - base);
    if (first > run)
        mym_runs_link(run, first - run);
    if (run + has > first + length)
        mym_runs_link(first + length, run + has - first - length);
    dirty = mym_runs_mark_clean(first, first + length);
    *zeroed = dirty == 0;
    mym_keep_took(length, dirty);
    set_span(first, length, kind);
    if (kind == MYM_SLAB)
        mym_pages.slabs += length;
    watch_growth();
out:
    UNLOCK();
    return first;
}

bool mym_pages_resize(uint32_t first, uint32_t length)
{
    uint32_t old = mym_heap.units[first].length; /* the span is the caller's */
    uint32_t next = first + old;
    bool done = true;

    if (length == old)
        return true;
    LOCK();
    if (length < old) {
        set_span(first, length, MYM_LARGE);
        mym_runs_mark_dirty(first + length, next);
        mym_runs_put(first + length, old - length);
    } else if (mym_heap.units[next].kind == MYM_FREE &&
               mym_heap.units[next].length >= length - old) {
        uint32_t has = mym_heap.units[next].length;

        mym_runs_unlink(next);
        mym_runs_mark_clean(next, first + length);
        if (old + has > length)
            mym_runs_link(first + length, old + has - length);
        set_span(first, length, MYM_LARGE);
    } else {
        done = false;
    }
    UNLOCK();
    return done;
}

/* ---- purging ---- */

/*
 * The dirty stretch to give back of a run: its topmost units, so that what stays is at
 * low addresses, where it is used first. Clean units between dirty ones go along: for
 * the kernel they are empty page-table entries.
 */
static uint32_t stretch_start(uint32_t first, uint32_t *end, uint32_t excess)
{
    uint32_t to = *end;
    uint32_t from;

    while (!mym_runs_is_dirty(to - 1))
        to--;
    *end = to;
    for (from = to; from > first && excess > 0; from--)
        excess -= mym_runs_is_dirty(from - 1);
    return from;
}

/* The bitmaps of free units: where these were slabs, 1/128 of their size. */
static void purge_bits(uint32_t from, uint32_t end)
{
    uintptr_t page = MYM_PAGE;
    uintptr_t low = ((uintptr_t)mym_heap.bits[from] + page - 1) & ~(page - 1);
    uintptr_t high = (uintptr_t)mym_heap.bits[end] & ~(page - 1);

    if (high > low)
        mym_os_purge((void *)low, high - low); /* NOLINT */
}

/* Purge one run, which has dirty units, of at most `excess` of them; units given. */
static uint32_t purge_run(uint32_t first, uint32_t excess)
{
    uint32_t length = mym_heap.units[first].length;
    uint32_t end = first + length;
    uint32_t from = stretch_start(first, &end, excess);
    uint32_t given;
    bool done;

    /* Out of the bins and BUSY, the run is ours while the lock is not; that others do not
       give back as much once more, it counts as clean from now on. */
    mym_runs_unlink(first);
    given = mym_runs_mark_clean(from, end);
    mym_heap.units[first].kind = MYM_BUSY;
    mym_heap.units[first + length - 1].kind = MYM_BUSY;
    mym_pages.busy += length;
    UNLOCK();
    done = mym_os_purge(mym_unit_address(from), (size_t)(end - from) * MYM_UNIT);
    purge_bits(first, first + length);
    LOCK();
    mym_pages.busy -= length;
    if (done) {
        mym_pages.purged += given;
        mym_pages.gone += given;
    } else {
        mym_runs_mark_dirty(from, end);
    }
    mym_runs_put(first, length);
    return done ? given : 0;
}

static uint32_t find_dirty_run(void)
{
    for (unsigned bin = MYM_RUN_BINS; bin-- > 1;)
        for (uint32_t run = mym_pages.bins[bin]; run != 0;
             run = mym_heap.units[run].next)
            if (mym_runs_count_dirty(run, run + mym_heap.units[run].length) > 0)
                return run;
    return 0;
}

static uint32_t purge_locked(uint32_t keep)
{
    uint32_t total = 0;

    while (mym_pages.dirty > keep) {
        uint32_t run = find_dirty_run();
        uint32_t given = run == 0 ? 0 : purge_run(run, mym_pages.dirty - keep);

        if (given == 0) /* locked memory (mlock): it stays */
            break;
        total += given;
    }
    return total;
}

/* A little more than needed: each call to the kernel costs as much as a page. */
static void purge_excess(void)
{
    uint32_t keep = mym_keep_now();

    if (mym_pages.dirty > keep)
        purge_locked(keep - keep / 64);
}

void mym_pages_age(void)
{
    LOCK();
    mym_keep_age();
    purge_excess();
    UNLOCK();
}

size_t mym_pages_purge(size_t keep)
{
    uint32_t given;

    LOCK();
    given = purge_locked((uint32_t)(keep >> MYM_UNIT_SHIFT));
    UNLOCK();
    return (size_t)given * MYM_UNIT;
}

void mym_pages_put(uint32_t first)
{
    uint32_t length;

    LOCK();
    length = mym_heap.units[first].length;
    memset(&mym_heap.class[first], 0, length);
    if (mym_heap.units[first].kind == MYM_SLAB)
        mym_pages.slabs -= length;
    /* No unit inside a run may still pass for the start of a span: a second free of the
       same pointer must be seen even after the run was joined with others. */
    mym_heap.units[first].kind = MYM_FREE;
    mym_runs_mark_dirty(first, first + length);
    mym_runs_put(first, length);
    mym_keep_gave(length);
    purge_excess();
    UNLOCK();
}

/* ---- looking ---- */

struct mym_pages_info mym_pages_info(void)
{
    struct mym_pages_info info = {0};

    LOCK();
    info.mapped = (size_t)mym_pages.mapped * MYM_UNIT;
    info.free = (size_t)(mym_pages.free + mym_pages.busy) * MYM_UNIT;
    info.dirty = (size_t)mym_pages.dirty * MYM_UNIT;
    info.purged = (size_t)mym_pages.purged * MYM_UNIT;
    for (unsigned bin = 0; bin < MYM_RUN_BINS; bin++)
        for (uint32_t run = mym_pages.bins[bin]; run != 0;
             run = mym_heap.units[run].next) {
            info.runs++;
            if (mym_heap.units[run].length > info.longest)
                info.longest = mym_heap.units[run].length;
        }
    UNLOCK();
    return info;
}

static size_t expect(bool fact, const char *what)
{
    if (!fact)
        mym_warn("heap check", what);
    return !fact;
}

/*
 * Invariants: every unit below `end` is in exactly one span, run or gap; runs are in
 * the bin of their length, once; no two free runs touch; free and dirty are their sums;
 * no unit in use is marked dirty.
 */
size_t mym_pages_verify(void)
{
    size_t bad = 0;
    uint32_t free = 0, dirty = 0, slabs = 0, listed = 0;
    uint8_t last = MYM_ABSENT;

    if (mym_pages.limit == 0)
        return 0;
    LOCK();
    for (uint32_t unit = 1; unit < mym_pages.end;) {
        const struct mym_unit *u = &mym_heap.units[unit];
        uint32_t length = u->kind == MYM_ABSENT ? 1 : u->length;
        uint32_t marked = mym_runs_count_dirty(unit, unit + length);

        if (expect(length > 0 && unit + length <= mym_pages.end,
                   "span leaves the heap"))
            break; /* where the next one starts is not known */
        bad += expect(u->kind == MYM_ABSENT || u->first == unit,
                      "span has a wrong first unit");
        bad += expect(mym_heap.units[unit + length - 1].kind == u->kind,
                      "ends of a span differ");
        if (u->kind == MYM_FREE) {
            bad += expect(last != MYM_FREE, "free runs touch");
            bad += expect(mym_heap.units[unit + length - 1].first == unit,
                          "boundary tag is wrong");
            free += length;
        } else if (u->kind != MYM_BUSY) {
            bad += expect(marked == 0, "unit in use is marked dirty");
        }
        dirty += marked;
        slabs += u->kind == MYM_SLAB ? length : 0;
        last = u->kind;
        unit += length;
    }
    for (unsigned bin = 0; bin < MYM_RUN_BINS; bin++)
        for (uint32_t run = mym_pages.bins[bin]; run != 0;
             run = mym_heap.units[run].next) {
            bad += expect(mym_runs_bin_of(mym_heap.units[run].length) == bin,
                          "run in a wrong bin");
            bad += expect(mym_heap.units[run].kind == MYM_FREE,
                          "run in a bin is not free");
            listed += mym_heap.units[run].length;
        }
    bad += expect(free == mym_pages.free && listed == free, "free units do not add up");
    bad += expect(dirty == mym_pages.dirty, "dirty units do not add up");
    bad += expect(slabs == mym_pages.slabs, "units of slabs do not add up");
    UNLOCK();
    return bad;
}

void mym_pages_fork(bool prepare)
{
    if (prepare)
        LOCK();
    else
        UNLOCK();
}

void mym_pages_fork_child(void)
{
    mym_mutex_reset(&mym_pages.lock, MYM_RANK_PAGES);
}
