/*
 * rseq_x86_64.h - the cache's operations as restartable sequences.
 *
 * A sequence runs between labels 1 and 2. When the kernel preempts the thread, moves it
 * or delivers a signal in between, it continues at label 4 (rseq(2)): as if there had been
 * nothing to pop, no room, another value. So each is atomic towards everything else on its
 * CPU, without an atomic instruction, as long as the ONE store that matters to others is
 * the last instruction: the commit. None is tried again: who goes on after an interrupted
 * one, the slow path, succeeds without any, so that a debugger that stops the thread after
 * each instruction, or a storm of signals, does not stop it for good.
 *
 *   pop   cache = front + delta[id]; top = cache->slot[class];
 *         object = top[-1]; if (object is the floor) goto empty;
 *         cache->slot[class] = top - 1;                           <- commit
 *         prefetch top[-2], which the next pop will return
 *   push  ...; if (top[-1] == object) goto twice;     (it was freed last, too)
 *         if (*top == CEILING) goto full;
 *         *top = object;                  (nobody sees it before the commit)
 *         cache->slot[class] = top + 1;                           <- commit
 *   swap  ...; if (cache->slot[index] != old) goto changed;
 *         cache->slot[index] = new;                               <- commit
 *   take  a list of spans becomes what is below its top                  (spans.c)
 *   put   a list of spans becomes what is below another
 *
 * Kernel and glibc own the registration; only rseq_cs is ever written here.
 *
 * price: pop 11 instructions (label 0 to 2), push 13, swap 8,
 * take 18 (10 for the only span), put 15 (11)
 */
#ifndef MYM_CACHE_RSEQ_H
#define MYM_CACHE_RSEQ_H

#include <stdint.h>

#define MYM_RSEQ_SIGNATURE 0x53053053 /* what glibc registers on x86-64 */

/* The descriptor, then the store that arms it. */
#define MYM_RSEQ_BEGIN                   \
    ".pushsection __rseq_cs, \"aw\"\n\t" \
    ".balign 32\n"                       \
    "3:\n\t"                             \
    ".long 0, 0\n\t"                     \
    ".quad 1f, 2f - 1f, 4f\n\t"          \
    ".popsection\n"                      \
    "0:\n\t"                             \
    "leaq 3b(%%rip), %[tmp]\n\t"         \
    "movq %[tmp], %%fs:(%[cs])\n"        \
    "1:\n\t"                             \
    "movl %%fs:(%[id]), %k[tmp]\n\t"     \
    "movq %[front], %[cache]\n\t"        \
    "addq %c[delta](%[cache], %[tmp], 8), %[cache]\n\t"

/* After the commit; the abort entry is preceded by the signature, inside a ud1. */
#define MYM_RSEQ_END(interrupted)                                       \
    "2:\n\t"                                                            \
    ".pushsection .text.mym_rseq_abort, \"ax\"\n\t"                     \
    ".byte 0x0f, 0xb9, 0x3d\n\t"                                        \
    ".long " MYM_STR(MYM_RSEQ_SIGNATURE) "\n"                           \
                                         "4:\n\t"                       \
                                         "jmp %l[" #interrupted "]\n\t" \
                                         ".popsection\n\t"

/* The caller will write to the object of the next pop too: its line is asked for now.
   The magazine may be another's by now; any address can be prefetched. The floor's own
   is the magazine's, which is at hand. */
#define MYM_RSEQ_NEXT "movq -8(%[tmp]), %[tmp]\n\tprefetchw (%[tmp])\n\t"

#define MYM_RSEQ_INPUTS                                                            \
    [cs] "r"(mym_hot.rseq_cs), [id] "r"(mym_hot.rseq_id), [front] "r"(&mym_front), \
        [delta] "i"(offsetof(struct mym_front, delta))
#define MYM_RSEQ_LIST                                     \
    [held] "i"(MYM_SPAN_HELD), [room] "i"(MYM_SPAN_ROOM), \
        [below] "i"(offsetof(struct mym_unit, below))

MYM_INLINE void *mym_rseq_pop(size_t cls)
{
    void *object;
    uintptr_t tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN "movq (%[cache], %[cls], 8), %[tmp]\n\t"
                       "movq -8(%[tmp]), %[object]\n\t"
                       "testb $1, %b[object]\n\t"
                       "jnz %l[empty]\n\t"
                       "subq $8, %[tmp]\n\t"
                       "movq %[tmp], (%[cache], %[cls], 8)\n" MYM_RSEQ_END(empty)
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
    uintptr_t tmp, cache;

    __asm__ volatile goto(MYM_RSEQ_BEGIN
                          "movq (%[cache], %[cls], 8), %[tmp]\n\t"
                          "cmpq %[object], -8(%[tmp])\n\t"
                          "je %l[twice]\n\t"
                          "cmpq $1, (%[tmp])\n\t"
                          "je %l[full]\n\t"
                          "movq %[object], (%[tmp])\n\t"
                          "addq $8, %[tmp]\n\t"
                          "movq %[tmp], (%[cache], %[cls], 8)\n" MYM_RSEQ_END(full)
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
        MYM_RSEQ_BEGIN "cmpq %[old], (%[cache], %[index], 8)\n\t"
                       "jne %l[changed]\n\t"
                       "movq %[fresh], (%[cache], %[index], 8)\n" MYM_RSEQ_END(changed)
        : [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, [index] "r"(index), [old] "re"(old), [fresh] "re"(fresh)
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
    uintptr_t list, tmp, cache;

    __asm__ volatile goto(
        MYM_RSEQ_BEGIN "movq (%[cache], %[index], 8), %[list]\n\t"
                       "movl %[room], %k[tmp]\n\t"
                       "cmpw %[held], %w[list]\n\t"
                       "je 5f\n\t"
                       "cmpq %[least], %[list]\n\t"
                       "jb %l[none]\n\t"
                       "movq %[list], %[tmp]\n\t" /* as mym_span_record */
                       "subq %[base], %[tmp]\n\t"
                       "shrq %[to_unit], %[tmp]\n\t"
                       "shlq %[to_record], %[tmp]\n\t"
                       "addq %[units], %[tmp]\n\t"
                       "movq %c[below](%[tmp]), %[tmp]\n"
                       "5:\n\t"
                       "movq %[tmp], (%[cache], %[index], 8)\n" MYM_RSEQ_END(none)
        : [list] "=&r"(list), [tmp] "=&r"(tmp), [cache] "=&r"(cache)
        : MYM_RSEQ_INPUTS, MYM_RSEQ_LIST, [index] "r"(index), [base] "m"(mym_heap.base),
          [units] "m"(mym_heap.units), [least] "i"(MYM_UNIT),
          [to_unit] "i"(MYM_UNIT_SHIFT), [to_record] "i"(MYM_RECORD_SHIFT)
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
        MYM_RSEQ_BEGIN "movq (%[cache], %[index], 8), %[tmp]\n\t"
                       "leaq %c[held](%[span]), %[list]\n\t"
                       "cmpq %[room], %[tmp]\n\t"
                       "je 5f\n\t"
                       "movswl %w[tmp], %k[list]\n\t" /* negative: idle, or shut */
                       "subl %[room], %k[list]\n\t"
                       "jl %l[full]\n\t"
                       "leaq %c[held](%[span], %[list]), %[list]\n"
                       "5:\n\t"
                       "movq %[tmp], %c[below](%[unit])\n\t"
                       "movq %[list], (%[cache], %[index], 8)\n" MYM_RSEQ_END(full)
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
    uint32_t id;

    __asm__ volatile("movl %%fs:(%1), %0" : "=r"(id) : "r"(mym_hot.rseq_id));
    return id;
}

#endif
