/*
 * registry.c - which own mappings there are: a hash table by address.
 *
 * They are known by it, never by a header in front of the object: any pointer can be asked
 * about, and a stray write harms no record.
 *
 * Locking: mym_mappings.lock.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

struct mym_mappings mym_mappings;

#define LOCK()   mym_mutex_lock(&mym_mappings.lock, MYM_RANK_MAPPING)
#define UNLOCK() mym_mutex_unlock(&mym_mappings.lock, MYM_RANK_MAPPING)

/* ---- the table ---- */

static size_t home(uintptr_t addr)
{
    return (size_t)((addr >> 12) * MYM_GOLDEN >> 20) & (mym_mappings.room - 1);
}

static struct mym_mapping *find(uintptr_t addr)
{
    if (mym_mappings.room == 0 || addr == 0)
        return NULL;
    for (size_t i = home(addr);; i = (i + 1) & (mym_mappings.room - 1)) {
        if (mym_mappings.entry[i].addr == addr)
            return &mym_mappings.entry[i];
        if (mym_mappings.entry[i].addr == 0)
            return NULL;
    }
}

static void insert(struct mym_mapping mapping)
{
    size_t i = home(mapping.addr);

    while (mym_mappings.entry[i].addr != 0)
        i = (i + 1) & (mym_mappings.room - 1);
    mym_mappings.entry[i] = mapping;
    mym_mappings.count++;
    mym_mappings.bytes += mapping.bytes;
}

static bool make_room(void)
{
    struct mym_mapping *old = mym_mappings.entry;
    size_t old_room = mym_mappings.room;
    size_t room = old_room == 0 ? 256 : old_room * 2;
    struct mym_mapping *fresh;

    if ((mym_mappings.count + mym_mappings.moving + 1) * 2 <= old_room)
        return true;
    fresh = mym_os_map(room * sizeof *fresh);
    if (fresh == NULL)
        return false;
    mym_os_name(fresh, room * sizeof *fresh, "mymalloc: tables");
    mym_mappings.entry = fresh;
    mym_mappings.room = room;
    mym_mappings.count = mym_mappings.bytes = 0;
    for (size_t i = 0; i < old_room; i++)
        if (old[i].addr != 0)
            insert(old[i]);
    if (old != NULL)
        mym_os_unmap(old, old_room * sizeof *old);
    return true;
}

/* Entries behind one that was removed move up to their homes. */
static void close_gap(size_t hole)
{
    for (size_t i = hole;;) {
        size_t want;

        i = (i + 1) & (mym_mappings.room - 1);
        if (mym_mappings.entry[i].addr == 0)
            break;
        want = home(mym_mappings.entry[i].addr);
        if (((i - want) & (mym_mappings.room - 1)) >=
            ((i - hole) & (mym_mappings.room - 1))) {
            mym_mappings.entry[hole] = mym_mappings.entry[i];
            hole = i;
        }
    }
    mym_mappings.entry[hole] = (struct mym_mapping){0, 0, false};
}

/* Remove an entry; bytes 0: no such. */
static struct mym_mapping remove_locked(const void *ptr)
{
    struct mym_mapping mapping = {0, 0, false};
    struct mym_mapping *found = find((uintptr_t)ptr);

    if (found != NULL) {
        mapping = *found;
        MYM_ASSERT(mym_mappings.count > 0 && mym_mappings.bytes >= mapping.bytes);
        mym_mappings.count--;
        mym_mappings.bytes -= mapping.bytes;
        close_gap((size_t)(found - mym_mappings.entry));
    }
    return mapping;
}

struct mym_mapping mym_mapping_forget(const void *ptr)
{
    struct mym_mapping mapping;

    LOCK();
    mapping = remove_locked(ptr);
    UNLOCK();
    return mapping;
}

struct mym_mapping mym_mapping_lift(const void *ptr)
{
    struct mym_mapping mapping;

    LOCK();
    mapping = remove_locked(ptr);
    mym_mappings.moving += mapping.bytes != 0;
    UNLOCK();
    return mapping;
}

bool mym_mapping_hold_place(void)
{
    bool done;

    LOCK();
    done = make_room();
    mym_mappings.moving += done;
    UNLOCK();
    return done;
}

void mym_mapping_put_back(struct mym_mapping mapping)
{
    LOCK();
    MYM_ASSERT(mym_mappings.moving > 0);
    mym_mappings.moving--;
    if (mapping.bytes != 0)
        insert(mapping);
    UNLOCK();
}

/* ---- looking ---- */

size_t mym_mapping_bytes(const void *ptr)
{
    const struct mym_mapping *found;
    size_t bytes;

    LOCK();
    found = find((uintptr_t)ptr);
    bytes = found == NULL ? 0 : found->bytes;
    UNLOCK();
    return bytes;
}

bool mym_mapping_has(const void *ptr)
{
    bool inside = false;

    LOCK();
    for (size_t i = 0; i < mym_mappings.room; i++)
        inside |=
            (uintptr_t)ptr - mym_mappings.entry[i].addr < mym_mappings.entry[i].bytes;
    UNLOCK();
    return inside;
}

bool mym_mapping_next(size_t *place, struct mym_mapping *mapping)
{
    bool found = false;

    LOCK();
    while (!found && *place < mym_mappings.room) {
        *mapping = mym_mappings.entry[(*place)++];
        found = mapping->addr != 0;
    }
    UNLOCK();
    return found;
}

size_t mym_mapping_total(size_t *count)
{
    size_t bytes;

    LOCK();
    bytes = mym_mappings.bytes;
    *count = mym_mappings.count;
    UNLOCK();
    return bytes;
}

void mym_mapping_fork(enum mym_fork_step step)
{
    mym_mutex_fork(&mym_mappings.lock, step);
}
