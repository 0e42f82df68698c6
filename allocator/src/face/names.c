/*
 * names.c - the values behind jemalloc's names.
 *
 * Only what is true of this heap is here; all else is unknown to mallctl. There is one
 * arena, number 0: pools may differ by CPU, but all take from one page heap. Those that a
 * program creates have numbers of their own and nothing in them: what it asks for with such
 * a number lies in arena 0. What a thread took is not counted (thread.allocated): that it
 * is, is how some programs find out whether malloc is jemalloc's own.
 *
 * Locking: none here.
 */
#include "face/names.h"

#include "alloc/alloc.h"
#include "alloc/background.h"
#include "alloc/info.h"
#include "face/created.h"
#include "face/defrag.h"
#include "face/dump.h"
#include "face/figures.h"
#include "mymalloc/mymalloc.h"
#include "os/os.h"
#include "profile/profile.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define LG_EVERY 19u /* of MYM_PROFILE_EVERY */
#define LG_MOST  40u /* of MYM_PROFILE_MOST */

_Static_assert(MYM_PROFILE_EVERY == (size_t)1 << LG_EVERY, "prof.lg_sample says so");
_Static_assert(MYM_PROFILE_MOST == (size_t)1 << LG_MOST, "so does prof.reset");

/* ---- statistics ---- */

static uint64_t read_small(const size_t *at)
{
    return mym_figures_of(at).small;
}

static uint64_t read_large(const size_t *at)
{
    return mym_figures_of(at).large;
}

static uint64_t read_allocated(const size_t *at)
{
    struct mym_figures all = mym_figures_of(at);

    return all.small + all.large;
}

static uint64_t read_active(const size_t *at)
{
    return mym_figures_of(at).active;
}

static uint64_t read_mapped(const size_t *at)
{
    struct mym_figures all = mym_figures_of(at);

    return all.active + all.meta;
}

static uint64_t read_resident(const size_t *at)
{
    struct mym_figures all = mym_figures_of(at);

    return all.active + all.dirty + all.meta;
}

static uint64_t read_retained(const size_t *at)
{
    return mym_figures_of(at).retained;
}

static uint64_t read_meta(const size_t *at)
{
    return mym_figures_of(at).meta;
}

static uint64_t read_pages_active(const size_t *at)
{
    return mym_figures_of(at).active / mym_os_page();
}

static uint64_t read_pages_dirty(const size_t *at)
{
    return mym_figures_of(at).dirty / mym_os_page();
}

static uint64_t read_pages_purged(const size_t *at)
{
    return mym_figures_of(at).purged / mym_os_page();
}

/* Objects in caches count, as those of jemalloc's do. */
static uint64_t read_bin_objects(const size_t *at)
{
    struct mym_class_info bin = mym_bin_of(at);

    return bin.places - bin.free;
}

static uint64_t read_bin_slabs(const size_t *at)
{
    struct mym_class_info bin = mym_bin_of(at);

    return bin.slabs - bin.whole;
}

static uint64_t read_bin_nonfull(const size_t *at)
{
    return mym_bin_of(at).nonfull;
}

static uint64_t read_bin_fills(const size_t *at)
{
    return mym_bin_of(at).misses;
}

static uint64_t read_bin_flushes(const size_t *at)
{
    return mym_bin_of(at).overflows;
}

/* ---- sizes ---- */

/* Those of malloc, which ascend: what is aligned to more than a line is in none. */
static size_t bins(void)
{
    return mym_start() ? mym_class_of(MYM_CLASS_MAX) : 0;
}

/* Large objects: what caches hold, then each number of units up to own mappings. */
static size_t extents(void)
{
    return MYM_SPAN_CLASSES + (MYM_MAPPING_MIN - MYM_SPAN_MAX) / MYM_UNIT - 1;
}

static uint64_t read_extent_size(const size_t *at)
{
    return at[0] < MYM_SPAN_CLASSES
               ? (uint64_t)mym_span_units((unsigned)at[0]) * MYM_UNIT
               : MYM_SPAN_MAX + (at[0] - MYM_SPAN_CLASSES + 1) * MYM_UNIT;
}

static uint64_t read_bin_size(const size_t *at)
{
    return mym_classes[at[0] + 1].size;
}

static uint64_t read_bin_places(const size_t *at)
{
    return mym_classes[at[0] + 1].objects;
}

static uint64_t read_bin_slab_size(const size_t *at)
{
    return (uint64_t)mym_classes[at[0] + 1].units * MYM_UNIT;
}

/* ---- what never changes ---- */

static uint64_t text(const char *of)
{
    return (uintptr_t)of;
}

#define CONSTANT(name, value)                  \
    static uint64_t name(const size_t *unused) \
    {                                          \
        (void)unused;                          \
        return (uint64_t)(value);              \
    }

CONSTANT(read_true, true)
CONSTANT(read_zero, 0)
CONSTANT(read_one, 1)
CONSTANT(read_empty, text(""))
CONSTANT(read_disabled, text("disabled"))
CONSTANT(read_frees, text("free"))
CONSTANT(read_prefix, text(MYM_DUMP_PREFIX))
CONSTANT(read_version, text(MyVersion()))
CONSTANT(read_quantum, MYM_ALIGNMENT)
CONSTANT(read_page, mym_os_page())
CONSTANT(read_cached_most, MYM_SPAN_MAX)
CONSTANT(read_bins, bins())
CONSTANT(read_extents, extents())
#ifdef MYM_DEBUG
CONSTANT(read_debug, true)
#else
CONSTANT(read_debug, false)
#endif

/* ---- what can be asked for ---- */

static uint64_t read_background(const size_t *unused)
{
    (void)unused;
    return mym_background_is_enabled();
}

static uint64_t read_background_threads(const size_t *unused)
{
    (void)unused;
    return mym_background_is_running();
}

static int set_background(const size_t *unused, uint64_t value)
{
    (void)unused;
    if (value == 0)
        mym_background_disable();
    else if (!mym_background_enable())
        return EFAULT;
    return 0;
}

static int flush(const size_t *unused, uint64_t nothing)
{
    (void)unused;
    (void)nothing;
    mym_cache_drain();
    return 0;
}

static int purge(const size_t *at, uint64_t nothing)
{
    (void)nothing;
    if (!mym_arena_is_created(at[0]))
        mym_trim(0);
    return 0;
}

static int decay(const size_t *at, uint64_t nothing)
{
    (void)nothing;
    if (!mym_arena_is_created(at[0]))
        mym_cache_cool();
    return 0;
}

/*
 * Idle memory does not go by its age. 0, at once, is to keep none; all else is the usual
 * rule (ledger.h) and reads as "never", so that who sets 0 for a while can put back what it
 * read.
 */
static bool keeps_none(void)
{
    return mym_pages_info().allowance == 0;
}

static uint64_t read_decay(const size_t *at)
{
    return mym_arena_is_created(at[0]) || !keeps_none() ? (uint64_t)-1 : 0;
}

static int set_decay(const size_t *at, uint64_t value)
{
    static _Atomic size_t usual;
    size_t before;

    if ((int64_t)value < -1)
        return EFAULT;
    if (mym_arena_is_created(at[0]))
        return 0;
    if (value == 0 && (before = mym_idle_set_keep(0)) != 0)
        atomic_store(&usual, before);
    else if (value != 0 && keeps_none())
        mym_idle_set_keep(atomic_load(&usual));
    return 0;
}

/* One helper is all there is, however many there may be. */
static int set_most_helpers(const size_t *unused, uint64_t value)
{
    (void)unused;
    return value == 0 ? EINVAL : 0;
}

/* Whichever arena it is to take from, its objects lie in 0; who reads that can purge it. */
static int set_thread_arena(const size_t *unused, uint64_t value)
{
    (void)unused;
    return value < mym_arena_numbers() && mym_arena_read_initialized(&value) ? 0
                                                                             : EFAULT;
}

/* Explicit caches: all of them are the one that the thread has anyway, number 0. */
static int use_cache(const size_t *unused, uint64_t value)
{
    (void)unused;
    if (value != 0)
        return EFAULT;
    mym_cache_drain();
    return 0;
}

/* ---- heap profile ---- */

/* Bytes between samples, of the next profile. */
static _Atomic size_t profile_every = MYM_PROFILE_EVERY;

static uint64_t read_profile(const size_t *unused)
{
    (void)unused;
    return MYM_RACY(mym_watch.of[MYM_FOR_PROFILE]) != 0;
}

static int set_profile(const size_t *unused, uint64_t value)
{
    int error = value != 0 ? mym_profile_start(profile_every) : mym_profile_stop();

    (void)unused;
    if (error == EBUSY) /* it is as was asked for */
        return 0;
    return error == 0 ? 0 : error == ENOMEM ? EAGAIN : EFAULT;
}

CONSTANT(read_profile_default, LG_EVERY)

/* Of the one that is taken, or else of the next. */
static size_t rate_now(void)
{
    size_t every = MYM_RACY(mym_watch.of[MYM_FOR_PROFILE]);

    return every != 0 ? every : profile_every;
}

static uint64_t read_profile_rate(const size_t *unused)
{
    (void)unused;
    return 63 - (unsigned)__builtin_clzll(rate_now());
}

/* Written may be the logarithm of a new rate; the most is said by prof.lg_sample then. */
static int reset_profile(const struct mym_exchange *call)
{
    size_t every = rate_now();
    uint64_t rate;
    int error;

    if (call->old != NULL || call->old_length != NULL)
        return EPERM;
    if (call->new != NULL && call->new_length != sizeof rate)
        return EINVAL;
    if (call->new != NULL) {
        memcpy(&rate, call->new, sizeof rate);
        every = (size_t)1 << (rate < LG_MOST ? rate : LG_MOST);
    }
    error = mym_profile_reset(every);
    if (error == 0)
        profile_every = every;
    return error == ENOMEM ? EAGAIN : error;
}

/* ---- what reads and writes at once ---- */

/* Any value reads all again. */
static int exchange_epoch(const struct mym_exchange *call)
{
    uint64_t number;

    if (call->new != NULL && call->new_length != sizeof number)
        return EINVAL;
    number = mym_figures_refresh(call->new != NULL);
    return call->old == NULL || call->old_length == NULL
               ? 0
               : mym_put_number(call, number, sizeof number);
}

static int create_cache(const struct mym_exchange *call)
{
    if (call->new != NULL || call->new_length != 0)
        return EPERM;
    return mym_put_number(call, 0, sizeof(unsigned));
}

/* Pages are given back by MADV_DONTNEED: none is muzzy for any time. */
static int set_muzzy_decay(const size_t *unused, uint64_t value)
{
    (void)unused;
    return (int64_t)value < -1 ? EFAULT : 0;
}

/* ---- the table ---- */

size_t mym_numbers_of(const char *component)
{
    switch (component[0]) {
    case 'b': /* bin, bins */
        return bins();
    case 'l': /* lextent */
        return extents();
    default: /* arena, arenas */
        return mym_arena_numbers();
    }
}

/* The number after the last arena's is what jemalloc 4 had for all of them: arena.2.purge. */
bool mym_number_is_known(const char *component, size_t number)
{
    if (number < mym_numbers_of(component))
        return true;
    return component[0] == 'a' &&
           (number == MYM_ALL_ARENAS ||
            (component[5] == '.' && number == mym_arena_numbers()));
}

/* clang-format off */
const struct mym_name mym_names[] = {
    {"version", MYM_TEXT, read_version, NULL, NULL},
    {"epoch", MYM_OTHER, NULL, NULL, exchange_epoch},
    {"background_thread", MYM_BOOL, read_background, set_background, NULL},
    {"max_background_threads", MYM_SIZE, read_one, set_most_helpers, NULL},
    {"config.debug", MYM_BOOL, read_debug, NULL, NULL},
    {"config.fill", MYM_BOOL, read_zero, NULL, NULL},
    {"config.lazy_lock", MYM_BOOL, read_zero, NULL, NULL},
    {"config.malloc_conf", MYM_TEXT, read_empty, NULL, NULL},
    {"config.prof", MYM_BOOL, read_true, NULL, NULL},
    {"config.stats", MYM_BOOL, read_true, NULL, NULL},
    {"config.utrace", MYM_BOOL, read_zero, NULL, NULL},
    {"config.xmalloc", MYM_BOOL, read_zero, NULL, NULL},
    {"opt.abort", MYM_BOOL, read_zero, NULL, NULL},
    {"opt.dss", MYM_TEXT, read_disabled, NULL, NULL},
    {"opt.narenas", MYM_UNSIGNED, read_one, NULL, NULL},
    {"opt.prof", MYM_BOOL, read_true, NULL, NULL},
    {"opt.prof_prefix", MYM_TEXT, read_prefix, NULL, NULL},
    {"opt.lg_prof_sample", MYM_SIZE, read_profile_default, NULL, NULL},
    {"opt.retain", MYM_BOOL, read_true, NULL, NULL},
    {"opt.stats_print", MYM_BOOL, read_zero, NULL, NULL},
    {"opt.tcache", MYM_BOOL, read_true, NULL, NULL},
    {"opt.xmalloc", MYM_BOOL, read_zero, NULL, NULL},
    {"opt.zero_realloc", MYM_TEXT, read_frees, NULL, NULL},
    {"thread.arena", MYM_UNSIGNED, read_zero, set_thread_arena, NULL},
    {"thread.tcache.enabled", MYM_BOOL, read_true, NULL, NULL},
    {"thread.tcache.flush", MYM_ACTION, NULL, flush, NULL},
    {"thread.idle", MYM_ACTION, NULL, flush, NULL},
    {"tcache.create", MYM_OTHER, NULL, NULL, create_cache},
    {"tcache.flush", MYM_UNSIGNED, NULL, use_cache, NULL},
    {"tcache.destroy", MYM_UNSIGNED, NULL, use_cache, NULL},
    {"arena.#.initialized", MYM_BOOL, mym_arena_read_initialized, NULL, NULL},
    {"arena.#.decay", MYM_ACTION, NULL, decay, NULL},
    {"arena.#.purge", MYM_ACTION, NULL, purge, NULL},
    {"arena.#.destroy", MYM_ACTION, NULL, mym_arena_destroy, NULL},
    {"arena.#.muzzy_decay_ms", MYM_SIZE, read_zero, set_muzzy_decay, NULL},
    {"arena.#.dirty_decay_ms", MYM_SIZE, read_decay, set_decay, NULL},
    {"arenas.narenas", MYM_UNSIGNED, mym_arenas_read, NULL, NULL},
    {"arenas.dirty_decay_ms", MYM_SIZE, read_decay, set_decay, NULL},
    {"arenas.muzzy_decay_ms", MYM_SIZE, read_zero, set_muzzy_decay, NULL},
    {"arenas.quantum", MYM_SIZE, read_quantum, NULL, NULL},
    {"arenas.page", MYM_SIZE, read_page, NULL, NULL},
    {"arenas.tcache_max", MYM_SIZE, read_cached_most, NULL, NULL},
    {"arenas.nbins", MYM_UNSIGNED, read_bins, NULL, NULL},
    {"arenas.bin.#.size", MYM_SIZE, read_bin_size, NULL, NULL},
    {"arenas.bin.#.nregs", MYM_UNSIGNED, read_bin_places, NULL, NULL},
    {"arenas.bin.#.slab_size", MYM_SIZE, read_bin_slab_size, NULL, NULL},
    {"arenas.bin.#.nshards", MYM_UNSIGNED, read_one, NULL, NULL},
    {"arenas.nlextents", MYM_UNSIGNED, read_extents, NULL, NULL},
    {"arenas.lextent.#.size", MYM_SIZE, read_extent_size, NULL, NULL},
    {"arenas.create", MYM_OTHER, NULL, NULL, mym_arena_create},
    {"prof.active", MYM_BOOL, read_profile, set_profile, NULL},
    {"prof.dump", MYM_OTHER, NULL, NULL, mym_dump_profile},
    {"prof.prefix", MYM_TEXT, NULL, mym_dump_set_prefix, NULL},
    {"prof.lg_sample", MYM_SIZE, read_profile_rate, NULL, NULL},
    {"prof.reset", MYM_OTHER, NULL, NULL, reset_profile},
    {"stats.allocated", MYM_SIZE, read_allocated, NULL, NULL},
    {"stats.active", MYM_SIZE, read_active, NULL, NULL},
    {"stats.metadata", MYM_SIZE, read_meta, NULL, NULL},
    {"stats.metadata_thp", MYM_SIZE, read_zero, NULL, NULL},
    {"stats.resident", MYM_SIZE, read_resident, NULL, NULL},
    {"stats.mapped", MYM_SIZE, read_mapped, NULL, NULL},
    {"stats.retained", MYM_SIZE, read_retained, NULL, NULL},
    {"stats.background_thread.num_threads", MYM_SIZE, read_background_threads, NULL, NULL},
    {"stats.arenas.#.dirty_decay_ms", MYM_SIZE, read_decay, NULL, NULL},
    {"stats.arenas.#.pactive", MYM_SIZE, read_pages_active, NULL, NULL},
    {"stats.arenas.#.pdirty", MYM_SIZE, read_pages_dirty, NULL, NULL},
    {"stats.arenas.#.pmuzzy", MYM_SIZE, read_zero, NULL, NULL},
    {"stats.arenas.#.mapped", MYM_SIZE, read_mapped, NULL, NULL},
    {"stats.arenas.#.retained", MYM_SIZE, read_retained, NULL, NULL},
    {"stats.arenas.#.base", MYM_SIZE, read_meta, NULL, NULL},
    {"stats.arenas.#.resident", MYM_SIZE, read_resident, NULL, NULL},
    {"stats.arenas.#.dirty_purged", MYM_SIZE, read_pages_purged, NULL, NULL},
    {"stats.arenas.#.small.allocated", MYM_SIZE, read_small, NULL, NULL},
    {"stats.arenas.#.large.allocated", MYM_SIZE, read_large, NULL, NULL},
    {"stats.arenas.#.bins.#.curregs", MYM_SIZE, read_bin_objects, NULL, NULL},
    {"stats.arenas.#.bins.#.curslabs", MYM_SIZE, read_bin_slabs, NULL, NULL},
    {"stats.arenas.#.bins.#.nonfull_slabs", MYM_SIZE, read_bin_nonfull, NULL, NULL},
    {"stats.arenas.#.bins.#.nfills", MYM_SIZE, read_bin_fills, NULL, NULL},
    {"stats.arenas.#.bins.#.nflushes", MYM_SIZE, read_bin_flushes, NULL, NULL},
    {"experimental.utilization.query", MYM_OTHER, NULL, NULL, mym_defrag_query},
    {"experimental.utilization.batch_query", MYM_OTHER, NULL, NULL, mym_defrag_batch_query},
};
/* clang-format on */

const unsigned mym_name_count = sizeof mym_names / sizeof *mym_names;
