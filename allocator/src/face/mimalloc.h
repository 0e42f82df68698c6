/*
 * mimalloc.h - mimalloc itself, where it is loaded beside this library; and its heaps here.
 */
#ifndef MYM_FACE_MIMALLOC_H
#define MYM_FACE_MIMALLOC_H

#include "base/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* Whether who is returned to is a function of it. */
bool mym_mimalloc_calls(const void *caller);

/* The heap of this thread's plain mi_malloc; NULL: malloc's. */
extern MYM_HIDDEN __thread struct mym_reap *mym_mimalloc_chosen
    __attribute__((tls_model("initial-exec")));

/* A heap's reap, by the odd address that is its name; NULL: it is malloc's, or mimalloc's own. */
MYM_INLINE struct mym_reap *mym_mimalloc_reap(void *heap)
{
    return (uintptr_t)heap % 2 != 0 ? (struct mym_reap *)((char *)heap - 1) : NULL;
}

#endif
