/*
 * arena.c - the words of each line of standard input, counted: a line's objects, a tree of
 * words, are given back together, and the arena's memory serves the next line.
 */
#include <mymalloc/arena.h>
#include <stdio.h>
#include <string.h>

struct word {
    struct word *less, *more;
    unsigned count;
    char text[];
};

static struct word **place_of(struct word **tree, const char *text)
{
    while (*tree && strcmp((*tree)->text, text) != 0)
        tree = strcmp(text, (*tree)->text) < 0 ? &(*tree)->less : &(*tree)->more;
    return tree;
}

int main(void)
{
    char line[4096];
    struct MyArenaInfo info;
    size_t lines = 0, words = 0, different = 0;
    MyArena *arena = MyArenaCreate(1 << 20); /* no line needs more */

    if (!arena) {
        perror("arena");
        return 1;
    }
    for (; fgets(line, sizeof line, stdin); lines++) {
        struct word *tree = NULL, **place;

        for (char *text = strtok(line, " \t\n"); text; text = strtok(NULL, " \t\n")) {
            words++;
            place = place_of(&tree, text);
            if (!*place) {
                *place = MyArenaCalloc(arena, 1, sizeof **place + strlen(text) + 1);
                if (!*place) {
                    perror("arena");
                    return 1;
                }
                strcpy((*place)->text, text);
                different++;
            }
            (*place)->count++;
        }
        MyArenaReset(arena);
    }
    MyArenaStats(arena, &info);
    printf("%zu lines, %zu words, %zu different in their line; at most %zu KiB held\n",
           lines, words, different, info.peak / 1024);
    MyArenaDestroy(arena);
    return 0;
}
