/*
 * guarded.h - guarded samples: objects between pages that cannot be touched.
 *
 * A sample of small objects (sample.c) lies in pages of its own, next to one that faults,
 * most with their end against it, each fourth with its start behind one. When such an object
 * is freed its pages fault too, until their turn comes again. So the instruction that writes
 * or reads beyond an object, or uses one after its end, is caught in the act (fault.c) and
 * reported with its stack and those that took and freed the object (tell.c); what an
 * alignment leaves between an object and its page's end is looked at when it is freed.
 *
 * Bounded: MYM_GUARD_BYTES of pages are in use at most, else a sample is not guarded;
 * records of 512 objects, and of those that were freed last, 300 KiB.
 *
 * Locking: one lock (MYM_RANK_GUARD) guards everything; stacks are walked before.
 */
#ifndef MYM_PROFILE_GUARDED_H
#define MYM_PROFILE_GUARDED_H

#include "profile/profile.h"

#define MYM_GUARD_CELLS 512u                /* of two pages */
#define MYM_GUARD_BYTES ((size_t)512 << 10) /* pages that can be touched, at most */
#define MYM_GUARD_MOST  ((size_t)32 << 10)  /* largest object that is guarded */
#define MYM_GUARD_DEPTH 32u                 /* frames of a stack that are kept */

struct mym_guarded {
    uintptr_t start; /* of all the pages, the first of which belongs to no cell */
    size_t bytes;    /* 0: nothing is guarded */
    /* Under the lock; others read them: MYM_RACY. */
    size_t open;          /* bytes of pages that can be touched */
    size_t objects, live; /* that the program holds, and their bytes */
    size_t taken;         /* objects, ever */
};
extern MYM_HIDDEN struct mym_guarded mym_guarded;

/* Is, was, or lies beside a guarded object. */
MYM_INLINE bool mym_guarded_has(const void *ptr)
{
    return (uintptr_t)ptr - mym_guarded.start < MYM_RACY(mym_guarded.bytes);
}

/* An object of this size may become a guarded one. */
MYM_INLINE bool mym_guarded_may_be(size_t size)
{
    return size <= MYM_GUARD_MOST && MYM_RACY(mym_watch.of[MYM_FOR_GUARD]) != 0;
}

/* ---- guarded.c ---- */

/* Once, at start. False: no address space, or no signal handler. */
bool mym_guarded_start(bool go_on);

/* An object, or NULL: it cannot be guarded, or too many are. */
void *mym_guarded_take(size_t alignment, size_t size, const struct mym_trace *trace);

/* Free it. mym_guarded_has holds; what is wrong with the pointer is reported. */
void mym_guarded_put(void *ptr);

/* The size that was asked for (1 for 0), 0: this is no object. */
size_t mym_guarded_bytes(const void *ptr);

/* If mym_guarded_has: report that it is used as an object and is none; abort. */
void mym_guarded_blame(const void *ptr);

size_t mym_guarded_verify(void);
void mym_guarded_fork(enum mym_fork_step step);
void mym_guarded_fork_child(void);

/* ---- fault.c: SIGSEGV ---- */

enum mym_access { MYM_ACCESS, MYM_READ, MYM_WRITE };
/* An access faulted, in the code at pc. False: it is none of ours. */
typedef bool mym_on_fault(const void *ptr, enum mym_access access, uintptr_t pc);

bool mym_fault_start(mym_on_fault *ours);
/* Come before the handler that the program has set since. The guard's lock is held. */
void mym_fault_come_first(void);

/* ---- tell.c: one report, in this order; the guard's lock is held ---- */

/* "WHAT: 0xPTR", then how far it is from [start, start + size), if size is not 0. */
void mym_tell(const char *what, uintptr_t ptr, uintptr_t start, size_t size);
void mym_tell_stack(const char *whose, unsigned depth, void *const *pc);

#endif
