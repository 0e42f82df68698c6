/*
 * mallctl_names.c - the names and MIBs of jemalloc's control interface: what jemalloc(3) says
 * of them holds here, and on jemalloc itself; what is not here is unknown.
 */
#include "check.h"
#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- each name, of its type: what is read, and every wrong way to ask ---- */

static const struct {
    const char *name;
    size_t length;
    bool only_here; /* Debian's jemalloc is built without */
} readable[] = {
    {"version", sizeof(char *), false},
    {"background_thread", sizeof(bool), false},
    {"max_background_threads", sizeof(size_t), false},
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
    {"opt.prof_prefix", sizeof(char *), true},
    {"opt.lg_prof_sample", sizeof(size_t), true},
    {"opt.retain", sizeof(bool), false},
    {"opt.stats_print", sizeof(bool), false},
    {"opt.tcache", sizeof(bool), false},
    {"opt.xmalloc", sizeof(bool), true},
    {"opt.zero_realloc", sizeof(char *), false},
    {"thread.arena", sizeof(unsigned), false},
    {"thread.tcache.enabled", sizeof(bool), false},
    {"arena.0.initialized", sizeof(bool), false},
    {"arena.0.dirty_decay_ms", sizeof(ssize_t), false},
    {"arena.0.muzzy_decay_ms", sizeof(ssize_t), false},
    {"arenas.narenas", sizeof(unsigned), false},
    {"arenas.dirty_decay_ms", sizeof(ssize_t), false},
    {"arenas.muzzy_decay_ms", sizeof(ssize_t), false},
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
    {"stats.metadata_thp", sizeof(size_t), false},
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
static bool is_writable(const char *name)
{
    return strcmp(name, "background_thread") == 0 ||
           strcmp(name, "max_background_threads") == 0 ||
           strcmp(name, "prof.active") == 0 || strcmp(name, "thread.arena") == 0 ||
           (strncmp(name, "arena", 5) == 0 && strstr(name, "y_decay_ms") != NULL) ||
           (!is_ours() && strcmp(name, "thread.tcache.enabled") == 0);
}

static void names_are_read(void)
{
    find_all();
    for (size_t i = 0; i < COUNT(readable); i++) {
        const char *name = readable[i].name;
        size_t length = readable[i].length, mib[8], parts = COUNT(mib);
        unsigned char value[16], again[16];
        uint64_t some = 0;

        if (readable[i].only_here && !is_ours())
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
                   (is_writable(name) ? EINVAL : EPERM),
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
                                      "arena.18446744073709551616.purge", /* 2^64 */
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
                                        "arena.0.reset",
                                        "arena.0.extent_hooks",
                                        "opt.junk",
                                        "stats.arenas.0.small.nmalloc",
                                        "stats.arenas.0.small.resident",
                                        "stats.arenas.0.bins.0.nmalloc"};

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

const struct test tests[] = {
    {"names_are_read", names_are_read},
    {"unknown_names_are_refused", unknown_names_are_refused},
    {"numbers_of_a_mib_are_replaced", numbers_of_a_mib_are_replaced},
    {"parts_of_a_mib_are_given", parts_of_a_mib_are_given},
    {"what_is_not_here_is_unknown", what_is_not_here_is_unknown},
    {NULL, NULL},
};
