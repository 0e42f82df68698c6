/*
 * mallctl.c - jemalloc's control interface: what it tells is true, and what it is asked to do
 * is done; here, and on jemalloc itself.
 */
#include "check.h"
#include "control.h"
#include "family.h"
#include "proc.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what is told is true ---- */

static void hold(size_t bytes, void (*check)(size_t before))
{
    size_t before;
    char *object;

    refresh();
    before = size_at("stats.allocated");
    object = take(bytes, 0);
    CHECK(object);
    memset(object, 1, bytes);
    check(before);
    put(object, 0);
}

static void check_large(size_t before)
{
    size_t allocated;

    CHECKF(size_at("stats.allocated") == before, "statistics moved without epoch");
    refresh();
    allocated = size_at("stats.allocated");
    CHECKF(allocated >= before + LARGE && allocated <= before + LARGE + LARGE / 4,
           "%zu, and %zu before", allocated, before);
    CHECK(size_at("stats.active") >= allocated);
    CHECK(size_at("stats.resident") >= size_at("stats.active"));
    CHECK(size_at("stats.mapped") >= size_at("stats.active"));
    CHECK(size_at("stats.arenas.4096.small.allocated") +
              size_at("stats.arenas.4096.large.allocated") ==
          allocated);
    CHECK(size_at("stats.arenas.4096.pactive") * size_at("arenas.page") ==
          size_at("stats.active"));
}

static void statistics_are_of_the_last_epoch(void)
{
    uint64_t epoch = 7, next, length = sizeof next;
    size_t before;

    find_all();
    CHECK(control("epoch", &epoch, &length, NULL, 0) == 0);
    CHECK(control("epoch", &next, &length, &next, sizeof next) == 0);
    CHECK(next == epoch + 1);
    CHECK(control("epoch", &epoch, &length, NULL, 0) == 0 && epoch == next);
    CHECK(control("epoch", NULL, NULL, &next, 1) == EINVAL);
    CHECK(control("epoch", &next, NULL, &epoch, sizeof epoch) == 0);
    hold(LARGE, check_large);
    refresh();
    before = size_at("stats.allocated");
    CHECK(before < LARGE);
}

/* With MYMALLOC_GUARD some of these have pages of their own. */
static void small_ones_are_allocated(void)
{
    enum { MANY = 400, BYTES = 4096 };
    void *object[MANY];
    size_t before;

    refresh();
    before = size_at("stats.allocated");
    for (int i = 0; i < MANY; i++)
        CHECK((object[i] = take(BYTES, 0)));
    refresh();
    CHECKF(size_at("stats.allocated") >= before + (size_t)MANY * BYTES,
           "%zu, and %zu before", size_at("stats.allocated"), before);
    for (int i = 0; i < MANY; i++)
        put(object[i], 0);
}

/* Objects of a bin come and go by its count; caches hold some of those that went. */
static void bins_count_objects(void)
{
    enum { OBJECTS = 50000 };
    static void *object[OBJECTS];
    char name[64];
    size_t size, had, has;
    unsigned bin = 0;

    find_all();
    do {
        snprintf(name, sizeof name, "arenas.bin.%u.size", bin++);
        size = size_at(name);
    } while (size != 320);
    snprintf(name, sizeof name, "stats.arenas.4096.bins.%u.curregs", bin - 1);
    refresh();
    had = size_at(name);
    for (unsigned i = 0; i < OBJECTS; i++)
        object[i] = take(320, 0);
    refresh();
    has = size_at(name);
    CHECKF(has >= had + OBJECTS - 1000 && has <= had + OBJECTS + 1000, "%zu, then %zu",
           had, has);
    for (unsigned i = 0; i < OBJECTS; i++)
        put(object[i], NO_CACHE);
    refresh();
    has = size_at(name);
    CHECKF(has <= had + 1000, "%zu, then %zu", had, has);
}

static void sizes_are_those_of_malloc(void)
{
    char name[64];
    size_t before = 0;
    unsigned bins, extents;

    find_all();
    bins = unsigned_at("arenas.nbins");
    extents = unsigned_at("arenas.nlextents");
    CHECK(bins > 30 && extents > 30);
    for (unsigned i = 0; i < bins + extents; i += i < bins + 40 ? 1 : 17) {
        size_t (*usable)(const void *, int);
        size_t size;
        void *object;

        find("sallocx", &usable);
        if (i < bins)
            snprintf(name, sizeof name, "arenas.bin.%u.size", i);
        else
            snprintf(name, sizeof name, "arenas.lextent.%u.size", i - bins);
        size = size_at(name);
        if (size > (size_t)32 << 20)
            break;
        CHECKF(size > before, "%s", name);
        object = take(size, 0);
        CHECKF(usable(object, 0) == size, "%s: %zu", name, size);
        put(object, 0);
        object = take(before + 1, 0);
        /* A large one may start some cache lines behind its pages; jemalloc's has only the pages
         * that it needs, from 5.3.1 on. */
        CHECKF(size - usable(object, 0) < (i < bins ? 1 : 4096) || i > bins + 40 ||
                   (i >= bins && !is_mymalloc()),
               "%zu: %zu", before + 1, size);
        put(object, 0);
        before = size;
    }
}

/* ---- what is done ---- */

static void memory_goes_back(void)
{
    static const char *const purges[] = {"arena.0.purge", "arena.4096.purge", NULL};
    char all[32];
    unsigned one = 1;
    size_t length = sizeof one;

    find_all();
    snprintf(all, sizeof all, "arena.%u.purge", unsigned_at("arenas.narenas"));
    for (unsigned i = 0; i < 3; i++) {
        const char *name = purges[i] != NULL ? purges[i] : all;
        size_t before = resident_bytes() + shadow_of(LARGE), resident;
        char *object = take(LARGE, 0);

        memset(object, 1, LARGE);
        put(object, 0);
        CHECKF(control(name, NULL, NULL, NULL, 0) == 0, "%s", name);
        resident = resident_bytes();
        CHECKF(resident < before + LARGE / 4, "%s: %zu bytes stay of %zu", name,
               resident, before + LARGE);
        CHECKF(control(name, &one, &length, NULL, 0) == EPERM, "%s, read", name);
        CHECKF(control(name, NULL, NULL, &one, length) == EPERM, "%s, written", name);
    }
    CHECK(control("arena.0.decay", NULL, NULL, NULL, 0) == 0);
    CHECK(control("thread.tcache.flush", NULL, NULL, NULL, 0) == 0);
    CHECK(control("thread.tcache.flush", &one, &length, NULL, 0) == EPERM);
    CHECK(control("thread.idle", NULL, NULL, NULL, 0) == 0);
}

/* 0: nothing idle stays; what was read before brings back the rule that was. */
static void refuse_idle_memory(const char *name)
{
    ssize_t before, none = 0, now, bad = -2;
    size_t length = sizeof before, resident;
    char *object;

    CHECK(control(name, &before, &length, &none, sizeof none) == 0 && before != 0);
    CHECK(control(name, &now, &length, NULL, 0) == 0 && now == 0);
    resident = resident_bytes() + shadow_of(LARGE);
    object = take(LARGE, 0);
    memset(object, 1, LARGE);
    put(object, 0);
    CHECK(resident_bytes() < resident + LARGE / 4);
    CHECK(control(name, NULL, NULL, &before, sizeof before) == 0);
    CHECK(control(name, &now, &length, NULL, 0) == 0 && now == before);
    CHECK(control(name, NULL, NULL, &bad, sizeof bad) == EFAULT);
}

/* That of arenas to come is that of the one that there is. */
static void idle_memory_may_be_refused(void)
{
    find_all();
    refuse_idle_memory("arena.0.dirty_decay_ms");
    if (is_ours())
        refuse_idle_memory("arenas.dirty_decay_ms");
}

/* As programs do that give a thread an arena, and purge the one that it has. */
static void threads_may_have_an_arena(void)
{
    unsigned before, now, arena, none = 4000;
    size_t length = sizeof before, helpers = 1, zero = 0;
    char name[64];

    find_all();
    CHECK(control("arenas.create", &arena, &length, NULL, 0) == 0);
    CHECK(control("thread.arena", &before, &length, &arena, sizeof arena) == 0);
    put(take(LARGE, 0), 0);
    CHECK(control("thread.arena", &now, &length, &before, sizeof before) == 0);
    CHECKF(now == (is_ours() ? 0 : arena), "%u", now);
    snprintf(name, sizeof name, "arena.%u.purge", now);
    CHECK(control(name, NULL, NULL, NULL, 0) == 0);
    CHECK(control("thread.arena", NULL, NULL, &none, sizeof none) == EFAULT);
    CHECK(control("max_background_threads", NULL, NULL, &helpers, sizeof helpers) == 0);
    CHECK(!is_ours() ||
          control("max_background_threads", NULL, NULL, &zero, sizeof zero) == EINVAL);
}

/* What redis 8 ends without: an arena and a cache of its own for scripts. */
static void arenas_and_caches_are_created(void)
{
    unsigned arena = 0, cache = 99, arenas;
    size_t length = sizeof arena;
    char name[64];
    void *object;

    find_all();
    arenas = unsigned_at("arenas.narenas");
    CHECK(control("arenas.create", &arena, &length, NULL, 0) == 0 && arena >= arenas);
    CHECK(unsigned_at("arenas.narenas") == arena + 1);
    CHECK(control("tcache.create", &cache, &length, NULL, 0) == 0);
    CHECK(control("tcache.create", &cache, &length, &cache, length) == EPERM);
    object = take(1000, (int)((arena + 1) << 20 | (cache + 2) << 8));
    CHECK(object);
    refresh();
    snprintf(name, sizeof name, "stats.arenas.%u.large.allocated", arena);
    CHECK(size_at(name) == 0);
    snprintf(name, sizeof name, "stats.arenas.%u.bins.0.curslabs", arena);
    CHECK(size_at(name) <= 1);
    put(object, (int)((arena + 1) << 20 | (cache + 2) << 8));
    CHECK(control("tcache.flush", NULL, NULL, &cache, sizeof cache) == 0);
    CHECK(control("tcache.flush", &cache, &length, NULL, 0) == EPERM);
    CHECK(control("tcache.destroy", NULL, NULL, &cache, sizeof cache) == 0);
    /* A memory context of BIND that has an arena ends it where that fails. */
    snprintf(name, sizeof name, "arena.%u.destroy", arena);
    CHECK(control(name, &cache, &length, NULL, 0) == EPERM);
    CHECK(control(name, NULL, NULL, NULL, 0) == 0);
    CHECK(control(name, NULL, NULL, NULL, 0) == EFAULT);
    CHECK(control("arena.0.destroy", NULL, NULL, NULL, 0) == EFAULT);
    CHECK(control("arenas.create", &arenas, &length, NULL, 0) == 0 && arenas == arena);
}

static int create_arena(unsigned *arena)
{
    size_t length = sizeof *arena;

    return control("arenas.create", arena, &length, NULL, 0);
}

static int destroy_arena(unsigned arena)
{
    char name[64];

    snprintf(name, sizeof name, "arena.%u.destroy", arena);
    return control(name, NULL, NULL, NULL, 0);
}

static bool is_initialized(unsigned arena)
{
    bool is = false;
    size_t length = sizeof is;
    char name[64];

    snprintf(name, sizeof name, "arena.%u.initialized", arena);
    CHECK(control(name, &is, &length, NULL, 0) == 0);
    return is;
}

/* Each has a number of its own, the lowest that is free, until there are no more. */
static void create_many(size_t unused)
{
    unsigned first = unsigned_at("arenas.narenas"), arena, count = 0;

    (void)unused;
    for (unsigned i = 0; i < 100; i++)
        CHECK(create_arena(&arena) == 0 && arena == first + i);
    CHECK(destroy_arena(first + 70) == 0 && destroy_arena(first + 3) == 0);
    CHECK(unsigned_at("arenas.narenas") == first + 100);
    CHECK(is_initialized(0) && is_initialized(first) && !is_initialized(first + 3));
    arena = first + 3;
    CHECK(control("thread.arena", NULL, NULL, &arena, sizeof arena) == EFAULT);
    CHECK(create_arena(&arena) == 0 && arena == first + 3 && is_initialized(arena));
    CHECK(create_arena(&arena) == 0 && arena == first + 70);
    while (count < 10000 && create_arena(&arena) == 0)
        CHECK(arena == first + 100 + count++);
    CHECK(create_arena(&arena) == EAGAIN && create_arena(&arena) == EAGAIN);
    CHECKF(unsigned_at("arenas.narenas") == first + 100 + count && count > 3900,
           "%u arenas", first + 100 + count);
    CHECK(destroy_arena(first + 99 + count) == 0);
    CHECK(create_arena(&arena) == 0 && arena == first + 99 + count);
}

static void arenas_are_numbers(void)
{
    find_all();
    run_in_child(create_many, 0);
}

/* jemalloc 5.3 crashes on these. */
static void creating_needs_where_to_tell(void)
{
    unsigned cache = 1, arena;
    size_t length = sizeof arena;
    void *hooks = &arena;

    find_all();
    arena = unsigned_at("arenas.narenas");
    CHECK(control("arenas.create", NULL, NULL, NULL, 0) == EINVAL);
    CHECK(control("arenas.create", &cache, &length, &hooks, sizeof hooks) == EFAULT);
    CHECK(control("arenas.create", &cache, &length, &hooks, 0) == EFAULT);
    CHECK(unsigned_at("arenas.narenas") == arena);
    CHECK(control("tcache.create", NULL, NULL, NULL, 0) == EINVAL);
    cache = 1;
    CHECK(control("tcache.destroy", NULL, NULL, NULL, 0) == EINVAL);
    CHECK(control("tcache.destroy", NULL, NULL, &cache, sizeof cache) == EFAULT);
}

static void the_helper_is_switched(void)
{
    bool was, on = true, off = false, is;
    size_t length = sizeof was;

    find_all();
    CHECK(control("background_thread", &was, &length, &on, sizeof on) == 0 && !was);
    CHECK(control("background_thread", &is, &length, &off, sizeof off) == 0 && is);
    CHECK(control("background_thread", &is, &length, NULL, 0) == 0 && !is);
}

/* ---- all at once, and beside others ---- */

struct text {
    char *start;
    size_t length;
};

/* Allocates, as redis' does. */
static void append(void *context, const char *piece)
{
    struct text *text = context;

    text->start = realloc(text->start, text->length + strlen(piece) + 1);
    strcpy(text->start + text->length, piece);
    text->length += strlen(piece);
}

static const char *skip_white(const char *at)
{
    return at + strspn(at, " \t\n");
}

/* Behind a value of JSON; NULL: it is none. */
static const char *value_end(const char *at)
{
    bool named = *at == '{';
    char close = named ? '}' : ']';

    if (*at == '"')
        return (at = strchr(at + 1, '"')) != NULL ? at + 1 : NULL;
    if (!named && *at != '[') { /* a number, true, false */
        size_t length = strspn(at, "-.0123456789abcdefghijklmnopqrstuvwxyz");

        return length > 0 ? at + length : NULL;
    }
    at = skip_white(at + 1);
    if (*at == close)
        return at + 1;
    for (;; at = skip_white(at + 1)) {
        if (named && (*at != '"' || (at = value_end(at)) == NULL || *at++ != ':'))
            return NULL;
        if ((at = value_end(skip_white(at))) == NULL)
            return NULL;
        at = skip_white(at);
        if (*at != ',')
            return *at == close ? at + 1 : NULL;
    }
}

static void all_is_printed(void)
{
    struct text text = {NULL, 0};
    int file = memfd_create("text", 0), was = dup(STDERR_FILENO);
    const char *end;

    find_all();
    print(append, &text, NULL);
    CHECK(text.length > 1000 && strstr(text.start, "llocated"));
    text.length = 0;
    print(append, &text, "J");
    CHECK(text.start[0] == '{' && strstr(text.start, "\"stats.arenas\":{"));
    CHECK((end = value_end(text.start)) != NULL && *skip_white(end) == '\0');
    /* jemalloc has no sum of one arena */
    CHECK(strstr(text.start, "\"merged\":{") || strstr(text.start, "\"0\":{"));
    CHECK(strstr(text.start, "\"curregs\":"));
    text.length = 0;
    print(append, &text, "Jgbl");
    CHECK(strstr(text.start, "\"curregs\":") == NULL);
    text.length = 0;
    print(append, &text, "Jm");
    CHECK(strstr(text.start, "\"merged\":") == NULL);
    free(text.start);
    /* Without a function to standard error. */
    CHECK(file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    print(NULL, NULL, NULL);
    CHECK(dup2(was, STDERR_FILENO) >= 0 && lseek(file, 0, SEEK_END) > 1000);
}

static _Atomic bool stop;

static void *use_heap(void *unused)
{
    while (!stop)
        for (size_t bytes = 16; bytes < 200000; bytes += bytes / 3)
            put(take(bytes, 0), bytes % 2 != 0 ? NO_CACHE : 0);
    return unused;
}

static void *use_names(void *unused)
{
    while (!stop) {
        refresh();
        size_at("stats.allocated");
        control("thread.tcache.flush", NULL, NULL, NULL, 0);
        control("arena.0.purge", NULL, NULL, NULL, 0);
    }
    return unused;
}

/* A child of a process with threads in every call can make them all. */
static void beside_threads_and_forks(void)
{
    pthread_t thread[4];

    find_all();
    stop = false;
    for (unsigned i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, i < 2 ? use_heap : use_names, NULL);
    for (unsigned i = 0; i < (is_slow() ? 3u : 50u); i++) {
        int status;
        pid_t child = fork();

        if (child == 0) {
            refresh();
            _exit(size_at("stats.active") >= size_at("stats.allocated") ? 0 : 1);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECKF(status == 0, "child ended with %x", (unsigned)status);
        size_at("stats.allocated");
    }
    stop = true;
    for (unsigned i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
}

const struct test tests[] = {
    {"statistics_are_of_the_last_epoch", statistics_are_of_the_last_epoch},
    {"small_ones_are_allocated", small_ones_are_allocated},
    {"bins_count_objects", bins_count_objects},
    {"sizes_are_those_of_malloc", sizes_are_those_of_malloc},
    {"memory_goes_back", memory_goes_back},
    {"threads_may_have_an_arena", threads_may_have_an_arena},
    {"arenas_and_caches_are_created", arenas_and_caches_are_created},
    {"all_is_printed", all_is_printed},
    {"the_helper_is_switched", the_helper_is_switched},
    {"beside_threads_and_forks", beside_threads_and_forks},
    {"arenas_are_numbers", arenas_are_numbers},
    {"creating_needs_where_to_tell", creating_needs_where_to_tell},
    {"idle_memory_may_be_refused", idle_memory_may_be_refused},
    {NULL, NULL},
};
