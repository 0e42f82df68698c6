/*
 * rseq_aarch64.h - the four cache operations as restartable sequences.
 *
 * The pseudocode and the rules are those of rseq_x86_64.h. Plain loads and stores are
 * enough, although an mm_cid, and its cache with it, moves from CPU to CPU. Threads with
 * the same id never run at the same time; between them
 *   - the one that stops goes through schedule(), which has a full barrier after its last
 *     access and before its id is free to be taken (smp_mb__after_spinlock);
 *   - the one that starts got the id by an atomic operation with full order
 *     (test_and_set_bit, cmpxchg) on the word that freed it, before its first access.
 * A cpu_id does not move, and there too a switch lies between. A cache that was just
 * opened is reached after open[id] was read: its address is made to depend on that load,
 * which pairs with the release in mym_cache_try_open. What runs under another id meets a
 * magazine only through a pool's mutex.
 *
 * price: pop 14 instructions (label 0 to 2), push 17, swap 13, follow 14
 */
#ifndef MYM_CACHE_RSEQ_H
#define MYM_CACHE_RSEQ_H

#include <stdint.h>

#define MYM_RSEQ_SIGNATURE 0xd428bc00 /* brk #0x45e0, what glibc registers here */

#define MYM_RSEQ_BEGIN(shut)                            \
    ".pushsection __rseq_cs, \"aw\"\n\t"                \
    ".balign 32\n"                                      \
    "3:\n\t"                                            \
    ".long 0, 0\n\t"                                    \
    ".quad 1f, 2f - 1f, 4f\n\t"                         \
    ".popsection\n"                                     \
    "0:\n\t"                                            \
    "adrp %[tmp], 3b\n\t"                               \
    "add %[tmp], %[tmp], :lo12:3b\n\t"                  \
    "str %[tmp], [%[cs]]\n"                             \
    "1:\n\t"                                            \
    "ldr %w[cache], [%[id]]\n\t"                        \
    "ldrb %w[tmp], [%[open], %[cache]]\n\t"             \
    "tbz %w[tmp], #0, %l[" #shut "]\n\t"                \
    "eor %[tmp], %[tmp], %[tmp]\n\t"                    \
    "add %[cache], %[caches], %[cache], lsl #" MYM_STR( \
        MYM_CACHE_SHIFT) "\n\t"                         \
                         "add %[cache], %[cache], %[tmp]\n\t"

#define MYM_RSEQ_END(interrupted)                                     \
    "2:\n\t"                                                          \
    ".pushsection .text.mym_rseq_abort, \"ax\"\n\t"                   \
    ".inst " MYM_STR(MYM_RSEQ_SIGNATURE) "\n"                         \
                                         "4:\n\t"                     \
                                         "b %l[" #interrupted "]\n\t" \
                                         ".popsection\n\t"

#define MYM_RSEQ_NEXT "ldr %[tmp], [%[tmp], #-8]\n\tprfm pstl1keep, [%[tmp]]\n\t"

#define MYM_RSEQ_FIELD(offset) ((char *)__builtin_thread_pointer() + (offset))
#define MYM_RSEQ_INPUTS                                                        \
    [cs] "r"(MYM_RSEQ_FIELD(mym_hot.rseq_cs)),                                 \
        [id] "r"(MYM_RSEQ_FIELD(mym_hot.rseq_id)), [open] "r"(mym_front.open), \
        [caches] "r"(mym_front.caches)

/* A line is an instruction. */
/* clang-format off */

MYM_INLINE void *mym_rseq_pop(size_t cls)
{
    void *object;
    uintptr_t tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(empty)
        "ldr %[tmp], [%[cache], %[cls], lsl #3]\n\t"
        "ldr %[object], [%[tmp], #-8]\n\t"
        "tbnz %[object], #0, %l[empty]\n\t"
        "sub %[tmp], %[tmp], #8\n\t"
        "str %[tmp], [%[cache], %[cls], lsl #3]\n"
        MYM_RSEQ_END(empty)
        MYM_RSEQ_NEXT
        : [object] "=&r"(object), [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [cls] "r"(cls)
        : "memory", "cc"
        : empty);
    __asm__(
        ""
        : "+r"(object)); /* gcc before 12.3 may lose outputs of asm goto (PR 110420) */
    if (object == NULL)
        __builtin_unreachable(); /* the sequence tested it: no second test */
    return object;
empty:
    __asm__ volatile(""); /* else gcc 12 with UBSan, -O1, may return what `object` is by now */
    return NULL;
}

MYM_INLINE bool mym_rseq_push(size_t cls, void *object)
{
    uintptr_t tmp, cache, below, ceiling;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(full)
        "ldr %[tmp], [%[cache], %[cls], lsl #3]\n\t"
        "ldp %[below], %[ceiling], [%[tmp], #-8]\n\t"
        "cmp %[below], %[object]\n\t"
        "b.eq %l[twice]\n\t"
        "cmp %[ceiling], #1\n\t"
        "b.eq %l[full]\n\t"
        "str %[object], [%[tmp]], #8\n\t"
        "str %[tmp], [%[cache], %[cls], lsl #3]\n"
        MYM_RSEQ_END(full)
        : [tmp] "=&r"(tmp), [cache] "=&r"(cache), [below] "=&r"(below),
          [ceiling] "=&r"(ceiling)
        : MYM_RSEQ_INPUTS, [cls] "r"(cls), [object] "r"(object)
        : "memory", "cc"
        : full, twice);
    return true;
full:
    return false;
twice:
    mym_cache_twice(object);
}

MYM_INLINE bool mym_rseq_swap(size_t index, uintptr_t old, uintptr_t fresh)
{
    uintptr_t tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(changed)
        "ldr %[tmp], [%[cache], %[index], lsl #3]\n\t"
        "cmp %[tmp], %[old]\n\t"
        "b.ne %l[changed]\n\t"
        "str %[fresh], [%[cache], %[index], lsl #3]\n"
        MYM_RSEQ_END(changed)
        : [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [old] "r"(old), [fresh] "r"(fresh)
        : "memory", "cc"
        : changed);
    return true;
changed:
    return false;
}

/* A word that holds a span is what its record says is below: only while it is on top. */
MYM_INLINE bool mym_rseq_follow(size_t index, uintptr_t old, const uintptr_t *below)
{
    uintptr_t tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(changed)
        "ldr %[tmp], [%[cache], %[index], lsl #3]\n\t"
        "cmp %[tmp], %[old]\n\t"
        "b.ne %l[changed]\n\t"
        "ldr %[tmp], [%[below]]\n\t"
        "str %[tmp], [%[cache], %[index], lsl #3]\n"
        MYM_RSEQ_END(changed)
        : [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [old] "r"(old), [below] "r"(below)
        : "memory", "cc"
        : changed);
    return true;
changed:
    return false;
}

/* clang-format on */

/* The id of the running thread's cache; out of date as soon as it is known. */
MYM_INLINE uint32_t mym_rseq_id(void)
{
    return *(volatile uint32_t *)MYM_RSEQ_FIELD(mym_hot.rseq_id);
}

#endif
