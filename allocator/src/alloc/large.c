/*
 * large.c - objects without a size class: spans of the page heap, and from 32 MiB on
 * mappings of their own, which mremap can grow without copying.
 *
 * Mappings are known by a hash table beside the heap, never by a header in front of the
 * object: any pointer can be asked about, and a stray write harms no record.
 *
 * Locking: huge.lock guards the table. mmap, munmap and mremap run outside it.
 */
#include "alloc/alloc.h"

#include "base/check.h"
#include "os/os.h"

struct mapping {
    uintptr_t addr; /* 0: free place */
    size_t bytes;
};

static struct {
    struct mym_mutex lock;
    struct mapping *table; /* open addressing, linear probing, at most half full */
    size_t room, count, bytes;
    size_t moving; /* entries taken out that will be put back */
} huge;

#define LOCK()   mym_mutex_lock(&huge.lock, MYM_RANK_HUGE)
#define UNLOCK() mym_mutex_unlock(&huge.lock, MYM_RANK_HUGE)

static size_t round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) & ~(to - 1);
}

/* ---- the table of mappings ---- */

static size_t home(uintptr_t addr)
{
    return (size_t)((addr >> 12) * 0x9E3779B97F4A7C15u >> 20) & (huge.room - 1);
}

static struct mapping *find(uintptr_t addr)
{
    if (huge.room == 0)
        return NULL;
    for (size_t i = home(addr);; i = (i + 1) & (huge.room - 1)) {
        if (huge.table[i].addr == addr)
            return &huge.table[i];
        if (huge.table[i].addr == 0)
            return NULL;
    }
}

static void insert(struct mapping entry)
{
    size_t i = home(entry.addr);

    while (huge.table[i].addr != 0)
        i = (i + 1) & (huge.room - 1);
    huge.table[i] = entry;
    huge.count++;
    huge.bytes += entry.bytes;
}

static bool make_room(void)
{
    struct mapping *old = huge.table;
    size_t old_room = huge.room;
    size_t room = old_room == 0 ? 256 : old_room * 2;
    struct mapping *table;

    if ((huge.count + huge.moving + 1) * 2 <= old_room)
        return true;
    table = mym_os_map(room * sizeof *table);
    if (table == NULL)
        return false;
    huge.table = table;
    huge.room = room;
    huge.count = huge.bytes = 0;
    for (size_t i = 0; i < old_room; i++)
        if (old[i].addr != 0)
            insert(old[i]);
    if (old != NULL)
        mym_os_unmap(old, old_room * sizeof *old);
    return true;
}

static bool add(void *addr, size_t bytes)
{
    bool done;

    LOCK();
    done = make_room();
    if (done)
        insert((struct mapping){(uintptr_t)addr, bytes});
    UNLOCK();
    return done;
}

/* Remove an entry, 1: to put it back elsewhere; bytes 0: there is none. Those behind it move up to their homes. */
static struct mapping take_out(const void *ptr, size_t moving)
{
    struct mapping entry = {0, 0};
    struct mapping *found;

    LOCK();
    found = find((uintptr_t)ptr);
    if (found != NULL && ptr != NULL) {
        size_t hole = (size_t)(found - huge.table);

        entry = *found;
        huge.count--;
        huge.moving += moving;
        huge.bytes -= entry.bytes;
        for (size_t i = hole;;) {
            size_t want;

            i = (i + 1) & (huge.room - 1);
            if (huge.table[i].addr == 0)
                break;
            want = home(huge.table[i].addr);
            if (((i - want) & (huge.room - 1)) >= ((i - hole) & (huge.room - 1))) {
                huge.table[hole] = huge.table[i];
                hole = i;
            }
        }
        huge.table[hole] = (struct mapping){0, 0};
    }
    UNLOCK();
    return entry;
}

/* ---- objects ---- */

static uint32_t units_for(size_t size)
{
    return (uint32_t)(round_up(size, MYM_UNIT) >> MYM_UNIT_SHIFT);
}

static void *take_huge(size_t size)
{
    size_t bytes = round_up(size, mym_os_page());
    void *object;

    if (!mym_pages_charge(bytes))
        return NULL;
    object = mym_os_map(bytes);
    if (object != NULL && !add(object, bytes)) {
        mym_os_unmap(object, bytes);
        object = NULL;
    }
    if (object == NULL)
        mym_pages_uncharge(bytes);
    return object;
}

void *mym_large_take(size_t size, size_t alignment, bool *zeroed)
{
    uint32_t unit;
    size_t align = alignment <= MYM_UNIT ? 1 : alignment >> MYM_UNIT_SHIFT;

    if (size > MYM_SIZE_MAX || alignment > MYM_SIZE_MAX / 2)
        return NULL;
    if (size >= MYM_HUGE_MIN && alignment <= mym_os_page()) {
        *zeroed = true;
        return take_huge(size);
    }
    if ((size >> MYM_UNIT_SHIFT) + align >= UINT32_MAX / 2)
        return NULL;
    unit = mym_pages_take(units_for(size == 0 ? 1 : size), (uint32_t)align, MYM_LARGE,
                          zeroed);
    return unit == 0 ? NULL : mym_unit_address(unit);
}

/* The span that starts at ptr, or 0. */
static uint32_t span_at(const void *ptr)
{
    uint32_t unit = mym_unit_of(ptr);
    const struct mym_unit *u = &mym_heap.units[unit];

    return u->kind == MYM_LARGE && u->first == unit && mym_unit_address(unit) == ptr
               ? unit
               : 0;
}

static bool is_inside_mapping(const void *ptr)
{
    bool inside = false;

    LOCK();
    for (size_t i = 0; i < huge.room; i++)
        inside |= (uintptr_t)ptr - huge.table[i].addr < huge.table[i].bytes;
    UNLOCK();
    return inside;
}

void mym_bad_pointer(const void *ptr)
{
    bool inside = false;

    if (mym_in_heap(ptr)) {
        uint32_t unit = mym_unit_of(ptr);
        const struct mym_unit *span = &mym_heap.units[mym_heap.units[unit].first];

        if (mym_heap.units[unit].kind == MYM_FREE)
            mym_fatal("double free", ptr);
        inside = span->kind == MYM_LARGE && unit - span->first < span->length;
    } else {
        inside = is_inside_mapping(ptr);
    }
    mym_fatal(inside ? "free of a pointer into the middle of an object"
                     : "free of a pointer that was never allocated",
              ptr);
}

MYM_SLOW void mym_large_put(void *ptr)
{
    struct mapping entry;

    if (mym_in_heap(ptr)) {
        uint32_t unit = span_at(ptr);

        if (unit == 0)
            mym_bad_pointer(ptr);
        mym_pages_put(unit);
        return;
    }
    entry = take_out(ptr, 0);
    if (entry.bytes == 0)
        mym_bad_pointer(ptr);
    mym_os_unmap(ptr, entry.bytes);
    mym_pages_uncharge(entry.bytes);
}

size_t mym_large_bytes(const void *ptr)
{
    const struct mapping *found;
    size_t bytes = 0;

    if (mym_in_heap(ptr)) {
        uint32_t unit = span_at(ptr);

        return unit == 0 ? 0 : (size_t)mym_heap.units[unit].length * MYM_UNIT;
    }
    LOCK();
    found = find((uintptr_t)ptr);
    if (found != NULL)
        bytes = found->bytes;
    UNLOCK();
    return bytes;
}

size_t mym_large_good_size(size_t size)
{
    return round_up(size, size >= MYM_HUGE_MIN ? mym_os_page() : MYM_UNIT);
}

/* Grow or shrink an own mapping in the kernel's page tables; NULL: not possible. */
static void *move_mapping(const struct mapping *entry, size_t bytes)
{
    void *old = (void *)entry->addr; /* NOLINT */
    void *moved;

    if (!mym_pages_charge(bytes))
        return NULL;
    moved = mym_os_remap(old, entry->bytes, bytes);
    mym_pages_uncharge(moved == NULL ? bytes : entry->bytes);
    return moved;
}

static void *resize_huge(void *ptr, size_t size)
{
    struct mapping entry;
    size_t bytes = round_up(size, mym_os_page());
    void *moved = ptr;

    if (size < MYM_HUGE_MIN / 2) /* small enough to live in the page heap again */
        return NULL;
    entry = take_out(ptr, 1);
    if (entry.bytes == 0)
        mym_bad_pointer(ptr);
    if (entry.bytes != bytes)
        moved = move_mapping(&entry, bytes);
    if (moved != NULL)
        entry = (struct mapping){(uintptr_t)moved, bytes};
    LOCK();
    huge.moving--;
    insert(entry); /* make_room kept a place for it */
    UNLOCK();
    return moved;
}

void *mym_large_resize(void *ptr, size_t size)
{
    if (!mym_in_heap(ptr))
        return resize_huge(ptr, size);
    if (size >= MYM_HUGE_MIN &&
        (size_t)mym_heap.units[mym_unit_of(ptr)].length * MYM_UNIT < size)
        return NULL; /* it grows out of the page heap, where mremap will serve it */
    return mym_pages_resize(mym_unit_of(ptr), units_for(size)) ? ptr : NULL;
}

size_t mym_huge_bytes(size_t *count)
{
    size_t bytes;

    LOCK();
    bytes = huge.bytes;
    *count = huge.count;
    UNLOCK();
    return bytes;
}

void mym_huge_fork(bool prepare)
{
    if (prepare)
        LOCK();
    else
        UNLOCK();
}

void mym_huge_fork_child(void)
{
    mym_mutex_reset(&huge.lock, MYM_RANK_HUGE);
}
