/*
 * arenas.c - the pools that a group of CPUs shares, and all of them.
 *
 * The first arena is part of the library, the others are made at start: a free finds a
 * pool whatever memory there is, and fork locks the same pools that it unlocks.
 */
#include "base/check.h"
#include "heap/meta.h"
#include "pool/pool.h"
#include "pool/topology.h"

static struct mym_arena first_arena;
static uint8_t arena_of[MYM_MAX_CPUS];

unsigned mym_arena_count = 1;
struct mym_arena *mym_arenas[MYM_MAX_ARENAS + 1] = {&first_arena};

/* All else of a pool begins as 0: of the first arena's no page is there that nobody uses. */
static void init_arena(struct mym_arena *arena, unsigned index)
{
    for (unsigned cls = 0; cls < MYM_CLASSES; cls++)
        arena->pool[cls].arena = (uint8_t)index;
}

void mym_arenas_start(unsigned together)
{
    unsigned want, count = 1;

    if (together >= MYM_TOGETHER_ALL)
        return;
    want = mym_topology_read("/sys/devices/system", together, arena_of);
    for (; count < want; count++) {
        mym_arenas[count] = mym_meta_take(sizeof *mym_arenas[count], 128);
        if (mym_arenas[count] == NULL) /* fewer will do */
            break;
        init_arena(mym_arenas[count], count);
    }
    for (unsigned cpu = 0; cpu < MYM_MAX_CPUS; cpu++)
        arena_of[cpu] = (uint8_t)(arena_of[cpu] % count);
    mym_arena_count = count;
}

bool mym_arena_sampled(void)
{
    struct mym_arena *arena = mym_arenas[MYM_SAMPLED];

    if (arena != NULL)
        return true;
    arena = mym_meta_take(sizeof *arena, 128);
    if (arena == NULL)
        return false;
    init_arena(arena, MYM_SAMPLED);
    __atomic_store_n(&mym_arenas[MYM_SAMPLED], arena, __ATOMIC_RELEASE);
    return true;
}

struct mym_pool *mym_pool_of(unsigned cpu, unsigned cls)
{
    return &mym_arenas[arena_of[cpu % MYM_MAX_CPUS]]->pool[cls];
}

struct mym_pool *mym_pool_owner(unsigned cls, const void *object)
{
    uint32_t unit = mym_unit_of(object);
    unsigned arena = 0;

    if (mym_arena_count > 1 && mym_heap.cls[unit] == cls)
        arena = mym_heap.units[mym_heap.units[unit].first].arena;
    MYM_ASSERT(arena < mym_arena_count);
    return &mym_arenas[arena]->pool[cls];
}

static void each_in(struct mym_arena *arena,
                    void (*visit)(struct mym_pool *pool, void *context), void *context)
{
    for (unsigned cls = 1; cls < mym_class_count; cls++)
        visit(&arena->pool[cls], context);
}

void mym_pools_each(void (*visit)(struct mym_pool *pool, void *context), void *context)
{
    struct mym_arena *sampled =
        __atomic_load_n(&mym_arenas[MYM_SAMPLED], __ATOMIC_ACQUIRE);

    for (unsigned i = 0; i < mym_arena_count; i++)
        each_in(mym_arenas[i], visit, context);
    if (sampled != NULL)
        each_in(sampled, visit, context);
}

static void fork_visit(struct mym_pool *pool, void *step)
{
    mym_mutex_fork(&pool->lock, *(enum mym_fork_step *)step);
}

void mym_pools_fork(enum mym_fork_step step)
{
    mym_pools_each(fork_visit, &step);
}
