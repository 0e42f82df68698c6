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
 * whose units each is in part has none; and nothing becomes clean, or leaves the heap, but
 * under the purge lock.
 *
 * Locking: the purge lock while a chunk is looked at and collapsed, so that nothing of it is
 * given back and no process forks meanwhile, and for what is remembered here;
 * mym_pages.lock for the chunk's mark.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

#define CHUNK ((size_t)MYM_CHUNK_UNITS * MYM_UNIT)

/* In one second: 2 MiB are copied in 0.2 to 1.2 ms, and asked about in 0.01. */
#define COLLAPSES 64u
#define TRIES     512u

/* Under both locks. False: it is huge, or would be one mapping too many. */
static bool mark(uint32_t chunk)
{
    if (mym_chunk_is_huge(chunk))
        return false;
    mym_chunk_use(chunk, MYM_CHUNK_UNITS, chunk + MYM_CHUNK_UNITS, true);
    return mym_chunk_is_huge(chunk);
}

enum outcome { STAYS_SMALL, BECAME_HUGE, KERNEL_WOULD_NOT };

MYM_REQUIRES(mym_pages.lock) static enum outcome collapse(uint32_t chunk)
{
    void *at = mym_unit_address(chunk);
    enum mym_collapsed result;
    size_t resident;

    MYM_ASSERT(mym_rank_is_held(MYM_RANK_PURGE));
    mym_pages_unlock();
    resident = mym_os_resident(at, CHUNK, MYM_UNIT);
    mym_pages_lock();
    if (resident < CHUNK - CHUNK / 32 || !mark(chunk))
        return STAYS_SMALL;
    mym_pages_unlock();
    result = mym_os_collapse(at, CHUNK);
    mym_pages_lock();
    if (result == MYM_COLLAPSED)
        return BECAME_HUGE;
    mym_chunk_split(chunk);
    return result == MYM_BUSY ? STAYS_SMALL : KERNEL_WOULD_NOT;
}

/* The first small one from `chunk` on, or the heap's end. */
static uint32_t next_small(uint32_t chunk)
{
    uint32_t end = mym_pages.end / MYM_CHUNK_UNITS * MYM_CHUNK_UNITS;

    while (chunk < end && mym_chunk_is_huge(chunk))
        chunk += MYM_CHUNK_UNITS;
    return chunk;
}

/* ---- what there is to do; guarded by the purge lock, but for `due` ---- */

static _Atomic bool due; /* there may be chunks to collapse */
static uint32_t next;    /* the chunk to go on with, 0: the first */
static bool some;        /* became huge since the first */
static bool able; /* the kernel has made one: what it refuses is that chunk alone */

bool mym_collapse_is_due(void)
{
    return atomic_load_explicit(&due, memory_order_relaxed);
}

bool mym_collapse_is_worth_it(void)
{
    bool worth;

    mym_pages_lock();
    worth = mym_chunk_is_worth_it();
    mym_pages_unlock();
    if (worth)
        atomic_store_explicit(&due, true, memory_order_relaxed);
    return worth;
}

/* Behind the last chunk, or where the kernel makes none: until the heap has grown again. */
static void end(bool again)
{
    next = 0;
    some = false;
    if (!again)
        atomic_store_explicit(&due, false, memory_order_relaxed);
}

/* One chunk. */
static enum outcome step(void)
{
    enum outcome outcome = STAYS_SMALL;

    mym_purge_begin();
    mym_pages_lock();
    next = next_small(next);
    if (next + MYM_CHUNK_UNITS <= mym_pages.end) {
        outcome = collapse(next);
        some |= outcome == BECAME_HUGE;
        able |= outcome == BECAME_HUGE;
        next += MYM_CHUNK_UNITS;
        if (outcome == KERNEL_WOULD_NOT && !able)
            end(false);
    } else {
        end(some);
    }
    mym_pages_unlock();
    mym_purge_end();
    mym_purge_excess(); /* who found the lock taken has left it */
    return outcome;
}

void mym_collapse(void)
{
    unsigned collapses = 0, tries = 0;

    while (collapses < COLLAPSES && tries++ < TRIES && mym_collapse_is_due())
        collapses += step() == BECAME_HUGE;
}
