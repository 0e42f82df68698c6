/*
 * library.h - where the installation put this program and the library.
 */
#ifndef MYMALLOC_RUN_LIBRARY_H
#define MYMALLOC_RUN_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* The path of this program, also where there is no /proc. */
bool self_path(char *out, size_t size);

/*
 * A path of the library, or of the hardened one, that LD_PRELOAD can carry: its own, or that of a link to it where
 * its own has a blank, a colon or a dollar sign. On failure false, and the reason is on
 * standard error.
 */
bool library_find(bool secure, char *out, size_t size);

#endif
