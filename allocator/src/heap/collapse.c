/*
 * collapse.c - chunks that became dense are made huge pages, by the helper thread alone.
 *
 * Where objects of all sizes come in turn no chunk is known to be dense before it is full
 * (chunk.c). Afterwards the kernel can tell: a chunk of slabs of which all but a 32nd is
 * resident costs no memory as a huge page. MADV_COLLAPSE (Linux 6.1) copies it, off the
 * program's path.
 *
 * The helper goes through the heap after it has grown, and again until there is no more.
 *
 * Locking: the purge lock while a chunk is looked at and collapsed, so that nothing of it is
 * given back and no process forks meanwhile; mym_pages.lock for its mark.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

#define CHUNK ((size_t)MYM_CHUNK_UNITS * MYM_UNIT)

/* In one second: 2 MiB are copied in 0.2 ms or so, and asked about in 0.01. */
#define COLLAPSES 64u
#define TRIES     512u

/* Slabs alone are in it, and it is no huge page yet. */
static bool is_candidate(uint32_t chunk)
{
    for (uint32_t unit = chunk; unit < chunk + MYM_CHUNK_UNITS; unit++)
        if (__atomic_load_n(&mym_heap.cls[unit], __ATOMIC_RELAXED) == 0)
            return false;
    return !mym_chunk_is_huge(chunk);
}

/* Under both locks. False: it is not to be, or would be one mapping too many. */
static bool mark(uint32_t chunk)
{
    if (!is_candidate(chunk))
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
    resident = mym_os_resident(at, CHUNK);
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

/* The first candidate from `chunk` on, or the heap's end. */
static uint32_t next_candidate(uint32_t chunk)
{
    uint32_t end = mym_pages.end / MYM_CHUNK_UNITS * MYM_CHUNK_UNITS;

    while (chunk < end && !is_candidate(chunk))
        chunk += MYM_CHUNK_UNITS;
    return chunk < end ? chunk : end;
}

/* One chunk; *next: the one to go on with, 0 after the last. */
static enum outcome step(uint32_t *next)
{
    enum outcome outcome = STAYS_SMALL;
    uint32_t chunk;

    mym_purge_begin();
    mym_pages_lock();
    chunk = next_candidate(*next);
    *next = 0;
    if (chunk + MYM_CHUNK_UNITS <= mym_pages.end) {
        outcome = collapse(chunk);
        *next = chunk + MYM_CHUNK_UNITS;
    }
    mym_pages_unlock();
    mym_purge_end();
    mym_purge_excess(); /* who found the lock taken has left it */
    return outcome;
}

void mym_collapse(void)
{
    static uint32_t next;
    static bool some; /* since the first chunk */
    unsigned collapses = 0, tries = 0;

    if (next == 0 && !mym_collapse_take_up(false))
        return;
    do {
        enum outcome outcome = step(&next);

        if (outcome == KERNEL_WOULD_NOT) { /* once for each time that the heap grows */
            next = 0;
            some = false;
            break;
        }
        collapses += outcome == BECAME_HUGE;
        some |= outcome == BECAME_HUGE;
    } while (next != 0 && collapses < COLLAPSES && ++tries < TRIES);
    if (next != 0 || some)
        mym_collapse_take_up(true);
    if (next == 0)
        some = false;
}
