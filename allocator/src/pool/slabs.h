/*
 * slabs.h - the slabs of a pool: where magazines are filled from and emptied to.
 */
#ifndef MYM_POOL_SLABS_H
#define MYM_POOL_SLABS_H

#include "pool/pool.h"

/*
 * Up to `want` objects, ascending within a slab; `fresh`: make a slab if need be. The
 * caller holds pool->lock.
 */
unsigned mym_slabs_carve(struct mym_pool *pool, void **out, unsigned want, bool fresh)
    MYM_REQUIRES(pool->lock);

/* Objects of whatever arena, back to their slabs. The caller holds no pool's lock. */
void mym_slabs_reclaim(struct mym_pool *pool, void **objects, unsigned count);

/*
 * Give back wholly free slabs and the free `pages` of sparse ones: as many as nobody needed since
 * the last upkeep, or all; but for fresh ones all, too, as the heap grows.
 */
void mym_slabs_trim(struct mym_pool *pool, bool all, bool grew, bool pages);

/* The list that a slab belongs in. */
unsigned mym_slabs_bin_of(const struct mym_unit *unit);

#endif
