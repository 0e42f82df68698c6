/*
 * ownheap.c - a program with a malloc of its own, which lacks reallocarray: libc's comes down
 * to the program's realloc, and so has ours, in libraries that call it.
 */
#include "check.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static char heap[1 << 20];
static size_t used;

void *malloc(size_t size)
{
    void *object = heap + used;

    used += (size + 31) / 16 * 16;
    return used <= sizeof heap ? object : NULL;
}

void free(void *ptr)
{
    CHECK(ptr == NULL || (size_t)((char *)ptr - heap) < sizeof heap);
}

void *calloc(size_t count, size_t size)
{
    return malloc(count * size); /* it is used once */
}

void *realloc(void *ptr, size_t size)
{
    CHECK(ptr == NULL || (size_t)((char *)ptr - heap) < sizeof heap);
    return malloc(size);
}

static void arrays(void)
{
    void *(*volatile resize)(void *, size_t, size_t) = reallocarray;
    void *array = resize(NULL, 10, 10);

    CHECK(array != NULL);
    array = resize(array, 20, 10);
    free(array);
    CHECK(resize(NULL, SIZE_MAX / 2, 4) == NULL);
}

const struct test tests[] = {{"arrays", arrays}, {NULL, NULL}};
