/*
 * idle.c - what is done about idle memory: when the helper is told, and what it, or another
 * allowance, gives back at once. The ledger and the purges below know of neither.
 *
 * Locking: mym_pages.lock, as said; none is held when the helper is told, or over a purge.
 */
#include "heap/runs.h"

/* More than any heap has; three times as much is still a number of units. */
#define KEEP_MOST (UINT32_MAX / 4)

static bool unmapped; /* as mym_idle_set_unmapped was told */

static void note_early(void) MYM_REQUIRES(mym_pages.lock)
{
    __atomic_store_n(&mym_pages.early, unmapped && mym_pages.ledger.keep == KEEP_MOST,
                     __ATOMIC_RELAXED);
    mym_idle_share_out(); /* and what of it may be granted */
}

void mym_idle_set_unmapped(bool is)
{
    mym_pages_lock();
    unmapped = is;
    note_early();
    mym_pages_unlock();
}

size_t mym_idle_set_keep(size_t bytes)
{
    size_t units = bytes >> MYM_UNIT_SHIFT, before;

    mym_pages_lock();
    before = mym_pages.ledger.keep;
    mym_pages.ledger.keep = units < KEEP_MOST ? (uint32_t)units : KEEP_MOST;
    mym_pages.ledger.high = mym_pages.ledger.seen = 0;
    atomic_store(&mym_pages.ledger.swing, 0);
    mym_pages.stuck = 0;
    mym_idle_watch();
    note_early();
    mym_pages_unlock();
    mym_purge_excess();
    return before << MYM_UNIT_SHIFT;
}

void mym_idle_age(void)
{
    mym_pages_lock();
    mym_ledger_age(&mym_pages.ledger);
    mym_pages.stuck -= mym_pages.stuck / 8;
    mym_pages_unlock();
    mym_purge_excess();
}

/* ---- the helper ---- */

static _Atomic bool due;   /* there may be chunks to collapse */
static _Atomic bool begun; /* some of them were looked at */

bool mym_collapse_is_due(void)
{
    return atomic_load_explicit(&due, memory_order_relaxed) ||
           atomic_load_explicit(&begun, memory_order_relaxed);
}

bool mym_collapse_take_up(void)
{
    return atomic_exchange(&due, false);
}

void mym_collapse_put_down(bool unfinished, bool again)
{
    atomic_store(&begun, unfinished);
    if (again)
        atomic_store(&due, true);
}

void (*mym_idle_when_much)(void);

static bool is_much(uint32_t dirty)
{
    return dirty + mym_idle_held_in_all() > MYM_IDLE_LITTLE || mym_collapse_is_due();
}

void mym_idle_ask(void)
{
    void (*tell)(void) = __atomic_load_n(&mym_idle_when_much, __ATOMIC_RELAXED);

    if (tell != NULL)
        tell();
}

void mym_idle_tell(uint32_t dirty)
{
    if (__atomic_load_n(&mym_idle_when_much, __ATOMIC_RELAXED) != NULL &&
        is_much(dirty))
        mym_idle_ask();
}

void mym_idle_left(uint32_t units)
{
    mym_purge_excess();
    mym_idle_tell(units);
}

bool mym_idle_is_much(void)
{
    uint32_t dirty;

    mym_pages_lock();
    dirty = mym_pages_dirty();
    mym_pages_unlock();
    return is_much(dirty);
}

void mym_idle_set_helped(bool helped)
{
    mym_pages_lock();
    mym_pages.ledger.helped = helped && !mym_pages.scarce; /* nothing waits there */
    mym_pages_unlock();
    if (!helped)
        mym_purge_excess();
}

void mym_idle_cool(void)
{
    uint32_t unused, stays;

    mym_pages_lock();
    stays = mym_pages_dirty();
    unused = mym_least(mym_pages.unused, stays);
    stays -= unused - unused / 4;
    mym_pages.unused = stays;
    mym_pages_unlock();
    mym_pages_purge((size_t)stays * MYM_UNIT);
}

void mym_collapse_tell(void)
{
    bool worth;

    if (mym_idle_when_much == NULL)
        return;
    mym_pages_lock();
    worth = mym_chunk_is_worth_it(MYM_DENSE); /* as what collapses is known to be */
    mym_pages_unlock();
    if (!worth)
        return;
    atomic_store(&due, true);
    mym_idle_tell(0);
}
