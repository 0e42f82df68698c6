/*
 * spans.c - free large objects, up to MYM_SPAN_MAX bytes, one of each size per cache.
 *
 * A cache has a word for each span class, behind its slots, changed by the same
 * conditional swap:
 *
 *   NONE     open: the next span of this size that is freed here is kept here
 *   CLOSED   spans go to the page heap
 *   a span   free, not given to anybody else; its record says `cached`
 *   SHUT     in the closed cache: never swapped
 *
 * An open word is idle memory, present or to come: it is part of what pools keep
 * (mym_pages_spare), and closed for another size when there is no more of that. So what
 * all caches hold is bounded in bytes, and the fast path counts nothing.
 *
 * Locking: none. A word is changed by a swap on its own CPU, or by whoever has the cache
 * for himself.
 */
#include "cache/cache.h"

#include "os/os.h"

/* The cache of the running thread; the closed one if it has none. */
static struct mym_cache *cache_here(void)
{
    struct mym_cache *own = mym_thread_own; /* only where caches are per thread */

    return MYM_UNLIKELY(own != NULL) ? own : mym_cache_of(mym_rseq_id());
}

static void *word_at(struct mym_cache *cache, unsigned class)
{
    return __atomic_load_n(&cache->slot[MYM_SLOTS + class], __ATOMIC_RELAXED);
}

static bool swap(unsigned class, void *old, void *fresh)
{
    struct mym_cache *own = mym_thread_own;

    if (MYM_LIKELY(own == NULL)) /* the closed cache holds none of the old values */
        return mym_rseq_swap(MYM_SLOTS + class, old, fresh);
    if (own->slot[MYM_SLOTS + class] != old)
        return false;
    own->slot[MYM_SLOTS + class] = fresh;
    return true;
}

static bool is_span(const void *word)
{
    return (uintptr_t)word > (uintptr_t)MYM_SPAN_SHUT;
}

static struct mym_unit *record_of(const void *span)
{
    return &mym_heap.units[mym_unit_of(span)];
}

static void release(void *span)
{
    record_of(span)->cached = false;
    mym_pages_put(mym_unit_of(span));
}

void *mym_span_pop(unsigned class)
{
    void *span = word_at(cache_here(), class);

    if (!is_span(span) || !swap(class, span, MYM_SPAN_NONE))
        return NULL;
    record_of(span)->cached = false;
    return span;
}

/* Close the next word of this cache that is open, for another; false: there is none. */
static bool close_one(unsigned class)
{
    struct mym_cache *cache = cache_here();

    for (unsigned i = 1; i < MYM_SPAN_CLASSES; i++) {
        unsigned other = (class + i) % MYM_SPAN_CLASSES;
        void *word = word_at(cache, other);

        if (word == MYM_SPAN_CLOSED || word == MYM_SPAN_SHUT ||
            !swap(other, word, MYM_SPAN_CLOSED))
            continue;
        mym_pages_unspare(mym_span_units(other));
        if (is_span(word))
            release(word);
        return true;
    }
    return false;
}

static MYM_SLOW bool open_with(unsigned class, void *span)
{
    uint32_t units = mym_span_units(class);

    if (!mym_pages_spare(units, 1) && !(close_one(class) && mym_pages_spare(units, 1)))
        return false;
    if (swap(class, MYM_SPAN_CLOSED, span))
        return true;
    mym_pages_unspare(units);
    return false;
}

bool mym_span_push(unsigned class, void *span)
{
    void *word = word_at(cache_here(), class);

    if (word == MYM_SPAN_SHUT && mym_cache_open_here())
        word = word_at(cache_here(), class);
    /* Before others can take it: afterwards the record is theirs. */
    record_of(span)->cached = true;
    if ((word == MYM_SPAN_NONE && swap(class, MYM_SPAN_NONE, span)) ||
        (word == MYM_SPAN_CLOSED && open_with(class, span)))
        return true;
    record_of(span)->cached = false;
    return false;
}

void mym_spans_close_here(void)
{
    while (close_one(MYM_SPAN_CLASSES - 1) || close_one(0))
        ;
}

void mym_spans_close(struct mym_cache *cache)
{
    for (unsigned class = 0; class < MYM_SPAN_CLASSES; class ++) {
        void *word = word_at(cache, class);

        if (word == MYM_SPAN_CLOSED || word == MYM_SPAN_SHUT)
            continue;
        cache->slot[MYM_SLOTS + class] = MYM_SPAN_CLOSED;
        mym_pages_unspare(mym_span_units(class));
        if (is_span(word))
            release(word);
    }
}

size_t mym_spans_bytes(void)
{
    size_t units = 0;

    for (unsigned id = 0; id < __atomic_load_n(&mym_caches.top, __ATOMIC_RELAXED); id++)
        for (unsigned class = 0; class < MYM_SPAN_CLASSES; class ++)
            if (is_span(word_at(mym_cache_of(id), class)))
                units += mym_span_units(class);
    return units * MYM_UNIT;
}
