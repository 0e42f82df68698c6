/*
 * first.c - the very first call of a process, before any constructor, is one for nothing,
 * or for much.
 *   first malloc | calloc | realloc | aligned | free | usable | span | mapping
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void call_first(int argc, char **argv, char **environment)
{
    const char *which = argc > 1 ? argv[1] : "";

    (void)environment;
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
    if (!strcmp(which, "free"))
        free(NULL);
    if (!strcmp(which, "usable"))
        (void)malloc_usable_size(NULL);
    /* The next ones as well. */
    free(malloc(nothing));
}

__attribute__((section(".preinit_array"),
               used)) static void (*const first)(int, char **, char **) = call_first;

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
