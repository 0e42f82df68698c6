/*
 * loose.c - spans of large objects that were given back and are not joined with their
 * neighbours yet: the next request may be for the same length.
 *
 *   loose[length] -> span -> span -> 0      linked by their records' `below`
 *
 * What takes objects of one size by the dozen and gives them back would have each cut from
 * the run that the one before was joined to. So spans stay whole, most recent first, until
 * anything else is asked of the page heap: then all are joined, and what that finds is what
 * it would have found without. They are dirty memory like any other, counted as such, and
 * their records say `cached`, so that a second free is told.
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

static struct mym_unit *record_of(uintptr_t span)
{
    return &mym_heap.units[mym_unit_of((const void *)span)]; /* NOLINT */
}

void mym_loose_put(uintptr_t top)
{
    struct mym_unit *record = record_of(top);
    uint32_t length = record->length, count = 1;

    for (; record->below >= MYM_UNIT; record = record_of(record->below), count++)
        MYM_ASSERT(record->state == MYM_CACHED && record->length == length);
    MYM_ASSERT(record->state == MYM_CACHED && record->length == length);
    record->below = mym_pages.loose[length];
    mym_pages.loose[length] = top;
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

uintptr_t mym_loose_take(uint32_t length, uint32_t most, uint32_t *count)
{
    uintptr_t top = 0, rest = mym_pages.loose[length];

    for (*count = 0; rest >= MYM_UNIT && *count < most; ++*count) {
        uintptr_t span = rest & ~(uintptr_t)(MYM_UNIT - 1);

        rest = record_of(span)->below;
        record_of(span)->below = top;
        top = span;
    }
    mym_pages.loose[length] = rest;
    if (rest < MYM_UNIT)
        set_lengths(mym_pages.loose_lengths & ~bit(length));
    mym_runs(MYM_DIRTY)->units -= *count * length;
    mym_pages.loose_count -= *count;
    return top;
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
        uintptr_t span = mym_pages.loose[length], next;

        for (; span >= MYM_UNIT; span = next) {
            next = record_of(span)->below;
            mym_span_mark(record_of(span), false);
            mym_runs(MYM_DIRTY)->units -= length;
            mym_runs_put(mym_unit_of((const void *)span), length,
                         MYM_DIRTY); /* NOLINT */
        }
        mym_pages.loose[length] = 0;
    }
}

uint32_t mym_loose_units(void)
{
    uint32_t units = 0, count = 0;

    for (uint32_t length = 1; length <= MYM_LOOSE_MOST; length++)
        for (uintptr_t span = mym_pages.loose[length]; span >= MYM_UNIT;
             span = record_of(span)->below) {
            const struct mym_unit *record = record_of(span);

            if (record->state != MYM_CACHED || record->length != length ||
                (mym_pages.loose_lengths & bit(length)) == 0)
                return UINT32_MAX;
            units += length;
            count++;
        }
    return count == mym_pages.loose_count ? units : UINT32_MAX;
}
