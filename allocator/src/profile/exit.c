/*
 * exit.c - the profile that is written when the process ends, or at a signal.
 *
 * A child of fork goes on with the profile and writes one of its own, PATH.PID, if it ends
 * by exit(3), too; so does a program that a process starts which has such a file.
 */
#include "profile/profile.h"

#include "os/os.h"
#include "os/out.h"

#include <errno.h> /* numbers only */
#include <signal.h>
#include <stdatomic.h>

static struct mym_report at_exit;
static enum mym_profile_form at_exit_form;

void mym_profile_complain(const char *path, int error)
{
    mym_report_complain("no heap profile", path, error);
}

int mym_profile_at_exit(const char *path, size_t length, int owner,
                        enum mym_profile_form form)
{
    at_exit_form = form;
    return mym_report_at(&at_exit, path, length, owner);
}

/* `signals`: how many have come; 0: the process ends. */
static void write_profile(char *name, unsigned signals)
{
    int file, error;

    mym_report_name(&at_exit, name, signals);
    file = mym_report_open(&at_exit, name);
    error = file < 0 ? -file : mym_profile_write(file, at_exit_form);
    if (file >= 0)
        mym_os_close(file);
    if (error != 0)
        mym_profile_complain(name, error);
}

/* After the program's own: what these free is no leak. */
__attribute__((destructor(101))) static void write_at_exit(void)
{
    static char name[MYM_REPORT_NAME];

    if (at_exit.process != 0)
        write_profile(name, 0);
}

/* ---- at a signal ---- */

static _Atomic unsigned asked; /* since who writes began; 0: nobody does */
static unsigned written;       /* of who writes */

/*
 * Written here and now, in whatever thread it comes to and whatever that one holds: nothing
 * that is written is behind a lock. What comes while one is written is answered by one more.
 */
static void write_at_signal(int signal)
{
    static char name[MYM_REPORT_NAME]; /* of who writes */
    unsigned answered;

    (void)signal;
    if (atomic_fetch_add(&asked, 1) != 0)
        return;
    do {
        answered = asked;
        write_profile(name, ++written);
    } while (!atomic_compare_exchange_strong(&asked, &answered, 0));
}

int mym_profile_at_signal(int signal)
{
    struct sigaction action = {.sa_handler = write_at_signal,
                               .sa_flags = SA_RESTART | SA_ONSTACK};

    return sigaction(signal, &action, NULL) == 0 ? 0 : EINVAL;
}

/* Who wrote is not in the child. */
void mym_profile_signal_fork_child(void)
{
    asked = 0;
    written = 0;
}
