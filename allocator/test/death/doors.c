/*
 * doors.c - kinds of misuse.c by other doors than free's: the operators of C++, jemalloc's,
 * mimalloc's and tcmalloc's names, sizes told; and of aligned objects.
 */
#include "check.h"
#include "misuse.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- what takes an object back: `by` of a case, enum door ---- */

typedef void one(void *p);
typedef void two(void *p, size_t a);
typedef void three(void *p, size_t a, size_t b);

static void *name(const char *function)
{
    return dlsym(RTLD_DEFAULT, function);
}

#define CALL(type, function, ...)            \
    {                                        \
        type *form = (type *)name(function); \
        if (form == NULL)                    \
            free(p);                         \
        else                                 \
            form(__VA_ARGS__);               \
        return;                              \
    }

/* size: what is told of it. What libc has not is free there. */
static void put(enum door door, void *p, size_t size)
{
    switch (door) {
    case DELETE:
        CALL(one, "_ZdlPv", p)
    case DELETE_ARRAY:
        CALL(one, "_ZdaPv", p)
    case DELETE_SIZED:
        CALL(two, "_ZdlPvm", p, size)
    case DELETE_ARRAY_SIZED:
        CALL(two, "_ZdaPvm", p, size)
    case DELETE_ALIGNED_SIZED:
        CALL(three, "_ZdlPvmSt11align_val_t", p, size, 16)
    case FREE_SIZED:
        CALL(two, "free_sized", p, size)
    case FREE_ALIGNED_SIZED:
        CALL(three, "free_aligned_sized", p, 16, size)
    case REALLOC_TO_ZERO:
        harmed(realloc(p, 0) != NULL);
        return;
    case SDALLOCX:
        CALL(three, "sdallocx", p, size, 0)
    case DALLOCX_PAST: /* MALLOCX_TCACHE_NONE */
        CALL(two, "dallocx", p, 0x100)
    case SDALLOCX_PAST:
        CALL(three, "sdallocx", p, size, 0x100)
    case MI_FREE:
        CALL(one, "mi_free", p)
    case TC_FREE_SIZED:
        CALL(two, "tc_free_sized", p, size)
    default:
        free(p);
    }
}

static void twice_by_door(const struct misuse *m)
{
    set_scene(m->size);
    put((enum door)m->by, scene.object, m->size);
    put((enum door)m->by, unknown(scene.object), m->size);
    go_on(false);
}

static void interior_by_door(const struct misuse *m)
{
    set_scene(m->size);
    put((enum door)m->by, unknown(scene.object) + m->at, m->size);
    go_on(true);
}

static void foreign_by_door(const struct misuse *m)
{
    set_scene(m->size);
    put((enum door)m->by, unknown(target + 64), m->size);
    go_on(true);
}

static void size_by_door(const struct misuse *m)
{
    set_scene(m->size);
    put((enum door)m->by, unknown(scene.object), m->at);
    go_on(false);
}

/* ---- asked about ---- */

static void usable_of_foreign(const struct misuse *m)
{
    set_scene(m->size);
    harmed(malloc_usable_size(unknown(target + 64)) != 0);
    go_on(true);
}

/* ---- aligned objects, and those that were moved ---- */

/* The scene's object with an alignment. */
static void set_aligned(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    CHECK(!posix_memalign((void **)&scene.object, m->by, m->size));
    fill(scene.object, m->size, 'o');
}

static void aligned_twice(const struct misuse *m)
{
    set_aligned(m);
    free(scene.object);
    free(unknown(scene.object));
    go_on(false);
}

static void aligned_overflow(const struct misuse *m)
{
    set_aligned(m);
    unknown(scene.object)[m->size + m->at] = 'x';
    go_on(true);
}

static void aligned_underflow(const struct misuse *m)
{
    set_aligned(m);
    unknown(scene.object)[-1] = 'x';
    go_on(true);
}

static void aligned_interior(const struct misuse *m)
{
    set_aligned(m);
    free(unknown(scene.object) + m->at);
    go_on(true);
}

static void aligned_write_after_free(const struct misuse *m)
{
    set_aligned(m);
    free(scene.object);
    memset(unknown(scene.object), 'x', 8);
    for (int i = 0; i < 40; i++) {
        char *p = NULL;

        CHECK(!posix_memalign((void **)&p, m->by, m->size));
        fill(p, m->size, 'n');
        free(p);
    }
    go_on(false);
}

static void moved_overflow(const struct misuse *m)
{
    set_scene(m->size);
    CHECK((scene.object = realloc(scene.object, m->by)));
    unknown(scene.object)[m->by] = 'x';
    scene.object[0] = 'o';
    go_on(true);
}

/* ---- what calloc returns, where a dangling pointer wrote before ---- */

static void calloc_after_write(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    memset(unknown(scene.object) + m->at, 'x', 8);
    for (unsigned i = 0; i < (scene.count == OTHERS ? 2 * OTHERS : 2u); i++) {
        char *p = calloc(1, m->size);

        CHECK(p);
        for (size_t at = 0; at < 8; at++)
            harmed(p[m->at + at] != 0);
    }
    go_on(false);
}

/* ---- between threads ---- */

static pthread_barrier_t freed, written;

static void *write_when_freed(void *p)
{
    pthread_barrier_wait(&freed);
    memset(p, 'x', 8);
    pthread_barrier_wait(&written);
    return NULL;
}

static void write_by_a_thread(const struct misuse *m)
{
    pthread_t thread;

    set_scene(m->size);
    CHECK(!pthread_barrier_init(&freed, NULL, 2));
    CHECK(!pthread_barrier_init(&written, NULL, 2));
    CHECK(!pthread_create(&thread, NULL, write_when_freed, unknown(scene.object)));
    free(scene.object);
    pthread_barrier_wait(&freed);
    pthread_barrier_wait(&written);
    CHECK(!pthread_join(thread, NULL));
    go_on(false);
}

/* One takes it and ends, another frees it, this one frees it again. */
static void *take_here(void *unused)
{
    (void)unused;
    free(scene.object);
    CHECK((scene.object = malloc(scene.size)));
    fill(scene.object, scene.size, 'o');
    return NULL;
}

static void *free_here(void *unused)
{
    (void)unused;
    free(unknown(scene.object));
    return NULL;
}

static void in_a_thread(void *(*run)(void *))
{
    pthread_t thread;

    CHECK(!pthread_create(&thread, NULL, run, NULL));
    CHECK(!pthread_join(thread, NULL));
}

static void twice_by_three_threads(const struct misuse *m)
{
    set_scene(m->size);
    in_a_thread(take_here);
    in_a_thread(free_here);
    free(unknown(scene.object));
    go_on(false);
}

const struct kind door_kinds[] = {
    {"twice-by-door", twice_by_door},
    {"interior-by-door", interior_by_door},
    {"foreign-by-door", foreign_by_door},
    {"size-by-door", size_by_door},
    {"usable-of-foreign", usable_of_foreign},
    {"aligned-twice", aligned_twice},
    {"aligned-overflow", aligned_overflow},
    {"aligned-underflow", aligned_underflow},
    {"aligned-interior", aligned_interior},
    {"aligned-write-after-free", aligned_write_after_free},
    {"moved-overflow", moved_overflow},
    {"calloc-after-write", calloc_after_write},
    {"write-by-a-thread", write_by_a_thread},
    {"twice-by-three-threads", twice_by_three_threads},
    {NULL, NULL},
};
