/*
 * requests.c - many small objects per request, dropped together.
 *
 * Source: the transactions of web and database servers, for which regions and arenas were
 * made: E. Berger, B. Zorn and K. McKinley, "Reconsidering Custom Memory Allocation",
 * OOPSLA 2002.
 *
 * Each thread answers requests one after the other. A request takes `objects` objects of
 * log-uniform size, writing the first word of each, and frees them in the order taken,
 * but for one that stays: it goes to a random session, and what that session held before
 * is freed. So short-lived objects surround a few that live long.
 *
 * Instead of being freed one by one, the objects of a request may end together: by arenas
 * of the allocator, or by the C++ library's. Then the one that stays is malloc's. An
 * allocator that has no arenas frees one by one here too: it is what its users do.
 */
#include "arenas.h"

#include "harness.h"
#include "sizes.h"

enum { THREADS, REQUESTS, OBJECTS, SESSIONS, DROP, MIN_SIZE, MAX_SIZE, SEED, VERIFY };

/* Sizes are drawn before the clock starts; a request begins anywhere in the table. */
enum { TABLE = 4096 };

static const struct option_spec options[] = {
    [THREADS] = OPTION_THREADS("1"),
    [REQUESTS] = {"requests", OPTION_COUNT, 1000, "200000", 1, 1e12, NULL,
                  "answered by each thread"},
    [OBJECTS] = {"objects", OPTION_COUNT, false, "200", 1, 1e6, NULL,
                 "taken by a request"},
    [SESSIONS] = {"sessions", OPTION_COUNT, false, "10000", 1, 1e8, NULL,
                  "objects of each thread that outlive their request"},
    [DROP] =
        {"drop", OPTION_CHOICE, false, "each", 0, 0, "each arena monotonic",
         "freed one by one; together, by the arenas of the allocator if it has any; "
         "by std::pmr::monotonic_buffer_resource"},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "16", 8, 1 << 30, NULL,
                  "smallest object"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "512", 8, 1 << 30, NULL,
                  "largest object"},
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"small", "", "200 objects of 16 to 512 bytes per request"},
    {"mixed", "objects=50 max-size=32K requests=100000",
     "50 objects of 16 bytes to 32 KiB per request"},
    {"arena", "drop=arena",
     "as small, given back together by allocators that can (mymalloc, mimalloc)"},
    {"mixed-arena", "objects=50 max-size=32K requests=100000 drop=arena",
     "as mixed, given back together by allocators that can (mymalloc, mimalloc)"},
    {"monotonic", "drop=monotonic",
     "as small, given back together by std::pmr::monotonic_buffer_resource"},
};

struct object {
    void *object;
    uint32_t size;
};

struct service {
    uint64_t requests;
    size_t objects, sessions;
    enum verify verify;
    const struct arenas *arenas; /* NULL: one by one */
    uint32_t size[TABLE];
    struct object *place; /* per thread: those of a request, then the sessions */
};

static void answer(struct count *count, struct rng *rng, const struct service *s,
                   struct object *mine)
{
    uint32_t first = (uint32_t)rng_next(rng);
    struct object *session = mine + s->objects + rng_below(rng, (uint32_t)s->sessions);
    struct object *stays = mine + rng_below(rng, (uint32_t)s->objects), swap = *session;

    for (size_t i = 0; i < s->objects; i++) {
        uint32_t size = s->size[(first + i) % TABLE];
        mine[i] = (struct object){take_counted(count, size, s->verify, false), size};
    }
    *session = *stays;
    *stays = swap; /* the first time, nothing: a size of 0 */
    for (size_t i = 0; i < s->objects; i++)
        if (mine[i].object)
            give_counted(count, mine[i].object, mine[i].size, s->verify, false);
    count->ops = s->objects;
    count_tell(count);
}

/* ---- together ---- */

/* The stub hands out places that nobody gives back: it is its own arena. */
static inline void *take_from(const struct service *s, void *arena, size_t size)
{
    void *object;

#ifdef WORKLOAD_NULL_HEAP
    (void)s;
    (void)arena;
    object = malloc(size);
#else
    object = s->arenas->take(arena, size);
#endif
    if (__builtin_expect(!object, 0))
        out_of_memory("taking from an arena", size);
    payload_write(object, size, s->verify);
    return object;
}

/* As often as one by one: of those of a request one now and then, or all. */
static void inspect_request(struct count *count, const struct service *s,
                            struct object *mine, size_t objects)
{
    uint32_t before = count->turn;

    for (size_t i = 0; s->verify == VERIFY_ALL && i < objects; i++)
        tally_check(count->tally,
                    payload_check(mine[i].object, mine[i].size, s->verify));
    count->turn += (uint32_t)objects;
    if (s->verify == VERIFY_SAMPLE &&
        before / PAYLOAD_EVERY != count->turn / PAYLOAD_EVERY) {
        struct object *one = mine + count->turn % objects;
        tally_check(count->tally, payload_check(one->object, one->size, s->verify));
    }
}

static void *answer_together(struct count *count, struct rng *rng,
                             const struct service *s, struct object *mine, void *arena)
{
    uint32_t first = (uint32_t)rng_next(rng), size;
    struct object *session = mine + s->objects + rng_below(rng, (uint32_t)s->sessions);
    int64_t bytes = 0;

    rng_next(
        rng); /* as one by one, where it chose the object that stays: the first here */
    if (session->object)
        give_counted(count, session->object, session->size, s->verify, false);
    size = s->size[first % TABLE];
    *session = (struct object){take_counted(count, size, s->verify, false), size};
    for (size_t i = 0; i + 1 < s->objects; i++) {
        size = s->size[(first + 1 + i) % TABLE];
        mine[i] = (struct object){take_from(s, arena, size), size};
        bytes += size;
    }
    tally_live(count->tally, bytes); /* for who looks on */
    inspect_request(count, s, mine, s->objects - 1);
#ifndef WORKLOAD_NULL_HEAP
    arena = s->arenas->renew(arena);
    if (!arena)
        out_of_memory("making an arena", 0);
#endif
    count->live -= bytes;
    count->ops = s->objects;
    count_tell(count);
    return arena;
}

/* ---- the threads ---- */

static void serve(struct member *self)
{
    const struct service *s = self->shared;
    struct object *mine = s->place + self->index * (s->objects + s->sessions);
    struct count count = count_begin(self->tally);
    struct rng rng = self->rng;
    void *arena = s->arenas ? s->arenas->create() : NULL;

    if (s->arenas && !arena)
        out_of_memory("making an arena", 0);
    for (uint64_t left = s->requests; left > 0; left--)
        if (s->arenas)
            arena = answer_together(&count, &rng, s, mine, arena);
        else
            answer(&count, &rng, s, mine);
    for (size_t i = s->objects; i < s->objects + s->sessions; i++)
        if (mine[i].object)
            give_counted(&count, mine[i].object, mine[i].size, s->verify, false);
    if (arena)
        s->arenas->destroy(arena);
    count_tell(&count);
}

/* NULL: one by one. */
static const struct arenas *choose_arenas(enum drop drop)
{
    return drop == DROP_ARENA       ? arenas_of_allocator()
           : drop == DROP_MONOTONIC ? arenas_monotonic()
                                    : NULL;
}

static void run_requests(struct run *run)
{
    struct service s = {.requests = run_count(run, REQUESTS),
                        .objects = run_count(run, OBJECTS),
                        .sessions = run_count(run, SESSIONS),
                        .verify = (enum verify)run_count(run, VERIFY),
                        .arenas = choose_arenas((enum drop)run_count(run, DROP))};
    struct crew_plan plan = {.threads = (unsigned)run_count(run, THREADS),
                             .work = serve,
                             .shared = &s,
                             .constant_live = true,
                             .seed = run_count(run, SEED)};
    struct sizes sizes;
    struct rng rng;

    rng_seed(&rng, run_count(run, SEED), UINT32_MAX);
    sizes_init(&sizes, SIZES_LOG, (uint32_t)run_count(run, MIN_SIZE),
               (uint32_t)run_count(run, MAX_SIZE));
    for (unsigned i = 0; i < TABLE; i++)
        s.size[i] = sizes_draw(&sizes, &rng);
    s.place = memory_map(plan.threads * (s.objects + s.sessions) * sizeof(*s.place));
    crew_run(run, &plan);
}

WORKLOAD(requests) = {
    .name = "requests",
    .summary = "many small objects per request, dropped together; a few stay",
    .source = "the transactions of Berger, Zorn & McKinley, OOPSLA 2002",
    .op = "malloc and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_requests,
};
