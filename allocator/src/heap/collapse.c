/*
 * collapse.c - chunks that became dense are made huge pages, by the helper thread alone.
 *
 * Where objects of all sizes come in turn, or none of their size was freed yet, no chunk is
 * known to be dense before it is full (chunk.c). Afterwards the kernel can tell: a chunk of
 * which all but a 32nd is resident costs no memory as a huge page. MADV_COLLAPSE (Linux 6.1)
 * copies it, off the program's path. A program's own thread does not ask: a sandbox that knows
 * malloc's calls may kill for mincore.
 *
 * The helper goes through the heap after it has grown, and again until there is no more.
 *
 * A huge chunk is clean as a whole or not at all. A clean unit is not resident, so a chunk of
 * whose units each is in part has hardly one: the clean runs tell of a page of it that somebody
 * read who looked at an object that had ended (dense.c). And nothing becomes clean, or leaves
 * the heap, but under the purge lock.
 *
 * Locking: the purge lock while a chunk is looked at and collapsed, so that nothing of it is
 * given back and no process forks meanwhile; mym_pages.lock for its mark.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

/* In one second: 2 MiB are copied in 0.2 to 1.2 ms, and asked about in 0.01. */
#define COLLAPSES 64u
#define TRIES     512u

static bool has_clean(uint32_t chunk)
{
    for (unsigned bin = 0; bin < MYM_RUN_BINS; bin++)
        for (uint32_t run = mym_runs(MYM_CLEAN)->bins[bin]; run != 0;
             run = mym_heap.units[run].next)
            if (run < chunk + MYM_CHUNK_UNITS &&
                chunk < run + mym_heap.units[run].length)
                return true;
    return false;
}

/* Under both locks. False: it is huge, would be one mapping too many, or is clean in part. */
static bool mark(uint32_t chunk)
{
    if (mym_chunk_is_huge(chunk) || has_clean(chunk))
        return false;
    mym_chunk_use(chunk, MYM_CHUNK_UNITS, chunk + MYM_CHUNK_UNITS, MYM_DENSE);
    return mym_chunk_is_huge(chunk);
}

enum outcome { STAYS_SMALL, BECAME_HUGE, KERNEL_WOULD_NOT };

static enum outcome collapse(uint32_t chunk) MYM_REQUIRES(mym_pages.lock)
{
    void *at = mym_unit_address(chunk);
    enum mym_collapsed result;
    size_t resident;

    MYM_ASSERT(mym_rank_is_held(MYM_RANK_PURGE));
    mym_pages_unlock();
    resident = mym_os_resident(at, MYM_CHUNK, MYM_UNIT);
    mym_pages_lock();
    if (resident < MYM_CHUNK - MYM_CHUNK / 32 || !mark(chunk))
        return STAYS_SMALL;
    mym_pages_unlock();
    result = mym_os_collapse(at, MYM_CHUNK);
    mym_pages_lock();
    if (result == MYM_COLLAPSED)
        return BECAME_HUGE;
    mym_chunk_split(chunk, 1);
    return result == MYM_BUSY ? STAYS_SMALL : KERNEL_WOULD_NOT;
}

/* The first small one from `chunk` on, or the heap's end. */
static uint32_t next_small(uint32_t chunk)
{
    uint32_t end = mym_chunk_down(mym_pages.end);

    while (chunk < end && mym_chunk_is_huge(chunk))
        chunk += MYM_CHUNK_UNITS;
    return chunk;
}

/* One chunk; *next: the one to go on with, 0 after the last. */
static enum outcome step(uint32_t *next)
{
    enum outcome outcome = STAYS_SMALL;
    uint32_t chunk;

    mym_purge_begin();
    mym_pages_lock();
    chunk = next_small(*next);
    *next = 0;
    if (chunk + MYM_CHUNK_UNITS <= mym_pages.end) {
        outcome = collapse(chunk);
        *next = chunk + MYM_CHUNK_UNITS;
    }
    mym_pages_unlock();
    mym_purge_leave();
    return outcome;
}

/*
 * The kernel refuses a chunk that is not one mapping, and where no huge page is to be had, after
 * a while: the next one a second later. If it never made one, not before the heap has grown.
 */
void mym_collapse(void)
{
    static uint32_t next;
    static bool some; /* since the first chunk */
    static bool able; /* has made one */
    unsigned collapses = 0, tries = 0;
    enum outcome outcome;

    if (next == 0 && !mym_collapse_take_up())
        return;
    do {
        outcome = step(&next);
        collapses += outcome == BECAME_HUGE;
        some |= outcome == BECAME_HUGE;
    } while (outcome != KERNEL_WOULD_NOT && next != 0 && collapses < COLLAPSES &&
             ++tries < TRIES);
    able |= some;
    if (outcome == KERNEL_WOULD_NOT && !able)
        next = 0;
    mym_collapse_put_down(next != 0, next == 0 && some);
    if (next == 0)
        some = false;
}
