/*
 * rseq_aarch64.h - the operations of a cache as restartable sequences.
 *
 * The pseudocode and the rules are those of rseq_x86_64.h. Plain loads and stores are
 * enough, although an mm_cid, and its cache with it, moves from CPU to CPU. Threads with
 * the same id never run at the same time; between them
 *   - the one that stops goes through schedule(), which has a full barrier after its last
 *     access and before its id is free to be taken (smp_mb__after_spinlock);
 *   - the one that starts got the id by an atomic operation with full order
 *     (test_and_set_bit, cmpxchg) on the word that freed it, before its first access.
 * A cpu_id does not move, and there too a switch lies between. A cache that was just
 * opened is reached through delta[id]: its address depends on that load, which pairs with
 * the release in mym_cache_open. What runs under another id meets a magazine only through a
 * pool's mutex.
 *
 * price: pop 11 instructions (label 0 to 2), push 14, swap 10,
 * take 18 (12 for the only span), put 17 (12)
 */
#ifndef MYM_CACHE_RSEQ_H
#define MYM_CACHE_RSEQ_H

#include <stdint.h>

#define MYM_RSEQ_SIGNATURE 0xd428bc00 /* brk #0x45e0, what glibc registers here */

#define MYM_RSEQ_BEGIN                             \
    ".pushsection __rseq_cs, \"aw\"\n\t"           \
    ".balign 32\n"                                 \
    "3:\n\t"                                       \
    ".long 0, 0\n\t"                               \
    ".quad 1f, 2f - 1f, 4f\n\t"                    \
    ".popsection\n"                                \
    "0:\n\t"                                       \
    "adrp %[tmp], 3b\n\t"                          \
    "add %[tmp], %[tmp], :lo12:3b\n\t"             \
    "str %[tmp], [%[cs]]\n"                        \
    "1:\n\t"                                       \
    "ldr %w[tmp], [%[id]]\n\t"                     \
    "ldr %[cache], [%[delta], %[tmp], lsl #3]\n\t" \
    "add %[cache], %[cache], %[front]\n\t"

#define MYM_RSEQ_END(interrupted)                                     \
    "2:\n\t"                                                          \
    ".pushsection .text.mym_rseq_abort, \"ax\"\n\t"                   \
    ".inst " MYM_STR(MYM_RSEQ_SIGNATURE) "\n"                         \
                                         "4:\n\t"                     \
                                         "b %l[" #interrupted "]\n\t" \
                                         ".popsection\n\t"

#define MYM_RSEQ_NEXT "ldr %[tmp], [%[tmp], #-8]\n\tprfm pstl1keep, [%[tmp]]\n\t"

#define MYM_RSEQ_FIELD(offset) ((char *)__builtin_thread_pointer() + (offset))
#define MYM_RSEQ_INPUTS                                                     \
    [cs] "r"(MYM_RSEQ_FIELD(mym_hot.rseq_cs)),                              \
        [id] "r"(MYM_RSEQ_FIELD(mym_hot.rseq_id)), [front] "r"(&mym_front), \
        [delta] "r"(mym_front.delta)

#define MYM_RSEQ_LIST                                     \
    [held] "i"(MYM_SPAN_HELD), [room] "i"(MYM_SPAN_ROOM), \
        [below] "i"(offsetof(struct mym_unit, below))

MYM_INLINE void *mym_rseq_pop(size_t cls)
{
    void *object;
    uintptr_t tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN "ldr %[tmp], [%[cache], %[cls], lsl #3]\n\t"
                       "ldr %[object], [%[tmp], #-8]\n\t"
                       "tbnz %[object], #0, %l[empty]\n\t"
                       "sub %[tmp], %[tmp], #8\n\t"
                       "str %[tmp], [%[cache], %[cls], lsl #3]\n" MYM_RSEQ_END(empty)
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
    return NULL;
}

MYM_INLINE bool mym_rseq_push(size_t cls, void *object)
{
    uintptr_t tmp, cache, below, ceiling;

    __asm__ volatile goto(MYM_RSEQ_BEGIN
                          "ldr %[tmp], [%[cache], %[cls], lsl #3]\n\t"
                          "ldp %[below], %[ceiling], [%[tmp], #-8]\n\t"
                          "cmp %[below], %[object]\n\t"
                          "b.eq %l[twice]\n\t"
                          "cmp %[ceiling], #1\n\t"
                          "b.eq %l[full]\n\t"
                          "str %[object], [%[tmp]], #8\n\t"
                          "str %[tmp], [%[cache], %[cls], lsl #3]\n" MYM_RSEQ_END(full)
                          : [tmp] "=&r"(tmp), [cache] "=&r"(cache),
                            [below] "=&r"(below), [ceiling] "=&r"(ceiling)
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
        MYM_RSEQ_BEGIN
        "ldr %[tmp], [%[cache], %[index], lsl #3]\n\t"
        "cmp %[tmp], %[old]\n\t"
        "b.ne %l[changed]\n\t"
        "str %[fresh], [%[cache], %[index], lsl #3]\n" MYM_RSEQ_END(changed)
        : [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [old] "r"(old), [fresh] "r"(fresh)
        : "memory", "cc"
        : changed);
    return true;
changed:
    return false;
}

/*
 * The span on top of a word's list, as the list that it was. What is below the only one that a word
 * may hold is known: nothing to wait for. That of others is read while they are on top: before, the
 * word may have gone and come back with something else below. 0: holds none.
 */
MYM_INLINE uintptr_t mym_rseq_take(size_t index)
{
    uintptr_t list, part, tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN "ldr %[list], [%[cache], %[index], lsl #3]\n\t"
                       "mov %[tmp], %[room]\n\t"
                       "and %[part], %[list], #0xffff\n\t"
                       "cmp %[part], %[held]\n\t"
                       "b.eq 5f\n\t"
                       "lsr %[part], %[list], %[to_unit]\n\t"
                       "cbz %[part], %l[none]\n\t"
                       "sub %[tmp], %[list], %[base]\n\t" /* as mym_span_record */
                       "lsr %[tmp], %[tmp], %[to_unit]\n\t"
                       "add %[tmp], %[units], %[tmp], lsl %[to_record]\n\t"
                       "ldr %[tmp], [%[tmp], %[below]]\n"
                       "5:\n\t"
                       "str %[tmp], [%[cache], %[index], lsl #3]\n" MYM_RSEQ_END(none)
        : [list] "=&r"(list), [part] "=&r"(part), [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, MYM_RSEQ_LIST, [index] "r"(index), [base] "r"(mym_heap.base),
          [units] "r"(mym_heap.units), [to_unit] "i"(MYM_UNIT_SHIFT),
          [to_record] "i"(MYM_RECORD_SHIFT)
        : "memory", "cc"
        : none);
    __asm__("" : "+r"(list)); /* as in mym_rseq_pop */
    if (list < MYM_UNIT)
        __builtin_unreachable(); /* the sequence tested it: no second test */
    return list;
none:
    return 0;
}

/* A span, whose record is the caller's, becomes the top of a word's list, if that has room. */
MYM_INLINE bool mym_rseq_put(size_t index, const void *span, struct mym_unit *unit)
{
    uintptr_t list, tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN "ldr %[tmp], [%[cache], %[index], lsl #3]\n\t"
                       "add %[list], %[span], %[held]\n\t"
                       "cmp %[tmp], %[room]\n\t"
                       "b.eq 5f\n\t"
                       "sxth %[list], %w[tmp]\n\t" /* negative: idle, or shut */
                       "subs %[list], %[list], %[room]\n\t"
                       "b.lt %l[full]\n\t"
                       "add %[list], %[list], %[span]\n\t"
                       "add %[list], %[list], %[held]\n"
                       "5:\n\t"
                       "str %[tmp], [%[unit], %[below]]\n\t"
                       "str %[list], [%[cache], %[index], lsl #3]\n" MYM_RSEQ_END(full)
        : [list] "=&r"(list), [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS,
          MYM_RSEQ_LIST, [index] "r"(index), [unit] "r"(unit), [span] "r"(span)
        : "memory", "cc"
        : full);
    return true;
full:
    return false;
}

/* The id of the running thread's cache; out of date as soon as it is known. */
MYM_INLINE uint32_t mym_rseq_id(void)
{
    return *(volatile uint32_t *)MYM_RSEQ_FIELD(mym_hot.rseq_id);
}

#endif
