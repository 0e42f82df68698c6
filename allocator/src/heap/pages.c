/*
 * pages.c - the page heap: spans of 64 KiB units, cut from regions mapped by mmap.
 *
 * Free runs are kept in bins by length and always coalesced: two free runs never touch
 * (boundary tags: the first and last record of a run name its ends). A request takes
 * the shortest run that fits, so long runs survive (best fit; Wilson et al., 1995).
 *
 * A free unit is dirty while its pages may be resident. Dirty free memory beyond `keep`
 * is given back at once, longest runs first: memory comes back without a helper thread
 * and without a later call, and the price is bounded by what was freed.
 *
 * Locking: `lock` guards everything here. madvise runs outside it, on runs that are
 * marked MYM_BUSY and in no bin meanwhile.
 */
#include "heap/heap.h"

#include "base/check.h"
#include "os/os.h"

#include <string.h>

/* Bins: one for each length up to 63, then four per doubling. */
#define EXACT_BINS 64u
#define BINS       192u

/* Tables are mapped for so many units at a time: 4 KiB of the class table. */
#define TABLE_STEP 4096u

#define GROW_MIN MYM_CHUNK_UNITS /* 2 MiB */
#define GROW_MAX 1024u           /* 64 MiB */

struct mym_hot mym_hot;
struct mym_heap mym_heap;

static struct {
    struct mym_mutex lock;
    uint32_t end;    /* first unit after the last region */
    uint32_t limit;  /* units the window holds */
    uint32_t tables; /* units the tables are mapped for, > end */
    uint32_t mapped; /* units in regions */
    uint32_t free;   /* units in bins */
    uint32_t dirty;  /* of these, dirty */
    uint32_t busy;   /* units being purged */
    uint32_t keep;   /* dirty units that may stay */
    uint64_t purged; /* units given back since start */
    uint32_t bins[BINS];
    uint64_t filled[BINS / 64]; /* bit set: the bin is not empty */
} pages;

#define LOCK()   mym_mutex_lock(&pages.lock, MYM_RANK_PAGES)
#define UNLOCK() mym_mutex_unlock(&pages.lock, MYM_RANK_PAGES)

/* ---- dirty bits ---- */

static uint64_t range_mask(uint32_t from, uint32_t to, uint32_t word)
{
    uint64_t mask = ~(uint64_t)0;

    if (word == from / 64)
        mask &= ~(uint64_t)0 << from % 64;
    if (word == (to - 1) / 64)
        mask &= ~(uint64_t)0 >> (63 - (to - 1) % 64);
    return mask;
}

static uint32_t count_dirty(uint32_t from, uint32_t to)
{
    uint32_t count = 0;

    for (uint32_t word = from / 64; word <= (to - 1) / 64; word++)
        count += (uint32_t)__builtin_popcountll(mym_heap.dirty[word] &
                                                range_mask(from, to, word));
    return count;
}

static void mark_dirty(uint32_t from, uint32_t to, bool dirty)
{
    for (uint32_t word = from / 64; word <= (to - 1) / 64; word++)
        if (dirty)
            mym_heap.dirty[word] |= range_mask(from, to, word);
        else
            mym_heap.dirty[word] &= ~range_mask(from, to, word);
}

static bool is_dirty(uint32_t unit)
{
    return mym_heap.dirty[unit / 64] >> unit % 64 & 1;
}

/* ---- bins of free runs ---- */

static unsigned bin_of(uint32_t length)
{
    unsigned log;

    if (length < EXACT_BINS)
        return length;
    log = 31 - (unsigned)__builtin_clz(length);
    return EXACT_BINS + (log - 6) * 4 + (length >> (log - 2) & 3);
}

static void link_run(uint32_t first, uint32_t length)
{
    struct mym_unit *unit = &mym_heap.units[first];
    unsigned bin = bin_of(length);

    unit->kind = MYM_FREE;
    unit->first = first;
    unit->length = length;
    unit->prev = 0;
    unit->next = pages.bins[bin];
    if (unit->next != 0)
        mym_heap.units[unit->next].prev = first;
    pages.bins[bin] = first;
    pages.filled[bin / 64] |= (uint64_t)1 << bin % 64;
    mym_heap.units[first + length - 1].kind = MYM_FREE;
    mym_heap.units[first + length - 1].first = first;
    pages.free += length;
    pages.dirty += count_dirty(first, first + length);
}

static void unlink_run(uint32_t first)
{
    struct mym_unit *unit = &mym_heap.units[first];
    unsigned bin = bin_of(unit->length);

    if (unit->next != 0)
        mym_heap.units[unit->next].prev = unit->prev;
    if (unit->prev != 0)
        mym_heap.units[unit->prev].next = unit->next;
    else
        pages.bins[bin] = unit->next;
    if (pages.bins[bin] == 0)
        pages.filled[bin / 64] &= ~((uint64_t)1 << bin % 64);
    pages.free -= unit->length;
    pages.dirty -= count_dirty(first, first + unit->length);
}

/* Link [first, first + length) as free, joined with the free runs on either side. */
static void link_coalesced(uint32_t first, uint32_t length)
{
    struct mym_unit *before = &mym_heap.units[first - 1];
    uint32_t after = first + length;

    if (before->kind == MYM_FREE) {
        uint32_t start = before->first;

        unlink_run(start);
        length += first - start;
        first = start;
    }
    if (mym_heap.units[after].kind == MYM_FREE) {
        length += mym_heap.units[after].length;
        unlink_run(after);
    }
    link_run(first, length);
}

/* The filled bin after `bin`, or BINS. */
static unsigned next_filled(unsigned bin)
{
    while (++bin < BINS) {
        uint64_t rest = pages.filled[bin / 64] >> bin % 64;

        if (rest != 0)
            return bin + (unsigned)__builtin_ctzll(rest);
        bin |= 63;
    }
    return BINS;
}

/* The shortest free run of at least `length` units, at the lower address, or 0. */
static uint32_t find_run(uint32_t length)
{
    for (unsigned bin = bin_of(length) - 1; (bin = next_filled(bin)) < BINS;) {
        uint32_t best = 0;
        unsigned looks = 0;

        for (uint32_t run = pages.bins[bin]; run != 0 && looks < 32;
             run = mym_heap.units[run].next) {
            uint32_t has = mym_heap.units[run].length;
            uint32_t best_has = best == 0 ? UINT32_MAX : mym_heap.units[best].length;

            looks += has >= length; /* runs too short for us do not count as a look */
            if (has >= length && (has < best_has || (has == best_has && run < best)))
                best = run;
        }
        if (best != 0)
            return best;
    }
    return 0;
}

/* ---- growth ---- */

static bool map_tables(uint32_t end)
{
    while (pages.tables <= end) {
        uintptr_t from = pages.tables;
        struct {
            uintptr_t addr;
            size_t bytes;
        } table[] = {
            {(uintptr_t)&mym_heap.class[from], TABLE_STEP},
            {(uintptr_t)&mym_heap.units[from], TABLE_STEP * sizeof(struct mym_unit)},
            {(uintptr_t)&mym_heap.bits[from], TABLE_STEP * sizeof(mym_heap.bits[0])},
            {(uintptr_t)mym_heap.dirty + from / 8, TABLE_STEP / 8},
        };

        for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
            uintptr_t addr = table[i].addr;
            size_t bytes = table[i].bytes;

            if (bytes < MYM_PAGE) { /* dirty bits of 8 steps share a page */
                if (addr % MYM_PAGE != 0)
                    continue;
                bytes = MYM_PAGE;
            }
            if (mym_os_map_at(addr, bytes) != MYM_OS_OK) {
                while (i-- > 0)
                    if (table[i].bytes >= MYM_PAGE)
                        mym_os_unmap((void *)table[i].addr,
                                     table[i].bytes); /* NOLINT */
                return false;
            }
            /* With huge pages always on, a table's first touch would cost 2 MiB. */
            mym_os_huge_pages((void *)addr, bytes, false); /* NOLINT */
        }
        pages.tables += TABLE_STEP;
    }
    return true;
}

/* Map a further region of at least `length` units behind the last one. */
static bool grow(uint32_t length)
{
    uint32_t step = pages.mapped / 2;
    uint32_t start = pages.end;

    step = step < GROW_MIN ? GROW_MIN : step > GROW_MAX ? GROW_MAX : step;
    length = (length + GROW_MIN - 1) / GROW_MIN * GROW_MIN;
    if (step < length)
        step = length;
    for (int tries = 0; tries < 64;) {
        void *addr = mym_unit_address(start);
        size_t bytes = (size_t)step * MYM_UNIT;

        if (start + step >= pages.limit)
            return false;
        switch (mym_os_map_at((uintptr_t)addr, bytes)) {
        case MYM_OS_OK:
            if (!map_tables(start + step)) {
                mym_os_unmap(addr, bytes);
                return false;
            }
            /* Small programs stay small where huge pages are always on. */
            if (pages.mapped == 0)
                mym_os_huge_pages(addr, bytes, false);
            pages.end = start + step;
            pages.mapped += step;
            atomic_store(&mym_heap.size, (size_t)pages.end * MYM_UNIT);
            atomic_store(&mym_hot.heap_size, (size_t)pages.end * MYM_UNIT);
            link_coalesced(start, step);
            return true;
        case MYM_OS_TAKEN: /* somebody lives in our window: go round */
            start = (start + 16384) / 16384 * 16384;
            tries++;
            break;
        case MYM_OS_NOMEM:
            if (step == length)
                return false;
            step = length;
            break;
        }
    }
    return false;
}

/*
 * Address windows. Nothing is mapped yet: regions and tables are placed in them as the
 * heap grows, so the virtual size of a process tells what it uses. The first candidate
 * is far from where the kernel puts anything by itself; where that is not possible
 * (39-bit addresses, sanitizers) the kernel names a free stretch.
 */
bool mym_pages_init(void)
{
    unsigned shift = 43;
    uintptr_t chunk = MYM_CHUNK_UNITS * MYM_UNIT;
    uintptr_t at = 0;
    size_t units, tables;

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    uintptr_t entropy = (uintptr_t)__builtin_frame_address(0) >> 12;

    /* 32 to 64 TiB, moved by the randomness of the stack's address. */
    at = ((uintptr_t)1 << 45) +
         (entropy * 0x9E3779B97F4A7C15u >> 20 & 0x3FFF) * ((size_t)1 << 30);
    if (mym_os_map_at(at, MYM_UNIT) == MYM_OS_OK)
        mym_os_unmap((void *)at, MYM_UNIT); /* NOLINT */
    else
        at = 0;
#endif
    if (at == 0) {
        for (shift = 40; shift >= 30 && at == 0; shift--)
            at = mym_os_find_window(((size_t)1 << shift) + ((size_t)1 << (shift - 6)));
        shift++;
    }
    if (at == 0)
        return false;
    units = (size_t)1 << (shift - MYM_UNIT_SHIFT);
    at = (at + chunk - 1) & ~(chunk - 1);
    mym_heap.class = (uint8_t *)at;                                       /* NOLINT */
    mym_heap.dirty = (uint64_t *)(at + units);                            /* NOLINT */
    mym_heap.units = (struct mym_unit *)(at + units + units / 8 + chunk); /* NOLINT */
    tables = units + units / 8 + chunk + units * sizeof(struct mym_unit);
    mym_heap.bits = (uint64_t(*)[MYM_BIT_WORDS])(at + tables); /* NOLINT */
    tables += units * sizeof(mym_heap.bits[0]);
    mym_heap.base = (at + tables + chunk) & ~(chunk - 1);
    pages.limit = (uint32_t)units - MYM_CHUNK_UNITS;
    pages.end = 1; /* unit 0 stays absent: the end of every list, and a guard */
    if (pages.keep == 0)
        pages.keep = 32 << 4; /* 32 MiB */
    if (!map_tables(pages.end))
        return false;
    mym_hot.heap_base = mym_heap.base;
    mym_hot.heap_class = mym_heap.class;
    return true;
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
    uint32_t run, first, has;

    LOCK();
    while ((run = find_run(padded)) == 0) {
        if (!grow(padded)) {
            UNLOCK();
            return 0;
        }
    }
    unlink_run(run);
    has = mym_heap.units[run].length;
    first = (uint32_t)((base + run + align - 1) / align * align - base);
    if (first > run)
        link_run(run, first - run);
    if (run + has > first + length)
        link_run(first + length, run + has - first - length);
    *zeroed = count_dirty(first, first + length) == 0;
    mark_dirty(first, first + length, false);
    set_span(first, length, kind);
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
        mark_dirty(first + length, next, true);
        link_coalesced(first + length, old - length);
    } else if (mym_heap.units[next].kind == MYM_FREE &&
               mym_heap.units[next].length >= length - old) {
        uint32_t has = mym_heap.units[next].length;

        unlink_run(next);
        mark_dirty(next, first + length, false);
        if (old + has > length)
            link_run(first + length, old + has - length);
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

    while (!is_dirty(to - 1))
        to--;
    *end = to;
    for (from = to; from > first && excess > 0; from--)
        excess -= is_dirty(from - 1);
    return from;
}

/* Purge one run, which has dirty units, of at most `excess` of them; units given. */
static uint32_t purge_run(uint32_t first, uint32_t excess)
{
    uint32_t length = mym_heap.units[first].length;
    uint32_t end = first + length;
    uint32_t from = stretch_start(first, &end, excess);
    uint32_t given = count_dirty(from, end);
    bool done;

    /* Out of the bins and BUSY, the run is ours while the lock is not. */
    unlink_run(first);
    mym_heap.units[first].kind = MYM_BUSY;
    mym_heap.units[first + length - 1].kind = MYM_BUSY;
    pages.busy += length;
    UNLOCK();
    done = mym_os_purge(mym_unit_address(from), (size_t)(end - from) * MYM_UNIT);
    LOCK();
    pages.busy -= length;
    if (done) {
        mark_dirty(from, end, false);
        pages.purged += given;
    }
    link_coalesced(first, length);
    return done ? given : 0;
}

static uint32_t find_dirty_run(void)
{
    for (unsigned bin = BINS; bin-- > 1;)
        for (uint32_t run = pages.bins[bin]; run != 0; run = mym_heap.units[run].next)
            if (count_dirty(run, run + mym_heap.units[run].length) > 0)
                return run;
    return 0;
}

static uint32_t purge_locked(uint32_t keep)
{
    uint32_t total = 0;

    while (pages.dirty > keep) {
        uint32_t run = find_dirty_run();
        uint32_t given = run == 0 ? 0 : purge_run(run, pages.dirty - keep);

        if (given == 0) /* locked memory (mlock): it stays */
            break;
        total += given;
    }
    return total;
}

size_t mym_pages_purge(size_t keep)
{
    uint32_t given;

    LOCK();
    given = purge_locked((uint32_t)(keep >> MYM_UNIT_SHIFT));
    UNLOCK();
    return (size_t)given * MYM_UNIT;
}

void mym_pages_set_keep(size_t bytes)
{
    LOCK();
    pages.keep = (uint32_t)(bytes >> MYM_UNIT_SHIFT);
    UNLOCK();
}

void mym_pages_put(uint32_t first)
{
    uint32_t length;

    LOCK();
    length = mym_heap.units[first].length;
    memset(&mym_heap.class[first], 0, length);
    /* No unit inside a run may still pass for the start of a span: a second free of the
       same pointer must be seen even after the run was joined with others. */
    mym_heap.units[first].kind = MYM_FREE;
    mark_dirty(first, first + length, true);
    link_coalesced(first, length);
    /* A quarter more than needed, so that not every free pays a system call. */
    if (pages.dirty > pages.keep)
        purge_locked(pages.keep - pages.keep / 4);
    UNLOCK();
}

/* ---- looking ---- */

struct mym_pages_info mym_pages_info(void)
{
    struct mym_pages_info info = {0};

    LOCK();
    info.mapped = (size_t)pages.mapped * MYM_UNIT;
    info.free = (size_t)(pages.free + pages.busy) * MYM_UNIT;
    info.dirty = (size_t)pages.dirty * MYM_UNIT;
    info.purged = (size_t)pages.purged * MYM_UNIT;
    for (unsigned bin = 0; bin < BINS; bin++)
        for (uint32_t run = pages.bins[bin]; run != 0; run = mym_heap.units[run].next) {
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
    uint32_t free = 0, dirty = 0, listed = 0;
    uint8_t last = MYM_ABSENT;

    if (pages.limit == 0)
        return 0;
    LOCK();
    for (uint32_t unit = 1; unit < pages.end;) {
        const struct mym_unit *u = &mym_heap.units[unit];
        uint32_t length = u->kind == MYM_ABSENT ? 1 : u->length;
        uint32_t marked = count_dirty(unit, unit + length);

        if (expect(length > 0 && unit + length <= pages.end, "span leaves the heap"))
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
            dirty += marked;
        } else if (u->kind != MYM_BUSY) {
            bad += expect(marked == 0, "unit in use is marked dirty");
        }
        last = u->kind;
        unit += length;
    }
    for (unsigned bin = 0; bin < BINS; bin++)
        for (uint32_t run = pages.bins[bin]; run != 0; run = mym_heap.units[run].next) {
            bad +=
                expect(bin_of(mym_heap.units[run].length) == bin, "run in a wrong bin");
            bad += expect(mym_heap.units[run].kind == MYM_FREE,
                          "run in a bin is not free");
            listed += mym_heap.units[run].length;
        }
    bad += expect(free == pages.free && listed == free, "free units do not add up");
    bad += expect(dirty == pages.dirty, "dirty units do not add up");
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
    mym_mutex_reset(&pages.lock, MYM_RANK_PAGES);
}
