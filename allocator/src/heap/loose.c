/*
 * loose.c - spans of large objects that were given back and are not joined with their
 * neighbours yet: the next request may be for the same length.
 *
 *   loose[length] = list -> span -> span -> ...     linked by their records' `below`
 *                   |
 *                  list -> span -> ...               by that of the second unit of a list's top
 *
 * What takes objects of one size by the dozen and gives them back would have each cut from
 * the run that the one before was joined to. So spans stay whole, most recent first, until
 * anything else is asked of the page heap: then all are joined, and what that finds is what
 * it would have found without. Lists are what caches hold, so one comes and goes as a whole,
 * whatever it holds; spans that come alone are piled up to such. All are dirty memory like
 * any other, counted as such, and their records say `cached`, so that a second free is told.
 *
 * Locking: mym_pages.lock.
 */
#include "heap/runs.h"

#include "base/check.h"

_Static_assert(MYM_LOOSE_MOST <= 64, "a bit for each length");

/* Joining them is one request's work, under the lock: 10 us for so many. */
#define COUNT_MOST 1024u

static uint64_t bit(uint32_t length)
{
    return (uint64_t)1 << (length - 1);
}

/* Also looked at without the lock: whether it is worth while to take it. */
static void set_lengths(uint64_t lengths)
{
    __atomic_store_n(&mym_pages.loose_lengths, lengths, __ATOMIC_RELAXED);
}

/* The list under this one: no two spans share a record, and all have three units or more. */
static uintptr_t *next_of(uintptr_t list)
{
    return &mym_span_record(list)[1].below;
}

bool mym_span_list_is_whole(uintptr_t list, uint32_t length)
{
    uint32_t low = (uint16_t)list;

    for (; list >= MYM_UNIT; low += MYM_SPAN_ROOM - MYM_SPAN_HELD) {
        const struct mym_unit *record = mym_span_record(list);

        if ((uint16_t)list != low || mym_span_held(list) == 0 ||
            record->state != MYM_CACHED || record->length != length)
            return false;
        list = record->below;
    }
    return list == low && mym_span_held(list) == 0;
}

/* One that comes alone lies on top of those that came before, if their list has room. */
static void pile(uintptr_t span, uint32_t length)
{
    uintptr_t below = mym_pages.loose[length], next = below;

    if (mym_span_has_room(below))
        next = *next_of(below);
    else
        below = mym_loose_empty(length);
    mym_span_record(span)->below = below;
    *next_of(span) = next;
    mym_pages.loose[length] = mym_span_onto(below, (const void *)span); /* NOLINT */
}

void mym_loose_put(uintptr_t list)
{
    uint32_t length = mym_span_record(list)->length, count = mym_span_held(list);

    MYM_ASSERT(count > 0 && mym_span_record(list)->state == MYM_CACHED);
    if (count == 1) {
        pile(list & ~(MYM_UNIT - 1), length);
    } else {
        MYM_ASSERT(mym_span_list_is_whole(list, length));
        *next_of(list) = mym_pages.loose[length];
        mym_pages.loose[length] = list;
    }
    set_lengths(mym_pages.loose_lengths | bit(length));
    mym_runs(MYM_DIRTY)->units += count * length;
    mym_pages.loose_count += count;
    if (mym_pages.loose_count > COUNT_MOST)
        mym_loose_join();
}

bool mym_loose_has(uint32_t length)
{
    return __atomic_load_n(&mym_pages.loose_lengths, __ATOMIC_RELAXED) & bit(length);
}

uintptr_t mym_loose_take(uint32_t length)
{
    uintptr_t list = mym_pages.loose[length], next;

    if (list == 0)
        return 0;
    next = *next_of(list);
    mym_pages.loose[length] = next;
    if (next == 0)
        set_lengths(mym_pages.loose_lengths & ~bit(length));
    mym_runs(MYM_DIRTY)->units -= mym_span_held(list) * length;
    mym_pages.loose_count -= mym_span_held(list);
    return list;
}

static void join(uintptr_t list, uint32_t length)
{
    for (uintptr_t below; list >= MYM_UNIT; list = below) {
        below = mym_span_record(list)->below;
        mym_span_mark(mym_span_record(list), false);
        mym_runs(MYM_DIRTY)->units -= length;
        mym_runs_put(mym_unit_of((const void *)list), length, MYM_DIRTY); /* NOLINT */
    }
}

void mym_loose_join(void)
{
    uint64_t lengths = mym_pages.loose_lengths;

    if (MYM_LIKELY(lengths == 0))
        return;
    set_lengths(0);
    mym_pages.loose_count = 0;
    for (; lengths != 0; lengths &= lengths - 1) {
        uint32_t length = (uint32_t)__builtin_ctzll(lengths) + 1;
        uintptr_t list = mym_pages.loose[length], next;

        for (; list != 0; list = next) {
            next = *next_of(list);
            join(list, length);
        }
        mym_pages.loose[length] = 0;
    }
}

uint32_t mym_loose_units(void)
{
    uint32_t units = 0, count = 0;

    for (uint32_t length = 1; length <= MYM_LOOSE_MOST; length++)
        for (uintptr_t list = mym_pages.loose[length]; list != 0;
             list = *next_of(list)) {
            if (!mym_span_list_is_whole(list, length) || mym_span_held(list) == 0 ||
                (mym_pages.loose_lengths & bit(length)) == 0)
                return UINT32_MAX;
            units += mym_span_held(list) * length;
            count += mym_span_held(list);
        }
    return count == mym_pages.loose_count ? units : UINT32_MAX;
}
