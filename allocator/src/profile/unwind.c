/*
 * unwind.c - the stack of whoever calls the allocator, as return addresses.
 *
 * By unwind tables, for most programs are built without frame pointers: by rules that are
 * read from them once (frames.c), and what these do not describe by glibc's backtrace(3),
 * libgcc's unwinder. Both find tables by _dl_find_object (glibc 2.35, gcc 12), which takes no
 * lock, so threads that load and unload libraries meanwhile are neither waited for nor in the
 * way: the code of a frame that is running stays loaded.
 *
 * backtrace's first call loads libgcc_s and allocates: made at the start of the profile, where
 * the program is linked with it or there are no rules. Elsewhere it is not worth 124 KiB: frames
 * without a rule are of code that was compiled as the program ran, where libgcc ends its
 * walks, too, unless it was told of that code, which a program does that has it.
 */
#include "profile/profile.h"

#include "base/check.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#define INNER 16u /* frames of the allocator itself, at most */
#ifdef MYM_DEBUG
#define COMPARED 1 /* with what libgcc's unwinder says */
#else
#define COMPARED 0
#endif

extern int backtrace(void **pc, int room) MYM_MAYBE;
/* libgcc's, where the program is linked with it. NULL: it has no table for this address. */
extern void *_Unwind_FindEnclosingFunction(void *pc) MYM_MAYBE; /* NOLINT */
/* Where the linker put the file's header; its program headers tell what is ours. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((weak, visibility("hidden")));

static unsigned kept = MYM_STACK_DEPTH; /* frames */
static bool has_unwinder, asks;         /* asks: libgcc, before a walk */

/* The allocator's own code, if it is a library. */
static struct {
    uintptr_t start, end;
} own;

static void find_own_code(void)
{
    uintptr_t base = (uintptr_t)&__ehdr_start;
    const ElfW(Phdr) * header;

    /* In a program the allocator is not apart from the rest. */
    if (base == 0 || getauxval(AT_PHDR) - base < sizeof(ElfW(Ehdr)) + 4096)
        return;
    header = (const ElfW(Phdr) *)(base + __ehdr_start.e_phoff); /* NOLINT */
    for (unsigned i = 0; i < __ehdr_start.e_phnum; i++)
        if (header[i].p_type == PT_LOAD && (header[i].p_flags & PF_X)) {
            own.start = base + header[i].p_vaddr;
            own.end = own.start + header[i].p_memsz;
        }
}

/* LLVM's unwinder has the same names, and waits for the loader's lock. */
static bool is_libgcc_linked(void)
{
    union {
        void *(*function)(void *pc);
        void *code;
    } find = {_Unwind_FindEnclosingFunction};

    return find.code != NULL && mym_frames_is_libgcc(find.code);
}

bool mym_unwind_start(void)
{
    void *pc[1];
    bool has_rules;

    if (backtrace == NULL)
        return false;
    find_own_code();
    has_rules = mym_frames_start();
    __atomic_store_n(&asks, is_libgcc_linked(), __ATOMIC_RELAXED);
    if (has_rules && !MYM_RACY(asks) && !COMPARED)
        return true;
    backtrace(pc, 0); /* loads, and walks nothing: that would read tables in place */
    __atomic_store_n(&has_unwinder, true, __ATOMIC_RELAXED);
    return true;
}

void mym_unwind_set_depth(unsigned depth)
{
    kept = depth;
}

static void keep(struct mym_trace *trace, void *const *pc, unsigned depth)
{
    trace->depth = depth < kept ? depth : kept;
    for (unsigned i = 0; i < trace->depth; i++)
        trace->pc[i] = pc[i];
}

#if COMPARED
/* Both say the same, from the caller on: a sanitizer's backtrace has frames of its own. */
static MYM_SLOW void check_walk(void *const *pc, unsigned depth)
{
    void *other[MYM_STACK_DEPTH + 2 * INNER];
    unsigned count = (unsigned)backtrace(other, (int)(kept + 2 * INNER));
    unsigned skip = 0;

    while (skip < count && other[skip] != pc[1])
        skip++;
    MYM_ASSERT(count - skip >= depth - 1);
    MYM_ASSERT(count - skip == depth - 1 || depth == kept + INNER);
    /* What a signal interrupted is a byte further. */
    for (unsigned i = 1; i < depth; i++)
        MYM_ASSERT((uintptr_t)pc[i] - (uintptr_t)other[skip + i - 1] <= 1);
}
#else
#define check_walk(pc, depth) ((void)0)
#endif

/* What no rule describes: was libgcc told of it, or has a table that it alone can read? */
static bool knows_better(uintptr_t at)
{
    return !MYM_RACY(asks) ||
           _Unwind_FindEnclosingFunction((void *)at) != NULL; /* NOLINT */
}

static unsigned walk_stack(void *pc[MYM_STACK_DEPTH + INNER])
{
    uintptr_t end;
    unsigned depth = mym_frames_walk(pc, kept + INNER, &end);

    if (depth > 1 && end == 0)
        check_walk(pc, depth);
    if (MYM_RACY(has_unwinder) && (depth == 0 || (end != 0 && knows_better(end))))
        depth = (unsigned)backtrace(pc, (int)(kept + INNER));
    return depth;
}

void mym_trace_begin(struct mym_trace *trace, bool walk)
{
    void *pc[MYM_STACK_DEPTH + INNER];
    unsigned depth, skip = 0;

    mym_countdown.inside = true;
    trace->depth = 0;
    if (!walk)
        return;
    depth = walk_stack(pc);
    while (skip < depth && (uintptr_t)pc[skip] - own.start < own.end - own.start)
        skip++;
    keep(trace, pc + skip, depth - skip);
}

/* Its own address if that is not among them. Where no code is nothing must look for it. */
void mym_trace_interrupted(struct mym_trace *trace, uintptr_t at, bool walk)
{
    void *pc[MYM_STACK_DEPTH + INNER];
    unsigned depth, skip = 0;

    mym_countdown.inside = true;
    depth = walk ? walk_stack(pc) : 0;
    while (skip < depth && (uintptr_t)pc[skip] - at > 1) /* by rules a byte further */
        skip++;
    if (skip == depth) {
        skip = 0;
        depth = 1;
    }
    pc[skip] = (void *)(at + 1); /* NOLINT: as if it returned there, like the others */
    keep(trace, pc + skip, depth - skip);
}

void mym_trace_end(void)
{
    mym_countdown.inside = false;
}
