/* crashes.c - a library under which no program survives its first malloc. */
#include <stddef.h>
#include <stdlib.h>

void *malloc(size_t size);

void *malloc(size_t size)
{
    (void)size;
    abort();
}
