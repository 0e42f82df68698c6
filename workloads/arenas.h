/*
 * arenas.h - objects that are given back together: by the allocator of the process, where it
 * has functions for that, and by the C++ library's std::pmr over malloc.
 *
 * The allocator is asked by name, as plain malloc is: mymalloc has MyArenaCreate
 * (mymalloc/arena.h), mimalloc mi_heap_new. No header of theirs is needed.
 */
#ifndef ARENAS_H
#define ARENAS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The option `drop`. */
enum drop { DROP_EACH, DROP_ARENA, DROP_MONOTONIC };

struct arenas {
    const char *name; /* of what it is */
    void *(*create)(void);
    void *(*take)(void *arena, size_t size); /* NULL: no memory */
    void *(*renew)(void *arena); /* all objects end; the arena for the next ones */
    void (*destroy)(void *arena);
};

/* The allocator's own; NULL: it has none. */
const struct arenas *arenas_of_allocator(void);

/* std::pmr::monotonic_buffer_resource: NULL in a program that is linked without C++. */
const struct arenas *arenas_monotonic(void);

/* monotonic.cc */
extern const struct arenas monotonic_arenas __attribute__((weak));

#ifdef __cplusplus
}
#endif
#endif
