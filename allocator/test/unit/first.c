/*
 * first.c - the very first call of a process, before any constructor, is one for nothing,
 * or for much.
 *   first malloc | calloc | realloc | aligned | free | usable | span | mapping | walk
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef TEST_MY
#include <mymalloc/mymalloc.h>
#define malloc             MyMalloc
#define calloc             MyCalloc
#define realloc            MyRealloc
#define free               MyFree
#define aligned_alloc      MyAlignedAlloc
#define malloc_usable_size MyUsableSize
#else
#include <malloc.h>
#endif

static void *volatile object;
static void *volatile self; /* of the thread: at %fs:0, where a wrong offset points */
static size_t volatile nothing;

#ifdef TEST_MY
static int count(void *visited, size_t bytes, void *objects)
{
    *(int *)objects += visited == object && bytes >= 40 << 20 ? 1 : 100;
    return 0;
}

/* A heap without an object, and one that has only an own mapping; NULL: wrong. */
static void *walk_first(void)
{
    int objects = 0;

    if (MyHeapWalk(count, &objects) != 0 || objects != 0)
        return NULL;
    object = malloc(nothing + (40 << 20));
    return MyHeapWalk(count, &objects) == 0 && objects == 1 ? object : NULL;
}
#endif

static void call(const char *which)
{
    self = __builtin_thread_pointer();
    if (!strcmp(which, "malloc"))
        object = malloc(nothing);
    if (!strcmp(which, "calloc"))
        object = calloc(nothing, 8);
    if (!strcmp(which, "realloc"))
        object = realloc(NULL, nothing);
    if (!strcmp(which, "aligned"))
        object = aligned_alloc(64, nothing);
    if (!strcmp(which, "span"))
        object = malloc(nothing + (1 << 20));
    if (!strcmp(which, "mapping"))
        object = malloc(nothing + (40 << 20));
#ifdef TEST_MY
    if (!strcmp(which, "walk"))
        object = walk_first();
#endif
    if (!strcmp(which, "free"))
        free(NULL);
    if (!strcmp(which, "usable"))
        (void)malloc_usable_size(NULL);
    /* The next ones as well. */
    free(malloc(nothing));
}

#ifdef __GLIBC__
static void call_first(int argc, char **argv, char **environment)
{
    (void)environment;
    call(argc > 1 ? argv[1] : "");
}

__attribute__((section(".preinit_array"),
               used)) static void (*const first)(int, char **, char **) = call_first;
#else /* ignores that, and tells no arguments: they end where the environment begins */
static void call_first(void)
{
    call(environ[-2]);
}

__attribute__((section(".init_array.00001"), used)) static void (*const first)(void) =
    call_first; /* the allocator's own has 101 */
#endif

int main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "";
    void *next = malloc(nothing);

    if (self != __builtin_thread_pointer() || !next)
        return 1;
    if ((strcmp(which, "free") && strcmp(which, "usable") && !object) || object == next)
        return 2;
    free(next);
    free(object);
    printf("%s at first\n", which);
    return 0;
}
