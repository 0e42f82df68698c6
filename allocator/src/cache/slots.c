/*
 * slots.c - a cache's slots: made, emptied, and the bell that asks for it.
 *
 * Locking: mym_front_lock guards open[] and the caches of ids against others that open or drain.
 */
#include "cache/door.h"

_Static_assert(offsetof(struct mym_cache, slot) == 0, "the sequences index the cache");

struct mym_front mym_front __attribute__((aligned(MYM_CACHELINE)));
struct mym_mutex mym_front_lock;
unsigned mym_caches_top;

MYM_SLOW bool mym_door_swap_again(size_t index, uintptr_t old, uintptr_t fresh)
{
    return mym_rseq_swap(index, old, fresh);
}

void mym_cache_make(struct mym_cache *cache)
{
    for (unsigned i = 0; i < MYM_SLOTS; i++)
        cache->slot[i] = MYM_NONE; /* of class 0, of what is no object, for good */
    /* Span words are closed: what a cache is made of reads 0. */
}

void mym_cache_empty(struct mym_cache *own, mym_class_set some)
{
    struct mym_door door = {.own = own, .id = mym_door_id(own)};

    for (unsigned i = 0; i < MYM_SLOTS; i++) {
        unsigned cls = i % MYM_CLASSES;
        unsigned used;
        struct mym_magazine *magazine =
            some >> cls & 1 ? mym_door_take(door, cls, i, &used) : NULL;

        if (magazine != NULL)
            mym_pool_unload(used == 0 ? mym_pool_of(0, cls)
                                      : mym_pool_owner(cls, magazine->entry[0]),
                            door.id, magazine, used);
    }
}

void mym_cache_flush(struct mym_cache *cache)
{
    mym_spans_close(cache);
    mym_cache_empty(cache, MYM_EVERY_CLASS);
}

/*
 * Whose objects a cache holds, as it looks from outside, and MYM_SPANS. Who has nothing need
 * not be asked: each bell costs a slow path.
 */
static mym_class_set classes_in(const struct mym_cache *cache)
{
    mym_class_set set = 0;

    for (unsigned i = 0; i < MYM_SLOTS; i++) {
        void **top = mym_slot_of(cache, i);
        unsigned cls = i % MYM_CLASSES;

        if (mym_is_magazine(top) && top != mym_magazine_of(cls, top)->entry)
            set |= mym_class_bit(cls);
    }
    if (mym_spans_open_in(cache) > 0)
        set |= mym_class_bit(MYM_SPANS);
    return set;
}

/*
 * Thread 1, in a sequence of id 0: has read open[0], is about to commit.
 * Thread 2, draining: sets open[0] = 0.
 * Thread 1 commits, to a cache that is closed by now; this does no harm, because nobody
 * takes anything out of it but by a sequence on the same CPU. The next operation of id 0
 * finds it closed, takes the slow path (mym_cache_open) and empties the slots there.
 *
 * A CPU on which no thread of the program runs any more keeps what its cache holds, unless
 * the helper goes there (round.c).
 */
void mym_cache_ring(unsigned id, mym_class_set some)
{
    struct mym_cache *cache = mym_cache_made(id);
    mym_class_set more;

    if (cache == NULL)
        return;
    more = some & classes_in(cache) & ~cache->asked;
    cache->asked |= more;
    cache->tried = cache->tried && more == 0;
    if (cache->asked != 0)
        mym_cache_shut(id);
}

bool mym_cache_is_rung(unsigned id)
{
    return !mym_cache_is_open(id) && mym_cache_made(id) != NULL &&
           mym_cache_made(id)->asked != 0;
}
