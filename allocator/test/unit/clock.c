/*
 * clock.c - the clock may go back: in a child of a time namespace, after a checkpoint was restored.
 */
#include "check.h"

#include "alloc/alloc.h"
#include "cache/cache.h"
#include "heap/runs.h"
#include "os/os.h"

/* In the place of the one of os/clock.c. */
static uint64_t now_ms = 1000000;

uint64_t __wrap_mym_os_coarse_ms(void);
uint64_t __wrap_mym_os_coarse_ms(void)
{
    return now_ms;
}

static unsigned seconds;

static void count_seconds(void)
{
    seconds++;
}

static void upkeep_at(uint64_t ms, unsigned expected)
{
    now_ms = ms;
    mym_cache_upkeep();
    CHECKF(seconds == expected, "%u seconds have passed at %zu ms, not %u", seconds,
           (size_t)ms, expected);
}

static void a_second_passes_after_the_clock_went_back(void)
{
    CHECK(mym_start());
    mym_cache_each_second = count_seconds;
    upkeep_at(1000000, 1);
    upkeep_at(1000500, 1);
    upkeep_at(1001100, 2);
    upkeep_at(500, 3);
    upkeep_at(900, 3);
    upkeep_at(1600, 4);
}

/* An eighth of what a program swings by is forgotten then. */
static void the_ledger_is_told(void)
{
    CHECK(mym_start());
    now_ms += 5000;
    mym_cache_upkeep();
    atomic_store(&mym_pages.ledger.swing, 800);
    now_ms += 500;
    mym_cache_upkeep();
    CHECK(mym_pages.ledger.swing == 800);
    now_ms += 500;
    mym_cache_upkeep();
    CHECK(mym_pages.ledger.swing == 700);
}

static uint32_t pace_after(unsigned looks, uint64_t ms)
{
    for (unsigned i = 0; i < looks; i++) {
        now_ms += ms;
        mym_cache_upkeep();
    }
    return mym_upkeep_pace();
}

/* Exchanges of a cache between two looks, less one: from 32 to 1024. */
static void who_is_busy_looks_more_seldom(void)
{
    CHECK(mym_start());
    pace_after(20, 100);
    CHECK(pace_after(1, 99) == 63);
    CHECK(pace_after(20, 99) == 1023);
    CHECK(pace_after(1, 100) == 511);
    CHECK(pace_after(20, 100) == 31);
}

static void what_is_due(void)
{
    CHECK(mym_os_is_due(7, 0, 1000) && mym_os_is_due(7, 7, 1000));
    CHECK(!mym_os_is_due(7, 8, 1000) && !mym_os_is_due(7, 1007, 1000));
    CHECK(mym_os_is_due(7, 1008, 1000));
}

const struct test tests[] = {
    {"a_second_passes_after_the_clock_went_back",
     a_second_passes_after_the_clock_went_back},
    {"the_ledger_is_told", the_ledger_is_told},
    {"who_is_busy_looks_more_seldom", who_is_busy_looks_more_seldom},
    {"what_is_due", what_is_due},
    {NULL, NULL},
};
