/*
 * churn.c - threads that come and go: what an allocator does at thread birth and death.
 *
 * Source: the thread-per-request servers behind larson (Larson & Krishnan, ISMM 1998),
 * reduced to the thread's life itself; threadtest of Berger et al., ASPLOS 2000, joins
 * its threads the same way.
 *
 * Each of `threads` keepers starts a thread, waits for its end, starts the next. A thread
 * takes `objects` objects, frees what its predecessor left, frees all of its own but
 * `leave` percent, and ends. Memory of dead threads must be found again: live bytes stay
 * constant, so RSS must too.
 */
#include "harness.h"
#include "sizes.h"

enum { THREADS, LIVES, OBJECTS, LEAVE, SIZES, MIN_SIZE, MAX_SIZE, SEED, VERIFY };

static const struct option_spec options[] = {
    [THREADS] = OPTION_THREADS("2"),
    [LIVES] = {"lives", OPTION_COUNT, true, "20000", 1, 1e9, NULL,
               "threads that each keeper starts, one after the other"},
    [OBJECTS] = {"objects", OPTION_COUNT, false, "100", 1, 1e7, NULL,
                 "taken by a thread"},
    [LEAVE] = {"leave", OPTION_COUNT, false, "0", 0, 100, NULL,
               "percent of them left for the next thread to free"},
    [SIZES] = {"sizes", OPTION_CHOICE, false, "log", 0, 0, SIZES_CHOICES, SIZES_HELP},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "16", 8, 1 << 30, NULL,
                  "smallest object"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "1024", 8, 1 << 30, NULL,
                  "largest object"},
    [SEED] = OPTION_SEED("1"),
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"short", "", "threads of 100 objects that free all they took"},
    {"leave", "leave=50", "threads that leave half of their objects to the next"},
};

struct object {
    void *object;
    uint32_t size;
};

struct nursery {
    uint64_t lives;
    size_t objects, left; /* taken by a thread; of them left behind */
    enum verify verify;
    struct sizes sizes;
    struct object *slot; /* per keeper: left, then objects */
};

struct life {
    struct member *keeper;
    struct nursery *nursery;
    struct object *inherited, *own; /* inherited: `left` of them, none at first */
    bool first;
};

static void *live_once(void *argument)
{
    struct life *life = argument;
    struct nursery *n = life->nursery;
    struct count count = count_begin(life->keeper->tally);

    for (size_t i = 0; i < n->objects; i++) {
        uint32_t size = sizes_draw(&n->sizes, &life->keeper->rng);
        life->own[i] =
            (struct object){take_counted(&count, size, n->verify, false), size};
    }
    for (size_t i = 0; i < n->left && !life->first; i++)
        give_counted(&count, life->inherited[i].object, life->inherited[i].size,
                     n->verify, false);
    count.remote = life->first ? 0 : n->left;
    for (size_t i = n->left; i < n->objects; i++)
        give_counted(&count, life->own[i].object, life->own[i].size, n->verify, false);
    for (size_t i = 0; i < n->left; i++)
        life->inherited[i] = life->own[i];
    count.ops = n->objects;
    count_tell(&count);
    return NULL;
}

static void keep(struct member *self)
{
    struct nursery *n = self->shared;
    struct object *slot = n->slot + self->index * (n->left + n->objects);
    struct life life = {self, n, slot, slot + n->left, true};

    for (uint64_t i = 0; i < n->lives; i++) {
        pthread_t thread;
        thread_start(&thread, live_once, &life, 0);
        thread_join(thread);
        life.first = false;
    }
    for (size_t i = 0; i < n->left; i++)
        give(self->tally, slot[i].object, slot[i].size, n->verify);
    self->tally->remote += n->left;
}

static void run_churn(struct run *run)
{
    struct nursery n = {.lives = run_count(run, LIVES),
                        .objects = run_count(run, OBJECTS),
                        .verify = (enum verify)run_count(run, VERIFY)};
    struct crew_plan plan = {.threads = (unsigned)run_count(run, THREADS),
                             .work = keep,
                             .shared = &n,
                             .constant_live = true,
                             .seed = run_count(run, SEED)};

    n.left = n.objects * run_count(run, LEAVE) / 100;
    n.slot = memory_map(plan.threads * (n.left + n.objects) * sizeof(*n.slot));
    sizes_init(&n.sizes, (enum sizes_kind)run_count(run, SIZES),
               (uint32_t)run_count(run, MIN_SIZE), (uint32_t)run_count(run, MAX_SIZE));
    run->result->has_remote = true;
    crew_run(run, &plan);
}

WORKLOAD(churn) = {
    .name = "churn",
    .summary = "short-lived threads, one after the other, with memory left behind",
    .source = "after Larson & Krishnan, ISMM 1998, and Berger et al., ASPLOS 2000",
    .op = "malloc and free of one object",
    WORKLOAD_TABLES(options, variants),
    .run = run_churn,
};
