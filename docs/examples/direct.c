/*
 * direct.c - a program that asks mymalloc for memory by name, beside libc's malloc.
 */
#include <mymalloc/mymalloc.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    const char *why;
    int count = 1000;
    int *squares = MyCalloc((size_t)count, sizeof *squares);
    char *line = malloc(80); /* still libc's, unless malloc is overridden */

    if (!squares || !line) {
        perror("direct");
        return 1;
    }
    for (int i = 0; i < count; i++)
        squares[i] = i * i;
    snprintf(line, 80, "the last of %d squares is %d", count, squares[count - 1]);
    puts(line);
    printf("%s, front end %s", MyVersion(), MyFrontend(&why));
    printf(" (%s)\n", why);
    MyFree(squares);
    free(line);
    return 0;
}
