/*
 * meta.h - memory for the allocator's own records: magazines, caches, arenas.
 *
 * Never unmapped, so a stale pointer to a magazine can always be read (the caches
 * rely on it); whoever is done with a record keeps it on a list of its own.
 */
#ifndef MYM_HEAP_META_H
#define MYM_HEAP_META_H

#include "os/mutex.h"

/* Zeroed memory, aligned to `align` (a power of two); NULL when there is none. */
void *mym_meta_take(size_t bytes, size_t align);

void mym_meta_name(void); /* for smaps, what was mapped before names were asked for */
size_t mym_meta_bytes(void);       /* handed out so far */
void mym_meta_count(size_t bytes); /* a record that lies elsewhere */
extern MYM_HIDDEN _Atomic size_t mym_meta_taken;
void mym_meta_fork(enum mym_fork_step step);

#endif
