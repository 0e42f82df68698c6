/*
 * pages.c - the page heap: spans of 64 KiB units, cut from regions mapped by mmap.
 *
 * What is free is in runs of three kinds (runs.c): dirty ones may be resident, clean ones
 * are not, gone ones are address space without a mapping. A request takes dirty memory
 * before clean, but for the first slab of a pool, of which little may ever be touched; either
 * before a stretch of both, that before a further mapping, and of each kind the shortest run
 * that fits, so that long runs survive (best fit; Wilson et al., 1995). Runs of one kind are
 * always coalesced: two of a kind never touch.
 *
 * Taking and giving touch a constant number of records, whatever a span's length, but for
 * slabs and windows, whose every unit names the first one. What was loose (loose.c) is joined
 * first, once for each that was put.
 *
 * Locking: mym_pages.lock guards everything here. Purging is in purge.c, outside it.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

#include <string.h>

struct mym_pages mym_pages;

/* ---- growth ---- */

/*
 * Nothing free may stay that near the limit, and what pools and caches hold nobody frees
 * now: it is asked for as when the heap grows, each MiB.
 */
static void watch_limit(void)
{
    uint64_t now = mym_pages_in_use() + mym_pages_dirty();

    if (MYM_LIKELY(now + MYM_GROWTH_STEP < mym_pages.near)) {
        mym_pages.told_near = mym_pages.near;
    } else if (now >= mym_pages.told_near) {
        mym_pages.told_near = now + MYM_GROWTH_STEP;
        atomic_store_explicit(&mym_pages.grew, true, memory_order_relaxed);
    }
}

bool mym_pages_is_near_limit(void)
{
    bool near;

    mym_pages_lock();
    near = mym_pages_in_use() + mym_pages_dirty() >= mym_pages.near;
    mym_pages_unlock();
    return near;
}

void mym_pages_watch_growth(void)
{
    watch_limit();
    if (mym_pages_in_use() + mym_pages_dirty() > mym_pages.high)
        atomic_store_explicit(&mym_pages.grew, true, memory_order_relaxed);
}

/*
 * What was not resident is taken, while a step of growth lies idle in slabs: a class goes that
 * another one grows instead of, which the size of the heap tells a step later only.
 */
static void watch_idle(void)
{
    if (mym_idle_held(MYM_HOLDS_SLABS) > mym_growth_step(mym_pages_in_use()))
        atomic_store_explicit(&mym_pages.grew, true, memory_order_relaxed);
}

bool mym_pages_has_grown(void)
{
    return atomic_load_explicit(&mym_pages.grew, memory_order_relaxed);
}

bool mym_pages_hear_growth(void)
{
    return mym_pages_has_grown() && atomic_exchange(&mym_pages.grew, false);
}

/* ---- taking and giving ---- */

/* Make [first, first + length) a span; it is in no index. */
static void set_span(uint32_t first, uint32_t length, enum mym_kind kind)
{
    struct mym_unit *unit = &mym_heap.units[first];
    struct mym_unit *last = &mym_heap.units[first + length - 1];

    MYM_ASSERT(length > 0 && first + length <= mym_pages.end && kind >= MYM_SLAB);
    if (kind == MYM_SLAB || kind == MYM_WINDOW)
        for (uint32_t i = 0; i < length; i++)
            unit[i].first = first;
    if (kind == MYM_WINDOW) /* who looks at it (walk.c) finds nothing of before */
        unit->reap = NULL;
    unit->kind = last->kind = (uint8_t)kind;
    unit->first = last->first = first;
    unit->length = length;
}

/*
 * Take a stretch out of the run that it is in. What becomes resident with clean units is idle
 * memory from now on.
 */
static void cut(uint32_t run, uint32_t first, uint32_t length, enum mym_dense dense)
{
    bool clean = mym_heap.units[run].kind == MYM_CLEAN;
    uint32_t end = run + mym_heap.units[run].length, last = first + length, resident;

    mym_runs_cut(run, first, length);
    if (!clean)
        return;
    resident = mym_chunk_use(first, length, end, dense);
    if (resident > last) {
        mym_runs_cut(last, last, resident - last);
        mym_runs_put(last, resident - last, MYM_DIRTY);
    }
}

/* The same for a stretch that may go on through the runs behind; whether some of it is dirty. */
static bool cut_all(uint32_t run, uint32_t first, uint32_t length, enum mym_dense dense)
{
    bool dirty = false;
    uint32_t part;

    for (; length > 0; length -= part, run = first += part) {
        part = mym_least(run + mym_heap.units[run].length - first, length);
        dirty |= mym_heap.units[run].kind == MYM_DIRTY;
        cut(run, first, part, dense);
    }
    return dirty;
}

/* Where a span may begin, and the run that it begins in; clean memory first, or dirty. */
static uint32_t find(uint32_t length, uint32_t align, bool clean, uint32_t *run)
{
    uint32_t first = mym_runs_find(clean ? MYM_CLEAN : MYM_DIRTY, length, align, run);

    if (first == 0)
        first = mym_runs_find(clean ? MYM_DIRTY : MYM_CLEAN, length, align, run);
    if (first == 0)
        first = mym_runs_find_joined(MYM_DIRTY, length, align, run);
    if (first == 0)
        first = mym_region_regain(length, align, run);
    if (first == 0 && mym_region_grow(length + align - 1))
        first = mym_runs_find(MYM_CLEAN, length, align, run);
    return first;
}

/* A span out of free runs; 0: there is none. */
static uint32_t take_free(uint32_t length, uint32_t align, enum mym_kind kind,
                          enum mym_dense dense, bool *zeroed)
{
    bool clean = kind == MYM_SLAB && *zeroed && !mym_pages_is_early();
    uint32_t run, first = find(length, align, clean, &run);

    if (first == 0)
        return 0;
    /* From the dirty run in front on, if there is one: less becomes resident. */
    if (!*zeroed && first == run && align == 1 &&
        mym_heap.units[run - 1].kind == MYM_DIRTY)
        first = run = mym_heap.units[run - 1].first;
    *zeroed = !cut_all(run, first, length, dense);
    if (*zeroed)
        watch_idle();
    set_span(first, length, kind);
    return first;
}

/* One of which caches hold no lists, as it was given back; 0: none. */
static uint32_t take_long(uint32_t length)
{
    uintptr_t list = length > MYM_LOOSE_MOST ? mym_loose_take(length) : 0;

    if (list == 0)
        return 0;
    mym_span_mark(mym_span_record(list), false);
    return mym_unit_of((const void *)list); /* NOLINT */
}

uint32_t mym_pages_take(uint32_t length, uint32_t align, enum mym_kind kind,
                        enum mym_dense dense, bool *zeroed)
{
    struct mym_stretch small = {0, 0};
    uint32_t first = 0;

    mym_pages_lock();
    if (!mym_pages_may_use(length))
        goto out;
    if (kind == MYM_LARGE && align == 1)
        first = take_long(length);
    if (first != 0) {
        *zeroed = false;
    } else {
        mym_loose_join();
        first = take_free(length, align, kind, dense, zeroed);
    }
    if (first == 0)
        goto out;
    if (kind == MYM_SLAB)
        mym_pages.slabs += length;
    else if (kind == MYM_LARGE)
        small = mym_chunk_renew(first, length);
    mym_idle_watch();
    mym_pages_watch_growth();
out:
    mym_pages_unlock();
    if (small.to > small.from && !*zeroed)
        mym_os_purge(mym_unit_address(small.from),
                     (size_t)(small.to - small.from) * MYM_UNIT);
    return first;
}

/* Memory was given back: the caller's lock is let go, and what may not stay goes. */
static void leave_dirty(void) MYM_RELEASES(mym_pages.lock)
{
    bool excess = mym_idle_watch_excess();
    uint32_t dirty = mym_pages_dirty();

    mym_pages_unlock();
    if (excess)
        mym_purge_excess();
    mym_idle_tell(dirty);
}

void mym_pages_put_loose(uintptr_t list)
{
    mym_pages_lock();
    mym_loose_put(list, MYM_THICK);
    leave_dirty();
}

uintptr_t mym_pages_take_loose(uint32_t length)
{
    uintptr_t list = 0;

    if (!mym_loose_has(length))
        return 0;
    mym_pages_lock();
    if (mym_pages_may_use(MYM_LOOSE_MOST))
        list = mym_loose_take(length);
    mym_idle_watch();
    mym_pages_unlock();
    return list;
}

void mym_pages_put(uint32_t first)
{
    uint32_t length;

    mym_pages_lock();
    length = mym_heap.units[first].length;
    MYM_ASSERT(mym_heap.units[first].kind >= MYM_SLAB);
    MYM_ASSERT(mym_heap.units[first].first == first);
    if (mym_heap.units[first].kind == MYM_SLAB) {
        MYM_ASSERT(mym_pages.slabs >= length);
        mym_pages.slabs -= length;
        memset(&mym_heap.cls[first], 0, length);
    }
    if (mym_heap.units[first].kind == MYM_LARGE && length > MYM_LOOSE_MOST &&
        mym_heap.units[first].reap == NULL) {
        mym_span_mark(&mym_heap.units[first], true);
        mym_loose_put((uintptr_t)mym_unit_address(first) + MYM_SPAN_HELD, MYM_THICK);
    } else {
        mym_runs_put(first, length, MYM_DIRTY);
    }
    leave_dirty();
}

/* ---- resizing in place ---- */

/*
 * Free units from `at` on. A span grows into what was unmapped behind it, and the last one with the
 * heap, where a copy of so many units would take fresh memory too.
 */
static uint32_t room_at(uint32_t at, uint32_t more, uint32_t length)
{
    uint32_t room = mym_runs_room(MYM_CLEAN, at, more), run;

    if (room >= more || mym_runs_find(MYM_DIRTY, length, 1, &run) != 0)
        return room;
    mym_region_regain_at(at, more);
    room = mym_runs_room(MYM_CLEAN, at, more);
    if (room < more && at + room == mym_pages.end && mym_region_grow(more - room))
        room = mym_runs_room(MYM_CLEAN, at, more);
    return room;
}

static bool grow_locked(uint32_t first, uint32_t old, uint32_t length,
                        enum mym_dense dense)
{
    uint32_t at = first + old, more = length - old;

    if (!mym_pages_may_use(more) || room_at(at, more, length) < more)
        return false;
    cut_all(at, at, more, dense);
    set_span(first, length, MYM_LARGE);
    mym_idle_watch();
    mym_pages_watch_growth();
    return true;
}

bool mym_pages_resize(uint32_t first, uint32_t length, enum mym_dense dense)
{
    uint32_t old = mym_heap.units[first].length; /* the span is the caller's */
    bool done = true;

    if (length == old)
        return true;
    mym_pages_lock();
    if (length > old) {
        mym_loose_join();
        done = grow_locked(first, old, length, dense);
    } else {
        set_span(first, length, MYM_LARGE);
        mym_runs_put(first + length, old - length, MYM_DIRTY);
        mym_idle_watch();
    }
    mym_pages_unlock();
    return done;
}

/* ---- looking ---- */

bool mym_pages_could_hold(size_t bytes)
{
    return bytes >> MYM_UNIT_SHIFT < mym_pages.limit;
}

struct mym_pages_info mym_pages_info(void)
{
    struct mym_pages_info info = {0};
    uint32_t clean, dirty;

    mym_pages_lock();
    clean = mym_runs(MYM_CLEAN)->units;
    dirty = mym_runs(MYM_DIRTY)->units;
    info.mapped = (size_t)mym_pages.mapped * MYM_UNIT;
    info.free = (size_t)(clean + dirty + mym_pages.purging) * MYM_UNIT;
    info.dirty = (size_t)(mym_pages_dirty() - mym_pages.idle) * MYM_UNIT;
    info.idle = (size_t)mym_pages.idle * MYM_UNIT;
    for (unsigned holder = 0; holder < MYM_HOLDERS; holder++)
        info.held[holder] = (size_t)mym_idle_held(holder) * MYM_UNIT;
    info.allowance = (size_t)mym_ledger_allowance(&mym_pages.ledger) * MYM_UNIT;
    info.purged = mym_pages.purged;
    info.huge = mym_pages.huge * MYM_CHUNK;
    info.runs = mym_runs(MYM_CLEAN)->count + mym_runs(MYM_DIRTY)->count;
    for (unsigned kind = MYM_CLEAN; kind <= MYM_DIRTY; kind++) {
        uint32_t longest = mym_runs_longest(kind);

        if (longest * MYM_UNIT > info.longest)
            info.longest = longest * MYM_UNIT;
    }
    mym_pages_unlock();
    return info;
}

/* The unit after the span, run or gap that starts here. */
static uint32_t after(uint32_t unit)
{
    const struct mym_unit *u = &mym_heap.units[unit];

    return unit + (u->kind == MYM_ABSENT ? 1 : u->length);
}

uint32_t mym_pages_find(uint32_t unit)
{
    uint32_t at = 1;

    mym_pages_lock();
    while (at < mym_pages.end && after(at) <= unit)
        at = after(at);
    mym_pages_unlock();
    return at;
}

static size_t verify_index(unsigned kind, uint32_t units)
{
    uint32_t listed = 0, count = 0;
    size_t bad = 0;

    for (unsigned bin = 0; bin < MYM_RUN_BINS; bin++)
        for (uint32_t run = mym_runs(kind)->bins[bin]; run != 0;
             run = mym_heap.units[run].next) {
            bad += mym_expect("heap check",
                              mym_runs_bin_of(mym_heap.units[run].length) == bin,
                              "run in a wrong bin");
            bad += mym_expect("heap check", mym_heap.units[run].kind == kind,
                              "run in a wrong index");
            listed += mym_heap.units[run].length;
            count++;
        }
    return bad + mym_expect("heap check",
                            units == mym_runs(kind)->units && listed == units &&
                                count == mym_runs(kind)->count,
                            "free units do not add up");
}

/*
 * Invariants: every unit below `end` is in exactly one span, run or gap; runs are in
 * the bin of their length, once; no two free runs of a kind touch; mapped and the units of
 * each index are their sums; a huge chunk has no clean unit, or nothing else.
 */
size_t mym_pages_verify(void)
{
    size_t bad = 0;
    uint32_t units[MYM_LARGE + 1] = {0};
    uint8_t last = MYM_ABSENT;

    if (mym_pages.limit == 0)
        return 0;
    mym_pages_lock();
    bad += mym_expect("heap check", mym_loose_adds_up(), "loose spans do not add up");
    mym_loose_join();
    for (uint32_t unit = 1; unit < mym_pages.end; unit = after(unit)) {
        const struct mym_unit *u = &mym_heap.units[unit];
        const struct mym_unit *end = &mym_heap.units[after(unit) - 1];

        if (mym_expect("heap check", after(unit) > unit && after(unit) <= mym_pages.end,
                       "span leaves the heap"))
            break; /* where the next one starts is not known */
        bad += mym_expect("heap check", u->kind == MYM_ABSENT || u->first == unit,
                          "span has a wrong first unit");
        bad += mym_expect("heap check",
                          end->kind == u->kind &&
                              (u->kind == MYM_ABSENT || end->first == unit),
                          "ends of a span differ");
        bad += mym_expect("heap check", !mym_is_free(u->kind) || last != u->kind,
                          "free runs touch");
        bad += mym_expect("heap check",
                          u->kind != MYM_CLEAN ||
                              mym_chunk_may_be_clean(unit, after(unit)),
                          "a huge chunk is clean in part");
        units[u->kind] += after(unit) - unit;
        last = u->kind;
    }
    for (unsigned kind = MYM_GONE; kind <= MYM_DIRTY; kind++)
        bad += verify_index(kind, units[kind]);
    bad += mym_expect("heap check", mym_chunk_adds_up(), "huge chunks do not add up");
    bad += mym_expect("heap check", units[MYM_SLAB] == mym_pages.slabs,
                      "units of slabs do not add up");
    bad += mym_expect("heap check",
                      units[MYM_CLEAN] + units[MYM_DIRTY] + units[MYM_PURGING] +
                              units[MYM_SLAB] + units[MYM_WINDOW] + units[MYM_LARGE] ==
                          mym_pages.mapped,
                      "mapped units do not add up");
    mym_pages_unlock();
    return bad;
}

void mym_pages_fork(enum mym_fork_step step)
{
    mym_mutex_fork(&mym_pages.lock, step);
}

/* Who asked for mappings is not in the child, but for a thread that forks in a signal handler. */
void mym_pages_fork_child(void)
{
    if (!mym_fork_in_midst)
        mym_pages.claimed = 0;
}
