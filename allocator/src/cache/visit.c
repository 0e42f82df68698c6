/*
 * visit.c - all caches, one after the other: for statistics, the checker, and fork.
 *
 * Locking: mym_front_lock, for the caches of ids and the list of threads' caches.
 */
#include "cache/cache.h"

#include "base/check.h"
#include "os/mutex.h"

typedef void visit_magazine(unsigned cls, void **entry, size_t count, void *context);

static void each_magazine(visit_magazine *visit, void *context,
                          const struct mym_cache *cache)
{
    for (unsigned i = 0; i < MYM_SLOTS; i++) {
        void **top = mym_slot_of(cache, i), **entry;
        unsigned cls = i % MYM_CLASSES;

        if (!mym_is_magazine(top))
            continue;
        entry = mym_magazine_of(cls, top)->entry;
        visit(cls, entry, (size_t)(top - entry), context);
    }
}

/* Of all caches; the bytes of the spans in them. */
static size_t each_cache(visit_magazine *visit, void *context)
{
    size_t spans = 0;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches_top; id++)
        if (mym_cache_made(id) != NULL) {
            each_magazine(visit, context, mym_cache_made(id));
            spans += mym_spans_in(mym_cache_made(id));
        }
    for (const struct mym_cache *cache = mym_thread_caches; cache != NULL;
         cache = cache->next) {
        each_magazine(visit, context, cache);
        spans += mym_spans_in(cache);
    }
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    return spans;
}

static void add_objects(unsigned cls, void **entry, size_t count, void *objects)
{
    (void)entry;
    ((size_t *)objects)[cls] += count;
}

size_t mym_cache_count(size_t objects[MYM_CLASSES])
{
    return each_cache(add_objects, objects);
}

struct of_objects {
    void (*visit)(void *const *objects, size_t count, void *context);
    void *context;
};

static void visit_objects(unsigned cls, void **entry, size_t count, void *context)
{
    const struct of_objects *of = context;

    (void)cls;
    of->visit(entry, count, of->context);
}

void mym_cache_each_object(void (*visit)(void *const *objects, size_t count,
                                         void *context),
                           void *context)
{
    struct of_objects of = {visit, context};

    each_cache(visit_objects, &of);
}

/* Units that the open span words of all caches stand for. */
static uint32_t open_spans(void)
{
    uint32_t units = 0;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches_top; id++)
        if (mym_cache_made(id) != NULL)
            units += mym_spans_open_in(mym_cache_made(id));
    for (const struct mym_cache *cache = mym_thread_caches; cache != NULL;
         cache = cache->next)
        units += mym_spans_open_in(cache);
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    return units;
}

/* Who collects a cache writes to it from elsewhere: nobody may be at work there. */
static size_t open_while_collected(void)
{
    size_t bad = 0;

    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    for (unsigned id = 0; id < mym_caches_top; id++)
        bad += mym_cache_at(id)->whose == MYM_COLLECTED && mym_cache_is_open(id);
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    return mym_expect("cache check", bad == 0,
                      "a cache is open that is being collected");
}

static bool is_without_room(struct mym_no_magazine *magazine)
{
    return magazine->floor == MYM_FLOOR(&magazine->floor) &&
           magazine->ceiling == MYM_CEILING;
}

/* As it was made, and what its slots point to. */
static bool closed_is_whole(void)
{
    const struct mym_cache *closed = &mym_front.closed;
    bool whole = is_without_room(&mym_closed_magazine) &&
                 is_without_room(&mym_none_magazine) && !mym_front.open[MYM_NO_ID];

    for (unsigned i = 0; i < MYM_SLOTS; i++)
        whole = whole && closed->slot[i] == MYM_CLOSED;
    for (unsigned i = MYM_SLOTS; i < MYM_SPAN_NO_WORD; i++)
        whole = whole && mym_span_word_of(closed, i) == MYM_SPAN_SHUT;
    return whole && mym_span_word_of(closed, MYM_SPAN_NO_WORD) == MYM_SPAN_CLOSED &&
           mym_span_word_of(closed, MYM_SLOTS + MYM_SPAN_LONG) == MYM_SPAN_SHUT;
}

size_t mym_cache_verify(void)
{
    uint32_t held, open;
    size_t bad = open_while_collected();

    bad +=
        mym_expect("cache check", closed_is_whole(), "the closed cache was written to");
    held = mym_idle_held(MYM_HOLDS_SPANS);
    open = open_spans();
    /*
     * Who opens a word was granted it before, who closes one returns it after. Another
     * thread may do so meanwhile: then nothing can be told.
     */
    bad += mym_expect("cache check",
                      held != mym_idle_held(MYM_HOLDS_SPANS) || held >= open,
                      "more span words are open than were granted");
    return bad + mym_thread_verify();
}

void mym_cache_fork(enum mym_fork_step step)
{
    mym_mutex_fork(&mym_front_lock, step);
}

void mym_cache_fork_child(void)
{
    mym_cache_vfork_fork_child();
    mym_cache_leave_others();
    if (mym_fork_in_midst)
        return;
    mym_thread_fork_child();
    /* A thread that the child does not have may have been about to open one, or to close it. */
    mym_idle_recount(MYM_HOLDS_SPANS, open_spans());
}
