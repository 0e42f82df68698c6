/*
 * arena.h - arenas of mymalloc: objects that are given back together.
 *
 * For what has many objects that end at one moment: a request, a memtable, an isolate of
 * an interpreter. Taking one costs the move of a pointer, and giving all back costs as much
 * as the arena has spans of memory, whatever the number of objects.
 *
 *     MyArena *arena = MyArenaCreate(0);
 *     struct node *node = MyArenaAlloc(arena, sizeof *node);
 *     ...
 *     MyArenaReset(arena);     (for the next request)
 *     MyArenaDestroy(arena);
 *
 * After D. Hanson, "Fast allocation and deallocation of memory based on object lifetimes",
 * Software: Practice and Experience 20(1), 1990, and the reaps of E. Berger, B. Zorn and
 * K. McKinley, "Reconsidering Custom Memory Allocation", OOPSLA 2002, in which single
 * objects can be freed too.
 *
 * Common to every function:
 *   - Sizes are in bytes. An object is aligned to 16 bytes unless a larger alignment was
 *     asked for; a size of 0 gives a unique pointer. Sizes are rounded up like MyMalloc's
 *     (MyGoodSize, MyUsableSize), those above 32 KiB to multiples of 64 KiB.
 *   - An object of an arena may be given to MyFree, MyFreeSized, MyRealloc and
 *     MyUsableSize, or free and realloc where mymalloc is malloc: by any thread, like any
 *     other object. What MyRealloc makes of it is in the same arena.
 *   - Thread safety: as of mymalloc.h, but for MyArenaReset and MyArenaDestroy, which end
 *     every object: no other thread may use the arena or an object of it meanwhile.
 *     The thread that created the arena, or reset it last, is its owner: it takes objects up
 *     to 32 KiB without a lock. Others take a lock of the arena, and so do frees.
 *   - Signals: not async-signal-safe; a handler must not use an arena, or free an object
 *     of one, that its thread may be using.
 *   - fork: as of mymalloc.h. In the child of a fork by another thread than the owner, no
 *     thread is the owner until a reset.
 *   - Heap profile: an arena is in it as the spans that it holds, with the stacks of the calls
 *     by which it grew.
 *   - Failure: NULL with errno ENOMEM, above the arena's limit too; all is as it was before.
 *   - Misuse ends the program as in mymalloc.h, and always at once: a second free, a
 *     pointer that is not an object's start, an object of another arena. So does the use of
 *     an arena that was destroyed, or a free of an object of one, until the memory serves
 *     something else.
 */
#ifndef MYMALLOC_ARENA_H
#define MYMALLOC_ARENA_H

#include "mymalloc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct MyArena MyArena;

/*
 * An arena without objects, or NULL with ENOMEM. limit: bytes of spans that it may hold,
 * rounded up to 64 KiB, the shortest span; 0: no limit but that of the heap
 * (MYMALLOC_LIMIT). An empty arena holds none.
 */
MYM_API MyArena *MyArenaCreate(size_t limit) MYM_NOEXCEPT;

/* size bytes, uninitialised. */
MYM_API void *MyArenaAlloc(MyArena *arena, size_t size) MYM_NOEXCEPT MYM_ALLOC_SIZE(2);

/* count * size bytes, all zero; ENOMEM when the product overflows. */
MYM_API void *MyArenaCalloc(MyArena *arena, size_t count, size_t size) MYM_NOEXCEPT
    MYM_ALLOC_COUNT(2, 3);

/* alignment: a power of two, else EINVAL. What it skips is used for other objects. */
MYM_API void *MyArenaAllocAligned(MyArena *arena, size_t alignment,
                                  size_t size) MYM_NOEXCEPT MYM_ALLOC_SIZE(3);

/*
 * As MyRealloc: ptr NULL allocates, size 0 frees and returns NULL, on failure ptr is
 * untouched. The arena's latest object grows in place.
 */
MYM_API void *MyArenaRealloc(MyArena *arena, void *ptr, size_t size) MYM_NOEXCEPT;

/*
 * Give one object back; NULL does nothing, errno is kept. Up to 32 KiB its memory is used
 * for other objects of the arena, and stays the arena's until that is reset or destroyed;
 * longer ones go back to the heap.
 */
MYM_API void MyArenaFree(MyArena *arena, void *ptr) MYM_NOEXCEPT;

/*
 * All objects end; the arena can be used as before, and its memory goes back to the heap,
 * but for one span of 1 MiB at most, kept for the next objects. An arena with a limit keeps
 * none, so that what fitted before fits again. errno is kept.
 */
MYM_API void MyArenaReset(MyArena *arena) MYM_NOEXCEPT;

/* All objects end, and the arena with them. NULL does nothing, errno is kept. */
MYM_API void MyArenaDestroy(MyArena *arena) MYM_NOEXCEPT;

/*
 * Bytes, but for the last two. held >= used + freed; the rest of held is what no object had so
 * far. Exact for an arena that nobody uses meanwhile. Looks at one bit for each 16 bytes.
 */
struct MyArenaInfo {
    size_t held;    /* of the spans that it holds */
    size_t peak;    /* the most it ever held */
    size_t limit;   /* that it may hold; 0: no limit */
    size_t used;    /* of the objects, as MyUsableSize has them */
    size_t freed;   /* of objects that were freed, kept for others */
    size_t objects; /* how many there are */
    size_t spans;
};
MYM_API void MyArenaStats(MyArena *arena, struct MyArenaInfo *info) MYM_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
