/*
 * null_heap.h - malloc and free replaced by almost nothing: what the harness costs.
 *
 * Included, by compiling the same workload files a second time, in front of their calls.
 * A call hands out the next place of a small pool of the calling thread; live objects
 * share places, so payloads mean nothing and are not verified. What is left is the cost
 * of the harness: random numbers, queues, writing payloads to a cache-hot pool.
 */
#ifndef NULL_HEAP_H
#define NULL_HEAP_H

#include <stddef.h>
#include <stdlib.h>

void *null_malloc(size_t size);
void *null_calloc(size_t count, size_t size);
void *null_realloc(void *object, size_t size);
void *null_aligned_alloc(size_t alignment, size_t size);
void null_free(void *object);

#define malloc(size)                   null_malloc(size)
#define calloc(count, size)            null_calloc(count, size)
#define realloc(object, size)          null_realloc(object, size)
#define aligned_alloc(alignment, size) null_aligned_alloc(alignment, size)
#define free(object)                   null_free(object)

#endif
