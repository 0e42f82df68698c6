/*
 * seal.h - the hardened build: what is written behind an object, and what is known of it.
 *
 *   ptr              ptr + size               ptr + room
 *   | the object's bytes | red zone |   0    | seal |
 *                          <= 16 bytes         8 bytes: key(ptr) ^ unused bytes << 40
 *
 * The seal tells the exact size, and nobody can write one without the secret. The bytes
 * at its lower addresses, which an overflow meets first, are the key's alone; the first one
 * is odd, so that a string's 0 too many is seen.
 *
 * That an object is in use is a bit outside of it (mym_heap.freed, by address / 16), so that
 * any pointer can be asked about. A place that is not in use reads 0 all over.
 */
#ifndef MYM_ALLOC_SEAL_H
#define MYM_ALLOC_SEAL_H

#include "base/check.h"
#include "base/secure.h"
#include "heap/heap.h"

#include <string.h>

#define MYM_SEAL_BYTES (MYM_SECURE_SEAL ? sizeof(uint64_t) : (size_t)0)
#define MYM_RED_ZONE   16u
#define MYM_SEAL_SHIFT 40 /* unused bytes are fewer than 16 MiB */

/* ---- in use ---- */

MYM_INLINE uint64_t *mym_live_word(const void *ptr, uint64_t *bit)
{
    uintptr_t granule = ((uintptr_t)ptr - mym_heap.base) / MYM_ALIGNMENT;

    *bit = (uint64_t)1 << granule % 64;
    return &mym_heap.freed[0][0] + granule / 64;
}

/* The pointer is in the heap. */
MYM_INLINE bool mym_is_live(const void *ptr)
{
    uint64_t bit, *word = mym_live_word(ptr, &bit);

    return !MYM_SECURE_FREE_CHECK ||
           ((uintptr_t)ptr % MYM_ALIGNMENT == 0 &&
            (__atomic_load_n(word, __ATOMIC_RELAXED) & bit) != 0);
}

MYM_INLINE void mym_live_set(const void *ptr)
{
    uint64_t bit, *word = mym_live_word(ptr, &bit);

    if (MYM_SECURE_FREE_CHECK)
        __atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
}

/* Of two threads that free one object one is told that it was not in use. */
MYM_INLINE bool mym_live_clear(const void *ptr)
{
    uint64_t bit, *word = mym_live_word(ptr, &bit);

    return !MYM_SECURE_FREE_CHECK ||
           ((uintptr_t)ptr % MYM_ALIGNMENT == 0 &&
            (__atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED) & bit) != 0);
}

/* ---- the seal ---- */

MYM_INLINE uint64_t mym_seal_load(const void *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
    return word;
}

MYM_INLINE void mym_seal_store(void *at, uint64_t word)
{
    memcpy(at, &word, sizeof word);
}

MYM_INLINE uint64_t mym_seal_key(const void *ptr)
{
    return ((((uintptr_t)ptr ^ mym_secret[0]) * mym_secret[1]) ^ mym_secret[2]) | 1;
}

/* No byte of it is 0. */
#define MYM_RED_WORD (mym_secret[2] | 0x0101010101010101u)

/*
 * No size decides a branch in what follows: programs ask for sizes that no processor can
 * foretell, and each wrong guess costs as much as all of the seal. Of a red zone that is
 * shorter than two words the rest is written below the seal, which is written last.
 */
MYM_INLINE char *mym_seal_place(void *ptr, size_t room)
{
    return (char *)ptr + room - sizeof(uint64_t);
}

MYM_INLINE void mym_seal_write(char *end, char *seal, uint64_t red, uint64_t word)
{
    char *second = end + sizeof red < seal ? end + sizeof red : seal;

    mym_seal_store(end, red);
    mym_seal_store(second, red);
    mym_seal_store(seal, word);
}

MYM_INLINE void mym_seal(void *ptr, size_t size, size_t room)
{
    char *end = (char *)ptr + size, *seal = mym_seal_place(ptr, room);
    uint64_t unused = (uint64_t)(seal - end);

    if (MYM_SECURE_SEAL)
        mym_seal_write(end, seal, MYM_RED_WORD,
                       mym_seal_key(ptr) ^ unused << MYM_SEAL_SHIFT);
}

/* The first bytes of a word, as many as are given, up to all. */
MYM_INLINE uint64_t mym_seal_mask(uint64_t bytes)
{
    uint64_t half = (bytes < sizeof(uint64_t) ? bytes : sizeof(uint64_t)) * 4;

    return ~(UINT64_MAX << half << half); /* by all of a word nothing can be shifted */
}

/* The object's size; damage is told. */
MYM_INLINE size_t mym_sealed_size(const void *ptr, size_t room)
{
    const char *at = (const char *)ptr + room - sizeof(uint64_t), *end, *second;
    uint64_t seal, unused, more, damage;

    if (!MYM_SECURE_SEAL)
        return room;
    seal = mym_seal_load(at) ^ mym_seal_key(ptr);
    unused = seal >> MYM_SEAL_SHIFT;
    if (MYM_UNLIKELY(seal << (64 - MYM_SEAL_SHIFT) != 0 ||
                     unused > room - sizeof(uint64_t)))
        mym_fatal("write beyond the end of an object", ptr);
    end = at - unused;
    second = end + sizeof seal < at ? end + sizeof seal : at;
    more = unused < sizeof seal ? 0 : unused - sizeof seal;
    damage = ((mym_seal_load(end) ^ MYM_RED_WORD) & mym_seal_mask(unused)) |
             ((mym_seal_load(second) ^ MYM_RED_WORD) & mym_seal_mask(more));
    if (MYM_UNLIKELY(damage != 0))
        mym_fatal("write beyond the end of an object", ptr);
    return (size_t)(end - (const char *)ptr);
}

/* What mym_seal wrote reads 0 again. */
MYM_INLINE void mym_unseal(void *ptr, size_t size, size_t room)
{
    if (MYM_SECURE_SEAL)
        mym_seal_write((char *)ptr + size, mym_seal_place(ptr, room), 0, 0);
}

#endif
