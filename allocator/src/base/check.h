/*
 * check.h - what happens when a fact does not hold.
 *
 * mym_fatal   the program misused the heap, or the heap is damaged: one line, abort.
 * MYM_CHECK   an internal fact cheap enough to test in every build.
 * MYM_ASSERT  an internal fact tested in debug builds only.
 */
#ifndef MYM_BASE_CHECK_H
#define MYM_BASE_CHECK_H

#include "base/config.h"

/* Print "mymalloc: <what>: 0x<pointer>" on standard error without allocating; abort. */
_Noreturn void mym_fatal(const char *what, const void *ptr);

/* What is wrong with a pointer, whoever finds it. */
#define MYM_TWICE  "double free"
#define MYM_INSIDE "free of a pointer into the middle of an object"
#define MYM_NEVER  "free of a pointer that was never allocated"

/* Abort, after what was wrong was told at length. */
_Noreturn void mym_give_up(void);

/* One line on standard error, "mymalloc: <what>: <detail>"; the program goes on. */
void mym_warn(const char *what, const char *detail);

/* The same of several texts, each of which is cut where it is long. */
void mym_warn_all(const char *const *texts);
#define MYM_WARN_ALL(...) mym_warn_all((const char *const[]){__VA_ARGS__, NULL})

/* For checkers, which go on: 1, and a warning of `who`, where the fact does not hold. */
size_t mym_expect(const char *who, bool fact, const char *what);

/* As write(2), which may write less: the bytes, or an error number, negated. No signal. */
long mym_write(int file, const char *bytes, size_t length);

/* The digits of a number up to `end`; where they begin. */
char *mym_digits(char *end, uint64_t value, unsigned base);

/* Text to standard error as it is. */
void mym_say(const char *text, size_t length);

#define MYM_STR2(x) #x
#define MYM_STR(x)  MYM_STR2(x)
#define MYM_CHECK(fact)                                                              \
    (MYM_LIKELY(fact)                                                                \
         ? (void)0                                                                   \
         : mym_fatal("internal error, " #fact " at " __FILE__ ":" MYM_STR(__LINE__), \
                     NULL))
#ifdef MYM_DEBUG
#define MYM_ASSERT(fact) MYM_CHECK(fact)
#else
#define MYM_ASSERT(fact) ((void)(0 && (fact))) /* compiled, not evaluated */
#endif

#endif
