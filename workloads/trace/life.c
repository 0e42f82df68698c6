/*
 * life.c - from addresses to objects: which allocation does an event speak of?
 *
 * A recording may have holes: memory taken before the recorder was there, calls made by
 * signal handlers, threads killed in mid-call. A free of an address that nobody took is
 * `unknown`; an address that is taken twice must have been freed in between, and that
 * free is `implied`.
 */
#include "tool.h"
#include "trace.h"

#include <string.h>

/* ---- address -> slot: linear probing, at most half full ---- */

static uint64_t *key_at(struct life *l, size_t i)
{
    return (uint64_t *)l->keys.base + i;
}

static uint32_t *value_at(struct life *l, size_t i)
{
    return (uint32_t *)l->values.base + i;
}

static size_t home_of(const struct life *l, uint64_t key)
{
    return (key * 0x9e3779b97f4a7c15u >> 20) & l->mask;
}

static size_t find_key(struct life *l, uint64_t key)
{
    size_t i = home_of(l, key);

    while (*key_at(l, i) && *key_at(l, i) != key)
        i = (i + 1) & l->mask;
    return i;
}

static void size_map(struct life *l, size_t entries)
{
    struct space keys = l->keys, values = l->values;
    size_t old = l->mask + 1;

    l->keys = l->values = (struct space){0};
    space_grow(&l->keys, entries, sizeof(uint64_t));
    space_grow(&l->values, entries, sizeof(uint32_t));
    l->mask = entries - 1;
    for (size_t i = 0; keys.base && i < old; i++) {
        uint64_t key = ((uint64_t *)keys.base)[i];
        size_t at;

        if (!key)
            continue;
        at = find_key(l, key);
        *key_at(l, at) = key;
        *value_at(l, at) = ((uint32_t *)values.base)[i];
    }
    space_free(&keys);
    space_free(&values);
}

/* Keys are granules plus one: 0 marks an empty place. */
static void map_put(struct life *l, uint64_t address, uint32_t slot)
{
    size_t i;

    if (2 * ++l->used > l->mask)
        size_map(l, 2 * (l->mask + 1));
    i = find_key(l, address + 1);
    *key_at(l, i) = address + 1;
    *value_at(l, i) = slot;
}

/* The slot at the address, which leaves the map; NO_SLOT when nothing is there. */
static uint32_t map_take(struct life *l, uint64_t address)
{
    size_t hole = find_key(l, address + 1), i = hole;
    uint32_t slot = *value_at(l, hole);

    if (*key_at(l, hole) == 0)
        return NO_SLOT;
    l->used--;
    for (;;) { /* close the gap: pull back whatever probed across it */
        i = (i + 1) & l->mask;
        if (*key_at(l, i) == 0)
            break;
        if (((i - home_of(l, *key_at(l, i))) & l->mask) < ((i - hole) & l->mask))
            continue;
        *key_at(l, hole) = *key_at(l, i);
        *value_at(l, hole) = *value_at(l, i);
        hole = i;
    }
    *key_at(l, hole) = 0;
    return slot;
}

/* ---- slots ---- */

static uint32_t take_slot(struct life *l, uint32_t thread)
{
    uint32_t *links = l->links.base, slot = l->free_slots[thread];

    if (slot != NO_SLOT) {
        l->free_slots[thread] = links[slot];
        return slot;
    }
    if (l->slots == NO_SLOT)
        die(EXIT_TROUBLE, "more than %u objects: too many", NO_SLOT);
    space_grow(&l->links, l->slots + 1u, sizeof(*links));
    return l->slots++;
}

static void give_slot(struct life *l, uint32_t thread, uint32_t slot)
{
    ((uint32_t *)l->links.base)[slot] = l->free_slots[thread];
    l->free_slots[thread] = slot;
}

/* ---- events ---- */

static void fill_slots(uint32_t *slots, uint32_t count)
{
    memset(slots, 0xff, count * sizeof(*slots)); /* NO_SLOT */
}

void life_open(struct life *l, struct trace *t)
{
    *l = (struct life){.trace = t};
    l->free_slots = space_take(t->threads * sizeof(uint32_t));
    l->moving = space_take(t->threads * sizeof(uint32_t));
    l->from = space_take(t->threads * sizeof(uint64_t));
    fill_slots(l->free_slots, t->threads);
    fill_slots(l->moving, t->threads);
    size_map(l, 4096);
    trace_rewind(t);
}

void life_close(struct life *l)
{
    space_give(l->free_slots, l->trace->threads * sizeof(uint32_t));
    space_give(l->moving, l->trace->threads * sizeof(uint32_t));
    space_give(l->from, l->trace->threads * sizeof(uint64_t));
    space_free(&l->keys);
    space_free(&l->values);
    space_free(&l->links);
}

/*
 * Put the object of `a` at its address. Should something live there, the free of that
 * comes first and `a` waits for the next call.
 */
static void settle(struct life *l, const struct event *e, struct act *a)
{
    uint32_t old = map_take(l, e->address);

    if (a->slot == NO_SLOT)
        a->slot = take_slot(l, e->thread);
    map_put(l, e->address, a->slot);
    if (old == NO_SLOT)
        return;
    l->pending = *a;
    l->has_pending = true;
    a->kind = TRACE_FREE;
    a->is_implied = true;
    a->slot = old;
    a->size = 0;
    give_slot(l, e->thread, old);
}

static void end_realloc(struct life *l, const struct event *e, struct act *a)
{
    uint32_t slot = l->moving[e->thread];

    l->moving[e->thread] = NO_SLOT;
    if (slot == NO_SLOT) /* what it resized is not in the recording */
        a->kind = TRACE_FRESH;
    a->slot = slot;
    settle(l, e, a);
}

bool life_next(struct life *l, struct act *a)
{
    struct event e;

    if (l->has_pending) {
        *a = l->pending;
        l->has_pending = false;
        return true;
    }
    do {
        if (!trace_next(l->trace, &e))
            return false;
        if (e.kind == TRACE_REALLOC && !e.is_return) {
            l->moving[e.thread] = map_take(l, e.address);
            l->from[e.thread] = e.address;
        }
    } while (e.kind == TRACE_REALLOC && !e.is_return);

    *a = (struct act){.kind = e.kind,
                      .align = e.align,
                      .thread = e.thread,
                      .slot = NO_SLOT,
                      .ticket = e.ticket,
                      .time = e.time,
                      .size = e.size};
    if (e.kind == TRACE_FAILED)
        return true;
    if (e.kind == TRACE_FREE) {
        a->slot = map_take(l, e.address);
        a->is_unknown = a->slot == NO_SLOT;
        if (!a->is_unknown)
            give_slot(l, e.thread, a->slot);
    } else if (e.kind == TRACE_REALLOC) {
        a->has_moved = l->from[e.thread] != e.address;
        end_realloc(l, &e, a);
    } else {
        settle(l, &e, a);
    }
    return true;
}
