/*
 * os.h - every system call the allocator makes, but for the one that writes a message
 * (base/check.c).
 *
 * No function here calls libc or changes errno: the faces alone set it. After start
 * only mmap, munmap, mremap, madvise and futex are made, and clock_gettime where there is no
 * vDSO, but for what the hardened build, or what a variable asked for, needs.
 */
#ifndef MYM_OS_OS_H
#define MYM_OS_OS_H

#include "base/config.h"

/* The kernel's page: what mappings are cut and purged in. */
size_t mym_os_page(void);

/* Zeroed private memory anywhere; NULL when refused. */
void *mym_os_map(size_t bytes);

/*
 * The same at exactly addr. MYM_OS_TAKEN: something else lives there;
 * MYM_OS_NOMEM: the kernel refuses the memory.
 */
enum mym_os_result { MYM_OS_OK, MYM_OS_TAKEN, MYM_OS_NOMEM };
enum mym_os_result mym_os_map_at(uintptr_t addr, size_t bytes);

/* Pages of ours are mapped anew, whatever they had become. False: refused; they may be gone. */
bool mym_os_renew(void *addr, size_t bytes);

/*
 * False: refused (too many mappings, and this would cut one in two; a sandbox). It is still
 * mapped then, and has given back its pages.
 */
bool mym_os_unmap(void *addr, size_t bytes);

/* Grow or shrink a mapping, moving it if need be; NULL when refused. */
void *mym_os_remap(void *addr, size_t old_bytes, size_t new_bytes);

/*
 * Give the pages back; they read as zero afterwards. Locked ones (mlock) too where the
 * kernel can (Linux 5.18), else false; so where an emulator says that it did, and did not.
 */
bool mym_os_purge(void *addr, size_t bytes);

/* Forbid all access to pages, or grant it; false: refused. */
bool mym_os_protect(void *addr, size_t bytes, bool access);

/* Let pages that can be read (and run) be written to, or no longer; false: refused. */
bool mym_os_let_write(void *addr, size_t bytes, bool run, bool write);

/* Fault pages in with one call (Linux 5.14). False: not possible, or not all can be written. */
bool mym_os_populate(void *addr, size_t bytes);

/*
 * The kernel has these pages as one mapping, so what it may do with one of them it may do with
 * all: asked to make several longer it says EFAULT, before anything else.
 */
bool mym_os_is_one(void *addr, size_t bytes);

/*
 * The word can be read and has another value. Whoever may write to it meanwhile, or take it away:
 * the kernel looks.
 */
bool mym_os_differs(const uint32_t *word, uint32_t value);

/* The page is locked (mlock); if not, what it held is lost. */
bool mym_os_is_locked(void *page);

/* Allow or forbid huge pages for a range; a hint. */
void mym_os_huge_pages(void *addr, size_t bytes, bool allow);

/*
 * Tell what a mapping is for, in /proc/PID/smaps (Linux 5.17), if names were asked for: a
 * system call that nothing else makes, so a sandbox may forbid it. Own mappings that touch
 * are one to the kernel only if they have the same name.
 */
extern MYM_HIDDEN bool mym_os_names;
void mym_os_name(const void *addr, size_t bytes, const char *name);

/* The calling thread, a helper, opens files that the program does not see (pressure.c). */
extern MYM_HIDDEN __thread bool mym_os_has_own_files
    __attribute__((tls_model("initial-exec")));

/*
 * Bytes of at most 2 MiB that are resident; 0: not known, or nothing is in one of the stretches of
 * `each` bytes.
 */
size_t mym_os_resident(void *addr, size_t bytes, size_t each);

/*
 * Make a huge page of what is resident in 2 MiB, now (Linux 6.1). MYM_BUSY: somebody else, as
 * reclaim or migration, has a page of it just then.
 */
enum mym_collapsed { MYM_COLLAPSED, MYM_BUSY, MYM_REFUSED };
enum mym_collapsed mym_os_collapse(void *addr, size_t bytes);

/* Address space that cannot be touched (mym_os_protect opens pages of it); NULL: refused. */
void *mym_os_reserve(size_t bytes);
/* Pages of it cannot be touched again, what they held is lost. False: as it was. */
bool mym_os_close_pages(void *addr, size_t bytes);

/*
 * What RLIMIT_AS and RLIMIT_DATA leave of address space in bytes, the smaller one; SIZE_MAX: none
 * is set.
 */
size_t mym_os_space_limit(void);
/* All memory that is mapped counts, touched or not, by /proc/sys/vm/overcommit_memory. */
bool mym_os_counts_mapped(const char *overcommit);

/* A free stretch of address space at a distance from everything else, or 0. */
uintptr_t mym_os_find_window(size_t bytes);

/*
 * What the process's memory cgroup may use in bytes, SIZE_MAX when that is not known
 * (cgroup.c). groups: /proc/self/cgroup; mount: where the hierarchies are mounted.
 */
size_t mym_os_memory_limit(const char *groups, const char *mount);

/*
 * The path of a file of the process's cgroup, version 2; false: there is no such group. A
 * group whose files are elsewhere (in a container) is the root of the mount.
 */
bool mym_os_group_file(const char *groups, const char *mount, const char *leaf,
                       char *path, size_t room);

/*
 * Register an rseq area of 32 bytes for this thread, or take it back; false: refused (older
 * kernel, sandbox, valgrind), or the thread has another one.
 */
bool mym_os_rseq(void *area, bool leave, uint32_t signature);

/* The kernel's version, as MYM_OS_LINUX has it; 0: it does not say. */
#define MYM_OS_LINUX(major, minor) ((uint32_t)(major) << 16 | (uint32_t)(minor) << 8)
uint32_t mym_os_linux(void);

/*
 * Where all pages of 2 MiB were given back the page table goes, too, so that a huge page may come
 * (x86-64, Linux 6.14). Elsewhere it stays, and the pages come one by one.
 */
bool mym_os_frees_tables(void);

/* The kernel keeps the promise of restartable sequences (kernel.c). */
bool mym_os_can_restart(void);
/* Of an arm64 kernel, by /proc/version (or uname's release) and /proc/version_signature. */
bool mym_os_is_unsafe_arm64(const char *version, const char *signature);

/* The hardened build: draw what base/secure.h has from the kernel's random bytes. */
void mym_os_draw_secret(void);

/*
 * From now on what is MYM_FIXED (base/secure.h) is read-only, or no longer so. False: the kernel
 * refuses. In the default build nothing is.
 */
bool mym_os_fix(bool fixed);

/* Milliseconds at most; 0: for ever. */
void mym_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, unsigned ms);
void mym_os_futex_wake(_Atomic uint32_t *word);

/* ---- a thread of the allocator's own (pressure.c) ---- */

/* Signals that a program may send, blocked for the calling thread; the mask before. */
uint64_t mym_os_block_signals(void);
void mym_os_restore_signals(uint64_t before);
void mym_os_name_thread(const char *name);

/* CPUs that the calling thread may run on; false: refused. */
struct mym_os_cpus {
    uint64_t in[MYM_MAX_CPUS / 64];
};
bool mym_os_get_cpus(struct mym_os_cpus *cpus);
bool mym_os_set_cpus(const struct mym_os_cpus *cpus); /* it runs on one of them then */

struct mym_os_pressure {
    int trigger, events; /* files; negative: none */
};

/*
 * The calling thread's table of files becomes its own, and empty but for these; where that
 * would be told to a file that the program has open there are none.
 */
void mym_os_watch_pressure(struct mym_os_pressure *pressure);
/* Wait so long; true: memory is short. A file that tells nothing any more is closed. */
bool mym_os_wait_pressure(struct mym_os_pressure *pressure, unsigned ms);

/* At start: the vDSO's clock is looked up. */
void mym_os_find_clock(void);
/* Clocks of a few milliseconds' grain; no system call where there is a vDSO. */
uint64_t mym_os_coarse_ms(void);
/*
 * `next`, which was at most so many ms away when it was set, has come; or the clock went back: for
 * a child in a time namespace, or a process that was restored from a checkpoint.
 */
MYM_INLINE bool mym_os_is_due(uint64_t now, uint64_t next, uint64_t most)
{
    return now >= next || next - now > most;
}
uint64_t mym_os_wall_ns(void); /* since 1970 */

/* Page faults of the process so far, those that needed I/O (major) and not; 0: refused. */
void mym_os_faults(uint64_t *minor, uint64_t *major);

int mym_os_process(void); /* its id */
int mym_os_thread(void);  /* the calling thread's; the same in the first one */
bool mym_os_has_thread(int thread);

/* No other thread was ever started. Where the C library does not tell, never. */
extern char __libc_single_threaded MYM_MAYBE;
MYM_INLINE bool mym_os_is_alone(void)
{
    return &__libc_single_threaded != NULL && __libc_single_threaded;
}

/* The kernel's struct sigaction, as x86-64 and arm64 have it. */
struct mym_os_action {
    void (*handler)(void); /* of either kind, or SIG_DFL, which is NULL, or SIG_IGN */
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};
/* Set (unless NULL) and get (unless NULL) what becomes of a signal; false: refused. */
bool mym_os_action(int signal, const struct mym_os_action *set,
                   struct mym_os_action *got);
void mym_os_raise(int signal); /* in the calling thread */

/* A file for reading: negative when there is none; bytes read, 0 at the end. */
int mym_os_open(const char *path);
int mym_os_open_in(int folder, const char *name);
int mym_os_open_folder(int above, const char *name); /* above: AT_FDCWD with a path */
size_t mym_os_read(int file, char *out, size_t room);
size_t mym_os_read_at(int file, char *out, size_t room, uint64_t offset);
/* A part of it, private, to be read; NULL when refused. */
void *mym_os_map_file(int file, size_t bytes, uint64_t offset);

/* A file to be written, from its start: negative is an error number, negated. */
int mym_os_create(const char *path);
int mym_os_create_new(const char *path); /* none that is there, nor through a link */
void mym_os_close(int file);
bool mym_os_is_file(const char *path);   /* a plain one, no link to one; or absent */
bool mym_os_is_stream(const char *path); /* a device, a pipe, /dev/stderr */
int mym_os_rename(const char *from, const char *to); /* 0, or an error number */
void mym_os_unlink(const char *path);

/* Read a small text file; bytes read (terminated by 0), or 0. */
size_t mym_os_read_file(const char *path, char *out, size_t room);

#endif
