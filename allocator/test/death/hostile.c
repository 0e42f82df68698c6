/*
 * hostile.c - kinds of misuse.c by somebody who knows how the heap is made: what lies behind
 * an object is written back as it was or taken from another one, calls that may move an object
 * race with each other, pointers are next to right ones.
 */
#include "check.h"
#include "misuse.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the word behind an object ---- */

/* Of 24, 104, 1016 and 16376 bytes the hardened build has exactly this word to know them by. */
static void word_zeroed(const struct misuse *m)
{
    set_scene(m->size);
    memset(unknown(scene.object) + m->size, 0, 8);
    go_on(true);
}

/* That of another object of the size. */
static void word_of_another(const struct misuse *m)
{
    set_scene(m->size);
    memcpy(unknown(scene.object) + m->size, unknown(scene.other[0]) + m->size, 8);
    go_on(true);
}

/* The program keeps what it read behind the object, and writes it there after the free. */
static void word_put_back(const struct misuse *m)
{
    char word[8];

    set_scene(m->size);
    memcpy(word, unknown(scene.object) + m->size, sizeof word);
    free(scene.object);
    memcpy(unknown(scene.object) + m->size, word, sizeof word);
    go_on(false);
}

static void twice_with_word(const struct misuse *m)
{
    char word[8];

    set_scene(m->size);
    memcpy(word, unknown(scene.object) + m->size, sizeof word);
    free(scene.object);
    memcpy(unknown(scene.object) + m->size, word, sizeof word);
    free(unknown(scene.object));
    go_on(false);
}

/* ---- writes ---- */

/* malloc(0) has no byte. */
static void write_to_empty(const struct misuse *m)
{
    char *p = malloc(opaque(0)); /* NOLINT */

    CHECK(p);
    set_scene(m->size);
    memset(unknown(p), 'x', m->by);
    free(p);
    go_on(true);
}

/* A copy that is one character longer than what was copied. */
static void string_longer(const struct misuse *m)
{
    char *text, *copy;

    set_scene(m->size);
    CHECK((text = malloc(m->size)));
    fill(text, m->size - 1, 's');
    text[m->size - 1] = '\0';
    CHECK((copy = strdup(text)));
    memcpy(unknown(copy) + m->size - 1, "s", 2);
    free(text);
    free(copy);
    go_on(true);
}

/* One element more than reallocarray was asked for; and more than there can be. */
static void element_more(const struct misuse *m)
{
    char *p;

    set_scene(m->size);
    harmed(reallocarray(scene.object, opaque(SIZE_MAX / 4), m->by) != NULL);
    CHECK((p = reallocarray(scene.object, m->size / m->by + 4, m->by)));
    scene.object = p;
    memset(unknown(p) + (m->size / m->by + 4) * m->by, 'x', m->by);
    go_on(true);
}

static void write_after_move(const struct misuse *m)
{
    char *p;

    set_scene(m->size);
    CHECK((p = realloc(scene.object, m->size * 16)));
    if (p != scene.object)
        memset(unknown(scene.object), 'x', 8);
    harmed(!is_filled(p, 8, 'o'));
    scene.object = p;
    go_on(true);
}

/* By the child, whose copy of the heap it is. */
static void write_after_free_in_child(const struct misuse *m)
{
    int status = 0;
    pid_t child;

    set_scene(m->size);
    free(scene.object);
    CHECK((child = fork()) >= 0);
    if (child == 0) {
        memset(unknown(scene.object), 'x', 8);
        go_on(false);
        _exit(harm);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
    harmed(status != 0);
    go_on(false);
}

/* ---- twice ---- */

static void twice_empty(const struct misuse *m)
{
    char *p = malloc(opaque(0)); /* NOLINT */

    set_scene(m->size);
    free(p);
    free(unknown(p));
    go_on(true);
}

static void realloc_twice(const struct misuse *m)
{
    char *first, *second;

    set_scene(m->size);
    CHECK((first = realloc(scene.object, m->size * 16)));
    if (first != scene.object) {
        second = realloc(unknown(scene.object), m->size * 16);
        harmed(second == NULL || overlap(first, second, m->size * 16));
    }
    go_on(false);
}

static pthread_barrier_t barrier;

static void *free_now(void *p)
{
    pthread_barrier_wait(&barrier);
    free(p);
    return NULL;
}

static void *move_now(void *p)
{
    pthread_barrier_wait(&barrier);
    return realloc(p, scene.size * 16);
}

static void free_beside_realloc(const struct misuse *m)
{
    pthread_t thread[2];
    void *moved = NULL;

    set_scene(m->size);
    CHECK(!pthread_barrier_init(&barrier, NULL, 2));
    CHECK(!pthread_create(&thread[0], NULL, free_now, unknown(scene.object)));
    CHECK(!pthread_create(&thread[1], NULL, move_now, unknown(scene.object)));
    CHECK(!pthread_join(thread[0], NULL));
    CHECK(!pthread_join(thread[1], &moved));
    go_on(false);
}

static void free_again_at_exit(void)
{
    free(unknown(scene.object));
    if (harm)
        _exit(1);
}

static void twice_at_exit(const struct misuse *m)
{
    set_scene(m->size);
    CHECK(atexit(free_again_at_exit) == 0);
    free(scene.object);
    go_on(false);
    exit(harm);
}

/* ---- pointers and sizes next to right ones ---- */

static void free_before(const struct misuse *m)
{
    set_scene(m->size);
    free(unknown(scene.object) - m->by);
    go_on(true);
}

static void *operator_new(const char *name, size_t size)
{
    void *(*form)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, name);

    return form != NULL ? form(size) : malloc(size);
}

/* new[] puts a count in front of the elements; delete is given the first of them. */
static void delete_for_array(const struct misuse *m)
{
    void (*form)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "_ZdlPv");
    char *p;

    set_scene(m->size);
    p = unknown((char *)operator_new("_Znam", m->size) + 8);
    form != NULL ? form(p) : free(p);
    go_on(true);
}

/* The size without that count. */
static void delete_sized_for_array(const struct misuse *m)
{
    void (*form)(void *, size_t) =
        (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "_ZdaPvm");
    char *p;

    set_scene(m->size);
    p = unknown(operator_new("_Znam", m->size));
    form != NULL ? form(p, m->size - 8) : free(p);
    go_on(true);
}

const struct kind hostile_kinds[] = {
    {"word-zeroed", word_zeroed},
    {"word-of-another", word_of_another},
    {"word-put-back", word_put_back},
    {"twice-with-word", twice_with_word},
    {"write-to-empty", write_to_empty},
    {"string-longer", string_longer},
    {"element-more", element_more},
    {"write-after-move", write_after_move},
    {"write-after-free-in-child", write_after_free_in_child},
    {"twice-empty", twice_empty},
    {"realloc-twice", realloc_twice},
    {"free-beside-realloc", free_beside_realloc},
    {"twice-at-exit", twice_at_exit},
    {"free-before", free_before},
    {"delete-for-array", delete_for_array},
    {"delete-sized-for-array", delete_sized_for_array},
    {NULL, NULL},
};
