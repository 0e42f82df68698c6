/*
 * pressure.c - waiting, until a time has passed or memory is short: for a helper thread.
 *
 * The kernel tells by files: a trigger for the time that tasks lose while they wait for
 * memory (psi: of the cgroup, else of the machine), and memory.events of the cgroup, which
 * changes when memory.high is exceeded. Version 2 of cgroups only.
 *
 * They are open in a table of files that is the helper's alone: the program never sees a
 * number that it did not open, and may close all of its own. To have it the helper closes the
 * copies of the program's files, which some files are told: then there is no watching.
 */
#include "os/os.h"

#include "base/syscall.h"

#include <errno.h> /* numbers only */
#include <fcntl.h>
#include <poll.h>
#include <signal.h> /* numbers only */
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif

/* A fifth of a second lost in two; users may ask for multiples of two (Linux 6.5). */
static const char trigger[] = "some 200000 2000000";

void mym_os_name_thread(const char *name)
{
    mym_syscall(SYS_prctl, PR_SET_NAME, (long)name, 0, 0, 0, 0);
}

/* The kernel copies so many of a table of which nothing is to stay; from there on none. */
#define COPIED 64

/* Memory, terminals and their kin. */
static bool is_plain_device(dev_t device)
{
    uint64_t major = (device >> 8 & 0xfff) | (device >> 32 & ~(uint64_t)0xfff);

    return major == 1 || major == 4 || major == 5 || (major >= 136 && major <= 143);
}

/* File systems of this machine, to which a close is nothing (Documentation: f_type). */
static bool is_plain_system(int file)
{
    static const uint32_t kinds[] = {
        0xef53,     /* ext2, ext3, ext4 */
        0x58465342, /* xfs */
        0x9123683e, /* btrfs */
        0xf2f52010, /* f2fs */
        0x794c7630, /* overlay */
        0x73717368, /* squashfs */
        0xe0f5e1e2, /* erofs */
        0x01021994, /* tmpfs */
        0x858458f6, /* ramfs */
        0x958458f6, /* hugetlbfs */
        0x09041934, /* eventfd, epoll, ... */
        0x9fa0,     /* proc */
        0x62656572, /* sysfs */
        0x63677270, /* cgroup2 */
    };
    struct statfs about;

    if (mym_syscall(SYS_fstatfs, file, (long)&about, 0, 0, 0, 0) != 0)
        return false;
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if ((uint32_t)about.f_type == kinds[i])
            return true;
    return false;
}

/*
 * A message queue forgets whom in this process it was to notify (mq_notify(3)) when one of its
 * descriptors is closed, a game's device its effects; a remote file or one of FUSE is written
 * to where it comes from, and some take no more then.
 */
static bool is_told_of_a_close(int file)
{
    struct stat about;
    long result = mym_syscall(SYS_fstat, file, (long)&about, 0, 0, 0, 0);

    if (result != 0)
        return result != -EBADF;
    switch (about.st_mode & S_IFMT) {
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFDIR:
    case S_IFBLK:
        return false;
    case S_IFCHR:
        return !is_plain_device(about.st_rdev);
    default:
        return !is_plain_system(file);
    }
}

static bool has_own_table(void)
{
    for (int file = 0; file < COPIED; file++)
        if (is_told_of_a_close(file))
            return false;
    return mym_syscall_done(
        mym_syscall(SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE, 0, 0, 0));
}

static int open_trigger(const char *path)
{
    int file = (int)mym_syscall(SYS_openat, AT_FDCWD, (long)path,
                                O_RDWR | O_NONBLOCK | O_CLOEXEC, 0, 0, 0);

    if (file >= 0 && !mym_syscall_done(mym_syscall(SYS_write, file, (long)trigger,
                                                   sizeof trigger, 0, 0, 0))) {
        mym_os_close(file);
        file = -1;
    }
    return file;
}

void mym_os_watch_pressure(struct mym_os_pressure *pressure)
{
    char path[512];

    pressure->trigger = pressure->events = -1;
    mym_os_has_own_files = has_own_table();
    if (!mym_os_has_own_files)
        return; /* or before Linux 5.9: the files would be seen */
    if (mym_os_group_file("/proc/self/cgroup", "/sys/fs/cgroup", "/memory.pressure",
                          path, sizeof path))
        pressure->trigger = open_trigger(path);
    if (pressure->trigger < 0)
        pressure->trigger = open_trigger("/proc/pressure/memory");
    if (mym_os_group_file("/proc/self/cgroup", "/sys/fs/cgroup", "/memory.events", path,
                          sizeof path))
        pressure->events = mym_os_open(path);
}

static void forget(int *file)
{
    mym_os_close(*file);
    *file = -1;
}

/* What was read once is told again only when it changes. */
static bool read_events(int file)
{
    char text[256];

    return mym_syscall_done(
        mym_syscall(SYS_pread64, file, (long)text, sizeof text, 0, 0, 0));
}

/*
 * A group that the process was moved away from may be removed. From then on its files are ready
 * at once, whenever they are asked: the trigger tells an error, the events cannot be read.
 */
bool mym_os_wait_pressure(struct mym_os_pressure *pressure, unsigned ms)
{
    struct pollfd files[2] = {{pressure->trigger, POLLPRI, 0}, {-1, POLLPRI, 0}};
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    _Atomic uint32_t never = 0;

    if (pressure->events >= 0 && !read_events(pressure->events))
        forget(&pressure->events);
    files[1].fd = pressure->events;
    if (mym_syscall(SYS_ppoll, (long)files, 2, (long)&time, 0, 0, 0) < 0)
        mym_os_futex_wait(&never, 0, ms); /* a sandbox */
    if (files[0].revents & POLLERR) {
        forget(&pressure->trigger);
        files[0].revents = 0;
    }
    return files[0].revents != 0 || files[1].revents != 0;
}

bool mym_os_get_cpus(struct mym_os_cpus *cpus)
{
    memset(cpus, 0, sizeof *cpus); /* the kernel writes as much as it has CPUs */
    return mym_syscall_done(
        mym_syscall(SYS_sched_getaffinity, 0, sizeof *cpus, (long)cpus, 0, 0, 0));
}

bool mym_os_set_cpus(const struct mym_os_cpus *cpus)
{
    return mym_syscall_done(
        mym_syscall(SYS_sched_setaffinity, 0, sizeof *cpus, (long)cpus, 0, 0, 0));
}

/* The C library's own, from 32 on: setuid in one thread asks all others by one. */
#ifdef __GLIBC__
#define LIBC_SIGNALS ((uint64_t)3 << 31) /* 34 is SIGRTMIN */
#else
#define LIBC_SIGNALS ((uint64_t)7 << 31)
#endif

/*
 * By its handler a sandbox answers calls, and a call of who has it blocked kills: it stays as it
 * is.
 */
#define SANDBOX_SIGNAL ((uint64_t)1 << (SIGSYS - 1))

uint64_t mym_os_block_signals(void)
{
    uint64_t all = ~(LIBC_SIGNALS | SANDBOX_SIGNAL), libc = LIBC_SIGNALS, before = 0;

    mym_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&before, sizeof all, 0,
                0);
    mym_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&libc, 0, sizeof libc, 0, 0);
    return before;
}

void mym_os_restore_signals(uint64_t before)
{
    mym_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof before, 0, 0);
}
