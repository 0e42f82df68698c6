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

MYM_INLINE void mym_seal(void *ptr, size_t size, size_t room)
{
    char *end = (char *)ptr + size;
    uint64_t unused = room - sizeof(uint64_t) - size;

    if (!MYM_SECURE_SEAL)
        return;
    /* The red zone may reach into the seal, which is written last. */
    mym_seal_store(end, MYM_RED_WORD);
    if (unused >= sizeof(uint64_t))
        mym_seal_store(end + sizeof(uint64_t), MYM_RED_WORD);
    mym_seal_store((char *)ptr + room - sizeof(uint64_t),
                   mym_seal_key(ptr) ^ unused << MYM_SEAL_SHIFT);
}

/* Only the first `bytes`, up to 8, of two words are the same. */
MYM_INLINE bool mym_seal_same(uint64_t a, uint64_t b, uint64_t bytes)
{
    return bytes == 0 || (a ^ b) << (64 - (bytes < 8 ? bytes : 8) * 8) == 0;
}

/* The object's size; damage is told. */
MYM_INLINE size_t mym_sealed_size(const void *ptr, size_t room)
{
    uint64_t seal, unused;
    const char *end;

    if (!MYM_SECURE_SEAL)
        return room;
    seal =
        mym_seal_load((const char *)ptr + room - sizeof(uint64_t)) ^ mym_seal_key(ptr);
    unused = seal >> MYM_SEAL_SHIFT;
    end = (const char *)ptr + room - sizeof(uint64_t) - unused;
    if (MYM_UNLIKELY(seal << (64 - MYM_SEAL_SHIFT) != 0 ||
                     unused > room - sizeof(uint64_t) ||
                     !mym_seal_same(mym_seal_load(end), MYM_RED_WORD, unused)))
        mym_fatal("write beyond the end of an object", ptr);
    if (unused > 8 &&
        MYM_UNLIKELY(!mym_seal_same(mym_seal_load(end + 8), MYM_RED_WORD, unused - 8)))
        mym_fatal("write beyond the end of an object", ptr);
    return (size_t)(end - (const char *)ptr);
}

/* What mym_seal wrote reads 0 again. */
MYM_INLINE void mym_unseal(void *ptr, size_t size, size_t room)
{
    char *end = (char *)ptr + size;

    if (!MYM_SECURE_SEAL)
        return;
    mym_seal_store(end, 0);
    if (room - size >= 2 * sizeof(uint64_t))
        mym_seal_store(end + sizeof(uint64_t), 0);
    mym_seal_store((char *)ptr + room - sizeof(uint64_t), 0);
}

#endif
