/*
 * created.h - the arenas of jemalloc's control interface.
 */
#ifndef MYM_FACE_CREATED_H
#define MYM_FACE_CREATED_H

#include "face/names.h"

/* Arena 0, and those that were ever created. */
unsigned mym_arena_numbers(void);

/* For the table of names. */
uint64_t mym_arenas_read(const size_t *unused);
uint64_t mym_arena_read_initialized(const size_t *at);
int mym_arena_create(const struct mym_exchange *call);
int mym_arena_destroy(const size_t *at, uint64_t nothing);

#endif
