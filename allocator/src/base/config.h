/*
 * config.h - the numbers the allocator is built on, and the compiler's words.
 */
#ifndef MYM_BASE_CONFIG_H
#define MYM_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The page heap deals in units; a unit is never shared by two spans. */
#define MYM_UNIT_SHIFT 16
#define MYM_UNIT       ((size_t)1 << MYM_UNIT_SHIFT)

/* A huge page, and the step in which the heap grows. */
#define MYM_CHUNK_UNITS 32u
#define MYM_CHUNK       ((size_t)MYM_CHUNK_UNITS * MYM_UNIT) /* bytes */

#define MYM_ALIGNMENT 16u   /* of every object: max_align_t on x86-64 and aarch64 */
#define MYM_SMALL_MAX 1024u /* largest size served by the shortest path */
/* Largest size whose class is on multiples of its step, so of any alignment that is no more. */
#define MYM_STEPS_MAX (MYM_SMALL_MAX - 64)
#define MYM_FINE_MAX  16384u /* up to here classes are at most an eighth apart */
/* In front of a power of two, which has a class with it: a link, a header, that of pages. */
#define MYM_LINK         16u  /* of 1 KiB */
#define MYM_HEADER       64u  /* of 1 and 2 KiB, a line */
#define MYM_PAGE_HEADER  272u /* of 4 KiB: 15 of them leave that much of a page each */
#define MYM_PAGES_HEADER 320u /* of 8 to 32 KiB: five lines */
/* Largest size for which reaps and calloc go by size classes, and that lies packed in slabs. */
#define MYM_PLACE_MAX (32768u + MYM_PAGES_HEADER)
#define MYM_CLASS_MAX 131072u /* largest size that has a size class */
#define MYM_CLASSES   100u    /* upper bound; class 0 means "no size class" */

#define MYM_WINDOW_MAX 16u /* units of the longest window of a reap, 1 MiB */

#define MYM_SPAN_MAX ((size_t)4 << 20) /* largest object that a cache may hold */

#define MYM_MAPPING_MIN \
    ((size_t)32 << 20) /* from here on an own mapping, so mremap works */

#define MYM_MAX_CPUS    8192u /* the largest NR_CPUS Linux can be built with */
#define MYM_CACHE_SHIFT 11    /* of an id's cache: 2 KiB */
#define MYM_MAX_ARENAS  64u

#define MYM_PAGE 4096u /* granule of bookkeeping; os.c asks the kernel for its own */
#define MYM_PAGE_CLASS \
    (MYM_PAGE + MYM_CACHELINE) /* the class of objects as long as one */

#define MYM_LIKELY(x)   __builtin_expect(!!(x), 1)
#define MYM_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define MYM_INLINE      static inline __attribute__((always_inline, unused))
/*
 * Slow paths align the stack for all that they call: assembly and generated code may call with
 * one that is not as the ABI of x86-64 has it. Before them nothing asks for that, on the fast
 * paths and what is kept apart from these: caches of threads, spans, the counting of samples.
 */
#ifdef __x86_64__
#define MYM_SLOW __attribute__((noinline, force_align_arg_pointer))
#else
#define MYM_SLOW __attribute__((noinline))
#endif
#define MYM_COLD  MYM_SLOW __attribute__((cold))
#define MYM_APART __attribute__((noinline))
/* On declarations of variables: no detour through the GOT in the fast paths. */
#define MYM_HIDDEN __attribute__((visibility("hidden")))
/* On declarations of what a C library may lack: NULL there. */
#define MYM_MAYBE     __attribute__((weak, visibility("default")))
#define MYM_CACHELINE 64
/* On the functions that are the fast path: they are fetched by lines. */
#define MYM_FAST __attribute__((aligned(MYM_CACHELINE)))

/* gcc defines a macro for a sanitizer, clang answers __has_feature. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MYM_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MYM_SANITIZED 1
#endif

/*
 * A word that only grows while others read it, and any value of which will do. gcc does
 * not fold even a relaxed atomic load into a comparison; one instruction on every free.
 */
#ifdef MYM_SANITIZED
#define MYM_RACY(word) __atomic_load_n(&(word), __ATOMIC_RELAXED)
#else
#define MYM_RACY(word) (word)
#endif

_Static_assert(sizeof(void *) == 8, "mymalloc is for 64-bit Linux");

/* 2^64 by the golden ratio: of multiples of it neighbours lie far apart. */
#define MYM_GOLDEN 0x9E3779B97F4A7C15u

/* The finalizer of splitmix64: each bit depends on all (Steele, Lea, Flood, 2014). */
MYM_INLINE uint64_t mym_mix(uint64_t word)
{
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9u;
    word = (word ^ word >> 27) * 0x94d049bb133111ebu;
    return word ^ word >> 31;
}

/* The first bit that is set from this one on, or `end`: none is set behind that. */
MYM_INLINE unsigned mym_next_bit(const uint64_t *words, unsigned bit, unsigned end)
{
    for (; bit < end; bit = (bit | 63) + 1) {
        uint64_t rest = words[bit / 64] >> bit % 64;

        if (rest != 0)
            return bit + (unsigned)__builtin_ctzll(rest);
    }
    return end;
}

/* To a multiple of `to`, a power of two. */
MYM_INLINE size_t mym_round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) & ~(to - 1);
}

#endif
