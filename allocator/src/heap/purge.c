/*
 * purge.c - what goes back to the kernel: pages beyond what may stay, and address space.
 *
 * Dirty free memory beyond what may stay (ledger.c) is given back at once, the longest runs
 * first: memory comes back without a helper thread and without a later call, and the price
 * is bounded by what was freed.
 *
 * Pages go without mym_pages.lock, of runs that are marked MYM_PURGING and in no index, or of
 * idle mappings in the purger's hands. Whoever has such holds `purging`, which a fork takes before
 * all else of the heap: its child finds every run in its index. Clean chunks are unmapped under it.
 *
 * Locking: purging, then mym_pages.lock.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

static struct mym_mutex purging;

void mym_purge_begin(void) MYM_ACQUIRES(purging)
{
    mym_mutex_lock(&purging, MYM_RANK_PURGE);
}

void mym_purge_end(void) MYM_RELEASES(purging)
{
    mym_mutex_unlock(&purging, MYM_RANK_PURGE);
}

void mym_purge_leave(void) MYM_RELEASES(purging)
{
    mym_purge_end();
    mym_purge_excess();
}

void mym_purge_fork(enum mym_fork_step step)
{
    mym_mutex_fork(&purging, step);
}

/* The pages of a table of bitmaps that are of the units [from, end) alone. */
static void purge_table(uint64_t (*table)[MYM_BIT_WORDS], uint8_t mark, uint32_t from,
                        uint32_t end)
{
    uint32_t each = (uint32_t)(mym_os_page() / sizeof *table); /* a page */
    uint32_t low = UINT32_MAX, high = 0;

    for (uint32_t unit = (from + each - 1) / each * each; unit < end / each * each;
         unit++)
        if (mym_heap.units[unit].has_bits & mark) {
            mym_heap.units[unit].has_bits &= (uint8_t)~mark;
            low = low < unit ? low : unit;
            high = unit;
        }
    if (low <= high)
        mym_os_purge(table[low / each * each],
                     (size_t)(high / each - low / each + 1) * mym_os_page());
}

/*
 * Bitmaps of free units, where these were slabs or windows: 1/128 of their size. Of large
 * objects there are none, and the call would cost as much as that for the object.
 */
static void purge_bits(uint32_t from, uint32_t end)
{
    unsigned marks = 0;

    for (uint32_t unit = from; unit < end; unit++)
        marks |= mym_heap.units[unit].has_bits;
    if (marks & MYM_IN_BITS)
        purge_table(mym_heap.bits, MYM_IN_BITS, from, end);
    if (marks & MYM_IN_FREED)
        purge_table(mym_heap.freed, MYM_IN_FREED, from, end);
}

/*
 * Bitmaps go by whole pages: where that fills one, the clean neighbours of [from, end) are
 * taken along in [*low, *high), or bitmaps of slabs that became free one by one would stay.
 */
static void take_clean_beside(uint32_t from, uint32_t end, uint32_t *low,
                              uint32_t *high)
{
    uint32_t each = (uint32_t)(mym_os_page() / sizeof *mym_heap.bits);
    const struct mym_unit *before = &mym_heap.units[from - 1];
    const struct mym_unit *after = &mym_heap.units[end];
    uint32_t first = before->first, stop = end;

    *low = from / each * each;
    *high = (end + each - 1) / each * each;
    if (*low == from || before->kind != MYM_CLEAN || first > *low)
        *low = from;
    if (end < mym_pages.end && after->kind == MYM_CLEAN)
        stop = end + after->length;
    if (stop < *high)
        *high = end;
    if (*low < from)
        mym_runs_cut(first, *low, from - *low);
    if (*high > end)
        mym_runs_cut(end, end, *high - end);
}

/* Units whose bitmaps fill a page of 4 KiB: it goes with them. */
#define STEP ((uint32_t)(MYM_PAGE / sizeof mym_heap.bits[0]))

/*
 * The stretch of a dirty run to give back: its topmost units, so that what stays is at low
 * addresses; a step at least, and from the start of one where there are bitmaps. Where
 * chunks are huge, or will be, whole ones if it has any. Else the less of a chunk the
 * better: with all of it the kernel frees its page table too (Linux 6.14), and the next
 * touch pays for another, 1.9 instead of 1.2 us.
 */
static void choose(uint32_t run, uint32_t excess, uint32_t *from, uint32_t *end)
{
    uint32_t length = mym_heap.units[run].length, first = run, last = run + length;
    uint32_t low = mym_chunk_up(first);
    uint32_t high = mym_chunk_down(last);
    uint32_t step = 1;

    excess = excess > STEP ? excess : STEP;
    if (low < high && (mym_is_dense((size_t)length * MYM_UNIT) != MYM_SPARSE ||
                       mym_chunk_is_huge(last - 1) ||
                       mym_chunk_is_huge(length > excess ? last - excess : first))) {
        first = low;
        last = high;
        step = MYM_CHUNK_UNITS;
    } else if (length > excess && mym_heap.units[last - excess].has_bits != 0) {
        step = STEP;
    }
    *end = last;
    *from = last - first > excess ? (last - excess) / step * step : first;
    if (*from < first)
        *from = first;
}

static void mark_purging(uint32_t from, uint32_t end)
{
    struct mym_unit *first = &mym_heap.units[from], *last = &mym_heap.units[end - 1];

    MYM_ASSERT(from < end && end <= mym_pages.end && mym_mutex_is_held(&purging));
    first->kind = last->kind = MYM_PURGING;
    first->first = last->first = from;
    first->length = end - from;
    mym_pages.purging += end - from;
}

/* After the call to the kernel: what was given back is clean, what was refused is not. */
static uint32_t put_unit_by_unit(uint32_t from, uint32_t end)
    MYM_REQUIRES(mym_pages.lock)
{
    uint32_t given = 0;

    for (uint32_t unit = from; unit < end; unit++) {
        bool done;

        mym_chunk_split(unit, 1); /* it is going to be clean in part */
        mym_pages_unlock();
        done = mym_os_purge(mym_unit_address(unit), MYM_UNIT);
        mym_pages_lock();
        mym_pages.purging -= end - unit;
        if (unit + 1 < end)
            mark_purging(unit + 1, end);
        mym_runs_put(unit, 1, done ? MYM_CLEAN : MYM_DIRTY);
        given += done;
    }
    return given;
}

/*
 * The whole chunks of a clean run are unmapped, or all of the one at the heap's end, which is
 * no mapping more; units.
 */
static uint32_t unmap_run(uint32_t run)
{
    uint32_t end = run + mym_heap.units[run].length;
    uint32_t low = mym_chunk_up(run);
    uint32_t high = mym_chunk_down(end);

    if (low >= high)
        return 0;
    if (end == mym_pages.end) {
        low = run;
        high = end;
    }
    mym_runs_cut(run, low, high - low);
    if (!mym_os_unmap(mym_unit_address(low), (size_t)(high - low) * MYM_UNIT)) {
        mym_runs_put(low, high - low, MYM_CLEAN);
        return 0;
    }
    mym_chunk_forget(mym_chunk_up(low), high);
    mym_runs_put(low, high - low, MYM_GONE);
    mym_pages.mapped -= high - low;
    return high - low;
}

/* Each stretch that is unmapped may be a mapping more: where it goes by itself there are few. */
#define HOLES_MOST 256u

/* What was given back is clean; where address space is scarce that goes, too. */
static void put_clean(uint32_t first, uint32_t length)
{
    const struct mym_unit *before = &mym_heap.units[first - 1];
    uint32_t run = before->kind == MYM_CLEAN ? before->first : first;

    mym_runs_put(first, length, MYM_CLEAN);
    if (mym_pages.scarce && mym_heap.units[run].length >= mym_pages.mapped / HOLES_MOST)
        unmap_run(run);
}

/* Purge at most `excess` units of a run, a little more for a whole step; units given. */
static uint32_t purge_run(uint32_t run, uint32_t excess) MYM_REQUIRES(mym_pages.lock)
{
    uint32_t from, end, low, high, given;
    bool done;

    choose(run, excess, &from, &end);
    mym_runs_cut(run, from, end - from);
    take_clean_beside(from, end, &low, &high);
    mark_purging(low, high);
    if ((from | end) % MYM_CHUNK_UNITS != 0) {
        mym_chunk_split(from, 1);
        mym_chunk_split(end - 1, 1);
    }
    mym_pages_unlock();
    done = mym_os_purge(mym_unit_address(from), (size_t)(end - from) * MYM_UNIT);
    purge_bits(low, high);
    mym_pages_lock();
    mym_pages.purging -= high - low;
    if (done) {
        given = end - from;
        put_clean(low, high - low);
    } else {
        mark_purging(from, end);
        if (low < from)
            mym_runs_put(low, from - low, MYM_CLEAN);
        if (high > end)
            mym_runs_put(end, high - end, MYM_CLEAN);
        given = put_unit_by_unit(from, end);
    }
    mym_pages.purged += given * MYM_UNIT;
    return given;
}

/*
 * The same for the idle mapping that was freed first: its end, or all of it; also where pages
 * cannot be given back, which go with their mapping.
 */
static uint32_t purge_idle(uint32_t excess) MYM_REQUIRES(mym_pages.lock)
{
    struct mym_idle idle = mym_pages_take_idle(0);
    uint32_t all = idle.dirty, given = mym_least(all, excess);
    size_t stays = (size_t)(all - given) * MYM_UNIT;
    bool in_part;

    idle.dirty = all - given;
    mym_pages_unlock();
    in_part = stays > 0 && !mym_pages.scarce &&
              mym_os_purge((char *)idle.addr + stays, idle.bytes - stays);
    mym_pages_lock();
    if (!in_part || !mym_pages_put_first(idle)) {
        given = all;
        mym_pages_unlock();
        mym_os_unmap(idle.addr, idle.bytes);
        mym_pages_lock();
    }
    mym_pages.purged += given * MYM_UNIT;
    return given;
}

/*
 * A list of loose spans becomes thin; units that are no longer dirty. 0: there is none that may
 * be, or the kernel refuses. A call for each span costs a sixth of what the fault of its first
 * page would.
 */
static uint32_t make_thin(void) MYM_REQUIRES(mym_pages.lock)
{
    uintptr_t list = mym_loose_take_thick(), span;
    size_t page = mym_os_page(), bytes;
    uint32_t length, units, firsts;
    bool done = true;

    if (list == 0)
        return 0;
    length = mym_span_record(list)->length;
    bytes = length * MYM_UNIT;
    units = mym_span_held(list) * length;
    firsts = mym_units_for(mym_span_held(list) * page);
    for (span = list; span >= MYM_UNIT; span = mym_span_record(span)->below)
        mym_chunk_split(mym_span_record(span)->first, length);
    mym_pages.purging += units;
    mym_pages_unlock();
    for (span = list; span >= MYM_UNIT; span = mym_span_record(span)->below)
        done &= mym_os_purge((char *)(span & ~(MYM_UNIT - 1)) + page, /* NOLINT */
                             bytes - page);
    mym_pages_lock();
    mym_pages.purging -= units;
    mym_loose_put(list, done ? MYM_THIN : MYM_THICK);
    if (!done)
        return 0;
    mym_pages.purged += (units - firsts) * MYM_UNIT;
    return units - firsts;
}

/* Until at most `keep` units stay. The caller holds both locks. */
static uint32_t purge_locked(uint32_t keep) MYM_REQUIRES(mym_pages.lock)
{
    uint32_t total = 0;

    while (mym_pages_dirty() > keep) {
        uint32_t excess, run, given = 0;

        /* Where there is more of others a next request joins it all, and it was in vain. */
        if (keep > 0 && !mym_pages.scarce &&
            mym_pages.loose_units > mym_runs(MYM_DIRTY)->units / 2)
            given = make_thin();
        if (given > 0) {
            total += given;
            continue;
        }
        mym_loose_join();
        excess = mym_pages_dirty() - keep;
        run = mym_runs_longest_bin(MYM_DIRTY);
        if (mym_pages.idle_count > 0 &&
            (run == 0 || mym_pages.idles[0].dirty >= mym_heap.units[run].length))
            given = purge_idle(excess);
        else
            given = purge_run(run, excess);
        if (given == 0) { /* refused, even unit by unit: it stays */
            mym_idle_stick();
            break;
        }
        total += given;
    }
    return total;
}

/*
 * One thread at a time: who finds another at it leaves, and that one looks again after it
 * let go, whatever it had the lock for, so nothing is left over. But for forks without handlers,
 * whose thread may be in the midst of anything.
 */
void mym_purge_excess(void)
{
    for (;;) {
        uint32_t keep;
        bool excess;

        mym_pages_lock();
        excess = mym_idle_watch_excess();
        mym_pages_unlock();
        if (!excess || !mym_mutex_trylock(&purging, MYM_RANK_PURGE))
            return;
        mym_pages_lock();
        keep = mym_idle_share_out();
        /* A little more than needed: each call to the kernel costs as much as a page. */
        purge_locked(keep - keep / 64);
        mym_pages_unlock();
        mym_purge_end();
    }
}

/* Units of freed mappings that go. What is left is the size of the heap from now on. */
static uint32_t outgrown(void) MYM_REQUIRES(mym_pages.lock)
{
    uint64_t now = mym_pages_in_use() + mym_pages_dirty(), goes = 0;
    uint64_t step = mym_growth_step(now);

    if (now > mym_pages.high) {
        goes = now - mym_pages.high + step;
        if (goes > mym_pages.idle)
            goes = mym_pages.idle;
        if (now - goes + step > mym_pages.high)
            mym_pages.high = now - goes + step;
    }
    return (uint32_t)goes;
}

/*
 * As much goes as the heap has grown by, so whoever grows takes at most twice the pages. Dirty
 * runs stay: others are cut from them, and large/churn had twice the page faults without.
 */
void mym_purge_growth(void)
{
    uint32_t goes, given = 0;

    mym_pages_lock();
    goes = outgrown();
    mym_pages_unlock();
    if (goes == 0)
        return;
    mym_purge_begin();
    mym_pages_lock();
    while (given < goes && mym_pages.idle_count > 0)
        given += purge_idle(goes - given);
    mym_pages_unlock();
    mym_purge_leave();
}

size_t mym_pages_purge(size_t keep)
{
    size_t units = keep >> MYM_UNIT_SHIFT;
    uint32_t given;

    mym_purge_begin();
    mym_pages_lock();
    given = purge_locked(units < UINT32_MAX ? (uint32_t)units : UINT32_MAX);
    mym_pages_unlock();
    mym_purge_leave();
    return (size_t)given * MYM_UNIT;
}

/* ---- address space ---- */

/* Under the purge lock: chunks that it was in a part of are not made huge meanwhile. */
void mym_pages_give_up(uint32_t span)
{
    uint32_t length = mym_heap.units[span].length;
    bool done;

    mym_purge_begin();
    mym_pages_lock();
    mym_chunk_split(span, length);
    mym_pages_unlock();
    done = mym_os_unmap(mym_unit_address(span), (size_t)length * MYM_UNIT);
    mym_pages_lock();
    if (done) {
        mym_pages.mapped -= length;
        mym_runs_put(span, length, MYM_GONE);
        mym_idle_watch();
    }
    mym_pages_unlock();
    mym_purge_leave();
}

/* The kernel's own limit is 65530 mappings of all kinds, among them those of the program's threads. */
#define HOLES_IN_ALL 8192u

/* Of a few holes each may be one more; else what makes one longer. */
static bool may_be_unmapped(uint32_t run)
{
    return mym_runs(MYM_GONE)->count < HOLES_IN_ALL ||
           (run % MYM_CHUNK_UNITS == 0 && mym_heap.units[run - 1].kind == MYM_GONE);
}

/* The longest first. */
size_t mym_pages_unmap(void)
{
    uint32_t units = 0;

    mym_pages_lock();
    for (unsigned bin = MYM_RUN_BINS; bin-- > MYM_CHUNK_UNITS;)
        for (uint32_t run = mym_runs(MYM_CLEAN)->bins[bin]; run != 0;) {
            uint32_t next = mym_heap.units[run].next;

            if (may_be_unmapped(run))
                units += unmap_run(run);
            run = next;
        }
    mym_pages_unlock();
    return (size_t)units * MYM_UNIT;
}
