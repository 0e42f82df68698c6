/*
 * exit.c - the profile that is written when the process ends, or at a signal.
 *
 * A child of fork goes on with the profile and writes one of its own, PATH.PID, if it ends
 * by exit(3), too.
 */
#include "profile/profile.h"

#include "os/os.h"
#include "os/out.h"

#include <errno.h> /* numbers only */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define NUMBER_ROOM 10                                      /* digits of an unsigned */
#define NAME_ROOM   (MYM_REPORT_PATH + 2 * NUMBER_ROOM + 4) /* PATH.1.s1 */

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

static char *add(char *to, const char *mark, unsigned number)
{
    char digits[NUMBER_ROOM];
    size_t at = sizeof digits, length = strlen(mark);

    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    memcpy(to, mark, length);
    memcpy(to + length, digits + at, sizeof digits - at);
    to += length + sizeof digits - at;
    *to = '\0';
    return to;
}

/* To PATH; in a child of fork PATH.PID; at a signal, that and .s1, .s2 ... */
static void write_profile(char *name, unsigned signals)
{
    int process = mym_os_process(), file, error;
    char *end = name + at_exit.length;

    memcpy(name, at_exit.path, at_exit.length);
    *end = '\0';
    if (process != at_exit.process)
        end = add(end, ".", (unsigned)process);
    if (signals != 0)
        add(end, ".s", signals);
    file = mym_os_create(name);
    error = file < 0 ? -file : mym_profile_write(file, at_exit_form);
    if (file >= 0)
        mym_os_close(file);
    if (error != 0)
        mym_profile_complain(name, error);
}

/* After the program's own: what these free is no leak. */
__attribute__((destructor(101))) static void write_at_exit(void)
{
    static char name[NAME_ROOM];

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
    static char name[NAME_ROOM]; /* of who writes */
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
