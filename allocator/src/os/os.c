/*
 * os.c - the kernel, seen from the allocator; its memory is in memory.c.
 */
#include "os/os.h"

#include "base/syscall.h"

#include <errno.h> /* error numbers only: errno itself is not touched */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Of <linux/rseq.h>. */
#define RSEQ_BYTES           32
#define RSEQ_FLAG_UNREGISTER 1

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

/* ---- memory ---- */

bool mym_os_names;

void mym_os_name(const void *addr, size_t bytes, const char *name)
{
    if (mym_os_names)
        mym_syscall(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, (long)addr,
                    (long)bytes, (long)name, 0);
}

__thread bool mym_os_has_own_files;

#define ASKED   512 /* of 4 KiB: 2 MiB */
#define PRESENT 63  /* of a page's word in pagemap: proc_pid_pagemap(5) */

static bool ask_file(uintptr_t addr, size_t count, bool *there)
{
    uint64_t words[ASKED];
    int file = mym_os_open("/proc/self/pagemap");
    size_t got = 0;

    if (file >= 0) {
        got = mym_os_read_at(file, (char *)words, count * sizeof *words,
                             addr / mym_os_page() * sizeof *words);
        mym_os_close(file);
    }
    if (got != count * sizeof *words)
        return false;
    for (size_t i = 0; i < count; i++)
        there[i] = words[i] >> PRESENT & 1;
    return true;
}

static bool ask_kernel(uintptr_t addr, size_t count, bool *there)
{
    unsigned char pages[ASKED];

    if (mym_syscall(SYS_mincore, (long)addr, (long)(count * mym_os_page()), (long)pages,
                    0, 0, 0) != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        there[i] = pages[i] & 1;
    return true;
}

/*
 * By the file, where that is in nobody's way: services' sandboxes know its calls, but may kill for
 * mincore.
 */
size_t mym_os_resident(void *addr, size_t bytes, size_t each)
{
    bool there[ASKED];
    size_t page = mym_os_page(), count = bytes / page, resident = 0, here = 0;

    if (count > ASKED ||
        !(mym_os_has_own_files ? ask_file : ask_kernel)((uintptr_t)addr, count, there))
        return 0;
    for (size_t i = 0; i < count; i++) {
        here += there[i] * page;
        if ((i + 1) * page % each != 0)
            continue;
        if (here == 0)
            return 0;
        resident += here;
        here = 0;
    }
    return resident;
}

static size_t limit_of(int resource)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    mym_syscall(SYS_prlimit64, 0, resource, 0, (long)&limit, 0, 0);
    return limit.rlim_cur; /* infinity is SIZE_MAX */
}

size_t mym_os_space_limit(void)
{
    size_t space = limit_of(RLIMIT_AS), data = limit_of(RLIMIT_DATA);

    return space < data ? space : data;
}

void mym_os_faults(uint64_t *minor, uint64_t *major)
{
    struct rusage usage = {0};

    mym_syscall(SYS_getrusage, RUSAGE_SELF, (long)&usage, 0, 0, 0, 0);
    *minor = (uint64_t)usage.ru_minflt;
    *major = (uint64_t)usage.ru_majflt;
}

bool mym_os_counts_mapped(const char *overcommit)
{
    char mode[4];

    return mym_os_read_file(overcommit, mode, sizeof mode) > 0 && mode[0] == '2';
}

/* ---- waiting, time ---- */

static void futex(_Atomic uint32_t *word, int op, uint32_t value,
                  const struct timespec *time)
{
    mym_syscall(SYS_futex, (long)word, op | FUTEX_PRIVATE_FLAG, value, (long)time, 0,
                0);
}

void mym_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, unsigned ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};

    futex(word, FUTEX_WAIT, expected, ms > 0 ? &time : NULL);
}

void mym_os_futex_wake(_Atomic uint32_t *word)
{
    futex(word, FUTEX_WAKE, 1, NULL);
}

/* Nobody is woken and nobody is moved to another queue; what is left of the call compares. */
bool mym_os_differs(const uint32_t *word, uint32_t value)
{
    return mym_syscall(SYS_futex, (long)word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0,
                       0, (long)word, value) == -EAGAIN;
}

int mym_os_process(void)
{
    return (int)mym_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

int mym_os_thread(void)
{
    return (int)mym_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

bool mym_os_has_thread(int thread)
{
    return mym_syscall_done(
        mym_syscall(SYS_tgkill, mym_os_process(), thread, 0, 0, 0, 0));
}

bool mym_os_action(int signal, const struct mym_os_action *set,
                   struct mym_os_action *got)
{
    return mym_syscall(SYS_rt_sigaction, signal, (long)set, (long)got, sizeof got->mask,
                       0, 0) == 0;
}

void mym_os_raise(int signal)
{
    mym_syscall(SYS_tgkill, mym_os_process(), mym_os_thread(), signal, 0, 0, 0);
}

/* ---- restartable sequences ---- */

bool mym_os_rseq(void *area, bool leave, uint32_t signature)
{
    return mym_syscall(SYS_rseq, (long)area, RSEQ_BYTES,
                       leave ? RSEQ_FLAG_UNREGISTER : 0, signature, 0, 0) == 0;
}

/* ---- files: at start, or where the user asked for it ---- */

static int open_in(int folder, const char *name, int flags)
{
    return (int)mym_syscall(SYS_openat, folder, (long)name, flags | O_CLOEXEC, 0, 0, 0);
}

int mym_os_open_in(int folder, const char *name)
{
    return open_in(folder, name, O_RDONLY);
}

/* O_PATH: to pass through, no right to read it is needed. */
int mym_os_open_folder(int above, const char *name)
{
    return open_in(above, name, O_PATH | O_DIRECTORY);
}

int mym_os_open(const char *path)
{
    return mym_os_open_in(AT_FDCWD, path);
}

size_t mym_os_read(int file, char *out, size_t room)
{
    long got = mym_syscall(SYS_read, file, (long)out, (long)room, 0, 0, 0);

    return got < 0 ? 0 : (size_t)got;
}

size_t mym_os_read_at(int file, char *out, size_t room, uint64_t offset)
{
    long got =
        mym_syscall(SYS_pread64, file, (long)out, (long)room, (long)offset, 0, 0);

    return got < 0 ? 0 : (size_t)got;
}

void *mym_os_map_file(int file, size_t bytes, uint64_t offset)
{
    long got = mym_syscall(SYS_mmap, 0, (long)bytes, PROT_READ, MAP_PRIVATE, file,
                           (long)offset);

    return mym_syscall_done(got) ? (void *)got : NULL; /* NOLINT */
}

/* 0: there is none. */
static mode_t kind_of(const char *path)
{
    struct stat about;
    long result = mym_syscall(SYS_newfstatat, AT_FDCWD, (long)path, (long)&about,
                              AT_SYMLINK_NOFOLLOW, 0, 0);

    return result != 0 ? 0 : about.st_mode & S_IFMT;
}

/* Links of these folders are open files of the process, whatever file that is. */
bool mym_os_is_stream(const char *path)
{
    switch (kind_of(path)) {
    case S_IFLNK:
        return strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
    case S_IFCHR:
    case S_IFIFO:
        return true;
    default:
        return false;
    }
}

/*
 * What a file had goes, if it had anything. Not by O_TRUNC: ext4 takes who cuts a file off, be it
 * empty, for one who replaces it, and sends what is written then to the disk as it is closed.
 */
static int cut_off(int file)
{
    if (mym_syscall(SYS_lseek, file, 0, SEEK_END, 0, 0, 0) <= 0)
        return 0;
    mym_syscall(SYS_lseek, file, 0, SEEK_SET, 0, 0, 0);
    return (int)mym_syscall(SYS_ftruncate, file, 0, 0, 0, 0, 0);
}

/*
 * A pipe that nobody reads is an error: it would be waited for, within malloc. One that
 * somebody reads slowly is waited for as any program does. To /dev/stderr is added: what it
 * is may be a log.
 */
int mym_os_create(const char *path)
{
    bool add = mym_os_is_stream(path);
    int file = (int)mym_syscall(
        SYS_openat, AT_FDCWD, (long)path,
        O_WRONLY | O_CREAT | (add ? O_APPEND : 0) | O_CLOEXEC | O_NONBLOCK, 0666, 0, 0);
    int error;

    if (file < 0)
        return file;
    mym_syscall(SYS_fcntl, file, F_SETFL, O_WRONLY | (add ? O_APPEND : 0), 0, 0, 0);
    error = add ? 0 : cut_off(file);
    if (error != 0)
        mym_os_close(file);
    return error != 0 ? error : file;
}

int mym_os_create_new(const char *path)
{
    mym_os_unlink(path);
    return (int)mym_syscall(SYS_openat, AT_FDCWD, (long)path,
                            O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666, 0, 0);
}

void mym_os_close(int file)
{
    mym_syscall(SYS_close, file, 0, 0, 0, 0, 0);
}

bool mym_os_is_file(const char *path)
{
    mode_t kind = kind_of(path);

    return kind == 0 || kind == S_IFREG;
}

int mym_os_rename(const char *from, const char *to)
{
    return -(int)mym_syscall(SYS_renameat2, AT_FDCWD, (long)from, AT_FDCWD, (long)to, 0,
                             0);
}

void mym_os_unlink(const char *path)
{
    mym_syscall(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0);
}

size_t mym_os_read_file(const char *path, char *out, size_t room)
{
    int file = mym_os_open(path);
    size_t got = file < 0 ? 0 : mym_os_read(file, out, room - 1);

    if (file >= 0)
        mym_os_close(file);
    out[got] = '\0';
    return got;
}
