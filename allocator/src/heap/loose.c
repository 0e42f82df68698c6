/*
 * loose.c - spans of large objects that were given back and are not joined with their
 * neighbours yet: the next request may be for the same length.
 *
 *   loose[kind][place] = list -> span -> ...      linked by their records' `below`
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
 * A length is its place. Of those longer than MYM_LOOSE_MOST, of which a cache holds no list, there
 * are such of one length only, in a place that no length has: each is a list of its own.
 *
 * Locking: mym_pages.lock.
 */
#include "heap/runs.h"

#include "base/check.h"
#include "os/os.h"

_Static_assert(MYM_LOOSE_MOST <= 64, "a bit for each length");

/* Joining them is one request's work, under the lock: 10 us for so many. */
#define COUNT_MOST 1024u

/* No length has it: all have three units or more. */
#define LONG 1u

static uint32_t place_of(uint32_t length)
{
    return length <= MYM_LOOSE_MOST ? length : LONG;
}

static uint32_t length_at(uint32_t place)
{
    return place == LONG ? mym_pages.loose_long : place;
}

static uint64_t bit(uint32_t place)
{
    return (uint64_t)1 << (place - 1);
}

static uint32_t first_place(uint64_t places)
{
    return (uint32_t)__builtin_ctzll(places) + 1;
}

/* Also looked at without the lock: whether it is worth while to take it. */
static void set_places(uint64_t places)
{
    __atomic_store_n(&mym_pages.loose_places, places, __ATOMIC_RELAXED);
}

/* The list under this one: no two spans share a record. */
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
    uintptr_t *on_top = &mym_pages.loose[kind][place_of(length)];

    MYM_ASSERT(count > 0 && mym_span_list_is_whole(list, length));
    *next_of(list) = *on_top;
    *on_top = list;
    set_places(mym_pages.loose_places | bit(place_of(length)));
    count_in(count, length, kind);
}

MYM_INLINE uintptr_t pop(uint32_t place, unsigned kind)
{
    uintptr_t list = mym_pages.loose[kind][place], next = *next_of(list);

    mym_pages.loose[kind][place] = next;
    if (next == 0 && mym_pages.loose[MYM_THICK + MYM_THIN - kind][place] == 0)
        set_places(mym_pages.loose_places & ~bit(place));
    count_in(-mym_span_held(list), length_at(place), kind);
    return list;
}

/* One that comes alone lies on top of those that came before, if their list has room. */
static void pile(uintptr_t span, uint32_t length)
{
    uintptr_t *on_top = &mym_pages.loose[MYM_THICK][place_of(length)];
    uintptr_t below = *on_top, next = below;

    if (mym_span_has_room(below))
        next = *next_of(below);
    else
        below = mym_loose_empty(length);
    mym_span_record(span)->below = below;
    *next_of(span) = next;
    *on_top = mym_span_onto(below, (const void *)span); /* NOLINT */
    set_places(mym_pages.loose_places | bit(place_of(length)));
    count_in(1, length, MYM_THICK);
}

static void join(uintptr_t list, uint32_t length)
{
    for (uintptr_t below; list >= MYM_UNIT; list = below) {
        below = mym_span_record(list)->below;
        mym_span_mark(mym_span_record(list), false);
        mym_runs_put(mym_unit_of((const void *)list), length, MYM_DIRTY); /* NOLINT */
    }
}

/* Those of another length make place. */
static void join_other_long(uint32_t length)
{
    if (mym_pages.loose_long != length)
        for (unsigned kind = 0; kind < MYM_LOOSE_KINDS; kind++)
            while (mym_pages.loose[kind][LONG] != 0)
                join(pop(LONG, kind), mym_pages.loose_long);
    mym_pages.loose_long = length;
}

void mym_loose_put(uintptr_t list, unsigned kind)
{
    uint32_t length = mym_span_record(list)->length;

    MYM_ASSERT(mym_span_record(list)->state == MYM_CACHED);
    if (length > MYM_LOOSE_MOST)
        join_other_long(length);
    if (kind == MYM_THICK && mym_span_held(list) == 1)
        pile(list & ~(MYM_UNIT - 1), length);
    else
        push(list, kind);
    if (mym_pages.loose_count > COUNT_MOST)
        mym_loose_join();
}

bool mym_loose_has(uint32_t length)
{
    return __atomic_load_n(&mym_pages.loose_places, __ATOMIC_RELAXED) &
           bit(place_of(length));
}

/* What is thin faults where more than a page is touched: last. */
uintptr_t mym_loose_take(uint32_t length)
{
    uint32_t place = place_of(length);

    if (length_at(place) != length)
        return 0;
    if (mym_pages.loose[MYM_THICK][place] != 0)
        return pop(place, MYM_THICK);
    return mym_pages.loose[MYM_THIN][place] != 0 ? pop(place, MYM_THIN) : 0;
}

uintptr_t mym_loose_take_thick(void)
{
    for (uint64_t places = mym_pages.loose_places; places != 0; places &= places - 1) {
        uint32_t place = first_place(places);

        if (mym_pages.loose[MYM_THICK][place] != 0 &&
            mym_is_seldom_dense((size_t)length_at(place) * MYM_UNIT))
            return pop(place, MYM_THICK);
    }
    return 0;
}

static void join_all(uintptr_t *on_top, uint32_t length)
{
    for (uintptr_t list = *on_top, next; list != 0; list = next) {
        next = *next_of(list);
        join(list, length);
    }
    *on_top = 0;
}

void mym_loose_join(void)
{
    uint64_t places = mym_pages.loose_places;

    if (MYM_LIKELY(places == 0))
        return;
    set_places(0);
    mym_runs(MYM_DIRTY)->units -= mym_pages.loose_units;
    mym_pages.loose_count = mym_pages.loose_units = 0;
    mym_pages.firsts = mym_pages.spared = 0;
    for (; places != 0; places &= places - 1) {
        uint32_t place = first_place(places);

        join_all(&mym_pages.loose[MYM_THICK][place], length_at(place));
        join_all(&mym_pages.loose[MYM_THIN][place], length_at(place));
    }
}

/* One stack of lists: false: one is none. */
static bool add_up(uint32_t place, unsigned kind, uint32_t *count)
{
    for (uintptr_t list = mym_pages.loose[kind][place]; list != 0;
         list = *next_of(list)) {
        if (!mym_span_list_is_whole(list, length_at(place)) ||
            (mym_pages.loose_places & bit(place)) == 0)
            return false;
        *count += mym_span_held(list);
    }
    return true;
}

bool mym_loose_adds_up(void)
{
    uint32_t units = 0, count = 0, thin = 0, firsts = 0;

    for (uint32_t place = 1; place <= MYM_LOOSE_MOST; place++) {
        uint32_t of[MYM_LOOSE_KINDS] = {0, 0}, length = length_at(place);

        if (!add_up(place, MYM_THICK, &of[MYM_THICK]) ||
            !add_up(place, MYM_THIN, &of[MYM_THIN]))
            return false;
        count += of[MYM_THICK] + of[MYM_THIN];
        units += (of[MYM_THICK] + of[MYM_THIN]) * length;
        thin += of[MYM_THIN] * length;
        firsts += of[MYM_THIN] * (uint32_t)mym_os_page();
    }
    return count == mym_pages.loose_count && units == mym_pages.loose_units &&
           firsts == mym_pages.firsts &&
           thin - mym_units_for(firsts) == mym_pages.spared &&
           units <= mym_runs(MYM_DIRTY)->units;
}
