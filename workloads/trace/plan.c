/*
 * plan.c - from a trace to steps: counted in a first pass, laid out in a second.
 */
#include "plan.h"
#include "tool.h"

/* What is known of a slot while the trace is walked. */
struct slot_state {
    uint64_t size;
    uint64_t step; /* the last one on it, of all_steps */
    uint32_t thread;
    uint32_t turn;
};

struct builder {
    struct plan *plan;
    struct space slots;
    uint64_t live;
    bool fills; /* second pass */
};

static bool is_step(const struct act *a)
{
    return a->kind != TRACE_FAILED && !a->is_unknown;
}

static struct slot_state *state_of(struct builder *b, uint32_t slot)
{
    return (struct slot_state *)b->slots.base + slot;
}

static struct chunk *chunk_for(struct plan_thread *th, uint64_t ticket,
                               struct chunk *last)
{
    if (th->chunk_count && last->steps < CHUNK_STEPS &&
        ticket - last->ticket < PLAN_WINDOW / 2)
        return last;
    return NULL;
}

/*
 * Count the step into its thread's chunks. In the first pass `scratch` stands for the
 * thread's last chunk; in the second the chunks themselves are there.
 */
static void add_to_chunk(struct builder *b, struct plan_thread *th,
                         struct chunk *scratch, uint64_t ticket)
{
    struct chunk *last = scratch;

    if (b->fills && th->chunk_count)
        last = &th->chunks[th->chunk_count - 1];
    if (!chunk_for(th, ticket, last)) {
        if (b->fills)
            last = &th->chunks[th->chunk_count];
        *last = (struct chunk){.ticket = ticket, .first = (uint32_t)th->step_count};
        th->chunk_count++;
    }
    last->steps++;
}

static void follow_size(struct builder *b, const struct act *a, struct slot_state *s)
{
    b->live -= a->kind == TRACE_FREE || a->kind == TRACE_REALLOC ? s->size : 0;
    if (a->kind != TRACE_FREE) {
        b->live += a->size;
        s->size = a->size;
    }
    if (b->live > b->plan->peak_live)
        b->plan->peak_live = b->live;
}

static void fill_step(struct builder *b, const struct act *a, struct plan_thread *th)
{
    struct slot_state *s = state_of(b, a->slot);
    struct step *step = &th->steps[th->step_count];
    uint64_t size = a->kind == TRACE_FREE ? s->size : a->size;

    *step = (struct step){.size = size & ((1ull << TRACE_SIZE_BITS) - 1),
                          .kind = a->kind & 15,
                          .align = a->align & 63,
                          .was_empty = s->size == 0,
                          .slot = a->slot};
    if (a->kind == TRACE_FREE || a->kind == TRACE_REALLOC) {
        if (s->thread != a->thread) {
            b->plan->all_steps[s->step].publishes = 1;
            step->waits = 1;
            step->turn = ++s->turn;
        }
    }
    s->thread = a->thread;
    s->step = (uint64_t)(step - b->plan->all_steps);
}

static void walk(struct builder *b, struct trace *t)
{
    struct plan *p = b->plan;
    struct chunk *scratch = space_take(p->thread_count * sizeof(*scratch));
    struct life life;
    struct act a;

    life_open(&life, t);
    b->live = p->peak_live = 0;
    while (life_next(&life, &a)) {
        struct plan_thread *th = &p->threads[a.thread];

        if (!is_step(&a))
            continue;
        space_grow(&b->slots, life.slots, sizeof(struct slot_state));
        if (th->step_count == 0)
            th->first = a.ticket;
        th->last = a.ticket;
        add_to_chunk(b, th, &scratch[a.thread], a.ticket);
        if (b->fills)
            fill_step(b, &a, th);
        follow_size(b, &a, state_of(b, a.slot));
        th->step_count++;
        if (th->step_count == UINT32_MAX)
            die(EXIT_TROUBLE, "more than %u calls in one thread: too many", UINT32_MAX);
    }
    p->slots = life.slots;
    life_close(&life);
    space_give(scratch, p->thread_count * sizeof(*scratch));
}

/* ---- lanes ---- */

/* Threads in the order of their first tickets; their own numbers break ties. */
static void sort_by_first(const struct plan *p, uint32_t *order, uint32_t *spare)
{
    uint32_t n = p->thread_count;

    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t from = 0; from < n; from += 2 * width) {
            uint32_t middle = from + width < n ? from + width : n;
            uint32_t to = middle + width < n ? middle + width : n;

            for (uint32_t i = from, j = middle, k = from; k < to; k++) {
                bool left = i < middle && (j >= to || p->threads[order[i]].first <=
                                                          p->threads[order[j]].first);
                spare[k] = left ? order[i++] : order[j++];
            }
        }
        for (uint32_t i = 0; i < n; i++)
            order[i] = spare[i];
    }
}

/*
 * A thread follows, in its lane, one that had made its last call before this one made
 * its first. The replay then has as many threads at a time as the program had.
 */
static void make_lanes(struct plan *p)
{
    uint32_t *order = space_take(p->thread_count * sizeof(uint32_t));
    uint32_t *ends =
        space_take(p->thread_count * sizeof(uint32_t)); /* last of a lane */

    p->lanes = space_take(p->thread_count * sizeof(uint32_t));
    sort_by_first(p, order, ends);
    for (uint32_t i = 0; i < p->thread_count; i++) {
        uint32_t thread = order[i], lane = 0;

        p->threads[thread].successor = NO_THREAD;
        if (p->threads[thread].step_count == 0)
            continue;
        while (lane < p->lane_count &&
               p->threads[ends[lane]].last >= p->threads[thread].first)
            lane++;
        if (lane == p->lane_count)
            p->lanes[p->lane_count++] = thread;
        else
            p->threads[ends[lane]].successor = thread;
        ends[lane] = thread;
        p->threads[thread].lane = lane;
    }
    space_give(order, p->thread_count * sizeof(uint32_t));
    space_give(ends, p->thread_count * sizeof(uint32_t));
}

void plan_make(struct plan *p, struct trace *t)
{
    struct builder b = {.plan = p};
    struct step *steps;
    struct chunk *chunks;

    *p = (struct plan){.thread_count = t->threads};
    p->threads = space_take(t->threads * sizeof(*p->threads));
    walk(&b, t);
    for (uint32_t i = 0; i < p->thread_count; i++) {
        p->steps += p->threads[i].step_count;
        p->chunks += p->threads[i].chunk_count;
    }
    p->all_steps = steps = space_take(p->steps * sizeof(*steps));
    p->all_chunks = chunks = space_take(p->chunks * sizeof(*chunks));
    for (uint32_t i = 0; i < p->thread_count; i++) {
        struct plan_thread *th = &p->threads[i];

        th->steps = steps;
        th->chunks = chunks;
        steps += th->step_count;
        chunks += th->chunk_count;
        th->step_count = th->chunk_count = 0;
    }
    space_free(&b.slots);
    b.fills = true;
    walk(&b, t);
    space_free(&b.slots);
    make_lanes(p);
}

void plan_free(struct plan *p)
{
    space_give(p->threads, p->thread_count * sizeof(*p->threads));
    space_give(p->lanes, p->thread_count * sizeof(*p->lanes));
    space_give(p->all_steps, p->steps * sizeof(*p->all_steps));
    space_give(p->all_chunks, p->chunks * sizeof(*p->all_chunks));
    *p = (struct plan){0};
}
