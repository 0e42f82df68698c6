/*
 * fuzz.c - whatever bytes a file has, the reader refuses it or reads it to the end.
 *
 * The first byte of an input says how it is used: as a whole file, or as the ops of a
 * block in an otherwise valid file, which is where the interesting paths begin. Checks,
 * beside what the sanitizers see, what the layers above rely on.
 */
#include "plan.h"
#include "tally.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static size_t wrap(uint8_t *file, const uint8_t *ops, size_t size)
{
    struct trace_header h = {.version = TRACE_VERSION, .first = sizeof(h), .blocks = 1};
    struct trace_block b = {TRACE_BLOCK_MAGIC, (uint32_t)size, (uint32_t)size, 0};

    memcpy(h.magic, TRACE_MAGIC, sizeof(h.magic));
    memcpy(file, &h, sizeof(h));
    memcpy(file + sizeof(h), &b, sizeof(b));
    memcpy(file + sizeof(h) + sizeof(b), ops, size);
    return sizeof(h) + sizeof(b) + size;
}

static void check_events(struct trace *t)
{
    uint64_t events = 0, last = 0;
    struct event e;

    trace_rewind(t);
    while (trace_next(t, &e)) {
        check(e.ticket >= last && e.thread < t->threads);
        last = e.ticket;
        events += !e.is_return;
    }
    check(events == t->events);
}

static void check_plan(struct trace *t)
{
    struct plan p;
    uint64_t steps = 0;

    plan_make(&p, t);
    for (uint32_t i = 0; i < p.thread_count; i++)
        for (uint64_t j = 0; j < p.threads[i].chunk_count; j++) {
            const struct chunk *c = &p.threads[i].chunks[j];

            check(c->steps && c->first + c->steps <= p.threads[i].step_count);
            check(j == 0 || c->ticket >= c[-1].ticket);
            steps += c->steps;
        }
    check(steps == p.steps);
    for (uint64_t i = 0; i < p.steps; i++)
        check(p.all_steps[i].slot < p.slots);
    plan_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *file;
    struct tally tally;
    struct trace t;

    if (size == 0)
        return 0;
    file = malloc(size + 1024);
    if (data[0] & 1) {
        size = wrap(file, data + 1, size - 1);
    } else {
        memcpy(file, data + 1, size - 1);
        size--;
    }
    if (trace_open_bytes(&t, file, size)) {
        check_events(&t);
        check_plan(&t);
        tally_make(&tally, &t);
        tally_free(&tally, &t);
    } else {
        check(t.error[0] != 0);
    }
    trace_close(&t);
    free(file);
    return 0;
}
