/*
 * stats.c - MYMALLOC_STATS: a file of metrics, written when the process ends, and by
 * choice every so many seconds in which there is a slow path.
 *
 * A reader never sees half of a file: it is written beside and then renamed, but for what
 * is no file of a folder (/dev/stderr), or cannot be replaced, which is written to. A child
 * of fork has a file of its own, PATH.PID, and so has a program that is executed.
 *
 * Locking: `writing` is the process one of whose threads is writing; nobody waits for it.
 */
#include "alloc/metrics.h"

#include "os/mutex.h"
#include "os/os.h"
#include "os/out.h"

#include <errno.h> /* numbers only */
#include <stdatomic.h>
#include <string.h>

static struct mym_report report;
static enum mym_metrics_form form;
static uint64_t every; /* milliseconds; 0: at the end alone */
static _Atomic uint64_t next;
static _Atomic int writing;
static bool told; /* why there are none: once */

static void complain(const char *who, int error)
{
    if (!told)
        mym_report_complain("no statistics", who, error);
    told = true;
}

void mym_stats_start(const struct mym_stats_config *config)
{
    int error;

    form = config->form;
    every = config->every * 1000;
    error = mym_report_at(&report, config->path, config->length, config->owner);
    if (error != 0)
        complain("MYMALLOC_STATS", error);
}

/* What is there under that name, or is to be called `path`. */
static int write_to(const char *name, const char *path)
{
    int file = mym_report_open(&report, name), error;

    if (file < 0)
        return -file;
    error = mym_metrics_write(file, form, report.is_stream ? NULL : path);
    mym_os_close(file);
    return error;
}

/*
 * Nothing may be made in its folder, or it is a mount of its own, as containers get a file. On
 * a full disk what is there stays.
 */
static bool is_fixed(int error)
{
    return error == EACCES || error == EPERM || error == EROFS || error == EBUSY;
}

static int replace(const char *path, const char *beside)
{
    int error = write_to(beside, path);

    if (error == 0)
        error = mym_os_rename(beside, path);
    if (error != 0)
        mym_os_unlink(beside);
    return error;
}

/* The thread that it comes to may have little stack: names are not on it. */
static void write_report(void)
{
    static const char suffix[] = ".new";
    static char path[MYM_REPORT_NAME], beside[MYM_REPORT_NAME + sizeof suffix];
    bool file;
    int error = 0;

    mym_report_name(&report, path, 0);
    strcpy(mym_report_name(&report, beside, 0), suffix);
    file = mym_os_is_file(path);
    if (file)
        error = replace(path, beside);
    if (!file || is_fixed(error))
        error = write_to(path, path);
    if (error != 0)
        complain(path, error);
}

/* False: another thread of this process is at it. One that fork left behind is not. */
static bool begin(void)
{
    int process = mym_os_process(), other = atomic_load(&writing);

    return other != process &&
           atomic_compare_exchange_strong(&writing, &other, process);
}

void mym_stats_each_second(void)
{
    uint64_t now;

    if (every == 0 || report.process == 0)
        return;
    now = mym_os_coarse_ms();
    if (!mym_os_is_due(now, atomic_load(&next), every) || !begin())
        return;
    atomic_store(&next, now + every);
    write_report();
    atomic_store(&writing, 0);
}

/*
 * A signal handler may end the process by exit(3) wherever malloc and free are then: numbers are
 * read under locks, of which this thread may have some.
 */
__attribute__((destructor(101))) static void write_at_exit(void)
{
    if (report.process == 0)
        return;
    if (mym_locks_held > 0) {
        complain("MYMALLOC_STATS", EDEADLK);
        return;
    }
    if (!begin())
        return;
    write_report();
    atomic_store(&writing, 0);
}
