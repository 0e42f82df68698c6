/*
 * prodcons.c - producer-consumer: memory flows one way, and must not pile up.
 *
 * Source: the blow-up example of E. Berger, K. McKinley, R. Blumofe and P. Wilson,
 * "Hoard: A Scalable Memory Allocator for Multithreaded Applications", ASPLOS 2000.
 *
 * Exact semantics, for the published benchmarks of this name differ:
 *
 *   A message is one object. A producer draws a size, takes the object, writes its first
 *   word and one byte in every further page, and collects `batch` of them; full batches wait in one queue of at most `queue`
 *   batches (first in, first out). A producer that finds it full sleeps until half is
 *   empty, a consumer that finds it empty until a quarter is filled (handoff.h says why).
 *   A stage (stages > 0, a pipeline) reads each message, takes a new object of the same
 *   size for it, frees the old one and passes the new one on through the next queue.
 *   A consumer reads the first word of each message, then, `replies` times, takes an
 *   object of its own of that size, writes it and frees it at once. replies=0 is the
 *   consumer that never allocates.
 *   It then keeps the message while fewer than `hold` are kept, else frees one: the
 *   oldest, the newest or any of them (hold-order). At the end it frees what it keeps.
 *
 *   One operation is one message freed by a consumer. Live bytes are at most
 *     (stages + 1) * queue * batch messages waiting
 *     + batch messages in the hands of each thread
 *     + hold messages of each consumer
 *   and constant, up to the queue, once every consumer holds its share: from then on
 *   RSS must not grow, and its slope over the second half of the run says whether it does.
 *   settle=S then keeps all threads alive and idle: RSS after 0.1, 1 and 5 s.
 */
#include "handoff.h"
#include "harness.h"
#include "sizes.h"

enum {
    PRODUCERS,
    CONSUMERS,
    STAGES,
    SECONDS,
    MESSAGES,
    BATCH,
    QUEUE,
    SIZES,
    MIN_SIZE,
    MAX_SIZE,
    HOLD,
    HOLD_ORDER,
    REPLIES,
    SETTLE,
    SEED,
    LATENCY,
    VERIFY
};

enum hold_order { HOLD_FIFO, HOLD_LIFO, HOLD_RANDOM };

static const struct option_spec options[] = {
    [PRODUCERS] = {"producers", OPTION_COUNT, false, "1", 1, 1024, NULL,
                   "threads that take"},
    [CONSUMERS] = {"consumers", OPTION_COUNT, false, "1", 1, 1024, NULL,
                   "threads that free"},
    [STAGES] = {"stages", OPTION_COUNT, false, "0", 0, 64, NULL,
                "threads between them, in a row, that free and take"},
    [SECONDS] = OPTION_STOP_AFTER("0"),
    [MESSAGES] = {"messages", OPTION_COUNT, 1000000, "10000000", 1, 1e12, NULL,
                  "by all producers together, when seconds is 0"},
    [BATCH] = {"batch", OPTION_COUNT, false, "256", 1, 65536, NULL,
               "messages handed over at a time"},
    [QUEUE] = {"queue", OPTION_COUNT, false, "16", 1, 1e6, NULL,
               "batches that wait at most"},
    [SIZES] = {"sizes", OPTION_CHOICE, false, "log", 0, 0, SIZES_CHOICES, SIZES_HELP},
    [MIN_SIZE] = {"min-size", OPTION_BYTES, false, "16", 8, 1 << 30, NULL,
                  "smallest message"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "1024", 8, 1 << 30, NULL,
                  "largest message"},
    [HOLD] = {"hold", OPTION_COUNT, false, "0", 0, 1e8, NULL,
              "messages that each consumer keeps"},
    [HOLD_ORDER] = {"hold-order", OPTION_CHOICE, false, "fifo", 0, 0,
                    "fifo lifo random", "which of the kept messages is freed"},
    [REPLIES] =
        {"replies", OPTION_COUNT, false, "1", 0, 1000, NULL,
         "objects a consumer takes and frees per message; 0: it never allocates"},
    [SETTLE] = OPTION_SETTLE("0"),
    [SEED] = OPTION_SEED("1"),
    [LATENCY] = OPTION_LATENCY,
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"1to1", "", "one producer, one consumer"},
    {"Nto1", "producers=4", "four producers, one consumer"},
    {"1toN", "consumers=4", "one producer, four consumers"},
    {"pipeline", "stages=2 messages=5000000",
     "two stages between producer and consumer"},
    {"free-only",
     "replies=0 hold=200000 hold-order=random max-size=4096 messages=8000000",
     "a consumer that never allocates and keeps 200000 messages, freed at random"},
    {"fixed", "sizes=fixed max-size=64", "1to1 with messages of 64 bytes"},
    {"fleet", "sizes=fleet messages=5000000 hold=10000",
     "1to1, data-centre sizes, 10000 kept"},
    {"hold-fifo", "hold=200000", "1to1, 200000 messages kept, the oldest freed"},
    {"hold-lifo", "hold=200000 hold-order=lifo", "1to1, 200000 kept, the newest freed"},
    {"hold-random", "hold=200000 hold-order=random", "1to1, 200000 kept, any freed"},
    {"drain", "producers=2 consumers=2 hold=200000 hold-order=random settle=5",
     "2 to 2, 200000 kept each, then all freed and 5 s without a call"},
    {"latency", "latency=on", "1to1 with sampled times of malloc and free"},
};

struct message {
    void *object;
    size_t size;
};

struct batch {
    unsigned count;
    struct message *message;
};

struct flow {
    unsigned producers, stages, consumers;
    uint64_t quota; /* messages of each producer; UINT64_MAX when timed */
    unsigned batch_size;
    size_t hold, replies;
    enum hold_order order;
    enum verify verify;
    struct sizes sizes;
    struct handoff *queue; /* stages + 1: into stage 1, ..., into the consumers */
    struct handoff empty;
    struct message *kept; /* hold per consumer */
};

static void produce(struct member *self, struct flow *f, bool timed)
{
    struct tally *tally = self->tally;
    const enum verify verify = f->verify; /* what is read in the loop is not shared */
    struct rng rng = self->rng;

    for (uint64_t made = 0; made < f->quota && !run_stopping(self->run);) {
        struct batch *b = handoff_take(&f->empty);
        uint64_t left = f->quota - made;
        struct count count = count_begin(tally);
        b->count = left < f->batch_size ? (unsigned)left : f->batch_size;
        for (unsigned i = 0; i < b->count; i++) {
            size_t size = sizes_draw(&f->sizes, &rng);
            struct message m = {take_counted(&count, size, verify, timed), size};
            payload_touch(m.object, size, verify);
            b->message[i] = m;
        }
        count_tell(&count);
        made += b->count;
        handoff_put(&f->queue[0], b);
    }
    handoff_done(&f->queue[0]);
}

static void pass_on(struct member *self, struct flow *f, unsigned stage)
{
    struct batch *b;

    while ((b = handoff_take(&f->queue[stage]))) {
        struct count count = count_begin(self->tally);
        for (unsigned i = 0; i < b->count; i++) {
            struct message *m = &b->message[i];
            (void)*(volatile uint64_t *)m->object;
            void *copy = take_counted(&count, m->size, f->verify, false);
            payload_touch(copy, m->size, f->verify);
            give_counted(&count, m->object, m->size, f->verify, false);
            m->object = copy;
        }
        count.remote = b->count;
        count_tell(&count);
        handoff_put(&f->queue[stage + 1], b);
    }
    handoff_done(&f->queue[stage + 1]);
}

/* What a consumer keeps: message[0 .. count), the oldest at `head` when fifo. */
struct shelf {
    struct message *message;
    size_t count, head;
};

/* Put one on the shelf; when it is full, the one that has to go instead. */
static inline struct message replace_kept(struct flow *f, struct shelf *shelf,
                                          struct rng *rng, struct message fresh)
{
    size_t at;

    if (shelf->count < f->hold) {
        shelf->message[shelf->count++] = fresh;
        return (struct message){NULL, 0};
    }
    switch (f->hold ? f->order : HOLD_LIFO) {
    case HOLD_FIFO:
        at = shelf->head;
        shelf->head = shelf->head + 1 < f->hold ? shelf->head + 1 : 0;
        break;
    case HOLD_RANDOM:
        at = rng_below(rng, (uint32_t)f->hold);
        break;
    default: /* the newest is the one in hand */
        return fresh;
    }
    struct message old = shelf->message[at];
    shelf->message[at] = fresh;
    return old;
}

static void consume(struct member *self, struct flow *f, bool timed)
{
    struct tally *tally = self->tally;
    unsigned mine = self->index - f->producers - f->stages;
    struct shelf shelf = {.message = f->kept + mine * f->hold};
    const enum verify verify = f->verify;
    const size_t replies = f->replies;
    struct rng rng = self->rng;
    struct batch *b;

    while ((b = handoff_take(&f->queue[f->stages]))) {
        struct count count = count_begin(tally);
        for (unsigned i = 0; i < b->count; i++) {
            struct message m = b->message[i];
            (void)*(volatile uint64_t *)m.object;
            for (size_t reply = 0; reply < replies; reply++) {
                void *own = take_counted(&count, m.size, verify, false);
                give_counted(&count, own, m.size, verify, false);
            }
            m = replace_kept(f, &shelf, &rng, m);
            if (m.object) {
                give_counted(&count, m.object, m.size, verify, timed);
                count.ops++;
            }
        }
        count.remote = count.ops;
        count_tell(&count);
        handoff_put(&f->empty, b);
    }
    for (size_t i = 0; i < shelf.count; i++)
        give(tally, shelf.message[i].object, shelf.message[i].size, f->verify);
    tally->remote += shelf.count;
    tally_ops(tally, shelf.count);
}

static void take_part(struct member *self)
{
    struct flow *f = self->shared;
    bool timed = self->run->result->has_latency;

    if (self->index < f->producers)
        produce(self, f, timed);
    else if (self->index < f->producers + f->stages)
        pass_on(self, f, self->index - f->producers);
    else
        consume(self, f, timed);
}

/* Queues and batches: as many batches as can be waiting or in a hand. */
static void lay_pipes(struct run *run, struct flow *f)
{
    size_t room = run_count(run, QUEUE);
    size_t count = (f->stages + 1) * room + f->producers + f->stages + f->consumers;
    struct batch *batch = memory_map(count * sizeof(*batch));
    struct message *message = memory_map(count * f->batch_size * sizeof(*message));

    f->queue = memory_map((f->stages + 1) * sizeof(*f->queue));
    for (unsigned i = 0; i <= f->stages; i++)
        handoff_init(&f->queue[i], room, false, true, i == 0 ? f->producers : 1);
    handoff_init(&f->empty, count, true, false, 1);
    for (size_t i = 0; i < count; i++) {
        batch[i].message = message + i * f->batch_size;
        handoff_put(&f->empty, &batch[i]);
    }
    f->kept = memory_map(f->consumers * f->hold * sizeof(*f->kept));
}

static void run_prodcons(struct run *run)
{
    struct flow f = {.producers = (unsigned)run_count(run, PRODUCERS),
                     .stages = (unsigned)run_count(run, STAGES),
                     .consumers = (unsigned)run_count(run, CONSUMERS),
                     .batch_size = (unsigned)run_count(run, BATCH),
                     .hold = run_count(run, HOLD),
                     .replies = run_count(run, REPLIES),
                     .order = (enum hold_order)run_count(run, HOLD_ORDER),
                     .verify = (enum verify)run_count(run, VERIFY)};
    struct crew_plan plan = {.threads = f.producers + f.stages + f.consumers,
                             .work = take_part,
                             .shared = &f,
                             .seconds = run_number(run, SECONDS),
                             .settle = run_number(run, SETTLE),
                             .latency = run_latency(run, LATENCY),
                             .constant_live = true,
                             .seed = run_count(run, SEED)};

    f.quota = plan.seconds > 0
                  ? UINT64_MAX
                  : (run_count(run, MESSAGES) + f.producers - 1) / f.producers;
    sizes_init(&f.sizes, (enum sizes_kind)run_count(run, SIZES),
               (uint32_t)run_count(run, MIN_SIZE), (uint32_t)run_count(run, MAX_SIZE));
    lay_pipes(run, &f);
    run->result->has_remote = true;
    crew_run(run, &plan);
    /* of each message: by every stage, by the consumer, and its replies */
    run->result->frees = run->result->ops * (f.stages + 1 + f.replies);
}

WORKLOAD(prodcons) = {
    .name = "prodcons",
    .summary = "producer-consumer: messages flow one way through bounded queues",
    .source = "the blow-up of Berger et al., ASPLOS 2000",
    .op = "one message from malloc to free",
    WORKLOAD_TABLES(options, variants),
    .run = run_prodcons,
};
