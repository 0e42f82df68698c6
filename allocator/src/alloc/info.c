/*
 * info.c - adding up pools, page heap and mappings.
 */
#include "alloc/info.h"

#include "alloc/alloc.h"
#include "alloc/reap.h"
#include "alloc/secure.h"
#include "heap/mapping.h"
#include "heap/meta.h"
#include "profile/guarded.h"

#include <string.h>

struct mym_mutex mym_info_lock;

static size_t less(size_t from, size_t what)
{
    return from > what ? from - what : 0;
}

static void add_pool(struct mym_pool *pool, void *context)
{
    struct mym_info *info = context;
    struct mym_class_info *cls = &info->cls[mym_pool_class(pool)];
    size_t size = mym_classes[mym_pool_class(pool)].size;

    mym_pool_lock(pool);
    cls->slabs += pool->slabs;
    cls->free += pool->free;
    cls->whole += pool->whole;
    cls->nonfull += pool->nonfull;
    cls->depot += pool->loaded_objects;
    cls->misses += pool->misses;
    cls->overflows += pool->overflows;
    info->small_used += mym_pool_used(pool) * size; /* or cached */
    info->small_free += (size_t)pool->free * size;
    info->depots += pool->loaded_objects * size;
    mym_pool_unlock(pool);
}

void mym_info_read(struct mym_info *info)
{
    size_t slabs = 0, cached[MYM_CLASSES] = {0}, waiting[MYM_CLASSES] = {0};

    memset(info, 0, sizeof *info);
    if (!mym_start())
        return;
    mym_pools_each(add_pool, info);
    info->pages = mym_pages_info();
    info->spans = mym_cache_count(cached);
    if (MYM_SECURE_QUARANTINE)
        info->waiting_large = mym_shelf_count(waiting);
    for (unsigned i = 1; i < mym_class_count; i++) {
        struct mym_class_info *cls = &info->cls[i];
        size_t size = mym_classes[i].size;

        cls->places = cls->slabs * mym_classes[i].objects;
        cls->cached = cached[i];
        cls->used = less(cls->places - cls->free, cls->depot + cached[i] + waiting[i]);
        slabs += cls->slabs * mym_classes[i].units * MYM_UNIT;
        info->caches += cached[i] * size;
        info->waiting += waiting[i] * size;
        info->rounding += cls->used * (size - mym_class_before(i) - 1);
    }
    info->cached = info->caches + info->depots + info->waiting;
    info->reaps = mym_reaps_bytes();
    info->large = less(info->pages.mapped, info->pages.free + slabs + info->spans +
                                               info->reaps + info->waiting_large);
    info->huge = mym_mapping_total(&info->huges);
    if (MYM_SECURE_QUARANTINE) /* of these nothing is mapped by the page heap */
        info->waiting_large += MYM_RACY(mym_mapping_waiting);
    info->small_used = less(info->small_used, info->cached);
    info->cached += info->spans;
    info->meta = mym_meta_bytes();
    info->guarded = MYM_RACY(mym_guarded.objects);
    info->guarded_bytes = MYM_RACY(mym_guarded.live);
    info->guarded_pages = MYM_RACY(mym_guarded.open);
    info->guarded_ever = MYM_RACY(mym_guarded.taken);
}

size_t mym_idle_bytes(size_t *live)
{
    struct mym_info info;

    mym_info_read(&info);
    *live = info.large + info.huge + info.reaps + info.small_used;
    return info.pages.free + info.pages.idle + info.pages.held[MYM_HOLDS_SLABS] +
           info.cached + info.waiting_large;
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
    return bad + mym_pools_verify_idle() + mym_cache_verify() + mym_reaps_verify() +
           mym_pages_verify() + mym_guarded_verify() +
           (MYM_SECURE ? mym_shelf_verify() : 0);
}

static void trim_pool(struct mym_pool *pool, void *unused)
{
    (void)unused;
    mym_pool_trim(pool, true);
}

void mym_flush_caches(void)
{
    mym_cache_drain();
    mym_pools_each(trim_pool, NULL);
}

MYM_SLOW bool mym_trim(size_t pad)
{
    size_t purged;

    if (!mym_start())
        return false;
    if (MYM_SECURE)
        mym_shelf_clear();
    mym_flush_caches();
    purged = mym_pages_purge(pad);
    return mym_pages_unmap() + purged > 0;
}
