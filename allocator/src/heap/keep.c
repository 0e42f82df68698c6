/*
 * keep.c - how much free memory may stay resident, and how much may be in use at all.
 *
 * One bound, `keep`, for free runs and for what pools keep, with room for what the program
 * was seen to take again (regret). The page heap purges what is beyond it.
 *
 * Locking: mym_pages.lock guards all but the atomics; functions named mym_keep_ are called
 * with it held.
 */
#include "heap/runs.h"

#include "heap/meta.h"

/* More than any heap has; three times as much is still a number of units. */
#define KEEP_MOST (UINT32_MAX / 4)

#define LOCK()   mym_mutex_lock(&mym_pages.lock, MYM_RANK_PAGES)
#define UNLOCK() mym_mutex_unlock(&mym_pages.lock, MYM_RANK_PAGES)

/* ---- keep and regret ---- */

/* Written under the lock, read without it too: any recent value will do. */
static uint32_t regret(void)
{
    return atomic_load_explicit(&mym_pages.regret, memory_order_relaxed);
}

static void set_regret(uint32_t units)
{
    atomic_store_explicit(&mym_pages.regret, units, memory_order_relaxed);
}

bool mym_pages_regrets(void)
{
    return regret() > 0;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/*
 * Dirty units that may stay: none when the limit of the container is near. `keep` is for
 * the sum with what pools keep, half of it at most, with magazines that were emptied, and
 * with free slots in slabs that are not counted: the more slabs the less is left.
 */
uint32_t mym_keep_now(void)
{
    uint32_t keep = mym_pages.keep;
    uint32_t records = (uint32_t)(mym_meta_bytes() >> MYM_UNIT_SHIFT);
    uint32_t spare = atomic_load_explicit(&mym_pages.spare, memory_order_relaxed);
    uint32_t half;

    if (mym_pages_in_use() + mym_pages_dirty() >= mym_pages.near)
        keep = 0;
    if (keep > 0)
        keep += regret();
    half = keep / 2;
    atomic_store_explicit(&mym_pages.spare_most, half, memory_order_relaxed);
    keep -= least(records, keep / 4);
    keep -= least(mym_pages.slabs / 2, keep / 7);
    return keep - least(spare, half); /* arenas per CPU may come to more than half */
}

/*
 * A program that takes again what was just purged pays for each page twice. What it took
 * again may stay next time: up to twice `keep` more, until the program gives back much more
 * than it takes, or a few seconds pass without a further such case.
 */
#define REGRET_MOST 2u /* times keep */

void mym_keep_took(uint32_t length, uint32_t dirty)
{
    uint32_t fresh = length - dirty;
    uint32_t again = least(fresh, mym_pages.gone);
    uint32_t most = REGRET_MOST * mym_pages.keep;

    mym_pages.gone -= again;
    set_regret(again < most - regret() ? regret() + again : most);
    mym_pages.falling -=
        mym_pages.falling < 4 * length ? mym_pages.falling : 4 * length;
}

void mym_keep_gave(uint32_t length)
{
    mym_pages.falling += length;
    if (mym_pages.falling > 2 * (uint64_t)(mym_pages.keep + regret()))
        set_regret(0);
}

void mym_keep_age(void)
{
    mym_pages.gone /= 2;
    set_regret(regret() / 2);
}

void mym_pages_set_keep(size_t bytes)
{
    size_t units = bytes >> MYM_UNIT_SHIFT;

    LOCK();
    mym_pages.keep = units < KEEP_MOST ? (uint32_t)units : KEEP_MOST;
    set_regret(0);
    mym_pages.gone = 0;
    mym_keep_now(); /* and what of it pools may hold */
    UNLOCK();
    mym_purge_excess();
}

/* ---- what pools keep ---- */

/* So many in all are no more than one part in `part` of what pools may keep. */
static bool may_spare(uint32_t units, uint32_t part)
{
    return units <=
           atomic_load_explicit(&mym_pages.spare_most, memory_order_relaxed) / part;
}

bool mym_pages_spare(uint32_t units, uint32_t part)
{
    uint32_t now = atomic_fetch_add(&mym_pages.spare, units) + units;

    if (part == 0 || may_spare(now, part))
        return true;
    atomic_fetch_sub(&mym_pages.spare, units);
    return false;
}

bool mym_pages_overspent(void)
{
    return !may_spare(atomic_load_explicit(&mym_pages.spare, memory_order_relaxed), 1);
}

void mym_pages_unspare(uint32_t units)
{
    atomic_fetch_sub(&mym_pages.spare, units);
}

void mym_pages_gave(uint32_t units)
{
    LOCK();
    mym_pages.purged += units;
    mym_pages.gone += units;
    mym_keep_gave(units);
    mym_keep_now();
    UNLOCK();
}

void mym_pages_took(uint32_t units)
{
    LOCK();
    mym_keep_took(units, 0);
    mym_keep_now();
    UNLOCK();
}

/* ---- limits ---- */

void mym_pages_set_limit(size_t most, size_t near)
{
    LOCK();
    mym_pages.most = most >> MYM_UNIT_SHIFT;
    mym_pages.near = near >> MYM_UNIT_SHIFT;
    UNLOCK();
}
