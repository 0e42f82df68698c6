/*
 * depot.h - how much a pool's depot may hold.
 */
#ifndef MYM_POOL_DEPOT_H
#define MYM_POOL_DEPOT_H

#include "pool/pool.h"

/* Whether there is room for a magazine with so many objects. */
bool mym_depot_has_room(const struct mym_pool *pool, unsigned used)
    MYM_REQUIRES(pool->lock);

/* The same, after the depot was granted what every depot is, if it was not yet. */
bool mym_depot_find_room(struct mym_pool *pool, unsigned used) MYM_REQUIRES(pool->lock);

/*
 * A depot that one cache finds empty and then brings more than it has room for is too small
 * for the program's swing: some of the free memory that may be kept is kept here instead,
 * half as much again each time.
 * Not so when one cache takes and another brings: what the latter freed is in its lines.
 */
bool mym_depot_widen(struct mym_pool *pool, unsigned id, unsigned used)
    MYM_REQUIRES(pool->lock);

/* What it was granted goes back. */
void mym_depot_narrow(struct mym_pool *pool) MYM_REQUIRES(pool->lock);

#endif
