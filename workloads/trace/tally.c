/*
 * tally.c - counting a trace.
 */
#include "tally.h"
#include "tool.h"

const double tally_growths[GROWTHS - 1] = {1.1, 1.25, 1.5, 2, 4};

struct object {
    uint64_t size;
    uint64_t born;       /* calls before it */
    uint64_t born_bytes; /* bytes taken by anybody before it */
    uint32_t thread;
};

struct counter {
    struct tally *tally;
    struct space objects;
    uint64_t calls, live, live_objects;
};

static unsigned bits_of(uint64_t value)
{
    return value ? 64u - (unsigned)__builtin_clzll(value) : 0;
}

static void count_size(struct tally *y, uint64_t size)
{
    unsigned cls = size ? bits_of(size - 1) : 0;

    cls = cls < SIZE_CLASSES ? cls : SIZE_CLASSES - 1;
    y->size_count[cls]++;
    y->size_bytes[cls] += size;
}

static void count_taken(struct counter *c, const struct act *a, struct object *o)
{
    struct tally *y = c->tally;

    *o = (struct object){a->size, c->calls, y->taken_bytes, a->thread};
    count_size(y, a->size);
    if (a->kind == TRACE_ALIGNED)
        y->aligned[a->align]++;
    y->taken++;
    y->taken_bytes += a->size;
    y->threads[a->thread].taken++;
    y->threads[a->thread].bytes += a->size;
    c->live += a->size;
    c->live_objects++;
}

static void count_freed(struct counter *c, const struct act *a, const struct object *o)
{
    struct tally *y = c->tally;

    y->life_calls[bits_of(c->calls - o->born)]++;
    y->life_bytes[bits_of(y->taken_bytes - o->born_bytes - o->size)]++;
    y->freed++;
    y->threads[a->thread].freed++;
    if (a->thread != o->thread) {
        y->remote++;
        y->threads[a->thread].remote++;
    }
    c->live -= o->size;
    c->live_objects--;
}

static void count_resized(struct counter *c, const struct act *a, struct object *o)
{
    struct tally *y = c->tally;
    unsigned cls = 0;

    if (a->has_moved) {
        y->moved++;
        y->moved_bytes += o->size < a->size ? o->size : a->size;
    } else {
        y->in_place++;
    }
    if (a->size < o->size) {
        y->shrunk++;
    } else if (a->size > o->size) {
        y->grown++;
        while (cls < GROWTHS - 1 &&
               (double)a->size > (double)o->size * tally_growths[cls])
            cls++;
        y->growth[cls]++;
        y->taken_bytes += a->size - o->size;
        y->threads[a->thread].bytes += a->size - o->size;
    }
    c->live += a->size - o->size;
    /* Its life in bytes leaves its own out; keep that so while it changes. */
    o->born_bytes += a->size > o->size ? 0 : o->size - a->size;
    o->size = a->size;
}

static void count_act(struct counter *c, const struct act *a, uint32_t slots)
{
    struct tally *y = c->tally;
    struct object *o;

    y->calls[a->kind] += !a->is_implied;
    y->implied += a->is_implied;
    y->unknown += a->is_unknown;
    if (a->kind == TRACE_FAILED || a->is_unknown)
        return;
    o = (struct object *)space_grow(&c->objects, slots, sizeof(*o)) + a->slot;
    if (a->kind == TRACE_FREE)
        count_freed(c, a, o);
    else if (a->kind == TRACE_REALLOC)
        count_resized(c, a, o);
    else
        count_taken(c, a, o);
}

static void follow_live(struct counter *c, const struct act *a, uint64_t events)
{
    struct tally *y = c->tally;
    uint64_t part = c->calls * CURVE / (events ? events : 1);

    part = part < CURVE ? part : CURVE - 1;
    if (c->live > y->curve[part])
        y->curve[part] = c->live;
    if (a->time > y->curve_time[part])
        y->curve_time[part] = a->time;
    if (c->live > y->peak_bytes) {
        y->peak_bytes = c->live;
        y->peak_call = c->calls;
    }
    if (c->live_objects > y->peak_objects)
        y->peak_objects = c->live_objects;
}

void tally_make(struct tally *tally, struct trace *t)
{
    struct counter c = {.tally = tally};
    struct life life;
    struct act a;

    *tally = (struct tally){0};
    tally->threads = space_take(t->threads * sizeof(*tally->threads));
    life_open(&life, t);
    while (life_next(&life, &a)) {
        struct thread_tally *th = &tally->threads[a.thread];

        count_act(&c, &a, life.slots);
        follow_live(&c, &a, t->events);
        if (th->taken + th->freed == 1)
            th->first = a.time;
        th->last = a.time;
        if (a.time > tally->microseconds)
            tally->microseconds = a.time;
        c.calls += !a.is_implied;
    }
    tally->left = c.live_objects;
    tally->left_bytes = c.live;
    life_close(&life);
    space_free(&c.objects);
}

void tally_free(struct tally *tally, const struct trace *t)
{
    space_give(tally->threads, t->threads * sizeof(*tally->threads));
    tally->threads = NULL;
}
