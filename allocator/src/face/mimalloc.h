/*
 * mimalloc.h - mimalloc itself, where it is loaded beside this library.
 */
#ifndef MYM_FACE_MIMALLOC_H
#define MYM_FACE_MIMALLOC_H

#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>

/* Its functions, of 2.0 or 3.6. */
struct mym_mimalloc {
    void (*free)(void *ptr);
    size_t (*usable)(const void *ptr);
    bool (*has)(const void *ptr);
    void (*collect)(bool force);
    void *(*at)(void *heap, size_t size, size_t alignment, size_t offset);
    void *(*backing)(void);
    void *(*by_default)(void); /* of this thread */
    void (*heap_collect)(void *heap, bool force);
    void (*heap_delete)(void *heap);
    void (*heap_destroy)(void *heap);
};

/*
 * NULL: it is not there. It is found while its table of symbols still says where its
 * functions are.
 */
const struct mym_mimalloc *mym_mimalloc_find(void);

#endif
