/*
 * info.c - adding up pools, page heap and mappings.
 */
#include "alloc/info.h"

#include "alloc/alloc.h"
#include "heap/meta.h"

#include <string.h>

static void add_pool(struct mym_pool *pool, void *context)
{
    struct mym_info *info = context;
    struct mym_class_info *class = &info->class[pool->class];
    size_t size = mym_classes[pool->class].size;

    mym_mutex_lock(&pool->lock, MYM_RANK_POOL);
    class->slabs += pool->slabs;
    class->slots += pool->slots;
    class->free += pool->free;
    class->depot += pool->loaded_objects;
    class->misses += pool->misses;
    class->overflows += pool->overflows;
    info->small_used += (size_t)(pool->slots - pool->free) * size;
    info->small_free += (size_t)pool->free * size;
    info->cached += pool->loaded_objects * size;
    mym_mutex_unlock(&pool->lock, MYM_RANK_POOL);
}

void mym_info_read(struct mym_info *info)
{
    size_t slabs = 0, spans;

    memset(info, 0, sizeof *info);
    if (!mym_start())
        return;
    mym_pools_each(add_pool, info);
    info->pages = mym_pages_info();
    for (unsigned class = 1; class < mym_class_count; class ++)
        slabs += info->class[class].slabs * mym_classes[class].units * MYM_UNIT;
    /* Read one after the other while others allocate: the difference may be off. */
    if (info->pages.mapped > info->pages.free + slabs)
        info->large = info->pages.mapped - info->pages.free - slabs;
    spans = mym_spans_bytes();
    info->large -= spans < info->large ? spans : info->large;
    info->cached_spans = spans;
    info->huge = mym_mapping_total(&info->huges);
    info->cached += mym_cache_bytes();
    info->meta = mym_meta_bytes();
}

size_t mym_idle_bytes(void)
{
    struct mym_info info;

    mym_info_read(&info);
    return info.pages.free + info.pages.idle + info.pages.spare + info.cached +
           info.cached_spans;
}

static void verify_pool(struct mym_pool *pool, void *bad)
{
    *(size_t *)bad += mym_pool_verify(pool);
}

size_t mym_verify(void)
{
    size_t bad = 0;

    if (!mym_start())
        return 0;
    mym_pools_each(verify_pool, &bad);
    return bad + mym_cache_verify() + mym_pages_verify();
}

static void trim_pool(struct mym_pool *pool, void *unused)
{
    (void)unused;
    mym_pool_trim(pool, true);
}

bool mym_trim(size_t pad)
{
    size_t purged;

    if (!mym_start())
        return false;
    mym_cache_drain();
    mym_pools_each(trim_pool, NULL);
    purged = mym_pages_purge(pad);
    return mym_pages_unmap() + purged > 0;
}
