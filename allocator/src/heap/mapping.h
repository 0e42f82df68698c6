/*
 * mapping.h - objects of MYM_MAPPING_MIN bytes and more: own mappings (mapping.c, registry.c).
 */
#ifndef MYM_HEAP_MAPPING_H
#define MYM_HEAP_MAPPING_H

#include "heap/heap.h"

struct mym_mapping {
    uintptr_t addr; /* 0: free place */
    size_t bytes;
    bool huge; /* huge pages were asked for */
};

struct mym_mappings {
    struct mym_mutex lock;
    struct mym_mapping *entry; /* open addressing, linear probing, at most half full */
    size_t room, count, bytes;
    size_t moving; /* entries taken out that will be put back */
};
extern MYM_HIDDEN struct mym_mappings mym_mappings;

/* Page-aligned; *zeroed: prefer fresh memory; then: it reads 0. NULL: no memory. */
void *mym_mapping_take(size_t size, bool *zeroed);

/* Bytes of the object that was given back; 0: none starts there. */
size_t mym_mapping_put(void *ptr);

/*
 * The hardened build: as mym_mapping_put, but its addresses are nobody's, and without access, until
 * some others were put so. How many bytes of address space wait, for who reads without a lock,
 * and all of it back to the kernel.
 */
void mym_mapping_put_away(void *ptr);
extern MYM_HIDDEN size_t mym_mapping_waiting;
void mym_mapping_clear_away(void);

size_t mym_mapping_bytes(const void *ptr); /* 0: none starts there */
bool mym_mapping_has(const void *ptr);     /* the pointer is inside of one */

/* Resized by the kernel's page tables, moved if need be; NULL: it is as it was. */
void *mym_mapping_resize(void *ptr, size_t size);

/*
 * A large span outgrows the page heap and takes its pages along, without a copy; what it leaves
 * is address space without a mapping. NULL: it is as it was.
 */
void *mym_mapping_adopt(uint32_t span, size_t size);

/* The first in the table from *place on, which then is behind it; false: no more. */
bool mym_mapping_next(size_t *place, struct mym_mapping *mapping);

size_t mym_mapping_total(size_t *count);
void mym_mapping_fork(enum mym_fork_step step);

#endif
