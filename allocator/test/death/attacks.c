/*
 * attacks.c - kinds of misuse.c as exploits of the heap are made: a sequence of calls and writes
 * by which malloc is to return memory of the attacker's choice, or two owners the same. Those that
 * are known of glibc, after what each needs: links, sizes and flags that lie between objects.
 */
#include "check.h"
#include "misuse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MANY 24u

/* So many more: none may be where the attacker wants it, or where another is. */
static void take_many(size_t size, char **taken)
{
    for (unsigned i = 0; i < MANY; i++) {
        CHECK((taken[i] = malloc(size)));
        harmed(overlap(taken[i], target, sizeof target));
        for (unsigned j = 0; j < i; j++)
            harmed(overlap(taken[i], taken[j], size));
        for (unsigned j = 0; j < scene.count; j++)
            harmed(overlap(taken[i], scene.other[j], size));
    }
}

static void put_many(char **taken)
{
    for (unsigned i = 0; i < MANY; i++)
        free(taken[i]);
}

static void take_and_put_many(size_t size)
{
    char *taken[MANY];

    take_many(size, taken);
    put_many(taken);
}

/* A link to the target, as it is or hidden by the place where it lies. */
static void write_link(char *at, bool hidden)
{
    uintptr_t link = (uintptr_t)(target + 64);

    if (hidden)
        link ^= (uintptr_t)at >> 12;
    memcpy(unknown(at), &link, sizeof link);
}

/* In a list twice; the first owner writes a link. */
static void dup_into_target(const struct misuse *m)
{
    char *another, *first;

    set_scene(m->size);
    CHECK((another = malloc(m->size)));
    free(scene.object);
    free(another);
    free(unknown(scene.object));
    CHECK((first = malloc(m->size)));
    write_link(first, m->at);
    take_and_put_many(m->size);
    free(first);
    go_on(false);
}

/* What was freed goes from one list to another by a large request, and is freed again. */
static void dup_consolidated(const struct misuse *m)
{
    char *large;

    set_scene(m->size);
    free(scene.object);
    CHECK((large = malloc(m->by)));
    free(unknown(scene.object));
    take_and_put_many(m->size);
    free(large);
    go_on(false);
}

/* Freed once the list is full, once more when there is room: two lists have it. */
static void botcake(const struct misuse *m)
{
    char *fill_up[7], *before;

    set_scene(m->size);
    for (unsigned i = 0; i < 7; i++)
        CHECK((fill_up[i] = malloc(m->size)));
    CHECK((before = malloc(m->size)));
    for (unsigned i = 0; i < 7; i++)
        free(fill_up[i]);
    free(scene.object);
    free(before);
    CHECK((fill_up[0] = malloc(m->size)));
    free(unknown(scene.object));
    take_and_put_many(m->size * 2);
    take_and_put_many(m->size);
    free(fill_up[0]);
    go_on(false);
}

/*
 * One 0 behind the object is the neighbour's flag: what lies before it passes for free, as long as
 * the object's last bytes say.
 */
static void null_byte(const struct misuse *m)
{
    size_t before = m->size * 2;

    set_scene(m->size);
    memcpy(unknown(scene.object) + m->size - 8, &before, sizeof before);
    unknown(scene.object)[m->size] = '\0';
    free(scene.other[scene.count / 2]);
    CHECK((scene.other[scene.count / 2] = malloc(m->size)));
    fill(scene.other[scene.count / 2], m->size, 'A' + (int)(scene.count / 2) % 26);
    take_and_put_many(m->size * 3);
    go_on(true);
}

/* The size in front says less, and a made-up object follows in what is cut off. */
static void shorter_header(const struct misuse *m)
{
    size_t word = (m->size / 2 + 16) | 1, rest = (m->size / 2) | 1;

    set_scene(m->size);
    memcpy(unknown(scene.object) - 8, &word, sizeof word);
    memcpy(unknown(scene.object) + m->size / 2 + 8, &rest, sizeof rest);
    free(scene.object);
    take_and_put_many(m->size);
    go_on(false);
}

/* Of a mapping of its own: the size in front says that the next one is part of it. */
static void longer_mapping(const struct misuse *m)
{
    char *page = unknown(scene.object);
    size_t word = (m->size * 2 + 8192) | 2;

    set_scene(m->size);
    page = unknown(scene.object);
    memcpy(page - 8, &word, sizeof word);
    free(scene.object);
    go_on(false);
}

/* Links of a list in both directions, and those of sizes behind them. */
static void links_to_target(const struct misuse *m)
{
    char *words[3] = {target + 48, target + 48, target + 48};
    char *another;

    set_scene(m->size);
    CHECK((another = malloc(m->size + 64)));
    free(scene.object);
    memcpy(unknown(scene.object), words, sizeof words);
    free(another);
    take_and_put_many(m->size);
    take_and_put_many(m->size + 64);
    go_on(false);
    harmed(!is_filled(target + 64, sizeof target - 64, 0));
}

/* "What is left is all of memory", behind the last object; then a size that wraps round to the target. */
static void force(const struct misuse *m)
{
    uint64_t all = UINT64_MAX;
    char *last, *p;

    set_scene(m->size);
    CHECK((last = malloc(m->size)));
    memcpy(unknown(last) + m->size, &all, sizeof all);
    p = malloc(opaque((uintptr_t)target - (uintptr_t)last - 64));
    harmed(p != NULL && overlap(p, target, sizeof target));
    p = malloc(m->size);
    harmed(p == NULL || overlap(p, target, sizeof target));
    free(last);
    go_on(true);
}

/* What a freed object holds tells where others are: a link that can be read. */
static void link_is_read(const struct misuse *m)
{
    char *another;
    uintptr_t word;

    set_scene(m->size);
    CHECK((another = malloc(m->size)));
    free(another);
    free(scene.object);
    for (size_t at = 0; at + 8 <= m->size && at < 64; at += 8) {
        memcpy(&word, unknown(scene.object) + at, sizeof word);
        for (unsigned hidden = 0; hidden < 2; hidden++) {
            uintptr_t link = hidden ? word ^ (uintptr_t)scene.object >> 12 : word;

            harmed(link - (uintptr_t)scene.object + (1 << 20) < 2 << 20);
        }
    }
    go_on(false);
}

/* A count and a head of a list, wherever they may lie near an object of the attacker's: all of it. */
static void heads(const struct misuse *m)
{
    uintptr_t *words;

    set_scene(m->size);
    words = (uintptr_t *)(void *)unknown(scene.object);
    free(scene.object);
    for (size_t i = 0; i < m->size / sizeof *words; i++)
        words[i] = i % 2 ? (uintptr_t)(target + 64) : 0x0007000700070007;
    take_and_put_many(m->size);
    take_and_put_many(24);
    go_on(false);
}

/* A freed object's links are those of a list that is taken whole into another. */
static void stash(const struct misuse *m)
{
    char *freed[9];

    set_scene(m->size);
    for (unsigned i = 0; i < 9; i++)
        CHECK((freed[i] = malloc(m->size)));
    for (unsigned i = 0; i < 9; i++)
        free(freed[i]);
    for (unsigned i = 0; i < 9; i += 2) {
        char *words[2] = {target + 64, target + 64};

        memcpy(unknown(freed[i]), words, sizeof words);
    }
    take_and_put_many(m->size);
    free(scene.object);
    go_on(false);
}

const struct kind attack_kinds[] = {
    {"dup-into-target", dup_into_target},
    {"dup-consolidated", dup_consolidated},
    {"botcake", botcake},
    {"null-byte", null_byte},
    {"shorter-header", shorter_header},
    {"longer-mapping", longer_mapping},
    {"links-to-target", links_to_target},
    {"force", force},
    {"link-is-read", link_is_read},
    {"heads", heads},
    {"stash", stash},
    {NULL, NULL},
};
