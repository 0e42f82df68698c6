/*
 * exit.c - the profile that is written when the process ends.
 *
 * A child of fork goes on with the profile and writes one of its own, PATH.PID, if it ends
 * by exit(3), too.
 */
#include "profile/profile.h"

#include "os/os.h"
#include "os/out.h"

static struct mym_report at_exit = {.what = "no heap profile"};
static enum mym_profile_form at_exit_form;

void mym_profile_complain(const char *path, int error)
{
    mym_report_complain(&at_exit, path, error);
}

int mym_profile_at_exit(const char *path, size_t length, enum mym_profile_form form)
{
    at_exit_form = form;
    return mym_report_at(&at_exit, path, length);
}

/* After the program's own: what these free is no leak. */
__attribute__((destructor(101))) static void write_at_exit(void)
{
    int file, error;

    if (!mym_report_own(&at_exit))
        return;
    file = mym_os_create(at_exit.path);
    error = file < 0 ? -file : mym_profile_write(file, at_exit_form);
    if (file >= 0)
        mym_os_close(file);
    if (error != 0)
        mym_profile_complain(at_exit.path, error);
}
