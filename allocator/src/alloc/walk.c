/*
 * walk.c - every object that the program holds, where nobody takes or frees meanwhile.
 *
 * What is free, in slabs, depots and caches, is collected first, while the helper is held off:
 * it moves such objects from one to the other. The map has a bit for each 16 bytes of the
 * heap, and is resident where there are any. In the hardened build a bit of each object says that
 * it is in use, for those too that wait on a shelf. Then spans are visited in the order of
 * addresses, then own mappings. No lock is held while the caller's function runs.
 *
 * Who takes or frees meanwhile all the same, makes what is read here out of date, or nonsense:
 * then nothing is written, nor followed, beyond what there was at the start.
 */
#include "alloc/info.h"

#include "alloc/alloc.h"
#include "alloc/background.h"
#include "alloc/reap.h"
#include "alloc/seal.h"
#include "cache/cache.h"
#include "heap/mapping.h"
#include "os/os.h"

/* Of the heap up to some unit. Bit set: the object that starts there is free. */
struct map {
    uint64_t *bits;
    size_t count;
};

struct walk {
    int (*visit)(void *object, size_t bytes, void *argument);
    void *argument;
    struct map free;
};

static void note(const struct map *map, uintptr_t object)
{
    size_t bit = mym_window_bit(object);

    if (bit < map->count)
        map->bits[bit / 64] |= (uint64_t)1 << bit % 64;
}

static void note_cached(void *const *objects, size_t count, void *map)
{
    for (size_t i = 0; i < count; i++)
        note(map, (uintptr_t)objects[i]);
}

static void note_depot(struct mym_pool *pool, void *map)
{
    mym_pool_lock(pool);
    for (unsigned i = 0; i < MYM_DEPOT_STACKS; i++)
        for (struct mym_magazine *m = pool->loaded[i]; m != NULL; m = m->next)
            note_cached(m->entry, m->used, map);
    mym_pool_unlock(pool);
}

/* The unit behind the span, run or gap that starts here. */
static uint32_t after(uint32_t unit)
{
    const struct mym_unit *record = &mym_heap.units[unit];
    uint32_t length = record->kind == MYM_ABSENT ? 1 : record->length;

    return unit + (length != 0 ? length : 1);
}

/* Not within a span, nor at its end. */
static bool is_first(uint32_t unit)
{
    return mym_heap.units[unit].first == unit;
}

/* NULL: it is no slab. */
static const struct mym_class *class_of(const struct mym_unit *span)
{
    unsigned cls = __atomic_load_n(&span->cls, __ATOMIC_RELAXED);

    return MYM_RACY(span->kind) == MYM_SLAB && cls < mym_class_count ? &mym_classes[cls]
                                                                     : NULL;
}

static void note_span(const struct map *map, uint32_t first)
{
    const struct mym_unit *span = &mym_heap.units[first];
    const struct mym_class *c = class_of(span);
    uintptr_t start = mym_slab_start(first);

    if (!is_first(first))
        return;
    if (span->kind == MYM_LARGE && span->cached)
        note(map, (uintptr_t)mym_unit_address(first));
    for (unsigned i = 0; c != NULL && i < c->objects; i++)
        if (mym_heap.bits[first][i / 64] >> i % 64 & 1)
            note(map, start + i * (uintptr_t)c->size);
}

static void note_free(struct map *map, uint32_t end)
{
    mym_background_hold();
    mym_cache_each_object(note_cached, map);
    mym_pools_each(note_depot, map);
    for (uint32_t unit = 1; unit < end; unit = after(unit))
        note_span(map, unit);
    mym_background_release();
}

static bool is_free(const struct walk *walk, uintptr_t object)
{
    size_t bit = mym_window_bit(object);

    return bit >= walk->free.count || (walk->free.bits[bit / 64] >> bit % 64 & 1);
}

static int visit(const struct walk *walk, uintptr_t object, size_t bytes)
{
    return walk->visit((void *)object, bytes, walk->argument); /* NOLINT */
}

/* What was freed and waits: in the hardened build the seal says it. */
static bool is_over(uintptr_t object, size_t room)
{
    return MYM_SECURE_FREE_CHECK &&
           *mym_seal_place((void *)object, room) == 0; /* NOLINT */
}

static int walk_slab(const struct walk *walk, uint32_t slab)
{
    const struct mym_class *c = class_of(&mym_heap.units[slab]);
    uintptr_t object = mym_slab_start(slab);
    int stop = 0;

    for (unsigned i = 0; c != NULL && i < c->objects && stop == 0;
         i++, object += c->size)
        if (!is_free(walk, object) && !is_over(object, c->size))
            stop = visit(walk, object, c->size);
    return stop;
}

static int walk_window(const struct walk *walk, uint32_t first)
{
    const struct mym_unit *window = &mym_heap.units[first];
    const struct mym_reap *reap = __atomic_load_n(&window->reap, __ATOMIC_ACQUIRE);
    uintptr_t start = (uintptr_t)mym_unit_address(first), used, next;
    int stop = 0;

    if (__atomic_load_n(&window->kind, __ATOMIC_RELAXED) != MYM_WINDOW || reap == NULL)
        return 0;
    used = mym_reap_used(reap, first);
    if (used > start + window->length * MYM_UNIT)
        return 0;
    for (uintptr_t at = start; at < used && stop == 0; at = next) {
        next = mym_window_after(at, used);
        if (!mym_window_is_freed(window, at))
            stop = visit(walk, at, next - at);
    }
    return stop;
}

static int walk_span(const struct walk *walk, uint32_t first)
{
    const struct mym_unit *span = &mym_heap.units[first];
    uintptr_t start;

    if (!is_first(first))
        return 0;
    switch (span->kind) {
    case MYM_SLAB:
        return walk_slab(walk, first);
    case MYM_WINDOW:
        return walk_window(walk, first);
    case MYM_LARGE:
        start = (uintptr_t)mym_unit_address(first);
        if (span->reap == NULL &&
            (is_free(walk, start) || !mym_is_live((void *)start))) /* NOLINT */
            return 0;
        start += span->lines * MYM_CACHELINE; /* of a reap's: 0 */
        return visit(walk, start, mym_span_bytes(span));
    default:
        return 0;
    }
}

static int walk_spans(const struct walk *walk, uint32_t end)
{
    int stop = 0;

    for (uint32_t unit = 1; unit < end && stop == 0; unit = after(unit))
        stop = walk_span(walk, unit);
    return stop;
}

static int walk_mappings(const struct walk *walk)
{
    struct mym_mapping mapping;
    int stop = 0;

    for (size_t place = 0; stop == 0 && mym_mapping_next(&place, &mapping);)
        stop = visit(walk, mapping.addr, mapping.bytes);
    return stop;
}

int mym_walk(int (*function)(void *object, size_t bytes, void *argument),
             void *argument, bool *failed)
{
    struct walk walk = {.visit = function, .argument = argument};
    size_t room;
    uint32_t end;
    int stop;

    *failed = !mym_start();
    if (*failed)
        return 0;
    room = atomic_load(&mym_heap.size) / MYM_ALIGNMENT / 8;
    walk.free = (struct map){mym_os_map(room + 1), room * 8}; /* of none, perhaps */
    *failed = walk.free.bits == NULL;
    if (*failed)
        return 0;
    end = (uint32_t)(room * MYM_ALIGNMENT * 8 >> MYM_UNIT_SHIFT);
    note_free(&walk.free, end);
    stop = walk_spans(&walk, end);
    if (stop == 0)
        stop = walk_mappings(&walk);
    mym_os_unmap(walk.free.bits, room + 1);
    return stop;
}
