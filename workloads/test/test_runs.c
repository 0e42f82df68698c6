/*
 * test_runs.c - every variant of every workload, small, with every byte verified.
 *
 * Each run is a process of its own. What must hold for all: nothing left live, nothing
 * damaged, time and memory measured. Then what each workload promises: the amount of
 * fixed work, the bound of its live bytes, its share of remote frees.
 */
#include "arenas.h"
#include "check.h"
#include "workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct workload_result *shared;

/* "option=value option=value" over a variant; options that a workload lacks are skipped. */
static struct settings prepare(const struct workload *w, const char *variant,
                               const char *changes)
{
    struct settings set;
    char copy[256], why[256], *rest = copy, *word;

    CHECK(workload_defaults(w, variant, &set), "%s/%s", w->name, variant);
    workload_scale(w, &set, 0.004, 0.02);
    snprintf(copy, sizeof(copy), "%s", changes);
    while ((word = strsep(&rest, " "))) {
        char *value = strchr(word, '=');
        if (!value)
            continue;
        *value++ = 0;
        workload_set(w, &set, word, value, why, sizeof(why));
    }
    return set;
}

static bool run_apart(const struct workload *w, const struct settings *set)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        workload_run(w, set, shared);
        _exit(0);
    }
    waitpid(child, &status, 0);
    CHECK(status == 0, "%s: status %#x", w->name, (unsigned)status);
    return status == 0;
}

static void check_always(const struct workload *w, const char *variant)
{
    const struct workload_result *r = shared;

    CHECK(workload_verified(r), "%s/%s: %llu damaged, %lld left live", w->name, variant,
          (unsigned long long)r->errors, (long long)r->live_end);
    CHECK(r->ops > 0 && r->seconds > 0, "%s/%s", w->name, variant);
    CHECK(r->live_peak > 0 || r->seconds < 0.1, "%s/%s", w->name,
          variant); /* sampled */
    CHECK(r->checked > 0, "%s/%s checked nothing", w->name, variant);
    CHECK(r->base_rss > 0 && r->peak_rss >= r->base_rss && r->end_rss > 0,
          "%s/%s: base %llu peak %llu", w->name, variant,
          (unsigned long long)r->base_rss, (unsigned long long)r->peak_rss);
    CHECK(r->harness_bytes <= r->base_rss, "%s/%s", w->name, variant);
    CHECK(r->sample_count > 0, "%s/%s", w->name, variant);
    for (size_t i = 1; i < r->sample_count; i++)
        CHECK(r->samples[i].at >= r->samples[i - 1].at, "%s/%s: sample %zu", w->name,
              variant, i);
    for (size_t i = 0; i < r->sample_count; i++)
        CHECK(r->samples[i].live <= r->live_peak, "%s/%s: sample %zu", w->name, variant,
              i);
    if (r->has_latency)
        CHECK(r->malloc_latency.count > 0 && r->free_latency.count > 0, "%s/%s",
              w->name, variant);
}

/* Of all workloads, or of one. */
static void test_every_variant(const char *only)
{
    static const char small[] = "verify=all settle=0.1 hold=1000 objects=50 slots=20 "
                                "bytes=4M messages=40000";
    size_t count;
    const struct workload *const *list = workload_list(&count);

    for (size_t i = 0; i < count; i++)
        for (size_t v = 0; v < list[i]->variant_count; v++) {
            const char *variant = list[i]->variants[v].name;
            bool crowd = !strcmp(list[i]->name, "crowd");
            struct settings set = prepare(list[i], variant, small);
            if (only && strcmp(list[i]->name, only) != 0)
                continue;
            if (crowd)
                set = prepare(list[i], variant, "threads=40");
            if (run_apart(list[i], &set))
                check_always(list[i], variant);
        }
}

/* Runs and returns the result of a workload of that name. */
static const struct workload_result *result_of(const char *name, const char *variant,
                                               const char *changes)
{
    const struct workload *w = workload_find(name);
    struct settings set = prepare(w, variant, changes);

    memset(shared, 0, sizeof(*shared));
    run_apart(w, &set);
    CHECK(workload_verified(shared), "%s/%s %s", name, variant, changes);
    return shared;
}

static void test_fixed_work_is_exact(void)
{
    static const struct {
        const char *name, *variant, *changes;
        uint64_t ops;
    } c[] = {
        {"larson", "fixed", "threads=3 generations=2 rounds=10 chunks=100", 6000},
        {"xmalloc", "64B", "pairs=2 batches=7", 57344},
        {"xmalloc", "mixed-fifo", "pairs=1 batches=9", 36864},
        {"prodcons", "1to1", "messages=12345", 12345},
        {"prodcons", "Nto1", "messages=20000 batch=33", 20000},
        {"prodcons", "1toN", "messages=777 batch=1000", 777},
        {"prodcons", "pipeline", "messages=5000 queue=1", 5000},
        {"prodcons", "free-only", "messages=9000 hold=500", 9000},
        {"churn", "leave", "threads=2 lives=30 objects=11", 660},
        {"crowd", "1k", "threads=20 objects=3 rounds=5", 300},
        {"requests", "small", "threads=2 requests=30 objects=7 sessions=5", 420},
        {"requests", "arena", "threads=2 requests=30 objects=7 sessions=5", 420},
        {"requests", "mixed-arena", "requests=30 objects=1 sessions=1", 30},
        {"requests", "monotonic", "threads=2 requests=30 objects=7 sessions=5", 420},
        {"sweep", "pair", "pairs=1001", 1001},
        {"sweep", "batch", "pairs=1001 batch=100", 1001},
        {"sweep", "cxx-pair", "pairs=1001", 1001},
        {"sweep", "cxx-batch", "pairs=1001 batch=100", 1001},
        {"larson", "cxx", "threads=3 generations=2 rounds=10 chunks=100", 6000},
        {"sweep", "batch", "pairs=1001 size=1M held=8M", 1001},
        {"order", "random", "objects=100 cycles=3", 300},
        {"regrow", "double", "start=16 max-size=1K vectors=2 cycles=3", 42},
        {"regrow", "append", "start=16 step=16 max-size=64 vectors=1 cycles=1", 4},
        {"aligned", "mixed", "replacements=999", 999},
        {"zeroed", "small", "replacements=999", 999},
        {"large", "churn", "threads=2 toggles=50", 100},
        {"replace", "written", "objects=10 size=1K replacements=999", 999},
        {"replace", "ends", "size=64K bytes=1M replacements=999", 999},
        {"swing", "buffers", "bytes=1M buffers=4 volume=8M", 32},
        {"swing", "buffers", "bytes=1M buffers=1 volume=1", 3},
        {"walk", "aged", "bytes=1M reads=12345", 12345},
        {"rows", "square", "row=800 reads=12345", 12400},
        {"rows", "few", "row=805 reads=1", 16},
        {"sharing", "active", "threads=2 objects=50 writes=10", 100},
        {"sharing", "passive", "threads=3 objects=50 writes=10", 150},
    };

    for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        uint64_t ops = result_of(c[i].name, c[i].variant, c[i].changes)->ops;
        CHECK(ops == c[i].ops, "%s/%s %s: %llu operations, not %llu", c[i].name,
              c[i].variant, c[i].changes, (unsigned long long)ops,
              (unsigned long long)c[i].ops);
    }
}

static void test_live_bytes(void)
{
    const struct workload_result *r =
        result_of("xmalloc", "64B", "pairs=1 batches=300");
    /* (100 + 2) * 4096 * 64 */
    CHECK(r->live_peak <= 26738688, "xmalloc: %lld", (long long)r->live_peak);
    r = result_of("larson", "fixed", "threads=1 min-size=100 max-size=101 chunks=5000");
    CHECK(r->live_peak == 500000, "larson: %lld", (long long)r->live_peak);
    r = result_of("prodcons", "fixed",
                  "messages=200000 hold=5000 queue=4 batch=10 max-size=64 replies=0");
    /* 5000 held, and 4 + 2 batches of 10 */
    CHECK(r->live_peak >= 320000 && r->live_peak <= 323840, "prodcons: %lld",
          (long long)r->live_peak);
    r = result_of("sweep", "batch", "pairs=1000 batch=100 size=48");
    CHECK(r->live_peak == 4800, "sweep: %lld", (long long)r->live_peak);
    r = result_of("replace", "ends", "size=64K bytes=4M replacements=1000");
    CHECK(fabs((double)r->live_peak / (4 << 20) - 1) < 0.3, "replace: %lld",
          (long long)r->live_peak);
    r = result_of("swing", "buffers", "bytes=4M volume=20M buffers=64");
    CHECK(r->live_peak == 4 << 20, "swing: %lld", (long long)r->live_peak);
    r = result_of("walk", "aged", "bytes=4M");
    CHECK(fabs((double)r->live_peak / (4 << 20) - 1) < 0.05, "walk: %lld",
          (long long)r->live_peak);
    r = result_of("rows", "square", "row=8K reads=1");
    CHECK(r->live_peak == 8 << 20, "rows: %lld", (long long)r->live_peak);
    r = result_of("sweep", "batch", "pairs=50 size=1M held=8M");
    CHECK(r->live_peak == 8 << 20, "sweep: %lld", (long long)r->live_peak);
    r = result_of("idle", "64MiB", "bytes=4M settle=1");
    CHECK(fabs((double)r->live_peak / (4 << 20) - 1) < 0.05, "idle: %lld",
          (long long)r->live_peak);
    CHECK(r->has_settled && r->settled_live == 0 && r->settled_for == 1,
          "idle settles");
    CHECK(r->settled_rss[0] && r->settled_rss[1] && !r->settled_rss[2],
          "idle: 0.1, 1 s");
    r = result_of("idle", "survivors", "settle=0.1 bytes=40000000");
    CHECK(fabs((double)r->settled_live / 40e6 * 20 - 1) < 0.05 &&
              fabs((double)r->live_peak / 40e6 - 1) < 0.05,
          "survivors: %lld of %lld", (long long)r->settled_live,
          (long long)r->live_peak);
    CHECK(r->settled_rss[0] >= (uint64_t)r->settled_live, "survivors: %llu",
          (unsigned long long)r->settled_rss[0]);
    r = result_of("requests", "small",
                  "requests=1000 sessions=10 min-size=64 max-size=64");
    CHECK(r->live_peak == 0 || r->live_peak <= 211 * 64, "requests: %lld",
          (long long)r->live_peak);
    r = result_of("requests", "monotonic",
                  "requests=1000 sessions=10 min-size=64 max-size=64");
    CHECK(r->live_peak == 0 || r->live_peak <= 211 * 64, "requests: %lld",
          (long long)r->live_peak);
    r = result_of("crowd", "1k", "threads=30 objects=4 size=100");
    CHECK(r->has_held && r->held_live == 12000, "crowd: %lld", (long long)r->held_live);
    r = result_of("fragment", "swiss", "bytes=4M");
    CHECK(r->has_held && r->held_live >= 4 << 20, "swiss: %lld",
          (long long)r->held_live);
}

static void test_remote_shares(void)
{
    double share;

    share =
        workload_remote_share(result_of("larson", "fixed", "generations=5 rounds=20"));
    CHECK(fabs(share - 0.05) < 0.003, "1/rounds of larson: %.4f", share);
    share = workload_remote_share(
        result_of("larson", "remote50", "threads=3 generations=5 rounds=5"));
    CHECK(fabs(share - 0.5) < 0.01, "larson remote50: %.4f", share);
    share = workload_remote_share(
        result_of("larson", "remote90", "threads=2 generations=5 rounds=5"));
    CHECK(fabs(share - 0.9) < 0.01, "larson remote90: %.4f", share);
    share = workload_remote_share(result_of("xmalloc", "64B", "batches=3"));
    CHECK(share == 1, "xmalloc: %.4f", share);
    share = workload_remote_share(result_of("prodcons", "1to1", "messages=1000"));
    CHECK(share == 0.5, "prodcons, with a reply: %.4f", share);
    share = workload_remote_share(
        result_of("prodcons", "free-only", "messages=1000 hold=10"));
    CHECK(share == 1, "prodcons that only frees: %.4f", share);
    share = workload_remote_share(result_of("prodcons", "pipeline", "messages=1000"));
    CHECK(share == 0.75, "prodcons with two stages: %.4f", share);
    share = workload_remote_share(result_of("churn", "short", "lives=5"));
    CHECK(share == 0, "churn/short: %.4f", share);
}

/* The stub form does the same work; what it hands out overlaps, so nothing is verified. */
static void test_null_forms(void)
{
    size_t count, nulls;
    const struct workload *const *list = workload_list(&count);
    const struct workload *const *null = null_workload_list(&nulls);

    CHECK(count == nulls, "%zu and %zu", count, nulls);
    for (size_t i = 0; i < count; i++) {
        struct settings set = prepare(list[i], NULL,
                                      "seconds=0 verify=none settle=0 "
                                      "generations=1 threads=2");
        CHECK(!strcmp(list[i]->name, null[i]->name), "%s", list[i]->name);
        run_apart(list[i], &set);
        uint64_t ops = shared->ops;
        run_apart(null[i], &set);
        CHECK(shared->ops == ops && shared->live_end == 0, "%s: %llu and %llu",
              list[i]->name, (unsigned long long)ops, (unsigned long long)shared->ops);
    }
}

/* Ten thousand objects of each kind, apart from each other, again and again. */
static void try_arenas(const struct arenas *arenas)
{
    enum { OBJECTS = 10000, ROUNDS = 20 };
    static uint32_t *objects[OBJECTS];
    void *arena = arenas->create();

    CHECK(arena != NULL, "%s", arenas->name);
    for (uint32_t round = 0; arena && round < ROUNDS; round++) {
        uint32_t wrong = 0;
        for (uint32_t i = 0; i < OBJECTS; i++) {
            objects[i] = arenas->take(arena, 8 + i % 100 * 4);
            if (!objects[i])
                abort();
            wrong += (uintptr_t)objects[i] % 8 != 0;
            objects[i][0] = round;
            objects[i][1 + i % 100] = i; /* its last word */
        }
        for (uint32_t i = 0; i < OBJECTS; i++)
            wrong += objects[i][0] != round || objects[i][1 + i % 100] != i;
        CHECK(wrong == 0, "%s: %u objects lie in others", arenas->name, wrong);
        arena = arenas->renew(arena);
        CHECK(arena != NULL, "%s: renewed", arenas->name);
    }
    arenas->destroy(arena);
}

/* EXPECT_ARENAS names those that the allocator of this process has; unset: none. */
static void test_arenas(void)
{
    const char *expected = getenv("EXPECT_ARENAS");
    const struct arenas *own = arenas_of_allocator();

    CHECK(!own == !expected && (!own || !strcmp(own->name, expected)), "%s, not %s",
          own ? own->name : "none", expected ? expected : "none");
    if (own)
        try_arenas(own);
    CHECK(arenas_monotonic() != NULL, "std::pmr is linked");
    if (arenas_monotonic())
        try_arenas(arenas_monotonic());
}

static bool same_settings(const struct settings *a, const struct settings *b)
{
    for (size_t i = 0; i < WORKLOAD_OPTIONS; i++)
        if (a->value[i] != b->value[i])
            return false;
    return true;
}

static void test_options(void)
{
    static const struct {
        const char *option, *text, *says; /* NULL: accepted */
    } c[] = {
        {"threads", "4", NULL},
        {"threads", "0", "threads '0': must be a whole number from 1 to 20000"},
        {"threads", "2.5", "whole number"},
        {"threads", "-1", "whole number"},
        {"threads", "", "whole number"},
        {"threads", "4x", "whole number"},
        {"threads", "nan", "whole number"},
        {"max-size", "4K", NULL},
        {"max-size", "4KB", "bytes (K, M, G allowed)"},
        {"max-size", "2G", "to 1G"},
        {"seconds", "0.5", NULL},
        {"seconds", "1e99", "number of seconds"},
        {"generator", "paper", NULL},
        {"generator", "pap", "must be one of: fast paper"},
        {"colour", "red", "larson has no option 'colour'"},
    };
    const struct workload *w = workload_find("larson");
    struct settings set;
    char why[256];

    CHECK(workload_defaults(w, NULL, &set), "the first variant");
    CHECK(!workload_defaults(w, "none", &set), "no such variant");
    CHECK(workload_find("nothing") == NULL, "no such workload");
    workload_defaults(w, "fixed", &set);
    for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        struct settings before = set;
        bool taken = workload_set(w, &set, c[i].option, c[i].text, why, sizeof(why));
        CHECK(taken == !c[i].says, "%s '%s'", c[i].option, c[i].text);
        CHECK(!c[i].says || strstr(why, c[i].says), "%s '%s' says: %s", c[i].option,
              c[i].text, why);
        CHECK(taken || same_settings(&before, &set), "%s changed", c[i].option);
    }
    workload_set(w, &set, "min-size", "8K", why, sizeof(why));
    CHECK(!workload_consistent(w, &set, why, sizeof(why)), "min above max");
}

/* Scaled down, larson still hands over; what a user chose is not scaled up. */
static void test_least_work(void)
{
    const struct workload *w = workload_find("larson");
    struct settings set;
    char why[256];

    workload_defaults(w, "fixed", &set);
    workload_scale(w, &set, 0.001, 0.001);
    CHECK(set.value[2] == 4, "%g generations", set.value[2]);
    workload_defaults(w, "fixed", &set);
    workload_set(w, &set, "generations", "2", why, sizeof(why));
    workload_scale(w, &set, 0.001, 0.001);
    CHECK(set.value[2] == 2, "%g generations", set.value[2]);
}

/* Memory is what a workload is, not how much it does: a short run holds as much. */
static void test_memory_is_not_scaled(void)
{
    static const char *const held[] = {"bytes", "size",   "max-size", "objects",
                                       "slots", "chunks", "hold",     "window"};
    size_t count;
    const struct workload *const *list = workload_list(&count);

    for (size_t i = 0; i < count; i++) {
        struct settings set, scaled;
        workload_defaults(list[i], NULL, &set);
        scaled = set;
        workload_scale(list[i], &scaled, 0.01, 0.01);
        for (size_t o = 0; o < list[i]->option_count; o++)
            for (size_t h = 0; h < sizeof(held) / sizeof(held[0]); h++)
                if (!strcmp(list[i]->options[o].name, held[h]) &&
                    strcmp(list[i]->name, "sharing")) /* one object at a time */
                    CHECK(scaled.value[o] == set.value[o], "%s: %s %g, not %g",
                          list[i]->name, held[h], scaled.value[o], set.value[o]);
    }
}

/* arenas: what depends on the allocator's own. */
int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IONBF, 0); /* children would print it again */
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    test_arenas();
    if (argc == 2 && !strcmp(argv[1], "arenas")) {
        test_every_variant("requests");
        return failures != 0;
    }
    test_options();
    test_least_work();
    test_memory_is_not_scaled();
    test_every_variant(NULL);
    test_fixed_work_is_exact();
    test_live_bytes();
    test_remote_shares();
    test_null_forms();
    return failures != 0;
}
