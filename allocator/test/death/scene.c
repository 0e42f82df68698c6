/*
 * scene.c - the program around a misuse of misuse.c: it has other objects, looks at them, takes
 * more, and ends what it has.
 */
#include "misuse.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

bool harm;
struct scene scene;
char target[TARGET_BYTES] __attribute__((aligned(64))) = {1};

void harmed(bool is)
{
    harm = harm || is;
}

char *unknown(const void *p)
{
    return (char *)opaque((uintptr_t)p);
}

/* Of what is longer only the ends: all of it would take the test minutes. */
#define ENDS ((size_t)1 << 16)

void fill(char *object, size_t size, int with)
{
    memset(object, with, size < ENDS ? size : ENDS);
    if (size > ENDS)
        memset(object + size - ENDS, with, ENDS);
}

static bool holds(const char *object, size_t size, int with)
{
    for (size_t i = 0; i < size; i++)
        if (object[i] != (char)with)
            return false;
    return true;
}

bool is_filled(const char *object, size_t size, int with)
{
    return size <= ENDS
               ? holds(object, size, with)
               : holds(object, ENDS, with) && holds(object + size - ENDS, ENDS, with);
}

void set_scene(size_t size)
{
    scene.size = size;
    scene.count = size >= (1 << 20) ? 4 : OTHERS;
    for (unsigned i = 0; i < scene.count; i++) {
        if (i == scene.count / 2) {
            CHECK((scene.object = malloc(size)));
            fill(scene.object, size, 'o');
        }
        CHECK((scene.other[i] = malloc(size)));
        fill(scene.other[i], size, 'A' + (int)i % 26);
    }
}

static void look_at_others(void)
{
    for (unsigned i = 0; i < scene.count; i++)
        harmed(!is_filled(scene.other[i], scene.size, 'A' + (int)i % 26));
}

bool overlap(const char *a, const char *b, size_t size)
{
    return a < b + size && b < a + size;
}

/* As many again as there were: no two of them, or of the others, may share memory. */
static void take_and_look(void)
{
    char *fresh[OTHERS];

    for (unsigned i = 0; i < scene.count; i++) {
        fresh[i] = i % 2 ? calloc(1, scene.size) : malloc(scene.size);
        CHECK(fresh[i]);
        harmed(i % 2 && !is_filled(fresh[i], scene.size, 0));
        for (unsigned j = 0; j < scene.count; j++)
            harmed(overlap(fresh[i], scene.other[j], scene.size) ||
                   (j < i && overlap(fresh[i], fresh[j], scene.size)));
        harmed(overlap(fresh[i], target, sizeof target));
        fill(fresh[i], scene.size, 'n');
    }
    look_at_others();
    for (unsigned i = 0; i < scene.count; i++)
        free(fresh[i]);
}

/* The program goes on, and ends what it has. */
void go_on(bool owned)
{
    unsigned rounds = scene.size <= 1000 ? 40 : scene.size < (1 << 20) ? 4 : 1;

    look_at_others();
    if (owned)
        free(scene.object);
    while (rounds-- > 0)
        take_and_look();
    for (unsigned i = 0; i < scene.count; i++)
        free(scene.other[i]);
}
