/*
 * memory.c - what is mapped, and what the kernel is advised of it.
 *
 * Not all that answers madvise(2) does what it says. An emulator of another machine's programs
 * (qemu-user, under which containers' images are built) takes any advice and says that it is
 * followed; before qemu 7.1 it followed none, so what had been given back did not read as zero.
 * It is told by advice that no kernel has, which changes nothing; who takes that is tried with a
 * page of one's own.
 */
#include "os/os.h"

#include "base/syscall.h"

#include <errno.h> /* error numbers only: errno itself is not touched */
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define MADV_NONE \
    0x5a5a /* without the bit that is MADV_DONTNEED, all that qemu 7.1 looks at */

static long map(uintptr_t addr, size_t bytes, int protection, int flags)
{
    return mym_syscall(SYS_mmap, (long)addr, (long)bytes, protection,
                       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

/* An address from the kernel; NULL when it refused. */
static void *pointer(long result)
{
    return mym_syscall_done(result) ? (void *)result : NULL; /* NOLINT */
}

size_t mym_os_page(void)
{
    static size_t bytes; /* the same value whoever writes it */
    size_t page = __atomic_load_n(&bytes, __ATOMIC_RELAXED);

    if (page == 0) {
        page = getauxval(AT_PAGESZ);
        __atomic_store_n(&bytes, page, __ATOMIC_RELAXED);
    }
    return page;
}

void *mym_os_map(size_t bytes)
{
    return pointer(map(0, bytes, PROT_READ | PROT_WRITE, 0));
}

bool mym_os_renew(void *addr, size_t bytes)
{
    return mym_syscall_done(
        map((uintptr_t)addr, bytes, PROT_READ | PROT_WRITE, MAP_FIXED));
}

/* ---- advice ---- */

static bool advise(void *addr, size_t bytes, int advice)
{
    return mym_syscall(SYS_madvise, (long)addr, (long)bytes, advice, 0, 0, 0) == 0;
}

/* By another way than mym_os_unmap, which gives the pages back where it is refused. */
static bool gives_page_back(void)
{
    char *page = mym_os_map(mym_os_page());
    bool zero = false;

    if (page != NULL) {
        *page = 1;
        zero = advise(page, mym_os_page(), MADV_DONTNEED) && *page == 0;
        mym_syscall(SYS_munmap, (long)page, (long)mym_os_page(), 0, 0, 0, 0);
    }
    return zero;
}

/* What is said to be given back is. The same whoever finds it, with whatever page. */
static bool is_honest(void *page)
{
    static _Atomic enum { NOT_TRIED, HONEST, NOT_HONEST } known;
    int found = atomic_load_explicit(&known, memory_order_relaxed);

    if (found == NOT_TRIED) {
        found = !advise(page, mym_os_page(), MADV_NONE) || gives_page_back()
                    ? HONEST
                    : NOT_HONEST;
        atomic_store_explicit(&known, found, memory_order_relaxed);
    }
    return found == HONEST;
}

bool mym_os_purge(void *addr, size_t bytes)
{
    return (advise(addr, bytes, MADV_DONTNEED) ||
            advise(addr, bytes, MADV_DONTNEED_LOCKED)) &&
           is_honest(addr);
}

bool mym_os_populate(void *addr, size_t bytes)
{
    return advise(addr, bytes, MADV_POPULATE_WRITE);
}

bool mym_os_is_locked(void *page)
{
    return !advise(page, mym_os_page(), MADV_DONTNEED);
}

void mym_os_huge_pages(void *addr, size_t bytes, bool allow)
{
    advise(addr, bytes, allow ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

enum mym_collapsed mym_os_collapse(void *addr, size_t bytes)
{
    long result =
        mym_syscall(SYS_madvise, (long)addr, (long)bytes, MADV_COLLAPSE, 0, 0, 0);

    return result == 0 ? MYM_COLLAPSED : result == -EAGAIN ? MYM_BUSY : MYM_REFUSED;
}

/* ---- address space ---- */

bool mym_os_unmap(void *addr, size_t bytes)
{
    bool done = mym_syscall(SYS_munmap, (long)addr, (long)bytes, 0, 0, 0, 0) == 0;

    if (!done)
        mym_os_purge(addr, bytes);
    return done;
}

enum mym_os_result mym_os_map_at(uintptr_t addr, size_t bytes)
{
    long got = map(addr, bytes, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);

    if (!mym_syscall_done(got))
        return got == -EEXIST ? MYM_OS_TAKEN : MYM_OS_NOMEM;
    if ((uintptr_t)got != addr) { /* a kernel before 4.17 takes the flag for a hint */
        mym_os_unmap(pointer(got), bytes);
        return MYM_OS_TAKEN;
    }
    return MYM_OS_OK;
}

void *mym_os_remap(void *addr, size_t old_bytes, size_t new_bytes)
{
    return pointer(mym_syscall(SYS_mremap, (long)addr, (long)old_bytes, (long)new_bytes,
                               MREMAP_MAYMOVE, 0, 0));
}

bool mym_os_protect(void *addr, size_t bytes, bool access)
{
    return mym_syscall(SYS_mprotect, (long)addr, (long)bytes,
                       access ? PROT_READ | PROT_WRITE : PROT_NONE, 0, 0, 0) == 0;
}

bool mym_os_let_write(void *addr, size_t bytes, bool run, bool write)
{
    return mym_syscall(SYS_mprotect, (long)addr, (long)bytes,
                       PROT_READ | (run ? PROT_EXEC : 0) | (write ? PROT_WRITE : 0), 0,
                       0, 0) == 0;
}

bool mym_os_is_one(void *addr, size_t bytes)
{
    long got = mym_syscall(SYS_mremap, (long)addr, (long)bytes,
                           (long)(bytes + mym_os_page()), 0, 0, 0);

    if (mym_syscall_done(got))
        mym_os_unmap((char *)addr + bytes, mym_os_page());
    return mym_syscall_done(got) || got == -ENOMEM;
}

void *mym_os_reserve(size_t bytes)
{
    return pointer(map(0, bytes, PROT_NONE, MAP_NORESERVE));
}

/* One call for both: pages under a new mapping go, locked ones too. */
bool mym_os_close_pages(void *addr, size_t bytes)
{
    return mym_syscall_done(
        map((uintptr_t)addr, bytes, PROT_NONE, MAP_NORESERVE | MAP_FIXED));
}

uintptr_t mym_os_find_window(size_t bytes)
{
    void *probe = mym_os_reserve(bytes);

    if (probe != NULL)
        mym_os_unmap(probe, bytes);
    return (uintptr_t)probe;
}
