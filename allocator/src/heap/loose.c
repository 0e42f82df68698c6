/*
 * loose.c - spans of large objects that were given back and are not joined with their
 * neighbours yet: the next request may be for the same length.
 *
 *   loose[kind][length] = list -> span -> ...     linked by their records' `below`
 *                          |
 *                         list -> span -> ...      by that of the second unit of a list's top
 *
 * What takes objects of one size by the dozen and gives them back would have each cut from
 * the run that the one before was joined to. So spans stay whole, most recent first, until
 * anything else is asked of the page heap: then all are joined, and what that finds is what
 * it would have found without. Lists are what caches hold, so one comes and goes as a whole,
 * whatever it holds; spans that come alone are piled up to such. All are dirty memory like
 * any other, counted as such, and their records say `cached`, so that a second free is told.
 *
 * When too much is dirty, those of a size that is seldom written all over become thin: all but
 * their first pages are given back (purge.c), by which they are counted from then on. So who
 * takes them again and touches a page of each has no fault, and all can stay.
 *
 * Of those that no cache holds, which are longer than MYM_LOOSE_MOST, the last one only.
 *
 * Locking: mym_pages.lock.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

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

/* So many spans more, or (2^32 less) less. */
MYM_INLINE void count_in(uint32_t count, uint32_t length, unsigned kind)
{
    mym_runs(MYM_DIRTY)->units += count * length;
    mym_pages.loose_units += count * length;
    mym_pages.loose_count += count;
    if (kind == MYM_THIN) {
        mym_pages.spared += count * length + mym_units_for(mym_pages.firsts);
        mym_pages.firsts += count * (uint32_t)mym_os_page();
        mym_pages.spared -= mym_units_for(mym_pages.firsts);
    }
}

MYM_INLINE void push(uintptr_t list, unsigned kind)
{
    uint32_t length = mym_span_record(list)->length, count = mym_span_held(list);
    uintptr_t *on_top = &mym_pages.loose[kind][length];

    MYM_ASSERT(count > 0 && mym_span_list_is_whole(list, length));
    *next_of(list) = *on_top;
    *on_top = list;
    set_lengths(mym_pages.loose_lengths | bit(length));
    count_in(count, length, kind);
}

MYM_INLINE uintptr_t pop(uint32_t length, unsigned kind)
{
    uintptr_t list = mym_pages.loose[kind][length], next = *next_of(list);

    mym_pages.loose[kind][length] = next;
    if (next == 0 && mym_pages.loose[MYM_THICK + MYM_THIN - kind][length] == 0)
        set_lengths(mym_pages.loose_lengths & ~bit(length));
    count_in(-mym_span_held(list), length, kind);
    return list;
}

/* One that comes alone lies on top of those that came before, if their list has room. */
static void pile(uintptr_t span, uint32_t length)
{
    uintptr_t *on_top = &mym_pages.loose[MYM_THICK][length];
    uintptr_t below = *on_top, next = below;

    if (mym_span_has_room(below))
        next = *next_of(below);
    else
        below = mym_loose_empty(length);
    mym_span_record(span)->below = below;
    *next_of(span) = next;
    *on_top = mym_span_onto(below, (const void *)span); /* NOLINT */
    set_lengths(mym_pages.loose_lengths | bit(length));
    count_in(1, length, MYM_THICK);
}

static void join_if_many(void)
{
    if (mym_pages.loose_count > COUNT_MOST)
        mym_loose_join();
}

void mym_loose_put(uintptr_t list)
{
    MYM_ASSERT(mym_span_record(list)->state == MYM_CACHED);
    if (mym_span_held(list) == 1)
        pile(list & ~(MYM_UNIT - 1), mym_span_record(list)->length);
    else
        push(list, MYM_THICK);
    join_if_many();
}

void mym_loose_put_back(uintptr_t list, bool thin)
{
    push(list, thin ? MYM_THIN : MYM_THICK);
    join_if_many();
}

bool mym_loose_has(uint32_t length)
{
    return __atomic_load_n(&mym_pages.loose_lengths, __ATOMIC_RELAXED) & bit(length);
}

/* What is thin faults where more than a page is touched: last. */
uintptr_t mym_loose_take(uint32_t length)
{
    if (mym_pages.loose[MYM_THICK][length] != 0)
        return pop(length, MYM_THICK);
    return mym_pages.loose[MYM_THIN][length] != 0 ? pop(length, MYM_THIN) : 0;
}

uintptr_t mym_loose_take_thick(void)
{
    for (uint64_t lengths = mym_pages.loose_lengths; lengths != 0;
         lengths &= lengths - 1) {
        uint32_t length = (uint32_t)__builtin_ctzll(lengths) + 1;

        if (mym_pages.loose[MYM_THICK][length] != 0 &&
            mym_is_seldom_dense(length * MYM_UNIT))
            return pop(length, MYM_THICK);
    }
    return 0;
}

static void join(uintptr_t list, uint32_t length)
{
    for (uintptr_t below; list >= MYM_UNIT; list = below) {
        below = mym_span_record(list)->below;
        mym_span_mark(mym_span_record(list), false);
        mym_runs_put(mym_unit_of((const void *)list), length, MYM_DIRTY); /* NOLINT */
    }
}

static void join_all(uintptr_t *on_top, uint32_t length)
{
    for (uintptr_t list = *on_top, next; list != 0; list = next) {
        next = *next_of(list);
        join(list, length);
    }
    *on_top = 0;
}

static void join_long(void)
{
    uint32_t first = mym_pages.loose_long;

    if (first == 0)
        return;
    mym_runs(MYM_DIRTY)->units -= mym_heap.units[first].length;
    join((uintptr_t)mym_unit_address(first), mym_heap.units[first].length);
    mym_pages.loose_long = 0;
}

void mym_loose_put_long(uint32_t first)
{
    struct mym_unit *record = &mym_heap.units[first];

    join_long();
    record->below = 0;
    mym_span_mark(record, true);
    mym_runs(MYM_DIRTY)->units += record->length;
    mym_pages.loose_long = first;
}

uint32_t mym_loose_take_long(uint32_t length)
{
    uint32_t first = mym_pages.loose_long;

    if (first == 0 || mym_heap.units[first].length != length)
        return 0;
    mym_pages.loose_long = 0;
    mym_runs(MYM_DIRTY)->units -= length;
    mym_span_mark(&mym_heap.units[first], false);
    return first;
}

void mym_loose_join(void)
{
    uint64_t lengths = mym_pages.loose_lengths;

    join_long();
    if (MYM_LIKELY(lengths == 0))
        return;
    set_lengths(0);
    mym_runs(MYM_DIRTY)->units -= mym_pages.loose_units;
    mym_pages.loose_count = mym_pages.loose_units = 0;
    mym_pages.firsts = mym_pages.spared = 0;
    for (; lengths != 0; lengths &= lengths - 1) {
        uint32_t length = (uint32_t)__builtin_ctzll(lengths) + 1;

        join_all(&mym_pages.loose[MYM_THICK][length], length);
        join_all(&mym_pages.loose[MYM_THIN][length], length);
    }
}

/* One stack of lists: false: one is none. */
static bool add_up(uint32_t length, unsigned kind, uint32_t *count)
{
    for (uintptr_t list = mym_pages.loose[kind][length]; list != 0;
         list = *next_of(list)) {
        if (!mym_span_list_is_whole(list, length) || mym_span_held(list) == 0 ||
            (mym_pages.loose_lengths & bit(length)) == 0)
            return false;
        *count += mym_span_held(list);
    }
    return true;
}

bool mym_loose_adds_up(void)
{
    uint32_t units = 0, count = 0, thin = 0, firsts = 0, last = mym_pages.loose_long;

    if (last != 0 && (mym_heap.units[last].state != MYM_CACHED ||
                      mym_heap.units[last].length <= MYM_LOOSE_MOST))
        return false;
    for (uint32_t length = 1; length <= MYM_LOOSE_MOST; length++) {
        uint32_t of[MYM_LOOSE_KINDS] = {0, 0};

        if (!add_up(length, MYM_THICK, &of[MYM_THICK]) ||
            !add_up(length, MYM_THIN, &of[MYM_THIN]))
            return false;
        count += of[MYM_THICK] + of[MYM_THIN];
        units += (of[MYM_THICK] + of[MYM_THIN]) * length;
        thin += of[MYM_THIN] * length;
        firsts += of[MYM_THIN] * (uint32_t)mym_os_page();
    }
    return count == mym_pages.loose_count && units == mym_pages.loose_units &&
           firsts == mym_pages.firsts &&
           thin - mym_units_for(firsts) == mym_pages.spared &&
           units + (last != 0 ? mym_heap.units[last].length : 0) <=
               mym_runs(MYM_DIRTY)->units;
}
