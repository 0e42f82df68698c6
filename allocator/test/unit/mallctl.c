/*
 * mallctl.c - jemalloc's control interface: what jemalloc(3) says of every call holds here,
 * and on jemalloc itself; what is not here is unknown; what is told is true.
 */
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define NO_CACHE     0x100 /* MALLOCX_TCACHE_NONE */

static int (*control)(const char *, void *, size_t *, void *, size_t);
static int (*to_mib)(const char *, size_t *, size_t *);
static int (*by_mib)(const size_t *, size_t, void *, size_t *, void *, size_t);
static void (*print)(void (*)(void *, const char *), void *, const char *);
static void *(*take)(size_t, int);
static void (*put)(void *, int);
static int (*hint)(void *);

static void find(const char *name, void *slot)
{
    void *found = dlsym(RTLD_DEFAULT, name);

    CHECKF(found, "%s is missing", name);
    memcpy(slot, &found, sizeof found);
}

static void find_all(void)
{
    find("mallctl", &control);
    find("mallctlnametomib", &to_mib);
    find("mallctlbymib", &by_mib);
    find("malloc_stats_print", &print);
    find("mallocx", &take);
    find("dallocx", &put);
}

static size_t size_at(const char *name)
{
    size_t value = 0, length = sizeof value;
    int error = control(name, &value, &length, NULL, 0);

    CHECKF(error == 0 && length == sizeof value, "%s: error %d", name, error);
    return value;
}

static unsigned unsigned_at(const char *name)
{
    unsigned value = 0;
    size_t length = sizeof value;
    int error = control(name, &value, &length, NULL, 0);

    CHECKF(error == 0 && length == sizeof value, "%s: error %d", name, error);
    return value;
}

static void refresh(void)
{
    uint64_t epoch = 1;

    CHECK(control("epoch", NULL, NULL, &epoch, sizeof epoch) == 0);
}

/* ---- each name, of its type: what is read, and every wrong way to ask ---- */

static const struct {
    const char *name;
    size_t length;
    bool only_here; /* Debian's jemalloc is built without */
} readable[] = {
    {"version", sizeof(char *), false},
    {"background_thread", sizeof(bool), false},
    {"config.debug", sizeof(bool), false},
    {"config.fill", sizeof(bool), false},
    {"config.lazy_lock", sizeof(bool), false},
    {"config.malloc_conf", sizeof(char *), false},
    {"config.prof", sizeof(bool), false},
    {"config.stats", sizeof(bool), false},
    {"config.utrace", sizeof(bool), false},
    {"config.xmalloc", sizeof(bool), false},
    {"opt.abort", sizeof(bool), false},
    {"opt.dss", sizeof(char *), false},
    {"opt.narenas", sizeof(unsigned), false},
    {"opt.prof", sizeof(bool), true},
    {"opt.lg_prof_sample", sizeof(size_t), true},
    {"opt.retain", sizeof(bool), false},
    {"opt.stats_print", sizeof(bool), false},
    {"opt.tcache", sizeof(bool), false},
    {"opt.xmalloc", sizeof(bool), true},
    {"opt.zero_realloc", sizeof(char *), false},
    {"thread.tcache.enabled", sizeof(bool), false},
    {"arena.0.initialized", sizeof(bool), false},
    {"arena.0.dirty_decay_ms", sizeof(ssize_t), false},
    {"arena.0.muzzy_decay_ms", sizeof(ssize_t), false},
    {"arenas.narenas", sizeof(unsigned), false},
    {"arenas.quantum", sizeof(size_t), false},
    {"arenas.page", sizeof(size_t), false},
    {"arenas.tcache_max", sizeof(size_t), false},
    {"arenas.nbins", sizeof(unsigned), false},
    {"arenas.bin.0.size", sizeof(size_t), false},
    {"arenas.bin.0.nregs", sizeof(uint32_t), false},
    {"arenas.bin.0.slab_size", sizeof(size_t), false},
    {"arenas.bin.0.nshards", sizeof(uint32_t), false},
    {"arenas.nlextents", sizeof(unsigned), false},
    {"arenas.lextent.0.size", sizeof(size_t), false},
    {"prof.active", sizeof(bool), true},
    {"prof.lg_sample", sizeof(size_t), true},
    {"stats.allocated", sizeof(size_t), false},
    {"stats.active", sizeof(size_t), false},
    {"stats.metadata", sizeof(size_t), false},
    {"stats.resident", sizeof(size_t), false},
    {"stats.mapped", sizeof(size_t), false},
    {"stats.retained", sizeof(size_t), false},
    {"stats.background_thread.num_threads", sizeof(size_t), false},
    {"stats.arenas.0.dirty_decay_ms", sizeof(ssize_t), false},
    {"stats.arenas.0.pactive", sizeof(size_t), false},
    {"stats.arenas.4096.pdirty", sizeof(size_t), false},
    {"stats.arenas.4096.pmuzzy", sizeof(size_t), false},
    {"stats.arenas.0.mapped", sizeof(size_t), false},
    {"stats.arenas.0.retained", sizeof(size_t), false},
    {"stats.arenas.0.base", sizeof(size_t), false},
    {"stats.arenas.4096.resident", sizeof(size_t), false},
    {"stats.arenas.0.dirty_purged", sizeof(uint64_t), false},
    {"stats.arenas.4096.small.allocated", sizeof(size_t), false},
    {"stats.arenas.0.large.allocated", sizeof(size_t), false},
    {"stats.arenas.4096.bins.1.curregs", sizeof(size_t), false},
    {"stats.arenas.0.bins.1.curslabs", sizeof(size_t), false},
    {"stats.arenas.0.bins.1.nonfull_slabs", sizeof(size_t), false},
    {"stats.arenas.0.bins.1.nfills", sizeof(uint64_t), false},
    {"stats.arenas.0.bins.1.nflushes", sizeof(uint64_t), false},
};

/* Those that can be written as well, for which a wrong length is the fault. */
static bool is_writable(const char *name, bool is_ours)
{
    return strcmp(name, "background_thread") == 0 || strcmp(name, "prof.active") == 0 ||
           strcmp(name, "arena.0.dirty_decay_ms") == 0 ||
           strcmp(name, "arena.0.muzzy_decay_ms") == 0 ||
           (!is_ours && strcmp(name, "thread.tcache.enabled") == 0);
}

static void names_are_read(void)
{
    bool is_ours = dlsym(RTLD_DEFAULT, "MyVersion") != NULL;

    find_all();
    for (size_t i = 0; i < COUNT(readable); i++) {
        const char *name = readable[i].name;
        size_t length = readable[i].length, mib[8], parts = COUNT(mib);
        unsigned char value[16], again[16];
        uint64_t some = 0;

        if (readable[i].only_here && !is_ours)
            continue;
        memset(value, 0xa5, sizeof value);
        memset(again, 0xa5, sizeof again);
        CHECKF(control(name, value, &length, NULL, 0) == 0, "%s", name);
        CHECKF(length == readable[i].length && value[length] == 0xa5, "%s", name);
        CHECKF(to_mib(name, mib, &parts) == 0, "%s", name);
        CHECKF(by_mib(mib, parts, again, &length, NULL, 0) == 0, "%s", name);
        CHECKF(memcmp(value, again, sizeof value) == 0, "%s by its MIB", name);
        length = sizeof value;
        CHECKF(control(name, value, &length, NULL, 0) == EINVAL, "%s, too long", name);
        CHECKF(length == readable[i].length, "%s: as much is read as there is", name);
        length = 0;
        CHECKF(control(name, value, &length, NULL, 0) == EINVAL, "%s, too short", name);
        CHECKF(control(name, NULL, NULL, &some, 11) ==
                   (is_writable(name, is_ours) ? EINVAL : EPERM),
               "%s, written", name);
        CHECKF(control(name, NULL, NULL, NULL, 0) == 0, "%s, for nothing", name);
    }
}

static const char *const unknown[] = {"",
                                      ".",
                                      "no",
                                      "stats.",
                                      "stats.allocated.",
                                      "stats..allocated",
                                      ".stats.allocated",
                                      "stats.allocated.more",
                                      "stats.allocate",
                                      "arena.x.purge",
                                      "arena.-1.purge",
                                      "arena..purge",
                                      "arena.9999.purge",
                                      "arena.99999999999999999999.purge",
                                      "arenas.bin.9999.size",
                                      "arenas.bin.4096.size",
                                      "arenas.lextent.99999.size",
                                      "stats.arenas.0.bins.9999.curregs",
                                      "stats.arenas.9999.pactive",
                                      "stats.arenas.0.bins.x.curregs",
                                      "#",
                                      "arena.#.purge"};

static void unknown_names_are_refused(void)
{
    find_all();
    for (size_t i = 0; i < COUNT(unknown); i++) {
        size_t value, length = sizeof value, mib[8], parts = COUNT(mib);

        CHECKF(control(unknown[i], &value, &length, NULL, 0) == ENOENT, "'%s'",
               unknown[i]);
        CHECKF(to_mib(unknown[i], mib, &parts) == ENOENT, "'%s' to a MIB", unknown[i]);
    }
}

/* What this heap has nothing true to say about, or cannot do. */
static void what_is_not_here_is_unknown(void)
{
    static const char *const names[] = {"thread.allocated",
                                        "thread.allocatedp",
                                        "thread.deallocated",
                                        "thread.deallocatedp",
                                        "thread.arena",
                                        "arenas.dirty_decay_ms",
                                        "arena.0.reset",
                                        "arena.0.extent_hooks",
                                        "opt.junk",
                                        "stats.arenas.0.small.nmalloc",
                                        "stats.arenas.0.small.resident",
                                        "stats.arenas.0.bins.0.nmalloc",
                                        "max_background_threads"};

    find_all();
    for (size_t i = 0; i < COUNT(names); i++) {
        size_t value, length = sizeof value;

        CHECKF(control(names[i], &value, &length, NULL, 0) == ENOENT, "%s", names[i]);
    }
}

/* As the manual has it: components that are numbers can be replaced in a MIB. */
static void numbers_of_a_mib_are_replaced(void)
{
    size_t mib[8], parts = COUNT(mib), size, length = sizeof size, before = 0;
    unsigned bins;

    find_all();
    bins = unsigned_at("arenas.nbins");
    CHECK(to_mib("arenas.bin.0.size", mib, &parts) == 0 && parts == 4 && mib[2] == 0);
    for (unsigned i = 0; i < bins; i++, before = size) {
        mib[2] = i;
        CHECK(by_mib(mib, parts, &size, &length, NULL, 0) == 0 && size > before);
    }
    mib[2] = 9999;
    CHECK(by_mib(mib, parts, &size, &length, NULL, 0) == ENOENT);
    mib[2] = 0;
    CHECK(by_mib(mib, 3, &size, &length, NULL, 0) == ENOENT);
    mib[0] = 9999;
    CHECK(by_mib(mib, 4, &size, &length, NULL, 0) == ENOENT);
    /* The first names of some: a part to go on from, with nothing behind it by itself. */
    parts = COUNT(mib);
    CHECK(to_mib("arenas.bin.7", mib, &parts) == 0 && parts == 3 && mib[2] == 7);
    CHECK(by_mib(mib, parts, &size, &length, NULL, 0) == ENOENT);
}

/* What jemalloc 5.3 does not do, though its manual says so. */
static void parts_of_a_mib_are_given(void)
{
    size_t mib[8] = {77, 77, 77, 77}, whole[8], parts = 2, size, length = sizeof size;

    find_all();
    CHECK(to_mib("arenas.bin.3.size", mib, &parts) == 0 && parts == 2 && mib[2] == 77);
    parts = COUNT(whole);
    CHECK(to_mib("arenas.bin.9.size", whole, &parts) == 0 && parts == 4);
    CHECK(mib[0] == whole[0] && mib[1] == whole[1]);
    mib[2] = 5;
    mib[3] = whole[3];
    CHECK(by_mib(mib, 4, &size, &length, NULL, 0) == 0);
    CHECK(size == size_at("arenas.bin.5.size"));
    CHECK(by_mib(mib, 0, &size, &length, NULL, 0) == ENOENT);
    mib[2] = unsigned_at("arenas.nbins");
    CHECK(by_mib(mib, 4, &size, &length, NULL, 0) == ENOENT);
    mib[2] = 5;
    mib[1] = whole[0];
    CHECK(by_mib(mib, 4, &size, &length, NULL, 0) ==
          (whole[0] == whole[1] ? 0 : ENOENT));
}

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

#define LARGE ((size_t)24 << 20)

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
    hold(LARGE, check_large);
    refresh();
    before = size_at("stats.allocated");
    CHECK(before < LARGE);
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
        CHECKF(usable(object, 0) == size || i > bins + 40, "%zu: %zu", before + 1,
               size);
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
        char *object = take(LARGE, 0);
        size_t resident;

        memset(object, 1, LARGE);
        put(object, 0);
        CHECKF(control(name, NULL, NULL, NULL, 0) == 0, "%s", name);
        resident = resident_bytes();
        CHECKF(resident < LARGE, "%s: %zu bytes stay", name, resident);
        CHECKF(control(name, &one, &length, NULL, 0) == EPERM, "%s, read", name);
        CHECKF(control(name, NULL, NULL, &one, length) == EPERM, "%s, written", name);
    }
    CHECK(control("arena.0.decay", NULL, NULL, NULL, 0) == 0);
    CHECK(control("thread.tcache.flush", NULL, NULL, NULL, 0) == 0);
    CHECK(control("thread.tcache.flush", &one, &length, NULL, 0) == EPERM);
    CHECK(control("thread.idle", NULL, NULL, NULL, 0) == 0);
}

/* 0: nothing idle stays; what was read before brings back the rule that was. */
static void idle_memory_may_be_refused(void)
{
    static const char name[] = "arena.0.dirty_decay_ms";
    ssize_t before, none = 0, now, bad = -2;
    size_t length = sizeof before;
    char *object;

    find_all();
    CHECK(control(name, &before, &length, &none, sizeof none) == 0 && before != 0);
    CHECK(control(name, &now, &length, NULL, 0) == 0 && now == 0);
    object = take(LARGE, 0);
    memset(object, 1, LARGE);
    put(object, 0);
    CHECK(resident_bytes() < LARGE);
    CHECK(control(name, NULL, NULL, &before, sizeof before) == 0);
    CHECK(control(name, &now, &length, NULL, 0) == 0 && now == before);
    CHECK(control(name, NULL, NULL, &bad, sizeof bad) == EFAULT);
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

static void a_profile_is_taken(void)
{
    char path[] = "/tmp/unit-mallctl-XXXXXX", text[64] = "";
    const char *file = path, *nowhere = "/no/such/folder/file";
    bool on = true, off = false, is;
    size_t length = sizeof is;
    int fd = mkstemp(path);

    find_all();
    CHECK(fd >= 0);
    CHECK(control("prof.active", &is, &length, &on, sizeof on) == 0 && !is);
    CHECK(control("prof.active", &is, &length, &on, sizeof on) == 0 && is);
    for (unsigned i = 0; i < 100; i++)
        put(take((size_t)1 << 20, 0), 0);
    CHECK(control("prof.active", &is, &length, &off, sizeof off) == 0 && is);
    CHECK(control("prof.dump", NULL, NULL, &file, sizeof file) == 0);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    CHECKF(strncmp(text, "heap profile: ", 14) == 0, "%s", text);
    CHECK(control("prof.dump", NULL, NULL, &nowhere, sizeof nowhere) == EFAULT);
    CHECK(control("prof.dump", &is, &length, NULL, 0) == EPERM);
    close(fd);
    unlink(path);
}

/* What prof.dump says of all stacks: objects and bytes in use, and ever taken. */
static void read_profile(double sums[4])
{
    char path[] = "/tmp/unit-mallctl-XXXXXX", text[256] = "";
    const char *file = path;
    int fd = mkstemp(path);

    CHECK(control("prof.dump", NULL, NULL, &file, sizeof file) == 0);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    CHECKF(sscanf(text, "heap profile: %lf: %lf [%lf: %lf]", &sums[0], &sums[1],
                  &sums[2], &sums[3]) == 4,
           "%s", text);
    close(fd);
    unlink(path);
}

/* The objects in use before are freed as ever, and no sum gets less for it. */
static void a_profile_begins_anew(void)
{
    enum { OBJECTS = 100, MANY = 1 << 20 };
    void *object[OBJECTS];
    bool on = true, off = false;
    size_t every = 0, coarse = 99, bad, length = sizeof bad;
    double sums[4];

    find_all();
    CHECK(control("prof.reset", &bad, &length, NULL, 0) == EPERM);
    CHECK(control("prof.reset", NULL, NULL, &every, sizeof every - 1) == EINVAL);
    CHECK(control("prof.reset", NULL, NULL, &every, sizeof every) == 0);
    CHECK(size_at("prof.lg_sample") == 0);
    CHECK(control("prof.active", NULL, NULL, &on, sizeof on) == 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        object[i] = take(i % 2 == 0 ? 100 : MANY, 0);
    read_profile(sums);
    CHECKF(sums[0] >= OBJECTS && sums[1] >= OBJECTS / 2 * MANY, "%.0f: %.0f", sums[0],
           sums[1]);
    CHECK(control("prof.reset", NULL, NULL, NULL, 0) == 0);
    CHECK(size_at("prof.lg_sample") == 0);
    read_profile(sums);
    CHECKF(sums[0] < 10 && sums[2] < 10 && sums[3] < MANY, "%.0f: %.0f [%.0f: %.0f]",
           sums[0], sums[1], sums[2], sums[3]);
    for (unsigned i = 0; i < OBJECTS; i++)
        put(object[i], 0);
    object[0] = take(MANY, 0);
    read_profile(sums);
    CHECKF(sums[0] >= 1 && sums[0] < 10 && sums[1] >= MANY && sums[1] < 2 * MANY,
           "%.0f: %.0f", sums[0], sums[1]);
    put(object[0], 0);
    CHECK(control("prof.reset", NULL, NULL, &coarse, sizeof coarse) == 0);
    CHECK(size_at("prof.lg_sample") == 40);
    for (unsigned i = 0; i < 1000; i++)
        put(take(100, 0), 0);
    read_profile(sums);
    CHECKF(sums[2] < 10, "%.0f objects", sums[2]);
    CHECK(control("prof.active", NULL, NULL, &off, sizeof off) == 0);
}

/* A rate that is no power of two, and one of which the profile says what it is. */
static void a_profile_that_begins_anew_keeps_its_rate(void)
{
    /* Field 12, the period: 1000 as a number of seven bits each. */
    static const unsigned char period[] = {12 << 3, 0xe8, 0x07};
    int (*start)(size_t) = (int (*)(size_t))dlsym(RTLD_DEFAULT, "MyProfileStart");
    int (*stop)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "MyProfileStop");
    int (*dump)(int, int) = (int (*)(int, int))dlsym(RTLD_DEFAULT, "MyProfileWrite");
    char path[] = "/tmp/unit-mallctl-XXXXXX", text[4096];
    int fd = mkstemp(path);

    find_all();
    CHECK(start && stop && dump && fd >= 0);
    CHECK(start(1000) == 0);
    CHECK(control("prof.reset", NULL, NULL, NULL, 0) == 0);
    CHECK(dump(fd, 0) == 0 && stop() == 0);
    CHECK(pread(fd, text, sizeof text, 0) > 1000);
    CHECKF(memmem(text, sizeof text, period, sizeof period),
           "the profile is of another rate");
    close(fd);
    unlink(path);
}

/* ---- defragmentation ---- */

enum { OBJECTS = 100000, BYTES = 320, KEPT = 10 };

static size_t slabs_of(size_t bytes)
{
    char name[64];
    unsigned bin = 0;

    do
        snprintf(name, sizeof name, "arenas.bin.%u.size", bin++);
    while (size_at(name) != bytes);
    snprintf(name, sizeof name, "stats.arenas.0.bins.%u.curslabs", bin - 1);
    refresh();
    return size_at(name);
}

/* As redis does: each object for which that helps is moved past the caches. */
static unsigned move_all(char **object, unsigned count)
{
    unsigned moved = 0;

    for (unsigned i = 0; i < count; i++)
        if (object[i] != NULL && hint(object[i])) {
            char *to = take(BYTES, NO_CACHE);

            memcpy(to, object[i], BYTES);
            put(object[i], NO_CACHE);
            object[i] = to;
            moved++;
        }
    return moved;
}

/* One object in ten stays: they come to lie in little more than a tenth of the slabs. */
static void objects_are_moved_together(void)
{
    static char *object[OBJECTS];
    uint64_t random = test_seed();
    size_t full, holey, dense, resident;
    unsigned kept = 0, moved = 0, more = 1;

    find_all();
    find("get_defrag_hint", &hint);
    for (unsigned i = 0; i < OBJECTS; i++) {
        object[i] = take(BYTES, 0);
        memset(object[i], 0, BYTES);
        memcpy(object[i], &i, sizeof i);
    }
    full = slabs_of(BYTES);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (next_random(&random) % KEPT != 0) {
            put(object[i], 0);
            object[i] = NULL;
        } else {
            kept++;
        }
    CHECK(control("arena.0.purge", NULL, NULL, NULL, 0) == 0);
    holey = slabs_of(BYTES);
    CHECKF(holey > full * 9 / 10, "%zu slabs of %zu", holey, full);
    resident = resident_bytes();
    for (unsigned round = 0; more > 0 && round < 10; round++)
        moved += more = move_all(object, OBJECTS);
    dense = slabs_of(BYTES);
    CHECKF(more == 0, "no end after %u moves", moved);
    CHECKF(moved < 2 * kept, "%u moves for %u objects", moved, kept);
    CHECKF(dense <= full / KEPT + full / 20 + 2, "%zu slabs, %zu were full, %zu had %u",
           dense, full, holey, kept);
    CHECK(control("arena.0.purge", NULL, NULL, NULL, 0) == 0);
    CHECKF(is_slow() || resident_bytes() + (size_t)OBJECTS * BYTES / 2 < resident,
           "%zu bytes, %zu before", resident_bytes(), resident);
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK(object[i] == NULL || memcmp(object[i], &i, sizeof i) == 0);
        put(object[i], 0);
    }
}

static void hints_are_of_slabs_only(void)
{
    int local = 0;
    void *large;

    find_all();
    find("get_defrag_hint", &hint);
    large = take(LARGE, 0);
    CHECK(hint(NULL) == 0 && hint(&local) == 0 && hint(large) == 0);
    put(large, 0);
}

static void use_of_slabs_is_told(void)
{
    size_t out[6], batch[6], length = sizeof out;
    void *object[2];

    find_all();
    object[0] = take(BYTES, 0);
    object[1] = take(LARGE, 0);
    CHECK(control("experimental.utilization.query", out, &length, object,
                  sizeof *object) == 0);
    CHECK(out[1] < out[2] && out[3] >= out[2] * BYTES && out[3] % 4096 == 0);
    length = sizeof batch;
    CHECK(control("experimental.utilization.batch_query", batch, &length, object,
                  sizeof object) == 0);
    CHECK(batch[0] == out[1] && batch[1] == out[2] && batch[2] == out[3]);
    CHECK(batch[3] == 0 && batch[4] == 1 && batch[5] >= LARGE);
    CHECK(control("experimental.utilization.batch_query", batch, &length, object,
                  sizeof object - 1) == EINVAL);
    CHECK(control("experimental.utilization.batch_query", batch, &length, object, 0) ==
          EINVAL);
    length--;
    CHECK(control("experimental.utilization.batch_query", batch, &length, object,
                  sizeof object) == EINVAL);
    put(object[0], 0);
    put(object[1], 0);
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

static void all_is_printed(void)
{
    struct text text = {NULL, 0};

    find_all();
    print(append, &text, NULL);
    CHECK(text.length > 1000 && strstr(text.start, "llocated"));
    text.length = 0;
    print(append, &text, "J");
    CHECK(text.start[0] == '{' && strstr(text.start, "\"stats.arenas\":{"));
    /* jemalloc has no sum of one arena */
    CHECK(strstr(text.start, "\"merged\":{") || strstr(text.start, "\"0\":{"));
    CHECK(strstr(text.start, "\"curregs\":"));
    text.length = 0;
    print(append, &text, "Jgbl");
    CHECK(strstr(text.start, "\"curregs\":") == NULL);
    free(text.start);
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
    {"names_are_read", names_are_read},
    {"unknown_names_are_refused", unknown_names_are_refused},
    {"numbers_of_a_mib_are_replaced", numbers_of_a_mib_are_replaced},
    {"statistics_are_of_the_last_epoch", statistics_are_of_the_last_epoch},
    {"bins_count_objects", bins_count_objects},
    {"sizes_are_those_of_malloc", sizes_are_those_of_malloc},
    {"memory_goes_back", memory_goes_back},
    {"arenas_and_caches_are_created", arenas_and_caches_are_created},
    {"use_of_slabs_is_told", use_of_slabs_is_told},
    {"all_is_printed", all_is_printed},
    {"the_helper_is_switched", the_helper_is_switched},
    {"beside_threads_and_forks", beside_threads_and_forks},
    {"creating_needs_where_to_tell", creating_needs_where_to_tell},
    {"parts_of_a_mib_are_given", parts_of_a_mib_are_given},
    {"idle_memory_may_be_refused", idle_memory_may_be_refused},
    {"what_is_not_here_is_unknown", what_is_not_here_is_unknown},
    {"a_profile_is_taken", a_profile_is_taken},
    {"a_profile_begins_anew", a_profile_begins_anew},
    {"a_profile_that_begins_anew_keeps_its_rate",
     a_profile_that_begins_anew_keeps_its_rate},
    {"objects_are_moved_together", objects_are_moved_together},
    {"hints_are_of_slabs_only", hints_are_of_slabs_only},
    {NULL, NULL},
};
