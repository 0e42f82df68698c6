/*
 * classic.c - kinds of misuse.c that every book has: overflow, use after free, double free,
 * pointers that are no objects, wrong sizes, attacks on an allocator's records.
 */
#include "check.h"
#include "family.h"
#include "misuse.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

/* ---- writes and reads beyond ---- */

static void overflow(const struct misuse *m)
{
    set_scene(m->size);
    memset(unknown(scene.object) + m->size + m->at, 'x', m->by);
    go_on(true);
}

static void underflow(const struct misuse *m)
{
    set_scene(m->size);
    memset(unknown(scene.object) - m->by, 'x', m->by);
    go_on(true);
}

/* One 0 too many behind a string. */
static void string_end(const struct misuse *m)
{
    set_scene(m->size);
    for (size_t i = 0; i < m->size; i++)
        scene.object[i] = 's';
    unknown(scene.object)[m->size] = '\0';
    go_on(true);
}

static void read_beyond(const struct misuse *m)
{
    const char *at;

    set_scene(m->size);
    at = unknown(scene.object) + m->size;
    for (size_t i = 0; i < m->by; i++)
        harmed(at[i] >= 'A' && at[i] < 'A' + 26); /* another's */
    go_on(true);
}

/* ---- use after free ---- */

static void write_after_free(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    memset(unknown(scene.object) + m->at, 'x', m->by);
    go_on(false);
}

/* The 8 bytes from `at` on. */
static void read_after_free(const struct misuse *m)
{
    const char *at = NULL;

    set_scene(m->size);
    free(scene.object);
    at = unknown(scene.object) + m->at;
    for (size_t i = 0; i < 8; i++)
        harmed(at[i] == 'o');
    go_on(false);
}

/* The memory is another's: what the next calls return is seen through the old pointer. */
static char *somebody_takes_it(void)
{
    for (unsigned i = 0; i < (scene.count == OTHERS ? 24 : 2); i++) {
        char *p = malloc(scene.size);

        CHECK(p);
        fill(p, scene.size, 'S');
        if (p == scene.object)
            return p;
    }
    return NULL;
}

static void read_after_reuse(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    somebody_takes_it();
    harmed(unknown(scene.object)[m->size - 1] == 'S');
    go_on(false);
}

static void write_after_reuse(const struct misuse *m)
{
    char *taken;

    set_scene(m->size);
    free(scene.object);
    taken = somebody_takes_it();
    memset(unknown(scene.object), 'x', 8);
    if (taken != NULL)
        harmed(!is_filled(taken, m->size, 'S'));
    go_on(false);
}

/* ---- twice ---- */

static void twice_at_once(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    free(unknown(scene.object));
    go_on(false);
}

static void twice_after_another(const struct misuse *m)
{
    char *another;

    set_scene(m->size);
    CHECK((another = malloc(m->size)));
    free(scene.object);
    free(another);
    free(unknown(scene.object));
    go_on(false);
}

static void twice_after_many(const struct misuse *m)
{
    char *many[OTHERS];

    set_scene(m->size);
    for (unsigned i = 0; i < scene.count; i++)
        CHECK((many[i] = malloc(m->size)));
    free(scene.object);
    for (unsigned i = 0; i < scene.count; i++)
        free(many[i]);
    free(unknown(scene.object));
    go_on(false);
}

static void *free_it(void *p)
{
    free(p);
    return NULL;
}

static void twice_by_a_thread(const struct misuse *m)
{
    pthread_t thread;

    set_scene(m->size);
    free(scene.object);
    CHECK(!pthread_create(&thread, NULL, free_it, unknown(scene.object)));
    CHECK(!pthread_join(thread, NULL));
    go_on(false);
}

/* Freed again while it is somebody else's. */
static void twice_after_reuse(const struct misuse *m)
{
    char *taken;

    set_scene(m->size);
    free(scene.object);
    taken = somebody_takes_it();
    free(unknown(scene.object));
    if (taken != NULL)
        for (unsigned i = 0; i < 4; i++) {
            char *p = malloc(m->size);

            harmed(p == taken);
        }
    go_on(false);
}

static void twice_by_realloc(const struct misuse *m)
{
    char *moved;

    set_scene(m->size);
    moved = realloc(scene.object, m->size * 8);
    CHECK(moved);
    if (moved != scene.object)
        free(unknown(scene.object));
    go_on(false);
}

/* ---- pointers that are no objects ---- */

static char *foreign(enum place place)
{
    switch (place) {
    case STACK:
        return unknown((char *)__builtin_frame_address(0) - 4096);
    case STATIC:
        return target + 64;
    case MAPPED: {
        char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        CHECK(p != MAP_FAILED);
        return p + PAGE;
    }
    case CODE:
        return (char *)((uintptr_t)foreign & ~(uintptr_t)15);
    case BREAK:
        return (char *)(((uintptr_t)sbrk(PAGE) + 31) & ~(uintptr_t)15);
    case INTEGER:
    default:
        return (char *)4096;
    }
}

static void free_foreign(const struct misuse *m)
{
    set_scene(64);
    free(unknown(foreign((enum place)m->at)));
    go_on(true);
}

static void realloc_foreign(const struct misuse *m)
{
    char *p;

    set_scene(64);
    p = realloc(unknown(foreign((enum place)m->at)), 1000);
    harmed(p != NULL);
    go_on(true);
}

static void free_interior(const struct misuse *m)
{
    set_scene(m->size);
    free(unknown(scene.object) + m->at);
    go_on(true);
}

static void realloc_interior(const struct misuse *m)
{
    set_scene(m->size);
    harmed(realloc(unknown(scene.object) + m->at, m->size + 100) != NULL);
    go_on(true);
}

/* A chunk as glibc has them, made up in memory that is not the heap's (house of spirit). */
static void free_forged(const struct misuse *m)
{
    size_t *words = (size_t *)(void *)(target + 64);

    set_scene(m->size);
    for (size_t i = 0; i < 3 * PAGE / sizeof(size_t); i++)
        words[i] = ((m->size + 8 + 15) & ~(size_t)15) | 1;
    free(unknown(target + 80));
    go_on(true);
}

/* ---- what is freed, asked about ---- */

static void realloc_of_freed(const struct misuse *m)
{
    char *p;

    set_scene(m->size);
    free(scene.object);
    p = realloc(unknown(scene.object), m->size * 2);
    harmed(p != NULL && is_filled(p, 8, 'o'));
    go_on(false);
}

static void usable_of_freed(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    harmed(malloc_usable_size(unknown(scene.object)) != 0);
    go_on(false);
}

/* ---- sizes and alignments that are not the object's ---- */

static void delete_sized(void *p, size_t size)
{
    void (*form)(void *, size_t) =
        (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "_ZdlPvm");

    form != NULL ? form(p, size) : free(p); /* a C++ library's own ignores the size */
}

static void sized_wrongly(const struct misuse *m)
{
    set_scene(m->size);
    delete_sized(unknown(scene.object), m->by);
    go_on(false);
}

static void aligned_wrongly(const struct misuse *m)
{
    void (*form)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "_ZdlPvmSt11align_val_t");

    set_scene(m->size);
    if (form != NULL)
        form(unknown(scene.object), m->size, m->by);
    else
        free(scene.object);
    go_on(false);
}

/* ---- attacks on the allocator's records ---- */

/* Links of free lists are overwritten: malloc is to return somebody else's memory. */
static void poison(const struct misuse *m)
{
    char *first, *fresh;

    set_scene(m->size);
    CHECK((first = malloc(m->size)));
    free(first);
    free(scene.object);
    for (unsigned i = 0; i < 2; i++) { /* as it is, and as glibc hides links */
        uintptr_t link = (uintptr_t)(target + 64);
        uintptr_t word = i == 0 ? link : link ^ (uintptr_t)scene.object >> 12;

        if (m->at == i)
            memcpy(unknown(scene.object), &word, sizeof word);
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK((fresh = malloc(m->size)));
        harmed(overlap(fresh, target, sizeof target));
    }
    go_on(false);
}

/* What glibc has in front of an object says that the object is longer than it is. */
static void longer_header(const struct misuse *m)
{
    size_t word = ((m->size + 8 + 15) & ~(size_t)15) * 3 + 1;
    char *fresh;

    set_scene(m->size);
    memcpy(unknown(scene.object) - 8, &word, sizeof word);
    free(scene.object);
    CHECK((fresh = malloc(m->size * 3 - 16)));
    memset(fresh, 'x', m->size * 3 - 16);
    go_on(false);
}

/* The links of a doubly linked list (unlink, unsorted bin). */
static void links(const struct misuse *m)
{
    void *words[4] = {target + 64, target + 64, target + 64, target + 64};

    set_scene(m->size);
    free(scene.object);
    memcpy(unknown(scene.object), words, sizeof words);
    go_on(false);
    harmed(!is_filled(target + 64, sizeof target - 64, 0));
}

/* The object is freed twice, its key in glibc overwritten in between. */
static void twice_without_key(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    memset(unknown(scene.object), 0, 16);
    free(unknown(scene.object));
    go_on(false);
}

const struct kind classic_kinds[] = {
    {"overflow", overflow},
    {"underflow", underflow},
    {"string-end", string_end},
    {"read-beyond", read_beyond},
    {"write-after-free", write_after_free},
    {"read-after-free", read_after_free},
    {"read-after-reuse", read_after_reuse},
    {"write-after-reuse", write_after_reuse},
    {"twice-at-once", twice_at_once},
    {"twice-after-another", twice_after_another},
    {"twice-after-many", twice_after_many},
    {"twice-by-a-thread", twice_by_a_thread},
    {"twice-after-reuse", twice_after_reuse},
    {"twice-by-realloc", twice_by_realloc},
    {"free-foreign", free_foreign},
    {"realloc-foreign", realloc_foreign},
    {"free-interior", free_interior},
    {"realloc-interior", realloc_interior},
    {"free-forged", free_forged},
    {"realloc-of-freed", realloc_of_freed},
    {"usable-of-freed", usable_of_freed},
    {"sized-wrongly", sized_wrongly},
    {"aligned-wrongly", aligned_wrongly},
    {"poison", poison},
    {"longer-header", longer_header},
    {"links", links},
    {"twice-without-key", twice_without_key},
    {NULL, NULL},
};
