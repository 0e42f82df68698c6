/*
 * seal.h - the hardened build: what is written behind an object, and what is known of it.
 *
 *   ptr              ptr + size               ptr + room
 *   | the object's bytes | 0 | red zone | 0 | seal |
 *                              <= 16 bytes    8 bytes: key(ptr) ^ unused bytes << 40
 *
 * The red zone lies behind the object's last byte, but in a place no further from its end than
 * MYM_REACH: what is written before it hits nobody, and what goes on hits the red zone.
 *
 * The seal tells the exact size, and nobody can write one without the secret. The bytes
 * at its lower addresses, which an overflow meets first, are the key's alone; the first one
 * is odd, so that a string's 0 too many is seen.
 *
 * An object of a class is in use as long as it has its seal: of a pointer to anything else,
 * the middle of an object or one that was freed, the word where the seal would be is none. The
 * first 32 and the last 64 bytes of a place that is not in use read 0, and all of one of up to
 * 128. (Once that was a bit in a table: two atomic instructions and a line of the table more
 * for each object.) Of a large object it is a bit
 * outside of it (mym_heap.freed, by address / 16): what is freed is not to be touched.
 */
#ifndef MYM_ALLOC_SEAL_H
#define MYM_ALLOC_SEAL_H

#include "alloc/alloc.h"
#include "base/check.h"
#include "base/secure.h"
#include "heap/heap.h"
#include "os/os.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define MYM_RED_ZONE   16u
#define MYM_SEAL_SHIFT 40 /* unused bytes are fewer than 16 MiB */

/* ---- in use: large objects ---- */

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

typedef uint64_t mym_lane __attribute__((vector_size(16), aligned(1), may_alias));
/*
 * Where nothing but places and what is a multiple of a lane adds up: part of an instruction. And
 * of arguments: gcc 16 fails for those of less than their alignment on arm64.
 */
typedef uint64_t mym_place_lane __attribute__((vector_size(16), may_alias));

/* At any address. */
MYM_INLINE mym_lane *mym_lane_at(const void *base, size_t offset)
{
    return (mym_lane *)((uintptr_t)base + offset);
}

/* What is not 0 stays so when each pair of bytes becomes one: one word tells of the whole lane. */
MYM_INLINE bool mym_lane_is_zero(mym_place_lane lane)
{
#ifdef __SSE2__
    return _mm_cvtsi128_si64(_mm_packs_epi16((__m128i)lane, (__m128i)lane)) == 0;
#else
    return (lane[0] | lane[1]) == 0;
#endif
}

typedef uint64_t mym_word __attribute__((may_alias));

MYM_INLINE mym_word *mym_seal_place(const void *ptr, size_t room)
{
    return (mym_word *)((uintptr_t)ptr + room - sizeof(uint64_t)); /* NOLINT */
}

/*
 * That of an object with the room to the last byte. Odd, as an object's address is even. The red
 * zone's word is no part of it: who reads as far as the seal has read that one before.
 */
MYM_INLINE uint64_t mym_seal_key(const void *ptr)
{
    return ((uintptr_t)ptr ^ mym_secret[0]) * mym_secret[1];
}

/*
 * The red zone is looked at and written as one lane, which ends at the seal or before; of a
 * zone that is shorter the lane's first bytes are the object's. No size decides a branch:
 * programs ask for sizes that no processor can foretell, and each wrong guess costs as much
 * as all of the seal. Nor, in a place, beyond MYM_REACH, where the lane is: free knows that
 * when it has read the seal, and would wait for a further line then.
 */
struct mym_zone {
    mym_lane *at, mine;
};

enum mym_room { MYM_IN_PLACE, MYM_IN_SPAN }; /* an object of a class, or a large one */

MYM_INLINE struct mym_zone mym_zone_of(const void *ptr, size_t unused, size_t room,
                                       enum mym_room kind)
{
    size_t most = MYM_UNUSED_TOLD;
    size_t told = unused < most ? unused : most;
    ptrdiff_t at;

    at = kind == MYM_IN_PLACE || unused < most ? mym_places.zone[told]
                                               : -(ptrdiff_t)unused;
    return (struct mym_zone){mym_lane_at(mym_seal_place(ptr, room), (size_t)at),
                             *mym_lane_at(mym_places.mine, told)};
}

/* No byte of it is 0. */
MYM_INLINE mym_lane mym_zone_red(void)
{
    return *(const mym_place_lane *)&mym_secret[2];
}

/* zeroed: what is written on reads 0 so far. */
MYM_INLINE void mym_seal(void *ptr, size_t size, size_t room, enum mym_room kind,
                         bool zeroed)
{
    size_t unused = room - sizeof(uint64_t) - size;
    struct mym_zone zone;

    if (!MYM_SECURE_SEAL)
        return;
    zone = mym_zone_of(ptr, unused, room, kind);
    if (zeroed)
        *zone.at = mym_zone_red() & zone.mine;
    else
        *zone.at = (*zone.at & ~zone.mine) | (mym_zone_red() & zone.mine);
    *mym_seal_place(ptr, room) = mym_seal_key(ptr) ^ unused << MYM_SEAL_SHIFT;
}

/* What is wrong with an object whose seal is not as it was written: told, then abort. */
_Noreturn void mym_seal_broken(const void *ptr, size_t room);

/* The object's size; damage is told. */
MYM_INLINE size_t mym_sealed_size(const void *ptr, size_t room, enum mym_room kind)
{
    struct mym_zone zone;
    uint64_t seal;
    size_t unused, size;

    if (!MYM_SECURE_SEAL)
        return room;
    seal = *mym_seal_place(ptr, room) ^ mym_seal_key(ptr);
    unused = seal >> MYM_SEAL_SHIFT;
    if (MYM_UNLIKELY(seal << (64 - MYM_SEAL_SHIFT) != 0) ||
        MYM_UNLIKELY(__builtin_sub_overflow(room - sizeof(uint64_t), unused, &size)))
        mym_seal_broken(ptr, room);
    zone = mym_zone_of(ptr, unused, room, kind);
    if (MYM_UNLIKELY(!mym_lane_is_zero((*zone.at ^ mym_zone_red()) & zone.mine)))
        mym_seal_broken(ptr, room);
    return size;
}

/* What mym_seal wrote reads 0 again. */
MYM_INLINE void mym_unseal(void *ptr, size_t size, size_t room, enum mym_room kind)
{
    struct mym_zone zone;

    if (!MYM_SECURE_SEAL)
        return;
    zone = mym_zone_of(ptr, room - sizeof(uint64_t) - size, room, kind);
    *zone.at &= ~zone.mine;
    *mym_seal_place(ptr, room) = 0;
}

/* Whatever the red zone: nobody else writes such a word there. */
MYM_INLINE bool mym_is_sealed(const void *ptr, size_t room)
{
    return (*mym_seal_place(ptr, room) ^ mym_seal_key(ptr)) << (64 - MYM_SEAL_SHIFT) ==
           0;
}

/*
 * The word is this seal still, and 0 from now on: by one instruction, for a signal's handler, or
 * another thread on this CPU, may come at any time. Of two CPUs that execute it at the same moment
 * both may find the seal where it is not a locked one; that is seen when malloc meets the object
 * in use (secure.c). A locked one waits for all stores before it, to objects that are in no cache
 * mostly, and all loads behind wait for it. A subtraction is faster than a compare-and-exchange.
 */
MYM_INLINE bool mym_seal_take(mym_word *place, uint64_t seal)
{
#if defined(__x86_64__) && !defined(MYM_SANITIZED)
    bool found;

    if (MYM_SECURE_FREE_CHECK < MYM_CHECK_LOCKED || mym_os_is_alone()) {
        __asm__ volatile("subq %[seal], %[place]"
                         : "=@ccz"(found), [place] "+m"(*place)
                         : [seal] "r"(seal));
        if (MYM_UNLIKELY(!found))
            *place += seal; /* as it was, for whoever has it now */
        return found;
    }
#endif
    return __atomic_exchange_n(place, 0, __ATOMIC_RELAXED) == seal;
}

/*
 * An object of a class is in use as long as it is sealed; from now on it is not. Its size. The seal
 * is looked at before it is taken away: what is behind a locked instruction waits for it.
 */
MYM_INLINE size_t mym_seal_break(void *ptr, size_t room)
{
    mym_word *place = mym_seal_place(ptr, room);
    uint64_t seal = *place;
    size_t size = mym_sealed_size(ptr, room, MYM_IN_PLACE);

    if (!MYM_SECURE_FREE_CHECK)
        *place = 0;
    else if (MYM_UNLIKELY(!mym_seal_take(place, seal)))
        mym_bad_pointer(ptr); /* who took it away has freed the object */
    return size;
}

#endif
