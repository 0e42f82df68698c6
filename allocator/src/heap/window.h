/*
 * window.h - a span in which objects of any size lie one behind the other.
 *
 *   start                              at                end
 *   | 48 B | 160 B | 16 B | 48 B, freed |    not yet used  |
 *   ^      ^       ^      ^ a bit in `bits` each; the last one in `freed` too
 *
 * Up to `at` every byte belongs to one object, which goes on to where the next one starts:
 * so the two bitmaps tell of any pointer whether it is an object's start, how long the
 * object is and whether it was freed, and no word of the window is needed for it.
 *
 * Who reaches it: reaps (alloc/reap.h) alone. Locking: a window belongs to one reap.
 * Starts are marked by whoever takes objects from it (the reap's owner, without a lock, or
 * the holder of its lock), never by two at once; bits of `freed` only under that lock.
 */
#ifndef MYM_HEAP_WINDOW_H
#define MYM_HEAP_WINDOW_H

#include "heap/heap.h"

_Static_assert(MYM_BIT_WORDS * 64 * MYM_ALIGNMENT == MYM_UNIT, "a bit for each start");

/* The bitmaps of neighbouring units touch: they are one, from the heap's base on. */
MYM_INLINE size_t mym_window_bit(uintptr_t at)
{
    return (at - mym_heap.base) / MYM_ALIGNMENT;
}

/* The same word, whichever unit it is of. */
MYM_INLINE uint64_t *mym_window_word(size_t word)
{
    return &mym_heap.bits[word / MYM_BIT_WORDS][word % MYM_BIT_WORDS];
}

/* Relaxed: what makes an object known to others makes its start known to them. */
MYM_INLINE void mym_window_mark(uintptr_t at)
{
    size_t bit = mym_window_bit(at);
    uint64_t *word = mym_window_word(bit / 64);
    uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

    __atomic_store_n(word, old | (uint64_t)1 << bit % 64, __ATOMIC_RELAXED);
}

MYM_INLINE bool mym_window_is_start(uintptr_t at)
{
    size_t bit = mym_window_bit(at);

    return at % MYM_ALIGNMENT == 0 &&
           (__atomic_load_n(mym_window_word(bit / 64), __ATOMIC_RELAXED) >> bit % 64 &
            1);
}

/* Where the object that starts at `at` ends, in a window that is used up to `used`. */
uintptr_t mym_window_after(uintptr_t at, uintptr_t used);

/* Of a window's record; the window may have no bit in `freed` so far. */
bool mym_window_is_freed(const struct mym_unit *window, uintptr_t at);
/* False: no memory for the bit. */
bool mym_window_set_freed(struct mym_unit *window, uintptr_t at);
void mym_window_clear_freed(uintptr_t at);

/* A window of so many units, empty, or 0. */
uint32_t mym_window_make(uint32_t units, struct mym_reap *reap);

/* As new: no object up to `used` any more. */
void mym_window_empty(uint32_t first, uintptr_t used);

/* Back to the page heap. No lock is held. */
void mym_window_put(uint32_t first);

/* Objects in it that were not freed. */
size_t mym_window_count(uint32_t first, uintptr_t used);

#endif
