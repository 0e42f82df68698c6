/*
 * closedlib.c - a library that takes memory and is closed. Each is the same code at the same place in the
 * file, with another name in it.
 */
#include <stddef.h>

const char *closed_name(void);
const char *closed_name(void)
{
    return NAME;
}

void *closed_take(void *(*take)(size_t), size_t size);
void *closed_take(void *(*take)(size_t), size_t size)
{
    void *object = take(size);

    __asm__ volatile("" : "+r"(object)); /* no tail call: the frame is here */
    return object;
}
