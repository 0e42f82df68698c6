/* reap.h - arenas whose figures are checked, and objects that know what they hold. */
#ifndef TEST_REAP_H
#define TEST_REAP_H

#include "mymalloc/arena.h"

#include "check.h"
#include "family.h"

enum { KIB = 1 << 10, MIB = 1 << 20, SPAN = 64 * KIB, SMALL = 32 * KIB, MANY = 20000 };

static inline struct MyArenaInfo stats(MyArena *arena)
{
    struct MyArenaInfo info;

    MyArenaStats(arena, &info);
    CHECKF(info.held >= info.used + info.freed, "%zu held, %zu used, %zu freed",
           info.held, info.used, info.freed);
    return info;
}

static inline MyArena *create(size_t limit)
{
    MyArena *arena = MyArenaCreate(limit);

    CHECK(arena);
    return arena;
}

static inline void destroy(MyArena *arena)
{
    CHECK(MyVerify() == 0);
    MyArenaDestroy(arena);
    CHECK(MyVerify() == 0);
}

/* ---- objects that know what they hold ---- */

struct object {
    unsigned char *at;
    size_t size;
};

static inline unsigned char byte_of(const void *at, size_t i)
{
    return (unsigned char)(((uintptr_t)at >> 4) * 31 + i * 7);
}

static inline struct object filled(void *at, size_t size)
{
    CHECKF(at, "%zu bytes", size);
    CHECKF((uintptr_t)at % 16 == 0, "%p", at);
    CHECKF(MyUsableSize(at) >= size, "%zu of %zu", MyUsableSize(at), size);
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)at)[i] = byte_of(at, i);
    return (struct object){at, size};
}

static inline void check_object(struct object o)
{
    for (size_t i = 0; i < o.size; i++)
        CHECKF(o.at[i] == byte_of(o.at, i), "byte %zu of %zu at %p", i, o.size,
               (void *)o.at);
}

/* Mostly small, some of each kind. */
static inline size_t any_size(uint64_t *state)
{
    uint64_t kind = next_random(state) % 100;
    size_t most = kind < 80   ? 512
                  : kind < 98 ? 8 * KIB
                  : kind < 99 ? 40 * KIB
                              : 300 * KIB;

    return next_random(state) % (most + 1);
}

/* By each of the functions in turn. */
static inline void free_somehow(MyArena *arena, struct object o, int i)
{
    if (i % 3 == 0)
        MyArenaFree(arena, o.at);
    else if (i % 3 == 1)
        free(o.at);
    else
        MyFreeSized(o.at, o.size);
}

#endif
