/*
 * reap.c - misuse of arenas and of their objects ends the program (dying.h), always at
 * once, also by the functions of malloc.
 */
#include "mymalloc/arena.h"

#include "dying.h"

#include <string.h>

static MyArena *arena;

static void *from(MyArena *of, size_t size)
{
    void *p = MyArenaAlloc(of, size);

    CHECK(p);
    return memset(p, 0x42, size);
}

/* The tenth of twenty. */
static char *from_among(size_t size)
{
    char *p = NULL;

    arena = MyArenaCreate(0);
    CHECK(arena);
    for (int i = 0; i < 20; i++)
        p = i == 10 ? (char *)from(arena, size) : (from(arena, size), p);
    return p;
}

/* ---- twice ---- */

static void twice_small(void)
{
    void *p = from_among(50);

    MyArenaFree(arena, p);
    MyArenaFree(arena, wrong(p));
}

static void twice_small_by_free(void)
{
    void *p = from_among(50);

    free(p);
    free(wrong(p));
}

static void twice_with_others_between(void)
{
    char *p = from_among(48);

    free(p);
    free(p + 48);
    free(p + 96);
    free(wrong(p));
}

static void twice_large(void)
{
    void *p = from_among(100000);

    MyArenaFree(arena, p);
    MyArenaFree(arena, wrong(p));
}

static void twice_large_by_free(void)
{
    void *p = from_among(100000);

    free(p);
    free(wrong(p));
}

static void freed_to_realloc(void)
{
    void *p = from_among(1000);

    free(p);
    p = realloc(wrong(p), 5000);
}

static void freed_to_arena_realloc(void)
{
    void *p = from_among(1000);

    free(p);
    p = MyArenaRealloc(arena, wrong(p), 5000);
}

/* ---- after all of them ended ---- */

static void free_after_destroy(void)
{
    void *p = from_among(50);

    MyArenaDestroy(arena);
    free(wrong(p));
}

static void large_after_destroy(void)
{
    void *p = from_among(200000);

    MyArenaDestroy(arena);
    free(wrong(p));
}

/* With neighbours joined to it, and given back to the kernel. */
static void free_long_after_destroy(void)
{
    void *p = from_among(3000), *others[10];

    for (int i = 0; i < 10; i++)
        others[i] = take(300000);
    MyArenaDestroy(arena);
    for (int i = 0; i < 10; i++)
        free(others[i]);
    malloc_trim(0);
    free(wrong(p));
}

static void realloc_after_destroy(void)
{
    void *p = from_among(50);

    MyArenaDestroy(arena);
    p = realloc(wrong(p), 100);
}

static void free_after_reset(void)
{
    void *p = from_among(50);

    MyArenaReset(arena);
    free(wrong(p));
}

static void large_after_reset(void)
{
    void *p = from_among(200000);

    MyArenaReset(arena);
    free(wrong(p));
}

/* Of a length that no cache keeps: one of malloc's would stay as it is, for the next. */
static void long_after_reset(void)
{
    void *p;

    arena = MyArenaCreate(0);
    CHECK(arena);
    p = from(arena, 5 << 20);
    MyArenaReset(arena);
    free(wrong(p));
}

static void destroy_twice(void)
{
    from_among(50);
    MyArenaDestroy(arena);
    MyArenaDestroy(wrong(arena));
}

static void reset_after_destroy(void)
{
    from_among(50);
    MyArenaDestroy(arena);
    MyArenaReset(wrong(arena));
}

static void alloc_after_destroy(void)
{
    from_among(50);
    MyArenaDestroy(arena);
    from(wrong(arena), 50);
}

static void large_alloc_after_destroy(void)
{
    from_among(50);
    MyArenaDestroy(arena);
    from(wrong(arena), 500000);
}

/* ---- what is none of its objects ---- */

static void free_to_another(void)
{
    void *p = from_among(50);

    MyArenaFree(MyArenaCreate(0), wrong(p));
}

static void malloced(void)
{
    from_among(50);
    MyArenaFree(arena, wrong(take(50)));
}

static void malloced_large(void)
{
    from_among(50);
    MyArenaFree(arena, wrong(take(500000)));
}

static void malloced_to_realloc(void)
{
    from_among(50);
    MyArenaRealloc(arena, wrong(take(50)), 100);
}

static void on_the_stack(void)
{
    char buffer[100] = {0};

    from_among(50);
    MyArenaFree(arena, wrong(buffer));
}

static void interior(void)
{
    free(wrong(from_among(1000) + 64));
}

static void misaligned(void)
{
    free(wrong(from_among(1000) + 8));
}

static void interior_to_arena(void)
{
    char *object = from_among(30000); /* makes the arena */

    MyArenaFree(arena, wrong(object + 4096));
}

static void interior_large(void)
{
    free(wrong(from_among(200000) + 65536));
}

/* In its first unit, and so long that it would stay where it is. */
static void interior_large_to_realloc(void)
{
    char *p = realloc(wrong(from_among(200000) + 64), 250000);

    wrong(p);
}

static void interior_large_is_asked_about(void)
{
    CHECK(malloc_usable_size(wrong(from_among(200000) + 64)) == 0);
}

static void never_given_out(void)
{
    free(wrong(from_among(1000) + 15 * 1024));
}

/* ---- sizes ---- */

static void sized_smaller(void)
{
    MyFreeSized(wrong(from_among(1000)), 100);
}

static void sized_larger(void)
{
    MyFreeSized(wrong(from_among(1000)), 2000);
}

/* ---- written to after the end ---- */

static void link_is_written(void)
{
    char *elsewhere = take(100), *p;

    arena = MyArenaCreate(65536);
    CHECK(arena);
    p = from(arena, 64);
    while (MyArenaAlloc(arena, 64))
        ;
    free(p);
    memcpy(p, &elsewhere, sizeof(elsewhere));
    CHECK(MyArenaAlloc(arena, 64) == p);
    *elsewhere = 0;
    wrong(elsewhere);
    MyArenaAlloc(arena, 64);
}

/* ---- mimalloc's heaps, whose names are one byte further ---- */

#ifndef TEST_MY
void *mi_heap_new(void);
void *mi_heap_malloc(void *heap, size_t size);
void mi_heap_delete(void *heap);
void mi_heap_destroy(void *heap);

static char *heap_with_one(void)
{
    char *heap = mi_heap_new();

    CHECK(heap && mi_heap_malloc(heap, 100));
    return heap;
}

static void heap_deleted_twice(void)
{
    char *heap = heap_with_one();

    mi_heap_delete(heap);
    mi_heap_delete((char *)wrong(heap - 1) + 1);
}

static void heap_deleted_and_destroyed(void)
{
    char *heap = heap_with_one();

    mi_heap_delete(heap);
    mi_heap_destroy((char *)wrong(heap - 1) + 1);
}

static void heap_destroyed_and_deleted(void)
{
    char *heap = heap_with_one();

    mi_heap_destroy(heap);
    mi_heap_delete((char *)wrong(heap - 1) + 1);
}

static void heap_destroyed_twice(void)
{
    char *heap = heap_with_one();

    mi_heap_destroy(heap);
    mi_heap_destroy((char *)wrong(heap - 1) + 1);
}

static void heap_deleted_empty_twice(void)
{
    char *heap = mi_heap_new();

    CHECK(heap);
    mi_heap_delete(heap);
    mi_heap_delete((char *)wrong(heap - 1) + 1);
}
#endif

static const struct death deaths[] = {
#ifndef TEST_MY
    {"heap_deleted_twice", ARENA_ENDED, heap_deleted_twice},
    {"heap_deleted_and_destroyed", ARENA_ENDED, heap_deleted_and_destroyed},
    {"heap_destroyed_and_deleted", ARENA_ENDED, heap_destroyed_and_deleted},
    {"heap_destroyed_twice", ARENA_ENDED, heap_destroyed_twice},
    {"heap_deleted_empty_twice", ARENA_ENDED, heap_deleted_empty_twice},
#endif
    {"twice_small", DOUBLE_FREE, twice_small},
    {"twice_small_by_free", DOUBLE_FREE, twice_small_by_free},
    {"twice_with_others_between", DOUBLE_FREE, twice_with_others_between},
    {"twice_large", DOUBLE_FREE, twice_large},
    {"twice_large_by_free", DOUBLE_FREE, twice_large_by_free},
    {"freed_to_realloc", DOUBLE_FREE, freed_to_realloc},
    {"freed_to_arena_realloc", DOUBLE_FREE, freed_to_arena_realloc},
    {"free_after_destroy", ARENA_GONE, free_after_destroy},
    {"large_after_destroy", ARENA_GONE, large_after_destroy},
    {"free_long_after_destroy", ARENA_GONE, free_long_after_destroy},
    {"realloc_after_destroy", ARENA_GONE, realloc_after_destroy},
    {"free_after_reset", NEVER_ALLOCATED, free_after_reset},
    {"large_after_reset", ARENA_GONE, large_after_reset},
    {"long_after_reset", ARENA_GONE, long_after_reset},
    {"destroy_twice", ARENA_ENDED, destroy_twice},
    {"reset_after_destroy", ARENA_ENDED, reset_after_destroy},
    {"alloc_after_destroy", ARENA_ENDED, alloc_after_destroy},
    {"large_alloc_after_destroy", ARENA_ENDED, large_alloc_after_destroy},
    {"free_to_another", ARENA_OTHER, free_to_another},
    {"malloced", ARENA_OTHER, malloced},
    {"malloced_large", ARENA_OTHER, malloced_large},
    {"malloced_to_realloc", ARENA_OTHER, malloced_to_realloc},
    {"on_the_stack", NEVER_ALLOCATED, on_the_stack},
    {"interior", INTERIOR, interior},
    {"misaligned", INTERIOR, misaligned},
    {"interior_to_arena", INTERIOR, interior_to_arena},
    {"interior_large", INTERIOR, interior_large},
    {"interior_large_to_realloc", INTERIOR, interior_large_to_realloc},
    {"interior_large_is_asked_about", INTERIOR, interior_large_is_asked_about},
    {"never_given_out", NEVER_ALLOCATED, never_given_out},
    {"sized_smaller", WRONG_SIZE, sized_smaller},
    {"sized_larger", WRONG_SIZE, sized_larger},
    {"link_is_written", ARENA_WRITTEN, link_is_written},
};

static void all_deaths(void)
{
    check_deaths(deaths, sizeof(deaths) / sizeof(*deaths));
}

const struct test tests[] = {
    {"all_deaths", all_deaths},
    {NULL, NULL},
};
