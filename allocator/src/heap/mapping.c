/*
 * mapping.c - objects of MYM_MAPPING_MIN bytes and more: mappings of their own, which mremap
 * can grow without copying.
 *
 * A freed one that was written all over is idle memory like a dirty run: it is kept for the next
 * while it may stay (purge.c), and resized for it. Others are unmapped. Which there are is in
 * registry.c.
 *
 * Locking: mym_pages.lock guards the idle mappings and what is counted as in use; registry.c takes
 * its own. mmap, munmap and mremap run outside both.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "base/secure.h"
#include "os/os.h"

static const char name_of_object[] = "mymalloc: huge object";

/* ---- what is in use, and what is idle ---- */

/* So many units more are asked for; false: that is above the limit. */
static bool claim(uint32_t units)
{
    bool fits;

    mym_pages_lock();
    fits = mym_pages_may_use(units);
    if (fits)
        mym_pages.claimed += units;
    mym_pages_unlock();
    return fits;
}

/*
 * They are in use, or were refused: then they never were, or the ledger would take what comes
 * next for a program that goes up again.
 */
static void settle(uint32_t units, bool granted)
{
    mym_pages_lock();
    mym_pages.claimed -= units;
    if (granted) {
        mym_pages.outside += units;
        mym_idle_watch();
        mym_pages_watch_growth();
    }
    mym_pages_unlock();
}

static void uncharge(uint32_t units)
{
    mym_pages_lock();
    mym_pages.outside -= units;
    mym_idle_watch();
    mym_pages_unlock();
}

/* The idle mapping that fits best: the shortest that is long enough, or the longest. */
static uint32_t best_idle(size_t bytes)
{
    const struct mym_idle *idles = mym_pages.idles;
    uint32_t best = 0;

    for (uint32_t i = 1; i < mym_pages.idle_count; i++) {
        bool fits = idles[i].bytes >= bytes;

        if (idles[best].bytes >= bytes ? fits && idles[i].bytes < idles[best].bytes
                                       : idles[i].bytes > idles[best].bytes)
            best = i;
    }
    return best;
}

/* What the kernel does not make longer is idle as before. */
static void put_back(struct mym_idle idle)
{
    bool done;

    mym_pages_lock();
    done = mym_pages_put_first(idle);
    mym_pages_unlock();
    if (!done)
        mym_os_unmap(idle.addr, idle.bytes);
}

/* An idle mapping of this size, made longer or shorter; without an address: there is none. */
static struct mym_idle take_idle(size_t bytes)
{
    struct mym_idle idle = {NULL, 0, 0, false};
    void *object;

    mym_pages_lock();
    if (mym_pages.idle_count > 0) {
        idle = mym_pages_take_idle(best_idle(bytes));
        mym_idle_watch();
    }
    mym_pages_unlock();
    if (idle.addr == NULL || idle.bytes == bytes)
        return idle;
    object = mym_os_remap(idle.addr, idle.bytes, bytes);
    if (object == NULL)
        put_back(idle);
    idle.addr = object;
    return idle;
}

static void put_idle(struct mym_mapping mapping)
{
    uint32_t units = mym_units_for(mapping.bytes);
    struct mym_idle last = {NULL, 0, 0, false};

    mym_pages_lock();
    if (mym_pages.idle_count == MYM_IDLE_MAX) { /* the one that was freed first goes */
        last = mym_pages_take_idle(0);
        mym_pages.purged += last.dirty * MYM_UNIT;
    }
    mym_pages.idles[mym_pages.idle_count++] =
        (struct mym_idle){(void *)mapping.addr, /* NOLINT */
                          mapping.bytes, units, mapping.huge};
    mym_pages.idle += units;
    mym_pages.outside -= units;
    mym_idle_watch();
    mym_pages_unlock();
    if (last.addr != NULL)
        mym_os_unmap(last.addr, last.bytes);
    mym_idle_left(units);
}

/* ---- objects ---- */

void *mym_mapping_take(size_t size, bool *zeroed)
{
    size_t bytes = mym_round_up(size, mym_os_page());
    struct mym_idle idle = {NULL, 0, 0, false};
    void *object;
    bool huge;

    if (!claim(mym_units_for(bytes)))
        return NULL;
    mym_dense_look_back(size);
    huge = mym_chunk_would_be_huge(size);
    /* Zeroing what nobody will touch would make it resident. */
    if (mym_is_dense(size) != MYM_SPARSE || !*zeroed)
        idle = take_idle(bytes);
    object = idle.addr;
    *zeroed = object == NULL;
    if (object != NULL) {
        huge = idle.huge;
    } else {
        object = mym_os_map(bytes);
        if (object != NULL) {
            mym_chunk_advise(object, bytes, huge);
            mym_os_name(object, bytes, name_of_object);
            mym_dense_taken(object, size, bytes);
        }
    }
    if (object != NULL && mym_mapping_hold_place()) {
        mym_mapping_put_back((struct mym_mapping){(uintptr_t)object, bytes, huge});
    } else if (object != NULL) {
        mym_os_unmap(object, bytes);
        object = NULL;
    }
    settle(mym_units_for(bytes), object != NULL);
    return object;
}

/*
 * A program may have taken pages of it out of use (mprotect), locked them (mlock), kept them
 * from its children or from core files, asked to be told of their faults (userfaultfd) or
 * mapped a file over them (a ring buffer), and have left that to the unmapping. So the last
 * page but one is mapped anew: to the kernel it is one with all others only if these are as it
 * is. The last one it might make one with what is behind the object, which is somebody else's.
 */
static bool is_as_new(const struct mym_mapping *mapping)
{
    size_t page = mym_os_page();
    char *object = (char *)mapping->addr; /* NOLINT */
    char *fresh = object + mapping->bytes - 2 * page;
    bool one;

    if (!mym_os_renew(fresh, page))
        return false;
    mym_os_name(fresh, page, name_of_object);
    mym_chunk_advise(fresh, page, mapping->huge);
    one = mym_os_is_one(object, mapping->bytes);
    /* The program asked for huge pages; or it was a span, whose chunks were to have none. */
    for (int huge = 1; huge >= 0 && !one; huge--) {
        mym_os_huge_pages(fresh, page, huge);
        one = mym_os_is_one(object, mapping->bytes);
    }
    return one && !mym_os_is_locked(fresh); /* all may be: mlockall */
}

/*
 * Worth keeping: it is resident, as good as new, and in huge pages if the next one would be.
 * Nor are pages looked at but of one that is as new: of others that are not there somebody may
 * be told, and nobody answer.
 */
static bool may_be_kept(const struct mym_mapping *mapping)
{
    const void *object = (const void *)mapping->addr; /* NOLINT */
    size_t bytes = mapping->bytes;
    uint32_t look = mym_dense_ends(object, bytes);

    if ((look == 0 && mym_is_dense(bytes) == MYM_SPARSE) || !is_as_new(mapping))
        return false;
    if (look != 0)
        mym_dense_look(object, bytes, bytes - 2 * mym_os_page(), look);
    return mym_is_dense(bytes) != MYM_SPARSE &&
           (mapping->huge || !mym_chunk_would_be_huge(bytes));
}

size_t mym_mapping_put(void *ptr)
{
    struct mym_mapping mapping = mym_mapping_forget(ptr);

    if (mapping.bytes == 0)
        return 0;
    if (may_be_kept(&mapping)) {
        put_idle(mapping);
    } else {
        mym_os_unmap(ptr, mapping.bytes);
        uncharge(mym_units_for(mapping.bytes));
    }
    return mapping.bytes;
}

/* ---- what waits, in the hardened build: bounded address space, and no memory ---- */

#if MYM_SECURE_QUARANTINE

#define AWAY       4u
#define AWAY_BYTES ((size_t)256 << 20) /* of each, at most */

struct away {
    void *addr;
    size_t bytes;
};

static struct away away[AWAY];
static unsigned away_turn;
size_t mym_mapping_waiting;

static struct away swap_away(struct away fresh)
{
    struct away last;

    mym_pages_lock();
    last = away[away_turn];
    away[away_turn] = fresh;
    mym_mapping_waiting += fresh.bytes - last.bytes;
    away_turn = (away_turn + 1) % AWAY;
    mym_pages_unlock();
    return last;
}

/* Whatever the program has done to its pages ends here, too. */
void mym_mapping_put_away(void *ptr)
{
    struct mym_mapping mapping = mym_mapping_forget(ptr);
    struct away last = {ptr, mapping.bytes};

    if (mapping.bytes == 0) /* another thread was faster */
        return;
    mym_dense_ended(ptr, mapping.bytes);
    if (mapping.bytes <= AWAY_BYTES && !mym_pages_is_scarce() &&
        mym_os_close_pages(ptr, mapping.bytes))
        last = swap_away(last);
    if (last.addr != NULL)
        mym_os_unmap(last.addr, last.bytes);
    uncharge(mym_units_for(mapping.bytes));
}

void mym_mapping_clear_away(void)
{
    for (unsigned i = 0; i < AWAY; i++) {
        struct away last = swap_away((struct away){NULL, 0});

        if (last.addr != NULL)
            mym_os_unmap(last.addr, last.bytes);
    }
}

#endif

/* ---- resized ---- */

void *mym_mapping_resize(void *ptr, size_t size)
{
    size_t bytes = mym_round_up(size, mym_os_page());
    struct mym_mapping mapping = mym_mapping_lift(ptr);
    uint32_t had = mym_units_for(mapping.bytes), wanted = mym_units_for(bytes);
    void *moved = ptr;

    if (mapping.bytes == 0)
        return NULL;
    if (wanted > had && !claim(wanted - had)) {
        moved = NULL;
    } else if (mapping.bytes != bytes) {
        moved = mym_os_remap(ptr, mapping.bytes, bytes);
        if (wanted > had)
            settle(wanted - had, moved != NULL);
        else if (moved != NULL)
            uncharge(had - wanted);
    }
    if (moved != NULL)
        mapping = (struct mym_mapping){(uintptr_t)moved, bytes, mapping.huge};
    mym_mapping_put_back(mapping);
    return moved;
}

/* Something of ours is mapped there. */
static bool is_mapped(uint32_t unit)
{
    if (unit == mym_pages.end)
        mym_region_grow(1);
    return unit < mym_pages.end && mym_heap.units[unit].kind > MYM_GONE;
}

/*
 * Where a freed mapping lies idle a copy is better: its pages are there already. The kernel
 * moves what is one mapping to it only: chunks of both kinds become small ones. And it would not
 * move what it can make longer where it is.
 */
static bool begin_adoption(uint32_t span, uint32_t had, uint32_t more)
{
    bool may;

    mym_pages_lock();
    may = mym_pages.idle_count == 0 && mym_pages_may_use(more) && is_mapped(span + had);
    if (may) {
        mym_pages.claimed += more;
        mym_chunk_split(span, had);
    }
    mym_pages_unlock();
    return may;
}

/*
 * The span, longer and elsewhere; NULL: it is as it was. Under the purge lock: chunks that it was
 * in a part of are not made huge meanwhile.
 */
static void *move_out(uint32_t span, uint32_t had, size_t bytes)
{
    size_t old = (size_t)had * MYM_UNIT;
    char *object = mym_os_remap(mym_unit_address(span), old, bytes);

    MYM_ASSERT(mym_rank_is_held(MYM_RANK_PURGE));
    if (object == NULL)
        return NULL;
    if (object == mym_unit_address(span)) { /* what was behind it is gone meanwhile */
        mym_os_unmap(object + old, bytes - old);
        return NULL;
    }
    mym_pages_lock();
    mym_pages.mapped -= had;
    mym_pages.outside += had;
    mym_runs_put(span, had, MYM_GONE);
    mym_pages_unlock();
    return object;
}

void *mym_mapping_adopt(uint32_t span, size_t size)
{
    size_t bytes = mym_round_up(size, mym_os_page());
    uint32_t had = mym_heap.units[span].length, more = mym_units_for(bytes) - had;
    void *object = NULL;
    bool huge;

    if (!mym_mapping_hold_place())
        return NULL;
    mym_dense_ended(mym_unit_address(span), (size_t)had * MYM_UNIT);
    huge = mym_chunk_would_be_huge((size_t)had * MYM_UNIT);
    mym_purge_begin();
    if (begin_adoption(span, had, more)) {
        object = move_out(span, had, bytes);
        settle(more, object != NULL);
        if (object != NULL)
            mym_chunk_advise(object, bytes, huge);
    }
    mym_purge_leave();
    mym_mapping_put_back(
        (struct mym_mapping){(uintptr_t)object, object == NULL ? 0 : bytes, huge});
    return object;
}
