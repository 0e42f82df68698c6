/*
 * arenas.c - the arenas of whatever allocator there is.
 */
#include "arenas.h"

#include <dlfcn.h>
#include <stdatomic.h>

/* A function of the process, NULL when there is none of that name. */
static void (*find(const char *name))(void)
{
    void *address = dlsym(RTLD_DEFAULT, name);

    return (void (*)(void))(size_t)address;
}

/* ---- mymalloc ---- */

static void *(*my_create)(size_t limit);
static void (*my_reset)(void *arena);

static void *create_my(void)
{
    return my_create(0);
}

static void *renew_my(void *arena)
{
    my_reset(arena);
    return arena;
}

static struct arenas my = {"MyArena", create_my, NULL, renew_my, NULL};

static int find_my(void)
{
    my_create = (void *(*)(size_t))find("MyArenaCreate");
    my_reset = (void (*)(void *))find("MyArenaReset");
    my.take = (void *(*)(void *, size_t))find("MyArenaAlloc");
    my.destroy = (void (*)(void *))find("MyArenaDestroy");
    return my_create && my_reset && my.take && my.destroy;
}

/* ---- mimalloc: a heap ends with its objects, the next ones get another ---- */

static struct arenas mi;

static void *renew_mi(void *heap)
{
    mi.destroy(heap);
    return mi.create();
}

static int find_mi(void)
{
    mi = (struct arenas){"mi_heap", (void *(*)(void))find("mi_heap_new"),
                         (void *(*)(void *, size_t))find("mi_heap_malloc"), renew_mi,
                         (void (*)(void *))find("mi_heap_destroy")};
    return mi.create && mi.take && mi.destroy;
}

const struct arenas *arenas_of_allocator(void)
{
    return find_my() ? &my : find_mi() ? &mi : NULL;
}

const struct arenas *arenas_monotonic(void)
{
    return &monotonic_arenas;
}
