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
 * opened is reached after open[id] was read: its address is made to depend on that load,
 * which pairs with the release in mym_cache_try_open. What runs under another id meets a
 * magazine only through a pool's mutex.
 *
 * price: pop 14 instructions (label 0 to 2), push 20, swap 13, take 17, put 17, lone 14
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

/* clang-format off */

#define MYM_RSEQ_END(interrupted)                     \
    "2:\n\t"                                          \
    ".pushsection .text.mym_rseq_abort, \"ax\"\n"     \
    "5:\n\t"                                          \
    ".inst " MYM_STR(MYM_RSEQ_SIGNATURE) "\n"         \
    "4:\n\t"                                          \
    "b %l[" #interrupted "]\n"                        \
    "7:\n\t"                                          \
    ".popsection\n\t"                                 \
    MYM_RSEQ_UNWIND(interrupted)

/*
 * As on x86-64, but walkers do not agree on a number for pc in expressions: it is reckoned
 * from the register of `open`, all through a sequence an address that the linker knows. Its
 * number is made of its name by the assembler. (Si: clang knows no S in code that moves.)
 */
#define MYM_RSEQ_UNWIND(interrupted)                                                    \
    ".pushsection .eh_frame, \"a\"\n\t"                                                 \
    ".ifndef .Lmym_rseq_cie\n"                                                          \
    ".Lmym_rseq_cie: .long 20, 0\n\t"                                                   \
    ".byte 1, 0x7a, 0x52, 0x53, 0\n\t"                                                  \
    ".byte 4, 0x78, 32\n\t"            /* pc returns: x30 is still the caller's */      \
    ".byte 1, 0x1b\n\t"                                                                 \
    ".byte 0x0c, 31, 0, 0, 0, 0\n\t"   /* DW_CFA_def_cfa sp 0 */                        \
    ".endif\n\t"                                                                        \
    ".long 36\n"                                                                        \
    "6: .long 6b - .Lmym_rseq_cie, 5b - 6b - 4, 7b - 5b\n\t"                            \
    ".byte 0, 0x16, 32, 14\n\t"        /* DW_CFA_val_expression pc, 14 bytes: */        \
    ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, "   \
    "19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30\n\t"                                \
    ".ifc x\\number, %[open]\n\t"                                                       \
    ".byte 0x70 + \\number\n\t"        /* DW_OP_breg<number> 0 */                       \
    ".endif\n\t"                                                                        \
    ".endr\n\t"                                                                         \
    ".byte 0, 0x0d\n\t"                /* DW_OP_const4s */                              \
    ".long %l[" #interrupted "] - 6b\n\t"                                               \
    ".byte 0x22, 0x0d\n\t"             /* DW_OP_plus, DW_OP_const4s */                  \
    ".long %[place] - 6b\n\t"                                                           \
    ".byte 0x1c, 0, 0, 0, 0, 0, 0\n\t" /* DW_OP_minus */                                \
    ".popsection\n\t"

/* clang-format on */

#define MYM_RSEQ_NEXT "ldr %[tmp], [%[tmp], #-8]\n\tprfm pstl1keep, [%[tmp]]\n\t"

#define MYM_RSEQ_FIELD(offset) ((char *)__builtin_thread_pointer() + (offset))
#define MYM_RSEQ_INPUTS                                                        \
    [cs] "r"(MYM_RSEQ_FIELD(mym_hot.rseq_cs)),                                 \
        [id] "r"(MYM_RSEQ_FIELD(mym_hot.rseq_id)), [open] "r"(mym_front.open), \
        [place] "Si"(mym_front.open), [caches] "r"(mym_front.caches)

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
    uintptr_t tmp, cache, before, below, ceiling;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(full)
        "ldr %[tmp], [%[cache], %[cls], lsl #3]\n\t"
        "ldp %[below], %[ceiling], [%[tmp], #-8]\n\t"
        "ldur %[before], [%[tmp], #-16]\n\t"
        "cmp %[below], %[object]\n\t"
        "b.eq %l[twice]\n\t"
        "cmp %[before], %[object]\n\t"
        "b.eq %l[twice]\n\t"
        "cmp %[ceiling], #1\n\t"
        "b.eq %l[full]\n\t"
        "str %[object], [%[tmp]], #8\n\t"
        "str %[tmp], [%[cache], %[cls], lsl #3]\n"
        MYM_RSEQ_END(full)
        : [tmp] "=&r"(tmp), [cache] "=&r"(cache), [below] "=&r"(below),
          [before] "=&r"(before), [ceiling] "=&r"(ceiling)
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

/* The span on top of a list of them: the word, which is what that one's record says is below. */
MYM_INLINE uintptr_t mym_rseq_take(size_t index)
{
    uintptr_t word, tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(none)
        "ldr %[word], [%[cache], %[index], lsl #3]\n\t"
        "cmp %[word], #0x10, lsl #12\n\t"
        "b.lo %l[none]\n\t"
        "sub %[tmp], %[word], %[base]\n\t"
        "lsr %[tmp], %[tmp], #" MYM_STR(MYM_UNIT_SHIFT) "\n\t"
        "lsl %[tmp], %[tmp], #5\n\t"
        "ldr %[tmp], [%[units], %[tmp]]\n\t"
        "str %[tmp], [%[cache], %[index], lsl #3]\n"
        MYM_RSEQ_END(none)
        : [word] "=&r"(word), [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [base] "r"(mym_heap.base),
          [units] "r"(mym_heap.units)
        : "memory", "cc"
        : none);
    __asm__("" : "+r"(word)); /* as in pop */
    if (word == 0)
        __builtin_unreachable();
    return word;
none:
    __asm__ volatile(""); /* as in pop */
    return 0;
}

/* mym_span_onto, where mym_span_has_room; `below` is in the span's record. */
MYM_INLINE bool mym_rseq_put(size_t index, const void *span, uintptr_t *below)
{
    uintptr_t word, tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(full)
        "ldr %[word], [%[cache], %[index], lsl #3]\n\t"
        "sxth %w[tmp], %w[word]\n\t"
        "cmp %w[tmp], #0x100\n\t"
        "b.lt %l[full]\n\t"
        "str %[word], [%[below]]\n\t"
        "add %[tmp], %[tmp], %[span]\n\t"
        "sub %[tmp], %[tmp], #0xff\n\t"
        "str %[tmp], [%[cache], %[index], lsl #3]\n"
        MYM_RSEQ_END(full)
        : [word] "=&r"(word), [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [span] "r"(span), [below] "r"(below)
        : "memory", "cc"
        : full);
    return true;
full:
    return false;
}

/* Of one that holds a span and may hold no more. 0: it is another. */
MYM_INLINE uintptr_t mym_rseq_lone(size_t index)
{
    uintptr_t word, tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(other)
        "ldr %[word], [%[cache], %[index], lsl #3]\n\t"
        "and %[tmp], %[word], #0xffff\n\t"
        "cmp %[tmp], %[held]\n\t"
        "b.ne %l[other]\n\t"
        "str %[room], [%[cache], %[index], lsl #3]\n"
        MYM_RSEQ_END(other)
        : [word] "=&r"(word), [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [held] "i"(MYM_SPAN_HELD),
          [room] "r"((uintptr_t)MYM_SPAN_ROOM)
        : "memory", "cc"
        : other);
    __asm__("" : "+r"(word)); /* as in pop */
    if (word == 0)
        __builtin_unreachable();
    return word;
other:
    __asm__ volatile(""); /* as in pop */
    return 0;
}

/* clang-format on */

/* The id of the running thread's cache; out of date as soon as it is known. */
MYM_INLINE uint32_t mym_rseq_id(void)
{
    return *(volatile uint32_t *)MYM_RSEQ_FIELD(mym_hot.rseq_id);
}

#endif
