/*
 * arena.c - the pools that a group of CPUs shares, and all of them.
 */
#include "heap/meta.h"
#include "pool/pool.h"

/* Objects that the first miss of a pool moves; doubles with each. */
#define BATCH_FIRST 8u

unsigned mym_arena_count = 1;
unsigned mym_arena_group = MYM_MAX_CPUS;
struct mym_arena *_Atomic mym_arenas[MYM_MAX_ARENAS];

static MYM_SLOW struct mym_arena *make_arena(unsigned index)
{
    struct mym_arena *none = NULL;
    struct mym_arena *arena = mym_meta_take(sizeof *arena, 128);

    if (arena == NULL)
        return NULL;
    for (unsigned class = 0; class < MYM_CLASSES; class ++) {
        arena->pool[class].class = (uint8_t) class;
        arena->pool[class].arena = (uint8_t)index;
        arena->pool[class].batch = BATCH_FIRST < mym_classes[class].capacity
                                       ? BATCH_FIRST
                                       : mym_classes[class].capacity;
    }
    /* A loser's block is lost: it happens at most once per arena and thread. */
    if (!atomic_compare_exchange_strong(&mym_arenas[index], &none, arena))
        return none;
    return arena;
}

struct mym_pool *mym_pool_of(unsigned id, unsigned class)
{
    unsigned index = mym_arena_count == 1 ? 0 : id / mym_arena_group % mym_arena_count;
    struct mym_arena *arena = mym_arenas[index];

    if (MYM_UNLIKELY(arena == NULL) && (arena = make_arena(index)) == NULL)
        return NULL;
    return &arena->pool[class];
}

void mym_pools_each(void (*visit)(struct mym_pool *pool, void *context), void *context)
{
    for (unsigned i = 0; i < mym_arena_count; i++)
        if (mym_arenas[i] != NULL)
            for (unsigned class = 1; class < mym_class_count; class ++)
                visit(&mym_arenas[i]->pool[class], context);
}

static void lock_visit(struct mym_pool *pool, void *prepare)
{
    if (*(bool *)prepare)
        mym_mutex_lock(&pool->lock, MYM_RANK_POOL);
    else
        mym_mutex_unlock(&pool->lock, MYM_RANK_POOL);
}

void mym_pools_fork(bool prepare)
{
    mym_pools_each(lock_visit, &prepare);
}

static void reset_visit(struct mym_pool *pool, void *unused)
{
    (void)unused;
    mym_mutex_reset(&pool->lock, MYM_RANK_POOL);
}

void mym_pools_fork_child(void)
{
    mym_pools_each(reset_visit, NULL);
}
