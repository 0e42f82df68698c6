/*
 * secure.h - what the hardened build, libmymalloc_secure, does besides.
 *
 * MYM_SECURE=1 makes that build, of the same sources; each option can be left out of it by
 * -DMYM_SECURE_<OPTION>=0, to see what it catches and what it costs (docs/hardening.md).
 * In the default build all of them are 0.
 */
#ifndef MYM_BASE_SECURE_H
#define MYM_BASE_SECURE_H

#include "base/config.h"

#ifndef MYM_SECURE
#define MYM_SECURE 0
#endif

/*
 * Every free asks at once whether the object is in use: whether it has its seal. =2: also of two
 * CPUs that free one within the same few ns (x86-64; elsewhere always).
 */
#define MYM_CHECK_LOCKED 2
#ifndef MYM_SECURE_FREE_CHECK
#define MYM_SECURE_FREE_CHECK MYM_SECURE
#endif
/* Behind each object its exact size, sealed with a secret: overflow, sizes of deletes. */
#ifndef MYM_SECURE_SEAL
#define MYM_SECURE_SEAL MYM_SECURE
#endif
#define MYM_SEAL_BYTES (MYM_SECURE_SEAL ? sizeof(uint64_t) : (size_t)0)
/* Nobody reads what was freed: the ends of an object, or (=2) all of it. */
#define MYM_ZERO_ENDS  1
#define MYM_ZERO_ALL   2
#define MYM_ZERO_END   32u  /* bytes at either end of an object and of its place */
#define MYM_ZERO_WHOLE 128u /* places up to this length are all end */
#define MYM_REACH      64u /* of a place's end: with the seal on a cache line, mostly */
#ifndef MYM_SECURE_ZERO_ON_FREE
#define MYM_SECURE_ZERO_ON_FREE (MYM_SECURE * MYM_ZERO_ENDS)
#endif
_Static_assert(MYM_ZERO_WHOLE == 2 * MYM_ZERO_END + MYM_REACH,
               "four ends are all of it");
/*
 * Where the second and the third of a place's four ends begin: with those at 0 and in the last
 * MYM_ZERO_END bytes they cover one of at most MYM_ZERO_WHOLE bytes. Of a longer one the second
 * is the first once more.
 */
MYM_INLINE size_t mym_zero_second(size_t room)
{
    size_t last = room > MYM_ZERO_END ? room - MYM_ZERO_END : 0;

    return room > MYM_ZERO_WHOLE ? 0 : last < MYM_ZERO_END ? last : MYM_ZERO_END;
}

MYM_INLINE size_t mym_zero_third(size_t room)
{
    return room > MYM_REACH ? room - MYM_REACH : 0;
}
/* What is handed out still reads 0 where one looks: or it was written to after it was freed. */
#ifndef MYM_SECURE_WRITE_AFTER_FREE
#define MYM_SECURE_WRITE_AFTER_FREE MYM_SECURE
#endif
/* What is freed waits: nobody can tell what malloc returns next, but it is not that. */
#ifndef MYM_SECURE_QUARANTINE
#define MYM_SECURE_QUARANTINE MYM_SECURE
#endif
/* What a magazine holds is handed out in random order, among neighbours. */
#ifndef MYM_SECURE_RANDOM
#define MYM_SECURE_RANDOM MYM_SECURE
#endif
/* A page without access behind each large object; freed ones are without access. */
#ifndef MYM_SECURE_FENCE
#define MYM_SECURE_FENCE MYM_SECURE
#endif
/* Variables that are written at start alone are read-only from then on. */
#ifndef MYM_SECURE_FIXED
#define MYM_SECURE_FIXED MYM_SECURE
#endif

_Static_assert(MYM_SECURE || !(MYM_SECURE_FREE_CHECK || MYM_SECURE_SEAL ||
                               MYM_SECURE_ZERO_ON_FREE || MYM_SECURE_WRITE_AFTER_FREE ||
                               MYM_SECURE_QUARANTINE || MYM_SECURE_RANDOM ||
                               MYM_SECURE_FENCE || MYM_SECURE_FIXED),
               "options are for the hardened build");
_Static_assert(MYM_SECURE_FREE_CHECK >= 0 && MYM_SECURE_FREE_CHECK <= MYM_CHECK_LOCKED,
               "0, 1 or 2 (locked)");
_Static_assert(MYM_SECURE_ZERO_ON_FREE >= 0 && MYM_SECURE_ZERO_ON_FREE <= MYM_ZERO_ALL,
               "0, 1 (the ends) or 2 (all)");
_Static_assert(!MYM_SECURE_WRITE_AFTER_FREE || MYM_SECURE_ZERO_ON_FREE,
               "that what is handed out reads 0 tells something if freeing zeroes it");
_Static_assert(!MYM_SECURE_FREE_CHECK || MYM_SECURE_SEAL, "what has a seal is in use");
_Static_assert(!MYM_SECURE_QUARANTINE || MYM_SECURE_FREE_CHECK,
               "an object that is freed twice would be in two places");
_Static_assert(!MYM_SECURE_FENCE || MYM_SECURE_FREE_CHECK,
               "what is without access is not looked at to see whether it was freed");

/*
 * On definitions. A section that the linker makes part of what the loader protects (os/fixed.c);
 * the name makes it one of its own.
 */
#if MYM_SECURE_FIXED
#define MYM_FIXED __attribute__((section(".data.rel.ro.mym_fixed")))
#else
#define MYM_FIXED
#endif

/*
 * Of the process, drawn at its start: by nobody's guess. Two odd numbers, and twice one without
 * a byte of 0: a seal's first byte is odd, and a red zone is read at one go.
 */
extern MYM_HIDDEN uint64_t mym_secret[4] __attribute__((aligned(16)));

/* Steps of a generator; a race between two threads costs nothing (Knuth's MMIX). */
MYM_INLINE uint64_t mym_random_step(uint64_t *state)
{
    uint64_t next =
        __atomic_load_n(state, __ATOMIC_RELAXED) * 6364136223846793005u + mym_secret[1];

    __atomic_store_n(state, next, __ATOMIC_RELAXED);
    return next;
}

MYM_INLINE uint32_t mym_random(uint64_t *state)
{
    return (uint32_t)(mym_random_step(state) >> 32);
}

/* The lower bits come round soon: the upper ones are in them. */
MYM_INLINE uint64_t mym_random_word(uint64_t *state)
{
    uint64_t next = mym_random_step(state);

    return next ^ next >> 32;
}

#endif
