/*
 * preload.h - a path that LD_PRELOAD can carry, wherever the library lies. Also used by
 * mymalloc-trace for its recorder.
 */
#ifndef MYMALLOC_RUN_PRELOAD_H
#define MYMALLOC_RUN_PRELOAD_H

#include <stddef.h>

/*
 * The library's own path, or that of a link to it where its own has a blank, a colon or a
 * dollar sign. Returns NULL, or why there is none, as a clause to follow the library's name.
 */
const char *preload_path(const char *library, char *out, size_t size);

#endif
