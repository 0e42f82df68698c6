/*
 * dump.c - prof.dump: a heap profile into the file that is named, or into one whose name
 * follows from a prefix, as most programs have it that know nothing of the folder they run in.
 *
 * Locking: mym_info_lock guards prefix and number; fork takes that.
 */
#include "face/dump.h"

#include "alloc/info.h"
#include "os/os.h"
#include "os/out.h"
#include "profile/profile.h"

#include <string.h>

#define MARKS 48 /* bytes: three numbers of 10 digits and what is around them */

static char chosen[MYM_REPORT_PATH];
static const char *prefix = MYM_DUMP_PREFIX; /* or what was chosen */
static unsigned dumped;                      /* under names that follow from it */

int mym_dump_set_prefix(const size_t *unused, uint64_t value)
{
    const char *wanted = (const char *)(uintptr_t)value; /* NOLINT */

    (void)unused;
    if (wanted == NULL || strlen(wanted) >= sizeof chosen)
        return EFAULT;
    mym_mutex_lock(&mym_info_lock, MYM_RANK_INFO);
    strcpy(chosen, wanted);
    prefix = chosen;
    mym_mutex_unlock(&mym_info_lock, MYM_RANK_INFO);
    return 0;
}

/*
 * <prefix>.<pid>.<seq>.m<mseq>.heap: no profile is written but by demand, so both numbers are
 * the same. The file is made anew: another user may have put a link under a name that can be told.
 */
static int create_next(void)
{
    char name[sizeof chosen + MARKS], *end;
    size_t length;
    unsigned number;

    mym_mutex_lock(&mym_info_lock, MYM_RANK_INFO);
    length = strlen(prefix);
    memcpy(name, prefix, length);
    number = length == 0 ? 0 : dumped++;
    mym_mutex_unlock(&mym_info_lock, MYM_RANK_INFO);
    if (length == 0)
        return -1;
    end = mym_report_append(name + length, ".", (unsigned)mym_os_process());
    end = mym_report_append(end, ".", number);
    end = mym_report_append(end, ".m", number);
    memcpy(end, ".heap", sizeof ".heap");
    return mym_os_create_new(name);
}

/* In the form that jeprof reads, as pprof does. */
int mym_dump_profile(const struct mym_exchange *call)
{
    const char *path = NULL;
    int file, error;

    if (call->old != NULL || call->old_length != NULL)
        return EPERM;
    if (call->new != NULL && call->new_length != sizeof path)
        return EINVAL;
    if (call->new != NULL)
        memcpy(&path, call->new, sizeof path);
    file = path != NULL ? mym_os_create(path) : create_next();
    if (file < 0)
        return EFAULT;
    error = mym_profile_write(file, MYM_PROFILE_TEXT);
    mym_os_close(file);
    return error == 0 ? 0 : EFAULT;
}
