/*
 * reaps.c - reaps as a whole: made, emptied, ended, looked at; the list of all of them.
 *
 * Records are never unmapped and are used again for reaps only, so one that was destroyed
 * can be told from one that was not until there is another in its place.
 *
 * Locking: list_lock guards the lists; then a reap's own lock. Spans go back to the page
 * heap with no lock held.
 */
#include "alloc/reap.h"

#include "alloc/alloc.h"
#include "base/check.h"
#include "heap/meta.h"

#include <errno.h>
#include <string.h>

static struct mym_mutex list_lock;
static struct mym_reap *destroyed;
struct mym_reap *mym_reaps;

#define LOCK_LIST()   mym_mutex_lock(&list_lock, MYM_RANK_REAPS)
#define UNLOCK_LIST() mym_mutex_unlock(&list_lock, MYM_RANK_REAPS)

/* ---- from first to last ---- */

static void own(struct mym_reap *reap)
{
    __atomic_store_n(&reap->owner, (uintptr_t)__builtin_thread_pointer(),
                     __ATOMIC_RELAXED);
}

struct mym_reap *mym_reap_create(size_t limit)
{
    struct mym_reap *reap;

    if (!mym_is_unwatched() && !mym_start())
        return NULL;
    LOCK_LIST();
    reap = destroyed;
    if (reap != NULL)
        destroyed = reap->next;
    else
        reap = mym_meta_take(sizeof *reap, MYM_CACHELINE);
    if (reap != NULL) {
        *reap = (struct mym_reap){
            .most = limit > UINT32_MAX / 2 * MYM_UNIT || limit == 0
                        ? UINT32_MAX
                        : mym_units_for(limit),
            .length = 1,
            .alive = true,
            .next = mym_reaps,
        };
        own(reap);
        if (mym_reaps != NULL)
            mym_reaps->prev = reap;
        mym_reaps = reap;
    }
    UNLOCK_LIST();
    if (reap == NULL)
        errno = ENOMEM;
    return reap;
}

/* All objects end, but for the spans, two chains that are the caller's now. */
static void forget_objects(struct mym_reap *reap, uint32_t *windows, uint32_t *large)
    MYM_REQUIRES(reap->lock)
{
    *windows = reap->windows;
    *large = reap->large;
    reap->windows = reap->large = reap->held = 0;
    reap->own = reap->shared = (struct mym_bump){0, 0, 0};
    reap->freed = 0;
    memset(reap->filled, 0, sizeof reap->filled);
    memset(reap->free, 0, sizeof reap->free);
}

static void release(uint32_t windows, uint32_t large)
{
    while (windows != 0) {
        uint32_t next = mym_heap.units[windows].next;

        mym_sampled_end(windows);
        mym_window_put(windows);
        windows = next;
    }
    while (large != 0) {
        uint32_t next = mym_heap.units[large].next;

        mym_sampled_end(large);
        mym_heap.units[large].cls = MYM_REAPED;
        mym_pages_put(large);
        large = next;
    }
}

static uint32_t count_units(uint32_t windows)
{
    uint32_t units = 0;

    for (; windows != 0; windows = mym_heap.units[windows].next)
        units += mym_heap.units[windows].length;
    return units;
}

/*
 * What was in several windows will have room in one the next time. The own one stays, if
 * it is that long: a program that resets for each request then meets no lock but the reap's.
 * Where there is a limit it begins as a new one: a longer window, or one that stays, would
 * take of it what objects had before.
 */
void mym_reap_reset(struct mym_reap *reap)
{
    uint32_t windows, large, units, kept;
    struct mym_bump bump;

    mym_reap_lock(reap);
    if (!reap->alive) {
        mym_reap_unlock(reap);
        mym_fatal(MYM_DESTROYED, reap);
    }
    bump = reap->own;
    units = count_units(reap->windows);
    forget_objects(reap, &windows, &large);
    if (reap->most != UINT32_MAX)
        reap->length = 1;
    else if (units > 0)
        reap->length = mym_reap_length(2 * units - 1);
    kept = reap->most == UINT32_MAX ? bump.first : 0;
    if (kept != 0 && kept == windows && mym_heap.units[kept].length >= reap->length) {
        windows = mym_heap.units[kept].next;
        mym_window_empty(kept, bump.at);
        mym_heap.units[kept].next = 0;
        bump.at = (uintptr_t)mym_unit_address(kept);
        reap->own = bump;
        reap->windows = kept;
        reap->held = mym_heap.units[kept].length;
    }
    own(reap);
    mym_reap_unlock(reap);
    release(windows, large);
}

static void destroy(struct mym_reap *reap)
{
    uint32_t windows, large;
    bool alive;

    mym_reap_lock(reap);
    alive = reap->alive;
    if (alive)
        forget_objects(reap, &windows, &large);
    reap->alive = false;
    mym_reap_unlock(reap);
    if (!alive)
        mym_fatal(MYM_DESTROYED, reap);
    release(windows, large);
    LOCK_LIST();
    if (reap->next != NULL)
        reap->next->prev = reap->prev;
    if (reap->prev != NULL)
        reap->prev->next = reap->next;
    else
        mym_reaps = reap->next;
    reap->next = destroyed;
    destroyed = reap;
    UNLOCK_LIST();
}

void mym_reap_destroy(struct mym_reap *reap)
{
    if (reap == NULL)
        return;
    if (mym_reap_is_left(reap))
        mym_fatal(MYM_DESTROYED, reap);
    destroy(reap);
}

static size_t used_bytes(const struct mym_reap *reap, uint32_t window)
{
    return mym_reap_used(reap, window) - (uintptr_t)mym_unit_address(window);
}

/* ---- left to its objects ---- */

static struct mym_reap *left, **left_end = &left; /* under list_lock */

static bool ends(struct mym_reap *reap)
{
    size_t used = 0;
    bool over;

    mym_reap_lock(reap);
    for (uint32_t w = reap->windows; w != 0; w = mym_heap.units[w].next)
        used += used_bytes(reap, w);
    over = reap->large == 0 && used == reap->freed;
    mym_reap_unlock(reap);
    if (over)
        destroy(reap);
    return over;
}

static struct mym_reap *take_left(void)
{
    struct mym_reap *reap;

    LOCK_LIST();
    reap = left;
    if (reap != NULL && (left = reap->left) == NULL)
        left_end = &left;
    UNLOCK_LIST();
    return reap;
}

static void keep_left(struct mym_reap *reap)
{
    LOCK_LIST();
    reap->left = NULL;
    *left_end = reap;
    left_end = &reap->left;
    UNLOCK_LIST();
}

/* Two are looked at for one that comes: those whose objects are gone become fewer. */
void mym_reap_leave(struct mym_reap *reap)
{
    if (__atomic_exchange_n(&reap->is_left, true, __ATOMIC_RELAXED))
        mym_fatal(MYM_DESTROYED, reap);
    if (!ends(reap))
        keep_left(reap);
    for (int i = 0; i < 2 && (reap = take_left()) != NULL; i++)
        if (!ends(reap))
            keep_left(reap);
}

/* ---- looking ---- */

void mym_reap_info(struct mym_reap *reap, struct MyArenaInfo *info)
{
    *info = (struct MyArenaInfo){0};
    mym_reap_lock(reap);
    info->held = reap->held * MYM_UNIT;
    info->peak = reap->peak * MYM_UNIT;
    info->limit = reap->most == UINT32_MAX ? 0 : reap->most * MYM_UNIT;
    info->freed = reap->freed;
    for (uint32_t w = reap->windows; w != 0; w = mym_heap.units[w].next) {
        info->used += used_bytes(reap, w);
        info->objects += mym_window_count(w, mym_reap_used(reap, w));
        info->spans++;
    }
    for (uint32_t l = reap->large; l != 0; l = mym_heap.units[l].next) {
        info->used += mym_heap.units[l].length * MYM_UNIT;
        info->objects++;
        info->spans++;
    }
    info->used -= reap->freed;
    mym_reap_unlock(reap);
}

size_t mym_reaps_bytes(void)
{
    size_t bytes = 0;

    LOCK_LIST();
    for (struct mym_reap *reap = mym_reaps; reap != NULL; reap = reap->next) {
        mym_reap_lock(reap);
        bytes += reap->held * MYM_UNIT;
        mym_reap_unlock(reap);
    }
    UNLOCK_LIST();
    return bytes;
}

/* Bytes of freed objects in it. */
static size_t verify_window(const struct mym_reap *reap, uint32_t first, size_t *freed)
{
    const struct mym_unit *window = &mym_heap.units[first];
    uintptr_t used = mym_reap_used(reap, first), next;
    uintptr_t at = (uintptr_t)mym_unit_address(first);
    size_t bad;

    bad = mym_expect("arena check",
                     window->kind == MYM_WINDOW && window->reap == reap &&
                         window->first == first,
                     "a window of another");
    bad +=
        mym_expect("arena check", used >= at && used - at <= window->length * MYM_UNIT,
                   "a window is used beyond its end");
    bad += mym_expect("arena check", used == at || mym_window_is_start(at),
                      "a window begins in an object");
    for (; at < used && bad == 0; at = next) {
        next = mym_window_after(at, used);
        if (mym_window_is_freed(window, at))
            *freed += next - at;
    }
    return bad;
}

static size_t verify_large(const struct mym_reap *reap, uint32_t unit, uint32_t before)
{
    const struct mym_unit *span = &mym_heap.units[unit];

    return mym_expect("arena check",
                      span->kind == MYM_LARGE && span->reap == reap &&
                          span->prev == before && !span->cached,
                      "a large object of another");
}

static size_t verify_holes(const struct mym_reap *reap, size_t *freed)
{
    size_t bad = 0;

    for (unsigned cls = 0; cls < MYM_CLASSES; cls++) {
        void *object = reap->free[cls];

        bad += mym_expect("arena check",
                          (object != NULL) == (reap->filled[cls / 64] >> cls % 64 & 1),
                          "lists of freed objects are not told right");
        while (object != NULL && bad == 0) {
            bad += mym_expect("arena check", mym_reap_is_hole(reap, object, cls),
                              "a list of freed objects is damaged");
            if (bad == 0) {
                *freed += mym_reap_extent(reap, object);
                memcpy(&object, object, sizeof object);
            }
        }
    }
    return bad;
}

static size_t verify(struct mym_reap *reap)
{
    size_t bad = 0, marked = 0, listed = 0;
    uint32_t units = 0, before = 0;

    mym_reap_lock(reap);
    for (uint32_t w = reap->windows; w != 0; w = mym_heap.units[w].next) {
        bad += verify_window(reap, w, &marked);
        units += mym_heap.units[w].length;
    }
    for (uint32_t l = reap->large; l != 0; before = l, l = mym_heap.units[l].next) {
        bad += verify_large(reap, l, before);
        units += mym_heap.units[l].length;
    }
    bad += mym_expect("arena check", units == reap->held && units <= reap->most,
                      "units of an arena do not add up");
    bad += verify_holes(reap, &listed);
    bad += mym_expect("arena check",
                      bad > 0 || (marked == reap->freed && listed == reap->freed),
                      "freed objects of an arena do not add up");
    mym_reap_unlock(reap);
    return bad;
}

size_t mym_reaps_verify(void)
{
    size_t bad = 0;

    LOCK_LIST();
    for (struct mym_reap *reap = mym_reaps; reap != NULL; reap = reap->next)
        bad += verify(reap);
    UNLOCK_LIST();
    return bad;
}

/* ---- fork ---- */

/* The list's lock first and last. Where it was not given the list may be in the midst of a change. */
void mym_reaps_fork(enum mym_fork_step step)
{
    bool begins = step == MYM_FORK_TAKE || step == MYM_FORK_TRY;

    if (begins)
        mym_mutex_fork(&list_lock, step);
    if (mym_mutex_is_forks(&list_lock))
        for (struct mym_reap *reap = mym_reaps; reap != NULL; reap = reap->next)
            mym_mutex_fork(&reap->lock, step);
    if (!begins)
        mym_mutex_fork(&list_lock, step);
}
