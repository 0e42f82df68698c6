/* spans.h - spans of the page heap, for programs that link the allocator statically. */
#ifndef TEST_SPANS_H
#define TEST_SPANS_H

#include "check.h"

#include "heap/heap.h"

/* A large object's, malloc's. */
static inline uint32_t take_units(uint32_t units)
{
    bool zeroed = false;
    uint32_t span = mym_pages_take(units, 1, MYM_LARGE, MYM_SPARSE, &zeroed);

    CHECK(span != 0);
    mym_heap.units[span].reap = NULL;
    return span;
}

#endif
