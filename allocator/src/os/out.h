/*
 * out.h - text and bytes to an open file, without stdio and without an allocation; and a
 * file that is written when the process ends.
 */
#ifndef MYM_OS_OUT_H
#define MYM_OS_OUT_H

#include "base/config.h"

/* `error` is the number of the first failure; nothing is written after it. */
struct mym_out {
    int file, error;
    size_t used;
    char bytes[4096];
};

void mym_out_put(struct mym_out *out, const char *bytes, size_t length);
void mym_out_text(struct mym_out *out, const char *text);
void mym_out_digits(struct mym_out *out, uint64_t value, unsigned base);

/* What was put is in the file, or out->error says why it is not. */
void mym_out_flush(struct mym_out *out);

/* ---- report.c: a file whose name the user gave at start ---- */

#define MYM_REPORT_PATH 4096                   /* bytes of a path, at most */
#define MYM_REPORT_NAME (MYM_REPORT_PATH + 24) /* with two numbers: PATH.1.s1 */

struct mym_report {
    int process;    /* whose name it is; 0: nothing is written */
    bool is_stream; /* all write to the same */
    char path[MYM_REPORT_PATH];
};

/*
 * Make the file, so that a name that cannot be written is told before the program has run
 * for hours. `owner`: whose PATH is, who has made it; 0: the calling process. 0, or an error
 * number.
 */
int mym_report_at(struct mym_report *report, const char *path, size_t length,
                  int owner);

/*
 * The file of the calling process: PATH, in a child of fork and in programs that are started
 * PATH.PID; of several, the one with a number that is not 0: PATH.s1, PATH.PID.s1. The name's
 * end.
 */
char *mym_report_name(const struct mym_report *report, char *name, unsigned number);

/*
 * Open the file of that name to write it: negative is an error number, negated. PATH is what
 * the user named, a link perhaps. Any other name follows from it, so that another user, where
 * the folder is his too, may have put a link there: that file is made anew.
 */
int mym_report_open(const struct mym_report *report, const char *name);

/* Behind what ends at `to`: the mark and the number, 10 digits at most. The new end. */
char *mym_report_append(char *to, const char *mark, unsigned number);

/* One line on standard error: who, and why there is no such report ("no heap profile"). */
void mym_report_complain(const char *what, const char *who, int error);

#endif
