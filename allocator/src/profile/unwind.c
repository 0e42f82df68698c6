/*
 * unwind.c - the stack of whoever calls the allocator, as return addresses.
 *
 * By unwind tables, for most programs are built without frame pointers: by rules that are
 * read from them once (frames.c), and where these do not suffice by glibc's backtrace(3),
 * libgcc's unwinder. Both find tables by _dl_find_object (glibc 2.35, gcc 12), which takes no
 * lock, so threads that load and unload libraries meanwhile are neither waited for nor in the
 * way: the code of a frame that is running stays loaded. backtrace's first call loads libgcc_s
 * and allocates: made at the start of the profile.
 */
#include "profile/profile.h"

#include "base/check.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#define INNER 16u /* frames of the allocator itself, at most */

extern int backtrace(void **pc, int room) MYM_MAYBE;
/* Where the linker put the file's header; its program headers tell what is ours. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((weak, visibility("hidden")));

static unsigned kept = MYM_STACK_DEPTH; /* frames */

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

bool mym_unwind_start(void)
{
    void *pc[1];

    if (backtrace == NULL)
        return false;
    find_own_code();
    mym_frames_start();
    backtrace(pc, 0); /* loads, and walks nothing: that would read tables in place */
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

#ifdef MYM_DEBUG
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
    for (unsigned i = 1; i < depth; i++)
        MYM_ASSERT(pc[i] == other[skip + i - 1]);
}
#else
#define check_walk(pc, depth) ((void)0)
#endif

void mym_trace_begin(struct mym_trace *trace, bool walk)
{
    void *pc[MYM_STACK_DEPTH + INNER];
    unsigned depth, skip = 0;

    mym_countdown.inside = true;
    trace->depth = 0;
    if (!walk)
        return;
    depth = mym_frames_walk(pc, kept + INNER);
    if (depth > 1)
        check_walk(pc, depth);
    if (depth == 0)
        depth = (unsigned)backtrace(pc, (int)(kept + INNER));
    while (skip < depth && (uintptr_t)pc[skip] - own.start < own.end - own.start)
        skip++;
    keep(trace, pc + skip, depth - skip);
}

/* Its own address if that is not among them. Where no code is libgcc must not look for it. */
void mym_trace_interrupted(struct mym_trace *trace, uintptr_t at, bool walk)
{
    void *pc[MYM_STACK_DEPTH + INNER];
    unsigned depth, skip = 0;

    mym_countdown.inside = true;
    depth = walk ? (unsigned)backtrace(pc, MYM_STACK_DEPTH + INNER) : 0;
    while (skip < depth && (uintptr_t)pc[skip] != at)
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
