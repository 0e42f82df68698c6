/* stormlib.c - allocates, in code that is unloaded again. */
#include <stdlib.h>

void *storm_work(void);
void *storm_work(void)
{
    void *object = malloc(333);

    __asm__ volatile("" : "+r"(object)); /* no tail call: the frame is here */
    return object;
}
