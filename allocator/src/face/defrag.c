/*
 * defrag.c - for programs that defragment their heap: how full the slab of an object is.
 *
 * They ask about each of their objects, take another one past the caches (MALLOCX_TCACHE_NONE)
 * where it helps, copy, and free the old one past the caches too. Slabs with few objects
 * are emptied that way.
 */
#include "face/defrag.h"

#include "alloc/alloc.h"
#include "alloc/info.h"
#include "pool/pool.h"

#include <errno.h>
#include <stdatomic.h>

int get_defrag_hint(void *ptr);

/*
 * To its slab a cached object is one in use: slabs that hold some are not thin, or not emptied.
 * So who asks first has the caches emptied, and one in so many after it, a few in a second.
 */
#define ASKED_TO_FLUSH (1u << 16)

static void flush_now_and_then(size_t asked)
{
    static _Atomic uint32_t all;
    uint32_t before =
        atomic_fetch_add_explicit(&all, (uint32_t)asked, memory_order_relaxed);

    if (!MYM_SECURE && before % ASKED_TO_FLUSH < asked && mym_start())
        mym_flush_caches();
}

/*
 * As the jemalloc that comes with redis has it: 1 when moving the object would help. In the
 * hardened library that takes by the usual way (jemalloc.c) none does, and redis would not end.
 */
__attribute__((visibility("default"))) int get_defrag_hint(void *ptr)
{
    struct mym_place place;

    if (MYM_SECURE)
        return 0;
    flush_now_and_then(1);
    return mym_pool_place(ptr, &place) && mym_place_is_thin(&place);
}

/* What is asked about one object; all 0: it is none. */
struct use {
    size_t free, places, bytes; /* of its slab; a large object is alone in its own */
};

static struct use use_of(const void *object, struct mym_place *place)
{
    struct use use = {0, 1, 0};

    if (mym_pool_place(object, place)) {
        use.free = place->free;
        use.places = mym_classes[place->cls].objects;
        use.bytes = mym_classes[place->cls].units * (size_t)MYM_UNIT;
    } else {
        use.bytes = object == NULL ? 0 : mym_classless_bytes(object);
        use.places = use.bytes != 0;
    }
    return use;
}

int mym_defrag_query(const struct mym_exchange *call)
{
    struct {
        const void *next;
        struct use use;
        size_t pool_free, pool_places;
    } *out = call->old;
    struct mym_place place = {0};

    if (out == NULL || call->old_length == NULL || *call->old_length != sizeof *out ||
        call->new == NULL || call->new_length != sizeof(void *))
        return EINVAL;
    flush_now_and_then(1);
    out->use = use_of(*(void *const *)call->new, &place);
    out->next = place.next;
    out->pool_free = place.pool_free;
    out->pool_places = place.pool_places;
    return 0;
}

int mym_defrag_batch_query(const struct mym_exchange *call)
{
    const void *const *object = call->new;
    size_t count = call->new_length / sizeof *object;
    struct use *out = call->old;
    struct mym_place place;

    if (out == NULL || call->old_length == NULL || object == NULL || count == 0 ||
        call->new_length % sizeof *object != 0 ||
        *call->old_length != count * sizeof *out)
        return EINVAL;
    flush_now_and_then(count);
    for (size_t i = 0; i < count; i++)
        out[i] = use_of(object[i], &place);
    return 0;
}
