/*
 * fence.c - the hardened build's large objects: a page without access behind each, and no
 * access at all to those that were freed.
 *
 *   | object | red zone | 0 | seal | fence page | what is left of the span |
 *   ^ first unit                   ^ a page boundary
 *
 * The record of a span's first unit has the pages before the fence in `next`; of a mapping
 * of its own the fence is the last page. Each fence cuts a mapping of the kernel's in two, so
 * there are at most FENCES; an object without one is sealed all the same.
 *
 * What is freed waits without access, a span in shelf.c, a mapping in heap/mapping.c; of longer
 * ones than MYM_SPAN_MAX none does where address space is scarce. Its memory is given back, for to
 * overwrite what was never written brings pages; but that of a span whose like are written all over
 * is overwritten, and stays as idle memory may: a fault a page costs four times as much. Not of
 * one of 8 MiB or more, which begins where a chunk does and has few faults.
 *
 * Locking: none; an object's record is its owner's.
 */
#include "alloc/alloc.h"

#include "alloc/seal.h"
#include "alloc/secure.h"
#include "heap/mapping.h"
#include "os/os.h"
#include "profile/profile.h"

#include <string.h>

#if MYM_SECURE

#define FENCES 8192u /* the kernel's own limit is 65530 mappings of all kinds */

static _Atomic uint32_t fences;

static struct mym_unit *record_of(const void *ptr)
{
    return &mym_heap.units[mym_unit_of(ptr)];
}

/* Bytes for an object with all that goes behind it. */
static size_t with_fence(size_t size)
{
    size_t page = mym_os_page();

    return mym_round_up(size + MYM_SEAL_BYTES, page) + (MYM_SECURE_FENCE ? page : 0);
}

/* Bytes before the fence. */
static size_t room_of(const void *ptr)
{
    if (mym_is_span(ptr))
        return (size_t)record_of(ptr)->next * mym_os_page();
    return mym_mapping_bytes(ptr) - (MYM_SECURE_FENCE ? mym_os_page() : 0);
}

static void set_fence(void *ptr, size_t room)
{
    char *page = (char *)ptr + room;

    if (!MYM_SECURE_FENCE)
        return;
    if (!mym_is_span(ptr)) {
        mym_os_protect(page, mym_os_page(), false);
        return;
    }
    if (atomic_fetch_add(&fences, 1) < FENCES &&
        mym_os_protect(page, mym_os_page(), false))
        record_of(ptr)->fenced = true;
    else
        atomic_fetch_sub(&fences, 1);
}

static void uncount_fence(const void *ptr)
{
    if (record_of(ptr)->fenced)
        atomic_fetch_sub(&fences, 1);
    record_of(ptr)->fenced = false;
}

/* False: the kernel refuses, and the page stays what it is. */
static bool lift_fence(void *ptr, size_t room)
{
    char *page = (char *)ptr + room;

    if (!MYM_SECURE_FENCE)
        return true;
    if (!mym_is_span(ptr))
        return mym_os_protect(page, mym_os_page(), true);
    if (!record_of(ptr)->fenced)
        return true;
    if (!mym_os_protect(page, mym_os_page(), true))
        return false;
    uncount_fence(ptr);
    return true;
}

/* Written all over, and most of it whole chunks, which the kernel makes huge pages. */
static bool has_chunks(size_t bytes)
{
    return bytes >= 4 * MYM_CHUNK && bytes < MYM_MAPPING_MIN &&
           mym_is_always_dense(bytes) && mym_chunk_would_be_huge(bytes);
}

/* An object with a place is sealed, fenced, and in use. */
static void settle(void *ptr, size_t size)
{
    size_t page = mym_os_page();
    size_t room = mym_round_up(size + MYM_SEAL_BYTES, page);
    bool early;

    if (mym_is_span(ptr))
        record_of(ptr)->next = (uint32_t)(room / page);
    else
        room = room_of(ptr); /* more than it needs: mym_fence_leave */
    /*
     * Where the seal comes first it brings a huge page, and what lies behind the fence stays when
     * the object goes. Of shorter ones it may: their last chunk is half of their faults.
     */
    early = has_chunks(room);
    if (early)
        set_fence(ptr, room);
    mym_seal(ptr, size, room, MYM_IN_SPAN, false);
    if (!early)
        set_fence(ptr, room);
    if (mym_is_span(ptr)) {
        mym_live_set(ptr);
        record_of(ptr)->has_bits |= MYM_IN_FREED; /* for when it is purged */
    }
}

/* From the start of a chunk, or where else there is room. */
static void *take(size_t bytes, size_t alignment, bool hard, bool *zeroed)
{
    bool wished = *zeroed;
    void *object = NULL;

    if (alignment < MYM_CHUNK && has_chunks(bytes))
        object = mym_classless_take(bytes, MYM_CHUNK, false, zeroed);
    if (object != NULL)
        return object;
    *zeroed = wished;
    return mym_classless_take(bytes, alignment, hard, zeroed);
}

MYM_SLOW void *mym_fence_take(size_t size, size_t alignment, size_t reserve,
                              bool *zeroed)
{
    /* A mapping of its own grows without a copy, and its fence is its last page. */
    size_t want =
        reserve > size && with_fence(reserve) < MYM_MAPPING_MIN ? reserve : size;
    bool wished = *zeroed;
    void *object;

    if (want > MYM_SIZE_MAX)
        return NULL;
    object = take(with_fence(want), alignment, want == size, zeroed);
    if (object == NULL)
        return NULL;
    /*
     * Reads 0 whoever wrote there after its free, also while the kernel had the pages. What was
     * freed is not resident (wipe), so to overwrite it would only bring its pages back.
     */
    if (MYM_SECURE_ZERO_ON_FREE && wished && mym_is_span(object))
        *zeroed = mym_os_purge(object, with_fence(want));
    settle(object, size);
    return object;
}

MYM_SLOW size_t mym_fence_size(const void *ptr)
{
    size_t room;

    if (mym_is_span(ptr) ? !mym_is_live(ptr) : mym_mapping_bytes(ptr) == 0)
        mym_bad_pointer(ptr);
    room = room_of(ptr);
    return mym_sealed_size(ptr, room, MYM_IN_SPAN);
}

/* What it held is gone and reads 0: it goes to the kernel, or is overwritten. */
static void wipe(void *ptr, size_t bytes)
{
    if (MYM_SECURE_ZERO_ON_FREE && !mym_os_purge(ptr, bytes))
        memset(ptr, 0, bytes);
}

/*
 * Overwritten instead, and granted. Not what has whole chunks: these are faulted in again for as
 * much as it costs to overwrite small pages, and two of 16 MB that stayed were a third of a peak.
 */
static bool overwrite(void *span, size_t room)
{
    uint32_t units = record_of(span)->length;

    if (!MYM_SECURE_ZERO_ON_FREE || !mym_is_always_dense(room) || has_chunks(room) ||
        !mym_idle_grant(MYM_HOLDS_SHELF, units, 2))
        return false;
    if (!mym_os_protect(span, room, true)) { /* the program may have closed a part */
        mym_idle_return(MYM_HOLDS_SHELF, units);
        return false;
    }
    memset(span, 0, room);
    return true;
}

static void put_away(void *mapping)
{
    if (mym_was_watched())
        mym_profile_drop(mapping);
    mym_mapping_put_away(mapping);
}

MYM_SLOW void mym_fence_put(void *ptr)
{
    bool span = mym_is_span(ptr), stays = false;
    size_t room, bytes;

    if (span ? !mym_live_clear(ptr) : mym_mapping_bytes(ptr) == 0)
        mym_bad_pointer(ptr);
    if (!span && MYM_SECURE_FENCE && MYM_SECURE_QUARANTINE) {
        put_away(ptr);
        return;
    }
    room = room_of(ptr);
    if (span) {
        mym_dense_freed(ptr, room);
        stays = overwrite(ptr, room);
    }
    if (!stays)
        wipe(ptr, room);
    if (!span) {
        lift_fence(ptr, room); /* where it stays, the mapping goes: may_be_kept */
        mym_classless_put(ptr);
        return;
    }
    bytes = (size_t)record_of(ptr)->length * MYM_UNIT;
    if (MYM_SECURE_FENCE && MYM_SECURE_QUARANTINE &&
        (bytes <= MYM_SPAN_MAX || !mym_pages_is_scarce()) &&
        mym_os_protect(ptr, bytes, false)) {
        uncount_fence(ptr); /* all of the span is one mapping again */
        mym_sampled_end(mym_unit_of(ptr));
        mym_shelf_put_large(ptr, stays);
        return;
    }
    if (stays)
        mym_idle_return(MYM_HOLDS_SHELF, record_of(ptr)->length);
    if (lift_fence(ptr, room)) {
        mym_classless_put(ptr);
    } else {
        uncount_fence(ptr);
        mym_large_give_up(ptr);
    }
}

MYM_SLOW void *mym_fence_resize(void *ptr, size_t size)
{
    size_t old = mym_fence_size(ptr), room = room_of(ptr);
    void *moved = ptr;

    if (size > MYM_SIZE_MAX || !lift_fence(ptr, room))
        return NULL;
    mym_unseal(ptr, old, room, MYM_IN_SPAN);
    if (mym_is_span(ptr)) /* what it moves away from is somebody's at once */
        mym_live_clear(ptr);
    if (with_fence(size) != with_fence(old))
        moved = mym_classless_resize(ptr, with_fence(size));
    settle(moved != NULL ? moved : ptr, moved != NULL ? size : old);
    return moved;
}

/* A seal tells of fewer unused bytes than a mapping of its own may have. */
static bool cut_mapping(void *ptr, size_t size)
{
    size_t most = size + MYM_MAPPING_MIN / 2;

    _Static_assert(MYM_MAPPING_MIN / 2 <= (size_t)1 << (64 - MYM_SEAL_SHIFT), "most");
    return mym_is_span(ptr) || mym_mapping_bytes(ptr) <= most ||
           mym_classless_resize(ptr, most) == ptr;
}

/* What it loses is gone, as if it had been freed. */
MYM_SLOW void *mym_fence_leave(void *ptr, size_t size)
{
    size_t old = mym_fence_size(ptr), room = room_of(ptr);
    size_t page = mym_round_up(size, mym_os_page());

    if (!lift_fence(ptr, room))
        return NULL;
    mym_unseal(ptr, old, room, MYM_IN_SPAN);
    if (!cut_mapping(ptr, size)) {
        settle(ptr, old);
        return NULL;
    }
    room = room_of(ptr);
    memset((char *)ptr + size, 0, (page < room ? page : room) - size);
    if (page < room)
        wipe((char *)ptr + page, room - page);
    settle(ptr, size);
    return ptr;
}

#endif
