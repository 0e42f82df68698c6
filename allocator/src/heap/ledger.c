/*
 * ledger.c - idle memory: who holds it, how much may stay, how much may be in use at all.
 *
 * One allowance (ledger.h) for the sum of what everybody holds: free runs and idle own
 * mappings, which the page heap counts itself; pools and caches, which are granted what
 * they hold; and records. The page heap purges what is beyond it.
 *
 * Locking: mym_pages.lock guards all but the atomics. Grants are made under the lock of a
 * pool, or under none.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "heap/meta.h"

/* ---- the rule ---- */

static uint32_t swing_of(const struct mym_ledger *ledger)
{
    return atomic_load_explicit(&ledger->swing, memory_order_relaxed);
}

void mym_ledger_see(struct mym_ledger *ledger, uint32_t use)
{
    uint32_t back = mym_least(use, ledger->high);

    if (back > ledger->low && back - ledger->low > ledger->seen) {
        ledger->seen = back - ledger->low;
        if (ledger->seen > swing_of(ledger))
            atomic_store(&ledger->swing, ledger->seen);
    }
    if (use >= ledger->high)
        ledger->high = ledger->low = use;
    ledger->low = mym_least(use, ledger->low);
    ledger->use = use;
    MYM_ASSERT(ledger->low <= use && use <= ledger->high);
}

/* An eighth is forgotten each second: half of it in 5 s. */
static uint32_t eighth(uint32_t of)
{
    return of / 8 + (of % 8 != 0);
}

void mym_ledger_age(struct mym_ledger *ledger)
{
    uint32_t swing = swing_of(ledger) - eighth(swing_of(ledger));

    atomic_store(&ledger->swing, ledger->seen > swing ? ledger->seen : swing);
    ledger->seen = 0;
    ledger->high -= eighth(ledger->high - ledger->use);
    ledger->low += eighth(ledger->use - ledger->low);
}

uint32_t mym_ledger_allowance(const struct mym_ledger *ledger)
{
    uint32_t keep = ledger->keep, most = 2 * keep, back = ledger->high - ledger->use;

    if (keep == 0)
        return 0;
    if (ledger->helped)
        return keep + back;
    if (ledger->high / 4 > 3 * keep)
        most = ledger->high / 4 - keep;
    return keep + mym_least(mym_least(swing_of(ledger), back), most);
}

/* ---- who holds what ---- */

uint32_t mym_idle_held(enum mym_holder holder)
{
    return atomic_load_explicit(&mym_pages.held[holder], memory_order_relaxed);
}

uint32_t mym_idle_held_in_all(void)
{
    uint32_t units = 0;

    for (unsigned holder = 0; holder < MYM_HOLDERS; holder++)
        units += mym_idle_held(holder);
    return units;
}

/* Units that hold objects, as far as the ledger is concerned. */
static uint32_t in_use(void)
{
    uint64_t used = mym_pages_in_use();
    uint64_t idle = (uint64_t)mym_idle_held_in_all() +
                    atomic_load_explicit(&mym_pages.hollow, memory_order_relaxed);

    used -= used < idle ? used : idle;
    return used < UINT32_MAX ? (uint32_t)used : UINT32_MAX;
}

/*
 * Of the allowance, what pools and caches may hold: half of `keep`, and all that stays because
 * the program swings, as it takes the objects again that it gave back, slab by slab. Nobody can
 * tell a slab that is emptied at random from one whose last objects stay.
 */
static uint32_t granted(uint32_t may)
{
    const struct mym_ledger *ledger = &mym_pages.ledger;

    return ledger->helped || may <= ledger->keep ? may / 2 : may - ledger->keep / 2;
}

/* What was taken early is for all that comes: of any size, so no pool holds more than elsewhere. */
#define EARLY_GRANTS (16 * MYM_CHUNK_UNITS)

/*
 * What is left of the allowance for dirty runs and idle mappings: none when the limit of
 * the container is near. Magazines that were emptied and free places in slabs that nobody
 * counts have a share: the more slabs the less is left.
 */
uint32_t mym_idle_share_out(void)
{
    uint32_t may = mym_ledger_allowance(&mym_pages.ledger), room, grants;
    uint32_t records = (uint32_t)(mym_meta_bytes() >> MYM_UNIT_SHIFT);

    if (mym_pages_in_use() + mym_pages_dirty() >= mym_pages.near)
        may = 0;
    room = may - mym_least(records, may / 4);
    room -= mym_least(mym_pages.slabs / 2, room / 4);
    grants = mym_least(granted(may), room);
    if (mym_pages_is_early())
        grants = mym_least(grants, EARLY_GRANTS);
    atomic_store_explicit(&mym_pages.grants, grants, memory_order_relaxed);
    return room - mym_least(mym_idle_held_in_all(),
                            grants); /* arenas per CPU may come to more */
}

void mym_idle_watch(void)
{
    uint32_t dirty = mym_pages_dirty();

    mym_ledger_see(&mym_pages.ledger, in_use());
    mym_pages.unused = mym_least(mym_pages.unused, dirty);
    mym_pages.stuck = mym_least(mym_pages.stuck, 2 * dirty);
}

void mym_idle_stick(void)
{
    mym_pages.stuck = 2 * mym_pages_dirty();
}

bool mym_idle_watch_excess(void)
{
    uint32_t keep;

    mym_idle_watch();
    keep = mym_idle_share_out();
    return mym_pages_dirty() > (keep > mym_pages.stuck ? keep : mym_pages.stuck);
}

bool mym_idle_is_swinging(void)
{
    return swing_of(&mym_pages.ledger) > 0;
}

/* ---- grants ---- */

static bool may_hold(uint32_t units, uint32_t part)
{
    return units <=
           atomic_load_explicit(&mym_pages.grants, memory_order_relaxed) / part;
}

/* The quarantine's part is its own: slabs without an object would leave it nothing of it. */
bool mym_idle_grant(enum mym_holder holder, uint32_t units, uint32_t part)
{
    uint32_t own = atomic_fetch_add(&mym_pages.held[holder], units) + units;
    uint32_t all = mym_idle_held_in_all();

    if (part == 0 ||
        (may_hold(all, 1) && may_hold(holder == MYM_HOLDS_SHELF ? own : all, part)))
        return true;
    atomic_fetch_sub(&mym_pages.held[holder], units);
    return false;
}

bool mym_idle_is_overdrawn(void)
{
    return !may_hold(mym_idle_held_in_all(), 1);
}

void mym_idle_return(enum mym_holder holder, uint32_t units)
{
    atomic_fetch_sub(&mym_pages.held[holder], units);
}

void mym_idle_recount(enum mym_holder holder, uint32_t units)
{
    atomic_store(&mym_pages.held[holder], units);
}

uint32_t mym_idle_add_hollow(int32_t units)
{
    return atomic_fetch_add(&mym_pages.hollow, (uint32_t)units) + (uint32_t)units;
}

void mym_idle_settle(void)
{
    mym_pages_lock();
    mym_idle_watch();
    mym_idle_share_out();
    mym_pages_unlock();
}

/* ---- limits ---- */

void mym_pages_set_scarce(void)
{
    mym_pages_lock();
    mym_pages.scarce = true;
    mym_pages_unlock();
}

bool mym_pages_is_scarce(void)
{
    return MYM_RACY(mym_pages.scarce); /* written at start alone */
}

bool mym_pages_is_early(void)
{
    return MYM_RACY(mym_pages.early);
}

void mym_pages_set_limit(size_t most, size_t near)
{
    mym_pages_lock();
    mym_pages.most = most >> MYM_UNIT_SHIFT;
    near >>= MYM_UNIT_SHIFT;
    if (near < mym_pages.near) /* it may have come, and be passed already */
        mym_pages.told_near = near;
    mym_pages.near = near;
    mym_pages_unlock();
}
