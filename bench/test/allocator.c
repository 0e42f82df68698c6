/*
 * allocator.c - the least that a preload takes malloc from: glibc's own under its other
 * name. Built twice, so that the suite has two allocators that nobody need install.
 */
#include <stddef.h>

#define TEXT_OF(name) #name
#define TEXT(name)    TEXT_OF(name)

extern void *__libc_malloc(size_t size);
const char *suite_test_name(void);
void *malloc(size_t size);

const char *suite_test_name(void)
{
    return TEXT(NAME);
}

void *malloc(size_t size)
{
    return __libc_malloc(size);
}
