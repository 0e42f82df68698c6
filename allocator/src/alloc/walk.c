/*
 * walk.c - every object that the program holds, where nobody takes or frees meanwhile.
 *
 * A slab does not know which of its objects lie free in caches and depots: these are
 * collected first, in a map with a bit for each 16 bytes of the heap, which is mapped for
 * the walk and resident where there are any. In the hardened build a bit of each object says
 * that it is in use, for those too that wait on a shelf. Then spans are visited in the order of
 * addresses, then own mappings. No lock is held while the caller's function runs.
 */
#include "alloc/info.h"

#include "alloc/alloc.h"
#include "alloc/reap.h"
#include "alloc/seal.h"
#include "cache/cache.h"
#include "heap/runs.h"
#include "os/os.h"

struct walk {
    int (*visit)(void *object, size_t bytes, void *argument);
    void *argument;
    uint64_t
        *cached; /* bit set: the object that starts there is in a cache or a depot */
};

static void note_cached(void *const *objects, size_t count, void *cached)
{
    uint64_t *map = cached;

    for (size_t i = 0; i < count; i++) {
        size_t bit = mym_window_bit((uintptr_t)objects[i]);

        map[bit / 64] |= (uint64_t)1 << bit % 64;
    }
}

static void note_depot(struct mym_pool *pool, void *cached)
{
    mym_pool_lock(pool);
    for (struct mym_magazine *m = pool->loaded; m != NULL; m = m->next)
        note_cached(m->entry, m->used, cached);
    mym_pool_unlock(pool);
}

static bool is_cached(const struct walk *walk, uintptr_t object)
{
    size_t bit = mym_window_bit(object);

    return walk->cached[bit / 64] >> bit % 64 & 1;
}

static int visit(const struct walk *walk, uintptr_t object, size_t bytes)
{
    return walk->visit((void *)object, bytes, walk->argument); /* NOLINT */
}

static int walk_slab(const struct walk *walk, uint32_t slab)
{
    const struct mym_class *c = &mym_classes[mym_heap.units[slab].cls];
    uintptr_t object = (uintptr_t)mym_unit_address(slab);
    int stop = 0;

    for (unsigned i = 0; i < c->objects && stop == 0; i++, object += c->size)
        if (!(mym_heap.bits[slab][i / 64] >> i % 64 & 1) && !is_cached(walk, object) &&
            mym_is_live((void *)object)) /* NOLINT */
            stop = visit(walk, object, c->size);
    return stop;
}

static int walk_window(const struct walk *walk, uint32_t first)
{
    const struct mym_unit *window = &mym_heap.units[first];
    uintptr_t used = mym_reap_used(window->reap, first), next;
    int stop = 0;

    for (uintptr_t at = (uintptr_t)mym_unit_address(first); at < used && stop == 0;
         at = next) {
        next = mym_window_after(at, used);
        if (!mym_window_is_freed(window, at))
            stop = visit(walk, at, next - at);
    }
    return stop;
}

static int walk_span(const struct walk *walk, uint32_t first)
{
    const struct mym_unit *span = &mym_heap.units[first];

    switch (span->kind) {
    case MYM_SLAB:
        return walk_slab(walk, first);
    case MYM_WINDOW:
        return walk_window(walk, first);
    case MYM_LARGE:
        return span->cached ||
                       (span->reap == NULL && !mym_is_live(mym_unit_address(first)))
                   ? 0
                   : visit(walk, (uintptr_t)mym_unit_address(first),
                           span->length * MYM_UNIT);
    default:
        return 0;
    }
}

static int walk_spans(const struct walk *walk, uint32_t end)
{
    int stop = 0;

    for (uint32_t unit = 1; unit < end && stop == 0;) {
        uint32_t length = 1;

        if (mym_heap.units[unit].kind != MYM_ABSENT)
            length = mym_heap.units[unit].length;
        stop = walk_span(walk, unit);
        unit += length;
    }
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
    int stop;

    *failed = !mym_start();
    if (*failed)
        return 0;
    room = atomic_load(&mym_heap.size) / MYM_ALIGNMENT / 8;
    walk.cached = mym_os_map(room + 1); /* own mappings may be all there is */
    *failed = walk.cached == NULL;
    if (*failed)
        return 0;
    mym_cache_each_object(note_cached, walk.cached);
    mym_pools_each(note_depot, walk.cached);
    stop = walk_spans(&walk, (uint32_t)(room * MYM_ALIGNMENT * 8 >> MYM_UNIT_SHIFT));
    if (stop == 0)
        stop = walk_mappings(&walk);
    mym_os_unmap(walk.cached, room + 1);
    return stop;
}
