/*
 * dying.h - misuse ends the program: SIGABRT and exactly one line that names the misuse
 * and the pointer. Each case runs in a child whose standard error is a pipe.
 */
#ifndef TEST_DYING_H
#define TEST_DYING_H

#include "check.h"
#include "family.h"

/* What the allocator says. The only place of the tests that spells the messages. */
#define DOUBLE_FREE     "double free"
#define NEVER_ALLOCATED "free of a pointer that was never allocated"
#define INTERIOR        "free of a pointer into the middle of an object"
#define WRONG_SIZE      "sized free with a wrong size"
#define WRONG_ALIGNMENT "sized free with a wrong alignment"
#define WRITTEN_FREED   "write to an object after it was freed"
#define WRITTEN_BEYOND  "write beyond the end of an object"
#define ARENA_GONE      "free of an object of an arena that was destroyed or reset"
#define ARENA_ENDED     "use of an arena that was destroyed"
#define ARENA_OTHER     "an object given to an arena that is not its own"
#define ARENA_WRITTEN   "an object of an arena was written to after it was freed"

struct death {
    const char *name;
    const char *what;
    void (*run)(void);
};

/* Once, before the first check_death. */
void share_culprit(void);

/* Returns 0 when a child that ran it died as it should. */
int check_death(const struct death *death);

/* All of them, or the one that TEST_DEATH names, which has to be there. */
void check_deaths(const struct death *deaths, size_t count);

/* The pointer about to be misused, unknown to the compiler. */
void *wrong(const void *p);

/* An object, written to; with objects of the same class around, so that its slab stays. */
void *take(size_t size);
char *take_in_slab(size_t size);

/* ---- the cases of sized.c ---- */

void all_sized_deaths(void);
void wrong_classes_are_told(void);

#endif
