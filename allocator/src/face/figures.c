/*
 * figures.c - what was read of the heap, added up as jemalloc's statistics are.
 *
 * Locking: mym_info_lock guards it; fork takes that.
 */
#include "face/figures.h"

#include "alloc/alloc.h"
#include "face/names.h"
#include "os/os.h"

static struct mym_info info;
static struct mym_figures figures;
static uint64_t epoch; /* 0: never read */

/* Pools and pages were read one after the other: no less is active than was handed out. */
static void add_up(void)
{
    size_t slabs = 0, whole = 0, least;

    for (unsigned i = 1; i < mym_class_count; i++) {
        slabs += info.cls[i].slabs * mym_classes[i].units * MYM_UNIT;
        whole += info.cls[i].whole * mym_classes[i].units * MYM_UNIT;
    }
    figures.small = info.small_used;
    figures.large = info.large + info.huge + info.reaps;
    figures.active = figures.large + slabs - whole + info.guarded_pages;
    figures.large += info.guarded_bytes;
    least = mym_round_up(figures.small + figures.large, MYM_UNIT);
    if (figures.active < least)
        figures.active = least;
    figures.dirty = info.pages.dirty + info.pages.idle + whole + info.spans +
                    info.pages.held[MYM_HOLDS_SHELF];
    figures.retained = info.pages.free - info.pages.dirty;
    figures.meta = mym_round_up(info.meta, mym_os_page());
    figures.purged = info.pages.purged;
}

uint64_t mym_figures_refresh(bool always)
{
    uint64_t number;

    mym_start();
    mym_mutex_lock(&mym_info_lock, MYM_RANK_INFO);
    if (always || epoch == 0) {
        mym_info_read(&info);
        add_up();
        epoch++;
    }
    number = epoch;
    mym_mutex_unlock(&mym_info_lock, MYM_RANK_INFO);
    return number;
}

struct mym_figures mym_figures_of(const size_t *at)
{
    struct mym_figures copy = {0};

    mym_figures_refresh(false);
    mym_mutex_lock(&mym_info_lock, MYM_RANK_INFO);
    if (!mym_arena_is_created(at[0]))
        copy = figures;
    mym_mutex_unlock(&mym_info_lock, MYM_RANK_INFO);
    return copy;
}

struct mym_class_info mym_bin_of(const size_t *at)
{
    struct mym_class_info copy = {0};

    mym_figures_refresh(false);
    mym_mutex_lock(&mym_info_lock, MYM_RANK_INFO);
    if (!mym_arena_is_created(at[0]))
        copy = info.cls[at[1] + 1];
    mym_mutex_unlock(&mym_info_lock, MYM_RANK_INFO);
    return copy;
}
