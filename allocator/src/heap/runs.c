/*
 * runs.c - free runs: dirty bits, bins by length, coalescing.
 *
 * Locking: the caller holds mym_pages.lock.
 */
#include "heap/runs.h"

/* One bin for each length up to 63, then four per doubling. */
#define EXACT_BINS 64u

/* Runs that a search compares. */
#define LOOKS 64u

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

uint32_t mym_runs_count_dirty(uint32_t from, uint32_t to)
{
    uint32_t count = 0;

    for (uint32_t word = from / 64; word <= (to - 1) / 64; word++) {
        uint64_t mask = range_mask(from, to, word);
        uint64_t set = mym_heap.dirty[word] & mask;

        if (set == mask) /* all or none, mostly: no call into the compiler's library */
            count += 64u - (uint32_t)(__builtin_clzll(mask) + __builtin_ctzll(mask));
        else if (set != 0)
            count += (uint32_t)__builtin_popcountll(set);
    }
    return count;
}

void mym_runs_mark_dirty(uint32_t from, uint32_t to)
{
    for (uint32_t word = from / 64; word <= (to - 1) / 64; word++)
        mym_heap.dirty[word] |= range_mask(from, to, word);
    mym_pages.dirty += to - from;
}

uint32_t mym_runs_mark_clean(uint32_t from, uint32_t to)
{
    uint32_t count = mym_runs_count_dirty(from, to);

    for (uint32_t word = from / 64; count > 0 && word <= (to - 1) / 64; word++)
        mym_heap.dirty[word] &= ~range_mask(from, to, word);
    mym_pages.dirty -= count;
    return count;
}

bool mym_runs_is_dirty(uint32_t unit)
{
    return mym_heap.dirty[unit / 64] >> unit % 64 & 1;
}

/* ---- bins of free runs ---- */

unsigned mym_runs_bin_of(uint32_t length)
{
    unsigned log;

    if (length < EXACT_BINS)
        return length;
    log = 31 - (unsigned)__builtin_clz(length);
    return EXACT_BINS + (log - 6) * 4 + (length >> (log - 2) & 3);
}

void mym_runs_link(uint32_t first, uint32_t length)
{
    struct mym_unit *unit = &mym_heap.units[first];
    unsigned bin = mym_runs_bin_of(length);

    unit->kind = MYM_FREE;
    unit->first = first;
    unit->length = length;
    unit->prev = 0;
    unit->next = mym_pages.bins[bin];
    if (unit->next != 0)
        mym_heap.units[unit->next].prev = first;
    mym_pages.bins[bin] = first;
    mym_pages.filled[bin / 64] |= (uint64_t)1 << bin % 64;
    mym_heap.units[first + length - 1].kind = MYM_FREE;
    mym_heap.units[first + length - 1].first = first;
    mym_pages.free += length;
}

void mym_runs_unlink(uint32_t first)
{
    struct mym_unit *unit = &mym_heap.units[first];
    unsigned bin = mym_runs_bin_of(unit->length);

    if (unit->next != 0)
        mym_heap.units[unit->next].prev = unit->prev;
    if (unit->prev != 0)
        mym_heap.units[unit->prev].next = unit->next;
    else
        mym_pages.bins[bin] = unit->next;
    if (mym_pages.bins[bin] == 0)
        mym_pages.filled[bin / 64] &= ~((uint64_t)1 << bin % 64);
    mym_pages.free -= unit->length;
}

/* Link [first, first + length) as free, joined with the free runs on either side. */
void mym_runs_put(uint32_t first, uint32_t length)
{
    struct mym_unit *before = &mym_heap.units[first - 1];
    uint32_t after = first + length;

    if (before->kind == MYM_FREE) {
        uint32_t start = before->first;

        mym_runs_unlink(start);
        length += first - start;
        first = start;
    }
    if (mym_heap.units[after].kind == MYM_FREE) {
        length += mym_heap.units[after].length;
        mym_runs_unlink(after);
    }
    mym_runs_link(first, length);
}

/* The filled bin after `bin`, or MYM_RUN_BINS. */
static unsigned next_filled(unsigned bin)
{
    while (++bin < MYM_RUN_BINS) {
        uint64_t rest = mym_pages.filled[bin / 64] >> bin % 64;

        if (rest != 0)
            return bin + (unsigned)__builtin_ctzll(rest);
        bin |= 63;
    }
    return MYM_RUN_BINS;
}

/* Pages are what costs: the units of a run's start that would fault. */
static uint32_t cost_of(uint32_t run, uint32_t length)
{
    return length - mym_runs_count_dirty(run, run + length);
}

/*
 * Of the runs of at least `length` units the one whose start is dirtiest, so that memory
 * which is resident is used before more is; of these the shortest, at the lower address.
 */
uint32_t mym_runs_find(uint32_t length)
{
    uint32_t best = 0, best_cost = UINT32_MAX;
    unsigned looks = 0;

    for (unsigned bin = mym_runs_bin_of(length) - 1;
         best_cost > 0 && (bin = next_filled(bin)) < MYM_RUN_BINS;)
        for (uint32_t run = mym_pages.bins[bin]; run != 0 && looks < LOOKS;
             run = mym_heap.units[run].next) {
            uint32_t has = mym_heap.units[run].length;
            uint32_t cost = has < length ? UINT32_MAX : cost_of(run, length);

            looks += has >= length; /* runs too short for us do not count as a look */
            if (cost < best_cost ||
                (cost == best_cost && best != 0 &&
                 (has < mym_heap.units[best].length ||
                  (has == mym_heap.units[best].length && run < best)))) {
                best = run;
                best_cost = cost;
            }
        }
    return best;
}
