/*
 * window.c - the bitmaps of windows.
 */
#include "heap/window.h"

#include <string.h>

static uint64_t starts(size_t word)
{
    return __atomic_load_n(mym_window_word(word), __ATOMIC_RELAXED);
}

static uint64_t *freed_word(size_t word)
{
    return &mym_heap.freed[word / MYM_BIT_WORDS][word % MYM_BIT_WORDS];
}

uintptr_t mym_window_after(uintptr_t at, uintptr_t used)
{
    size_t bit = mym_window_bit(at) + 1, end = mym_window_bit(used);
    size_t word = bit / 64;
    uint64_t set;

    if (bit >= end)
        return used;
    set = starts(word) & UINT64_MAX << bit % 64;
    while (set == 0) {
        if (++word * 64 >= end)
            return used;
        set = starts(word);
    }
    bit = word * 64 + (unsigned)__builtin_ctzll(set);
    return bit < end ? mym_heap.base + bit * MYM_ALIGNMENT : used;
}

bool mym_window_is_freed(const struct mym_unit *window, uintptr_t at)
{
    size_t bit = mym_window_bit(at);

    return window->holes && (*freed_word(bit / 64) >> bit % 64 & 1);
}

/* For when the window is purged. */
static void note_bits(struct mym_unit *window, unsigned mark)
{
    for (uint32_t i = 0; i < window->length; i++)
        window[i].has_bits |= (uint8_t)mark;
}

bool mym_window_set_freed(struct mym_unit *window, uintptr_t at)
{
    size_t bit = mym_window_bit(at);

    if (!window->holes) {
        if (!mym_pages_map_freed(window->first + window->length))
            return false;
        window->holes = true;
        note_bits(window, MYM_IN_FREED);
    }
    *freed_word(bit / 64) |= (uint64_t)1 << bit % 64;
    return true;
}

void mym_window_clear_freed(uintptr_t at)
{
    size_t bit = mym_window_bit(at);

    *freed_word(bit / 64) &= ~((uint64_t)1 << bit % 64);
}

uint32_t mym_window_make(uint32_t units, struct mym_reap *reap)
{
    bool zeroed = false;
    /* The longest ones are those of reaps that fill them. */
    enum mym_dense dense = units >= MYM_WINDOW_MAX ? MYM_SMALL : MYM_SPARSE;
    uint32_t first = mym_pages_take(units, 1, MYM_WINDOW, dense, &zeroed);
    struct mym_unit *window = &mym_heap.units[first];

    if (first == 0)
        return 0;
    window->cls = 0;
    window->holes = false;
    window->used = 0;
    window->reap = reap;
    note_bits(window, MYM_IN_BITS);
    memset(mym_heap.bits[first], 0, units * sizeof mym_heap.bits[0]);
    return first;
}

void mym_window_empty(uint32_t first, uintptr_t used)
{
    struct mym_unit *window = &mym_heap.units[first];
    uintptr_t start = (uintptr_t)mym_unit_address(first);
    /* A fork may have come between a start and `used`: that of the next object too. */
    size_t words = (used - start) / (64 * MYM_ALIGNMENT) + 1;

    if (words > window->length * (size_t)MYM_BIT_WORDS)
        words = window->length * (size_t)MYM_BIT_WORDS;
    memset(mym_heap.bits[first], 0, words * sizeof(uint64_t));
    if (window->holes)
        memset(mym_heap.freed[first], 0, words * sizeof(uint64_t));
    window->holes = false;
}

void mym_window_put(uint32_t first)
{
    struct mym_unit *window = &mym_heap.units[first];

    if (window->holes)
        memset(mym_heap.freed[first], 0, window->length * sizeof mym_heap.freed[0]);
    window->cls = MYM_REAPED;
    mym_pages_put(first);
}

size_t mym_window_count(uint32_t first, uintptr_t used)
{
    uintptr_t start = (uintptr_t)mym_unit_address(first);
    size_t word = mym_window_bit(start) / 64;
    size_t end = (mym_window_bit(used) + 63) / 64;
    bool holes = mym_heap.units[first].holes;
    size_t count = 0;

    for (; word < end; word++) {
        uint64_t set = starts(word) & ~(holes ? *freed_word(word) : 0);

        /* What is being taken meanwhile may be marked behind `used` already. */
        if ((word + 1) * 64 > mym_window_bit(used))
            set &= ~(UINT64_MAX << mym_window_bit(used) % 64);
        count += (unsigned)__builtin_popcountll(set);
    }
    return count;
}
