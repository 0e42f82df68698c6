/*
 * rseq_x86_64.h - the operations of a cache as restartable sequences.
 *
 * A sequence runs between labels 1 and 2. When the kernel preempts the thread, moves it
 * or delivers a signal in between, it continues at label 4 (rseq(2)): as if there had been
 * nothing to pop, no room, another value. So each is atomic towards everything else on its
 * CPU, without an atomic instruction, as long as the ONE store that matters to others is
 * the last instruction: the commit. None is tried again: who goes on after an interrupted
 * one, the slow path, succeeds without any, so that a debugger that stops the thread after
 * each instruction, or a storm of signals, does not stop it for good.
 *
 *   pop   if (open[id] is even) goto empty;
 *         cache = caches + id * 2 KiB; top = cache->slot[class];
 *         object = top[-1]; if (object is the floor) goto empty;
 *         cache->slot[class] = top - 1;                           <- commit
 *         prefetch top[-2], which the next pop will return
 *   push  ...; if (top[-1] == object || top[-2] == object) goto twice;  (it was freed last, or
 *         before that)
 *         if (*top == CEILING) goto full;
 *         *top = object;                  (nobody sees it before the commit)
 *         cache->slot[class] = top + 1;                           <- commit
 *   swap  ...; if (cache->slot[index] != old) goto changed;
 *         cache->slot[index] = new;                               <- commit
 *
 * Of span words (spans.c):
 *   take  ...; if (it holds none) goto none; the word becomes what its span has below
 *   put   ...; if (no room) goto full; below = the word;   (nobody reads it before the commit)
 *         the word becomes the span, with one more held                <- commit
 *   lone  take of a word that holds one and may hold no more: what is below is known
 *
 * Kernel and glibc own the registration; only rseq_cs is ever written here.
 *
 * price: pop 13 instructions (label 0 to 2), push 17, swap 10, take 16, put 14, lone 11
 */
#ifndef MYM_CACHE_RSEQ_H
#define MYM_CACHE_RSEQ_H

#include <stdint.h>

#define MYM_RSEQ_SIGNATURE 0x53053053 /* what glibc registers on x86-64 */

/* The descriptor, then the store that arms it. */
#define MYM_RSEQ_BEGIN(shut)                           \
    ".pushsection __rseq_cs, \"aw\"\n\t"               \
    ".balign 32\n"                                     \
    "3:\n\t"                                           \
    ".long 0, 0\n\t"                                   \
    ".quad 1f, 2f - 1f, 4f\n\t"                        \
    ".popsection\n"                                    \
    "0:\n\t"                                           \
    "leaq 3b(%%rip), %[tmp]\n\t"                       \
    "movq %[tmp], %%fs:(%[cs])\n"                      \
    "1:\n\t"                                           \
    "movl %%fs:(%[id]), %k[cache]\n\t"                 \
    "testb $1, %c[open](%[front], %[cache])\n\t"       \
    "je %l[" #shut "]\n\t"                             \
    "shlq $" MYM_STR(MYM_CACHE_SHIFT) ", %[cache]\n\t" \
                                      "addq %c[caches](%[front]), %[cache]\n\t"

/* clang-format off */

/* After the commit; the abort entry is preceded by the signature, inside a ud1. */
#define MYM_RSEQ_END(interrupted)                     \
    "2:\n\t"                                          \
    ".pushsection .text.mym_rseq_abort, \"ax\"\n"     \
    "5:\n\t"                                          \
    ".byte 0x0f, 0xb9, 0x3d\n\t"                      \
    ".long " MYM_STR(MYM_RSEQ_SIGNATURE) "\n"         \
    "4:\n\t"                                          \
    "jmp %l[" #interrupted "]\n"                      \
    "7:\n\t"                                          \
    ".popsection\n\t"                                 \
    MYM_RSEQ_UNWIND(interrupted)

/*
 * A signal that interrupts a sequence finds the thread at the abort entry, which is in no
 * function: no table of the compiler's tells a profiler's handler who called. Ours says: it
 * is a frame that was interrupted (S), with nothing on the stack (the CFA is rsp), whose
 * caller goes on at rip + (where the jump leads - the entry); there the function's table
 * applies. No operation but what every walker knows, and nothing for the loader to relocate.
 * From the signature on, as some look up the byte before whatever the frame.
 */
#define MYM_RSEQ_UNWIND(interrupted)                                                    \
    ".pushsection .eh_frame, \"a\"\n\t"                                                 \
    ".ifndef .Lmym_rseq_cie\n" /* one for all of a file of assembly */                  \
    ".Lmym_rseq_cie: .long 20, 0\n\t"                                                   \
    ".byte 1, 0x7a, 0x52, 0x53, 0\n\t" /* version, \"zRS\" */                           \
    ".byte 1, 0x78, 16\n\t"            /* units: 1 and -8 bytes; who returns: rip */    \
    ".byte 1, 0x1b\n\t"                /* addresses: 4 bytes, from their place on */    \
    ".byte 0x0c, 7, 0, 0, 0, 0\n\t"    /* DW_CFA_def_cfa rsp 0; to 8 bytes */           \
    ".endif\n\t"                                                                        \
    ".long 36\n"                                                                        \
    "6: .long 6b - .Lmym_rseq_cie, 5b - 6b - 4, 7b - 5b\n\t"                            \
    ".byte 0, 0x16, 16, 14\n\t"        /* DW_CFA_val_expression rip, 14 bytes: */       \
    ".byte 0x80, 0, 0x0d\n\t"          /* DW_OP_breg16 0, DW_OP_const4s */              \
    ".long %l[" #interrupted "] - 6b\n\t"                                               \
    ".byte 0x22, 0x0d\n\t"             /* DW_OP_plus, DW_OP_const4s */                  \
    ".long 4b - 6b\n\t"                                                                 \
    ".byte 0x1c, 0, 0, 0, 0, 0, 0\n\t" /* DW_OP_minus; to 8 bytes */                    \
    ".popsection\n\t"

/* clang-format on */

/* The caller will write to the object of the next pop too: its line is asked for now.
   The magazine may be another's by now; any address can be prefetched. The floor's own
   is the magazine's, which is at hand. */
#define MYM_RSEQ_NEXT "movq -8(%[tmp]), %[tmp]\n\tprefetchw (%[tmp])\n\t"

#define MYM_RSEQ_INPUTS                                                            \
    [cs] "r"(mym_hot.rseq_cs), [id] "r"(mym_hot.rseq_id), [front] "r"(&mym_front), \
        [open] "i"(offsetof(struct mym_front, open)),                              \
        [caches] "i"(offsetof(struct mym_front, caches))

/* A line is an instruction. */
/* clang-format off */

MYM_INLINE void *mym_rseq_pop(size_t cls)
{
    void *object;
    uintptr_t tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(empty)
        "movq (%[cache], %[cls], 8), %[tmp]\n\t"
        "movq -8(%[tmp]), %[object]\n\t"
        "testb $1, %b[object]\n\t"
        "jnz %l[empty]\n\t"
        "subq $8, %[tmp]\n\t"
        "movq %[tmp], (%[cache], %[cls], 8)\n"
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
    uintptr_t tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN(full)
        "movq (%[cache], %[cls], 8), %[tmp]\n\t"
        "cmpq %[object], -8(%[tmp])\n\t"
        "je %l[twice]\n\t"
        "cmpq %[object], -16(%[tmp])\n\t"
        "je %l[twice]\n\t"
        "cmpq $1, (%[tmp])\n\t"
        "je %l[full]\n\t"
        "movq %[object], (%[tmp])\n\t"
        "addq $8, %[tmp]\n\t"
        "movq %[tmp], (%[cache], %[cls], 8)\n"
        MYM_RSEQ_END(full)
        : [tmp] "=&r"(tmp), [cache] "=&r"(cache)
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
        "cmpq %[old], (%[cache], %[index], 8)\n\t"
        "jne %l[changed]\n\t"
        "movq %[fresh], (%[cache], %[index], 8)\n"
        MYM_RSEQ_END(changed)
        : [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [old] "re"(old), [fresh] "re"(fresh)
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
        "movq (%[cache], %[index], 8), %[word]\n\t"
        "cmpq $0xffff, %[word]\n\t"
        "jbe %l[none]\n\t"
        "movq %[word], %[tmp]\n\t"
        "subq %[base], %[tmp]\n\t"
        "shrq $" MYM_STR(MYM_UNIT_SHIFT) ", %[tmp]\n\t"
        "shlq $5, %[tmp]\n\t"
        "movq (%[units], %[tmp]), %[tmp]\n\t"
        "movq %[tmp], (%[cache], %[index], 8)\n"
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
        "movq (%[cache], %[index], 8), %[word]\n\t"
        "movswl %w[word], %k[tmp]\n\t"
        "cmpl $0x100, %k[tmp]\n\t"
        "jl %l[full]\n\t"
        "movq %[word], (%[below])\n\t"
        "leaq -0xff(%[span], %[tmp]), %[tmp]\n\t"
        "movq %[tmp], (%[cache], %[index], 8)\n"
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
        "movq (%[cache], %[index], 8), %[word]\n\t"
        "cmpw %[held], %w[word]\n\t"
        "jne %l[other]\n\t"
        "movq %[room], (%[cache], %[index], 8)\n"
        MYM_RSEQ_END(other)
        : [word] "=&r"(word), [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [held] "i"(MYM_SPAN_HELD),
          [room] "i"(MYM_SPAN_ROOM)
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
    uint32_t id;

    __asm__ volatile("movl %%fs:(%1), %0" : "=r"(id) : "r"(mym_hot.rseq_id));
    return id;
}

#endif
