/*
 * unusual.c - kinds of misuse.c that come about where a program seldom looks: in handlers, in
 * children of fork, as threads end, behind what realloc cut off, with pointers that are no
 * addresses at all.
 */
#include "check.h"
#include "misuse.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void free_scene_object(void)
{
    free(unknown(scene.object));
}

/* ---- writes beyond what the program thinks it has ---- */

/* realloc made it shorter, mostly where it is; the program writes on as if it had not. */
static void overflow_shrunk(const struct misuse *m)
{
    char *p;

    set_scene(m->size);
    CHECK((p = realloc(scene.object, m->at)));
    scene.object = p;
    memset(unknown(p) + m->at, 'x', m->by);
    go_on(true);
}

static void overflow_calloced(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    CHECK((scene.object = calloc(m->size / 10, 10)));
    memset(unknown(scene.object) + m->size, 'x', m->by);
    go_on(true);
}

static void overflow_aligned(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    CHECK(!posix_memalign((void **)&scene.object, m->at, m->size));
    memset(unknown(scene.object) + m->size, 'x', m->by);
    go_on(true);
}

/* realloc meets the damage first. */
static void overflow_then_realloc(const struct misuse *m)
{
    char *p;

    set_scene(m->size);
    memset(unknown(scene.object) + m->size, 'x', m->by);
    CHECK((p = realloc(scene.object, m->size * 3)));
    for (size_t i = 0; i < 24; i++) /* which is filled in what is long, too */
        harmed(p[i] != 'o' || p[m->size - 1 - i] != 'o');
    free(p);
    go_on(false);
}

/* The memory went to the kernel, or was about to. */
static void write_after_trim(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    malloc_trim(0);
    memset(unknown(scene.object), 'x', 8);
    go_on(false);
}

/* Memory that the kernel has reads 0, but for what was written to it since; calloc knows the first. */
static void calloc_after_trim(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    malloc_trim(0);
    memset(unknown(scene.object) + m->at, 'x', m->by);
    for (unsigned i = 0; i < 2 * OTHERS; i++) {
        char *p = calloc(1, m->size);

        CHECK(p);
        harmed(memchr(p, 'x', m->size) != NULL);
    }
    go_on(false);
}

/* ---- freed twice ---- */

static void twice_by_zero(const struct misuse *m)
{
    set_scene(m->size);
    harmed(realloc(scene.object, 0) != NULL);
    free_scene_object();
    go_on(false);
}

/* All of it was written to in between, with no regard to what it may hold now. */
static void twice_after_write(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    memset(unknown(scene.object), (int)m->at, m->size);
    free_scene_object();
    go_on(false);
}

static void on_signal(int number)
{
    (void)number;
    free_scene_object();
}

static void twice_by_handler(const struct misuse *m)
{
    set_scene(m->size);
    CHECK(signal(SIGUSR1, on_signal) != SIG_ERR);
    raise(SIGUSR1);
    free_scene_object();
    go_on(false);
}

static void free_at_end(void *p)
{
    free(p);
}

static void *end_with_value(void *key)
{
    CHECK(!pthread_setspecific(*(pthread_key_t *)key, scene.object));
    free_scene_object();
    return NULL;
}

/* What a thread freed its key's destructor frees again. */
static void twice_at_thread_end(const struct misuse *m)
{
    pthread_key_t key;
    pthread_t thread;

    set_scene(m->size);
    CHECK(!pthread_key_create(&key, free_at_end));
    CHECK(!pthread_create(&thread, NULL, end_with_value, &key));
    CHECK(!pthread_join(thread, NULL));
    go_on(false);
}

static pthread_barrier_t barrier;

static void *free_together(void *p)
{
    pthread_barrier_wait(&barrier);
    free(p);
    return NULL;
}

static void twice_together(const struct misuse *m)
{
    pthread_t thread[2];

    set_scene(m->size);
    CHECK(!pthread_barrier_init(&barrier, NULL, 2));
    for (int i = 0; i < 2; i++)
        CHECK(!pthread_create(&thread[i], NULL, free_together, unknown(scene.object)));
    for (int i = 0; i < 2; i++)
        CHECK(!pthread_join(thread[i], NULL));
    go_on(false);
}

/* Freed before fork, and again by the child, which ends as the case does. */
static void twice_by_child(const struct misuse *m)
{
    int status = 0;
    pid_t child;

    set_scene(m->size);
    free(scene.object);
    CHECK((child = fork()) >= 0);
    if (child == 0) {
        free_scene_object();
        go_on(false);
        return;
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
    harmed(status != 0);
    go_on(false);
}

/* ---- pointers ---- */

static void free_wild(const struct misuse *m)
{
    static const uintptr_t wild[] = {1,
                                     15,
                                     16,
                                     (uintptr_t)1 << 47,
                                     (uintptr_t)1 << 63,
                                     UINTPTR_MAX,
                                     UINTPTR_MAX - 15,
                                     INTPTR_MAX & ~(uintptr_t)15};

    set_scene(64);
    free((void *)opaque(wild[m->at])); /* NOLINT */
    go_on(true);
}

static void free_constant(const struct misuse *m)
{
    static const char text[] __attribute__((aligned(16))) = "nobody may write here";

    set_scene(m->size);
    free(unknown(text));
    go_on(true);
}

static void free_end(const struct misuse *m)
{
    set_scene(m->size);
    free(unknown(scene.object) + m->size);
    go_on(true);
}

static void free_aligned_interior(const struct misuse *m)
{
    set_scene(m->size);
    free(scene.object);
    CHECK(!posix_memalign((void **)&scene.object, m->at, m->size));
    free(unknown(scene.object) + m->at);
    go_on(true);
}

static void usable_of_interior(const struct misuse *m)
{
    set_scene(m->size);
    harmed(malloc_usable_size(unknown(scene.object) + m->at) > m->size - m->at + 16);
    go_on(true);
}

/* No such size can be had, and the object is as it was. */
static void realloc_negative(const struct misuse *m)
{
    set_scene(m->size);
    errno = 0;
    harmed(realloc(scene.object, opaque((uintptr_t)0 - m->by)) != NULL ||
           errno != ENOMEM);
    for (size_t i = 0; i < 24; i++)
        harmed(scene.object[i] != 'o' || scene.object[m->size - 1 - i] != 'o');
    go_on(true);
}

const struct kind unusual_kinds[] = {
    {"overflow-shrunk", overflow_shrunk},
    {"overflow-calloced", overflow_calloced},
    {"overflow-aligned", overflow_aligned},
    {"overflow-then-realloc", overflow_then_realloc},
    {"write-after-trim", write_after_trim},
    {"calloc-after-trim", calloc_after_trim},
    {"twice-by-zero", twice_by_zero},
    {"twice-after-write", twice_after_write},
    {"twice-by-handler", twice_by_handler},
    {"twice-at-thread-end", twice_at_thread_end},
    {"twice-together", twice_together},
    {"twice-by-child", twice_by_child},
    {"free-wild", free_wild},
    {"free-constant", free_constant},
    {"free-end", free_end},
    {"free-aligned-interior", free_aligned_interior},
    {"usable-of-interior", usable_of_interior},
    {"realloc-negative", realloc_negative},
    {NULL, NULL},
};
