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

#define MYM_REPORT_PATH 4096 /* bytes of a path, at most */
#define MYM_REPORT_PID  12   /* "." and the digits of an int */

/*
 * A child of fork has a file of its own, PATH.PID: mym_report_own makes the name that
 * of the calling process. False: there is no report.
 */
struct mym_report {
    const char *what; /* "no heap profile" */
    char path[MYM_REPORT_PATH + MYM_REPORT_PID];
    size_t length; /* of the name as it was given */
    int process;   /* whose name it is; 0: nothing is written */
};

/*
 * Make the file, so that a name that cannot be written is told before the program has run
 * for hours. 0, or an error number.
 */
int mym_report_at(struct mym_report *report, const char *path, size_t length);
bool mym_report_own(struct mym_report *report);

/* One line on standard error: who, and why there is no report. */
void mym_report_complain(const struct mym_report *report, const char *who, int error);

#endif
