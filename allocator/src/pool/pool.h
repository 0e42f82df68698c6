/*
 * pool.h - one size class of one arena: a depot of magazines over slabs.
 *
 * A cache that runs dry takes a loaded magazine from here; one that overflows brings
 * one. Between the two, most objects never see a slab again.
 */
#ifndef MYM_POOL_POOL_H
#define MYM_POOL_POOL_H

#include "heap/heap.h"
#include "pool/magazine.h"

/*
 * Slabs with free places, in the order in which they are carved from: fullest first, so
 * that emptier ones get the time to become wholly free. Sparse: an eighth or less is in
 * use, or one object, so most pages can be given back although objects pin the slab; not a
 * fresh one in a huge page (MYM_FRESH).
 */
enum mym_bin {
    MYM_BIN_THIRDS, /* three bins: less than a third free, two thirds, more */
    MYM_BIN_SPARSE = MYM_BIN_THIRDS + 3,
    MYM_BIN_WHOLE,  /* wholly free, kept for the next magazine */
    MYM_BIN_PURGED, /* sparse, and its free pages have been given back */
    MYM_SLAB_BINS,
    MYM_NO_BIN = 0xff,
};

/*
 * A depot has its loaded magazines in so many stacks, by the id of the cache that brought each:
 * that gets its own back first, for they are in its CPU's lines, and so are their objects.
 */
#define MYM_DEPOT_STACKS 4u

/*
 * free  == sum of the free places of its slabs; a slab with any is in one of the bins
 * loaded_objects == sum of `used` over the loaded magazines
 * An object is handed out (or cached) if and only if its bit is clear (mym_pool_used):
 *   slabs * places of each - free == objects in use + in caches + in depots of any arena
 */
struct mym_pool {
    struct mym_mutex lock; /* guards all below and the slabs' records and bitmaps */
    uint8_t arena;         /* the pool's class is its place there */
    bool fresh;            /* the bin before sparse ones may have MYM_FRESH slabs */
    uint16_t batch; /* objects to move at a miss, what magazines given out are for;
                       0: there was no miss yet, or the pool is cold */
    uint16_t busy;  /* exchanges since the last upkeep, up to BUSY */
    bool carved;    /* it had a slab: what that left is dirty */
    uint32_t extra; /* bytes of batch beyond the class's capacity, from the budget */
    uint32_t
        grant; /* units that the depot may hold whatever its share: part of what is kept */
    uint32_t starved; /* one more than the id of the cache that found the depot empty */
    /* the depot: stacks, most recent first */
    struct mym_magazine *loaded[MYM_DEPOT_STACKS], *empty;
    uint32_t loaded_count, loaded_objects, loaded_low;
    uint32_t bins[MYM_SLAB_BINS]; /* slabs with free places, by enum mym_bin */
    uint32_t slabs;
    uint32_t nonfull; /* slabs that have free places and objects */
    uint32_t
        leaving; /* a chain of slabs that are the pool's no more, for the page heap */
    uint32_t whole, sparse;         /* slabs in MYM_BIN_WHOLE and MYM_BIN_SPARSE, */
    uint32_t whole_low, sparse_low; /* and the fewest since the last upkeep */
    uint64_t free;
    uint64_t misses, overflows; /* magazines that went out and came back */
    uint64_t at_upkeep;         /* misses + overflows at the last upkeep */
} __attribute__((aligned(128)));

MYM_INLINE void mym_pool_lock(struct mym_pool *pool) MYM_ACQUIRES(pool->lock)
{
    mym_mutex_lock(&pool->lock, MYM_RANK_POOL);
}

MYM_INLINE void mym_pool_unlock(struct mym_pool *pool) MYM_RELEASES(pool->lock)
{
    mym_mutex_unlock(&pool->lock, MYM_RANK_POOL);
}

struct mym_arena {
    struct mym_pool pool[MYM_CLASSES];
};

/* All of them are made at start: from then on there are as many, each of them whole. */
extern MYM_HIDDEN unsigned mym_arena_count;
/* The last one, behind the others, is that of sampled objects; NULL: no profile was taken. */
extern MYM_HIDDEN struct mym_arena *mym_arenas[MYM_MAX_ARENAS + 1];

MYM_INLINE unsigned mym_pool_class(const struct mym_pool *pool)
{
    return (unsigned)(pool - mym_arenas[pool->arena]->pool);
}

/* Objects in use, in caches and in depots. */
MYM_INLINE uint64_t mym_pool_used(const struct mym_pool *pool)
{
    return (uint64_t)pool->slabs * mym_classes[mym_pool_class(pool)].objects -
           pool->free;
}

/*
 * A pool of objects that are longer than COLD_SIZE gives out no magazine and keeps no slab
 * without an object until it was asked COLD_TURNS times: a small program takes a few objects of
 * each of many such classes, and each would keep more than that.
 */
#define MYM_COLD_SIZE  MYM_PLACE_MAX
#define MYM_COLD_TURNS 64u

MYM_INLINE bool mym_pool_is_cold(const struct mym_pool *pool)
{
    return pool->batch == 0 && pool->misses + pool->overflows < MYM_COLD_TURNS &&
           mym_classes[mym_pool_class(pool)].size > MYM_COLD_SIZE;
}

/* Make that one. No process forks meanwhile. False: no memory. */
bool mym_arena_sampled(void);

/* The others. together: so many CPUs share one, or MYM_TOGETHER_LLC (pool/topology.h). */
void mym_arenas_start(unsigned together);

/* The pool of a class for whoever runs on this CPU: a hint, any number will do. */
struct mym_pool *mym_pool_of(unsigned cpu, unsigned cls);

/* The pool whose slabs an object of the class came from. */
struct mym_pool *mym_pool_owner(unsigned cls, const void *object);

/*
 * A loaded magazine for an empty one (NULL: the pool finds one), for the cache with this
 * id. NULL when there is no memory, or there are too many caches; the empty one is then
 * kept by the pool.
 */
struct mym_magazine *mym_pool_load(struct mym_pool *pool, unsigned id,
                                   struct mym_magazine *empty);

/* Take a magazine with `used` objects (0 is allowed) from the cache with this id. */
void mym_pool_unload(struct mym_pool *pool, unsigned id, struct mym_magazine *magazine,
                     unsigned used);

/*
 * An empty magazine for a full one (NULL: none to bring); a wide one without the half of its
 * objects that was freed first, unless it is too long by now; or the same with room for more: it
 * was made while the pool moved fewer objects, and if two of them stayed so, a program that goes up
 * and down would come here at each turn, for good. NULL as above.
 */
struct mym_magazine *mym_pool_exchange(struct mym_pool *pool, unsigned id,
                                       struct mym_magazine *full, unsigned used);

/* One object past every cache: before a cache is open, and when there is none. */
void *mym_pool_take(struct mym_pool *pool);
void mym_pool_put(struct mym_pool *pool, void *object);

/*
 * Give the depot's objects back to their slabs, and whole slabs to the page heap:
 * those that nobody needed since the last upkeep, or all.
 */
void mym_pool_trim(struct mym_pool *pool, bool all);

/*
 * The same as upkeep; `age`: lengths of magazines that are no longer busy shrink too;
 * `grew`: what slabs hold free is better used than more memory, all of it goes. True: they
 * were longer by what others may have now, and those that are in caches still are.
 */
bool mym_pool_upkeep(struct mym_pool *pool, bool age, bool grew);

/*
 * No magazine came or went since the last upkeep, and a slab or more is free but for
 * what caches may hold of it.
 */
bool mym_pool_is_quiet(struct mym_pool *pool);

/* The slab that an object is in, and what its pool has beside it. */
struct mym_place {
    const void *slab;    /* where it starts */
    unsigned cls;        /* of all its objects */
    unsigned free;       /* places of it */
    size_t pool_places;  /* of all slabs of the pool */
    size_t pool_free;    /* of these */
    size_t nonfull;      /* slabs with free places and objects */
    size_t nonfull_used; /* objects in them, cached ones too */
    const void *next;    /* the slab that is carved next; NULL: a new one */
};

/* False: the object is in no slab of a pool (large, of a reap, sampled, not ours). */
bool mym_pool_place(const void *object, struct mym_place *place);

/*
 * Its slab has fewer objects than those of its class have on average, by about an eighth
 * more at most, and is not the next to be filled: an object that is taken past the caches
 * in its place lies in a fuller one, and moving all of them empties the slab.
 */
bool mym_place_is_thin(const struct mym_place *place);

size_t mym_pool_verify(struct mym_pool *pool);
size_t mym_pools_verify_idle(void); /* the ledger has what they hold */
void mym_pools_fork(enum mym_fork_step step);

/* Run a function on every pool of every arena, that of sampled objects too. */
void mym_pools_each(void (*visit)(struct mym_pool *pool, void *context), void *context);

#endif
