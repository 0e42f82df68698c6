/*
 * space.h - memory for the tool's own arrays, straight from the kernel, so that the
 * allocator under test sees none of it. Zeroed; ends the program when there is none.
 */
#ifndef TRACE_SPACE_H
#define TRACE_SPACE_H

#include <stddef.h>
#include <stdint.h>

void *space_take(size_t bytes);
void space_give(void *p, size_t bytes);

/* An array that grows; the new part is zero. */
struct space {
    void *base;
    size_t bytes;
};

/* Make room for `count` elements of `size` bytes; returns the base, which may move. */
void *space_grow(struct space *s, size_t count, size_t size);
void space_free(struct space *s);

#endif
