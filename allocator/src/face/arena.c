/*
 * arena.c - the MyArena* functions. What they call an arena is a reap inside.
 */
#include "mymalloc/arena.h"
#include "face/family.h"

#include "alloc/alloc.h"
#include "alloc/reap.h"
#include "base/check.h"

#include <errno.h>

static struct mym_reap *reap_of(MyArena *arena)
{
    return (struct mym_reap *)arena;
}

/* The caller says that the pointer is an object of it. */
static struct mym_reap *owner_of(MyArena *arena, const void *ptr)
{
    struct mym_reap *reap = reap_of(arena);

    mym_reap_check_alive(reap);
    if (MYM_UNLIKELY(mym_reap_of(ptr) != reap)) {
        if (mym_usable(ptr) != 0) /* which ends if it is no object at all */
            mym_fatal("an object given to an arena that is not its own", ptr);
    }
    return reap;
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
    if (!mym_face_is_alignment(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return mym_reap_aligned(reap_of(arena), alignment, size);
}

void *MyArenaRealloc(MyArena *arena, void *ptr, size_t size)
{
    return ptr == NULL ? mym_reap_alloc(reap_of(arena), size)
                       : mym_reap_move(owner_of(arena, ptr), ptr, size);
}

void MyArenaFree(MyArena *arena, void *ptr)
{
    if (ptr != NULL)
        mym_reap_put(owner_of(arena, ptr), ptr);
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
