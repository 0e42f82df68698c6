/*
 * program.h - what a program file says about whether LD_PRELOAD can reach it.
 */
#ifndef MYMALLOC_RUN_PROGRAM_H
#define MYMALLOC_RUN_PROGRAM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct program {
    char path[PATH_MAX];   /* the file that was named, found in PATH */
    char binary[PATH_MAX]; /* the ELF file: path itself, or what its #! line names */
    char loader[PATH_MAX]; /* PT_INTERP of binary; empty when it has none */
    const char *foreign;   /* the machine it is for, when that is not this one */
    bool readable;         /* binary could be examined at all */
    bool elf, startable;
    bool own_malloc; /* binary defines malloc itself */
};

/* A path as it is printed: nothing in it that a terminal obeys. The text of the last call. */
const char *program_shown(const char *path);

/* Find name as execvp would. Returns 0, or an errno value. */
int program_find(const char *name, struct program *program);

/*
 * Why a preload of library can't take in this program, as a clause to follow its name, or
 * NULL when it will. Asks the program's own loader; never runs the program.
 */
const char *program_refuses(const struct program *program, const char *library);

/*
 * A library that the program is linked with, directly or not, and that defines malloc
 * beside libc and the preloaded one: its path in out. False when there is none.
 */
bool program_links_malloc(const struct program *program, const char *library, char *out,
                          size_t size);

#endif
