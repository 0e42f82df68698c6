/*
 * arena.c - the MyArena* functions. What they call an arena is a reap inside.
 */
#include "mymalloc/arena.h"

#include "alloc/reap.h"

#include <errno.h>

static struct mym_reap *reap_of(MyArena *arena)
{
    return (struct mym_reap *)arena;
}

MyArena *MyArenaCreate(size_t limit)
{
    return (MyArena *)mym_reap_create(limit);
}

MYM_FAST void *MyArenaAlloc(MyArena *arena, size_t size)
{
    return mym_reap_alloc(reap_of(arena), size);
}

void *MyArenaCalloc(MyArena *arena, size_t count, size_t size)
{
    return mym_reap_calloc(reap_of(arena), count, size);
}

void *MyArenaAllocAligned(MyArena *arena, size_t alignment, size_t size)
{
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        errno = EINVAL;
        return NULL;
    }
    return mym_reap_aligned(reap_of(arena), alignment, size);
}

void *MyArenaRealloc(MyArena *arena, void *ptr, size_t size)
{
    return mym_reap_realloc(reap_of(arena), ptr, size);
}

void MyArenaFree(MyArena *arena, void *ptr)
{
    mym_reap_free(reap_of(arena), ptr);
}

void MyArenaReset(MyArena *arena)
{
    mym_reap_reset(reap_of(arena));
}

void MyArenaDestroy(MyArena *arena)
{
    mym_reap_destroy(reap_of(arena));
}

void MyArenaStats(MyArena *arena, struct MyArenaInfo *info)
{
    mym_reap_info(reap_of(arena), info);
}
