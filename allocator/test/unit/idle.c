/*
 * idle.c - what the helper gives back each second, and what the ledger of the page heap grants.
 */
#include "check.h"
#include "spans.h"

#include "alloc/alloc.h"
#include "heap/meta.h"
#include "heap/runs.h"

/* A purge gives back a page of bitmaps at least: so many units less may be left. */
#define STEP ((uint32_t)(MYM_PAGE / sizeof *mym_heap.bits))

static void check_stays(uint32_t units)
{
    uint32_t dirty = mym_pages_dirty();

    CHECKF(dirty <= units && dirty + STEP > units, "%u units, not %u", dirty, units);
}

/* Of what nobody took since the last time a quarter stays, and all that somebody took. */
static void what_nobody_took_cools(void)
{
    uint32_t span;

    mym_start();
    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_pages_purge(0);
    span = take_units(400);
    mym_idle_cool();
    mym_pages_put(span);
    mym_idle_cool(); /* there was less meanwhile */
    check_stays(400);
    mym_idle_cool();
    check_stays(100);
    mym_pages_put(take_units(60));
    mym_idle_cool(); /* 40 were there all the time */
    check_stays(70);
    mym_pages_purge(0);
}

/* What a fall leaves does not wait for a helper where what is mapped counts. */
static void nothing_waits_where_space_is_scarce(void)
{
    mym_start();
    mym_pages.scarce = true;
    mym_idle_set_helped(true);
    CHECK(!mym_pages.ledger.helped);
    mym_pages.scarce = false;
    mym_idle_set_helped(true);
    CHECK(mym_pages.ledger.helped);
    mym_idle_set_helped(false);
    CHECK(!mym_pages.ledger.helped);
}

/*
 * Who swings may be granted more than half of what may stay; but no more than slabs and records
 * leave of it, or nothing would be too much for the rest.
 */
static void no_more_is_granted_than_is_left(void)
{
    const uint32_t keep = 1024, held = 4 * keep;
    uint32_t rest, slabs, left;

    mym_start();
    mym_idle_set_keep(keep * MYM_UNIT);
    mym_meta_count(keep * MYM_UNIT);
    CHECK(mym_idle_grant(MYM_HOLDS_SPANS, held, 0));
    mym_pages_lock();
    slabs = mym_pages.slabs;
    mym_pages.slabs = 8 * keep;
    mym_pages.ledger.high = mym_pages.ledger.use + 2 * keep;
    atomic_store(&mym_pages.ledger.swing, 2 * keep);
    CHECK(mym_ledger_allowance(&mym_pages.ledger) == 3 * keep);
    left = 3 * keep * 3 / 4; /* of records */
    left -= left / 4;        /* of slabs */
    rest = mym_idle_share_out();
    CHECKF(rest == 0 && mym_pages.grants == left, "%u units may stay, %u granted", rest,
           mym_pages.grants);
    mym_pages.slabs = slabs;
    mym_pages_unlock();
    mym_idle_return(MYM_HOLDS_SPANS, held);
    mym_meta_count(-(keep * MYM_UNIT));
    mym_idle_set_keep(0);
}

const struct test tests[] = {
    {"what_nobody_took_cools", what_nobody_took_cools},
    {"nothing_waits_where_space_is_scarce", nothing_waits_where_space_is_scarce},
    {"no_more_is_granted_than_is_left", no_more_is_granted_than_is_left},
    {NULL, NULL},
};
