/*
 * spans.c - free large objects, up to MYM_SPAN_MAX bytes, one of each size per cache.
 *
 * A cache has a word for each span class, behind its slots, changed by the same
 * conditional swap:
 *
 *   NONE     open: the next span of this size that is freed here is kept here
 *   CLOSED   spans go to the page heap
 *   a span   free, not given to anybody else; its record says `cached`. With IDLE: nobody
 *            took it since something else was asked for in vain
 *   SHUT     in the closed cache: never swapped
 *
 * A word is opened for a size that is freed when it was the last that was asked for in
 * vain, and only one of it: of more a word would keep one and hold the others apart. An open
 * word is idle memory, present or to come: it is part of what pools keep (mym_idle_grant),
 * and closed for another size when there is no more of that, or when its span was not taken
 * between two requests in vain: those want other sizes. So what all caches hold is bounded
 * in bytes, and a hit counts nothing.
 *
 * Locking: none. A word is changed by a swap on its own CPU, or by whoever has the cache
 * for himself.
 */
#include "cache/cache.h"

#include "os/os.h"

/*
 * Units that the open words of a cache may stand for: one of the largest. With 30 and 8 MiB the
 * workload large/churn had 137 and 105 MiB resident instead of 90.
 */
#define CACHE_MOST ((uint32_t)(MYM_SPAN_MAX / MYM_UNIT))

/*
 * Where the running thread's words are: in its own cache (per thread: held, so that its
 * signal handlers find none), else in that of its CPU, the closed one if it has none.
 */
static struct mym_cache *cache_here(struct mym_cache *own)
{
    return own != NULL ? own : mym_cache_of(mym_rseq_id());
}

static void *read_word(struct mym_cache *own, unsigned cls)
{
    return mym_slot_of(cache_here(own), MYM_SLOTS + cls);
}

static bool swap(struct mym_cache *own, unsigned cls, void *old, void *fresh)
{
    if (MYM_LIKELY(own == NULL)) /* the closed cache holds none of the old values */
        return mym_rseq_swap(MYM_SLOTS + cls, old, fresh);
    if (mym_slot_of(own, MYM_SLOTS + cls) != old)
        return false;
    mym_slot_set(own, MYM_SLOTS + cls, fresh);
    return true;
}

static bool is_span(const void *word)
{
    return (uintptr_t)word >= MYM_UNIT;
}

static bool is_idle(const void *word)
{
    return (uintptr_t)word & MYM_SPAN_IDLE;
}

/* Of a span, or of the one that a word holds. */
static struct mym_unit *record_of(const void *word)
{
    return &mym_heap.units[mym_unit_of(word)];
}

static void release(void *word)
{
    mym_span_mark(record_of(word), false);
    mym_pages_put(mym_unit_of(word));
}

uint8_t mym_span_word[MYM_SPAN_MAX / MYM_UNIT + 1];

void mym_spans_init(void)
{
    unsigned units = MYM_SPAN_FIRST;

    for (unsigned i = MYM_SLOTS; i < MYM_SLOTS + MYM_SPAN_CLASSES; i++) {
        mym_front.closed.slot[i] = MYM_SPAN_SHUT;
        while (units <= mym_span_units(i - MYM_SLOTS))
            mym_span_word[units++] = (uint8_t)i;
    }
}

_Static_assert(MYM_SPAN_CLASSES <= 32, "a set of them is 32 bits");

static uint32_t bit(unsigned cls)
{
    return (uint32_t)1 << cls;
}

/* A hint is changed without a lock: what is lost of it costs nothing but time. */
static void set_hint(uint32_t *hint, uint32_t bits, bool set)
{
    uint32_t now = __atomic_load_n(hint, __ATOMIC_RELAXED);
    uint32_t want = set ? now | bits : now & ~bits;

    if (want != now)
        __atomic_store_n(hint, want, __ATOMIC_RELAXED);
}

MYM_INLINE void *pop(struct mym_cache *own, unsigned cls)
{
    void *word = read_word(own, cls);

    if (!is_span(word) || !swap(own, cls, word, MYM_SPAN_NONE))
        return NULL;
    mym_span_mark(record_of(word), false);
    return mym_unit_address(mym_unit_of(word));
}

void *mym_span_pop(unsigned cls)
{
    struct mym_cache *own = mym_thread_hold();
    void *span;

    if (own == NULL)
        return NULL;
    span = pop(own, cls);
    mym_thread_leave(own);
    return span;
}

/* Once more, as in mym_door_swap. */
static bool swap_out(struct mym_cache *own, unsigned cls, void *word)
{
    return swap(own, cls, word, MYM_SPAN_CLOSED) ||
           swap(own, cls, word, MYM_SPAN_CLOSED);
}

static bool close_word(struct mym_cache *own, unsigned cls)
{
    void *word = read_word(own, cls);

    if (word == MYM_SPAN_CLOSED || word == MYM_SPAN_SHUT || !swap_out(own, cls, word))
        return false;
    set_hint(&cache_here(own)->open, bit(cls), false);
    mym_idle_return(MYM_HOLDS_SPANS, mym_span_units(cls));
    if (is_span(word))
        release(word);
    return true;
}

/* Close the next word after `class` that is open; false: there is none. */
static bool close_one(struct mym_cache *own, unsigned cls)
{
    for (unsigned i = 1; i <= MYM_SPAN_CLASSES; i++)
        if (close_word(own, (cls + i) % MYM_SPAN_CLASSES))
            return true;
    return false;
}

/*
 * cache->missed: 0, or the class that was asked for in vain last; MANY: more than one of it
 * before one was freed.
 */
#define ONE(cls)  ((cls) + 1u)
#define MANY(cls) (ONE(cls) | 0x100u)

_Static_assert(ONE(MYM_SPAN_CLASSES) < 0x100, "a class and a mark");

static void note_miss(struct mym_cache *own, unsigned cls)
{
    struct mym_cache *cache = cache_here(own);
    uint32_t missed = __atomic_load_n(&cache->missed, __ATOMIC_RELAXED);
    uint32_t open = __atomic_load_n(&cache->open, __ATOMIC_RELAXED);

    __atomic_store_n(&cache->missed,
                     missed == ONE(cls) || missed == MANY(cls) ? MANY(cls) : ONE(cls),
                     __ATOMIC_RELAXED);
    for (; open != 0; open &= open - 1) {
        unsigned other = (unsigned)__builtin_ctz(open);
        void *word = read_word(own, other);

        if (!is_span(word))
            continue;
        if (is_idle(word))
            close_word(own, other);
        else
            swap(own, other, word, (char *)word + MYM_SPAN_IDLE);
    }
}

void *mym_span_take(unsigned cls)
{
    struct mym_cache *own = mym_thread_hold();
    void *span = pop(own, cls);

    if (span == NULL)
        note_miss(own, cls);
    mym_thread_leave(own);
    return span;
}

uint32_t mym_spans_open_in(const struct mym_cache *cache)
{
    uint32_t units = 0;

    for (unsigned cls = 0; cls < MYM_SPAN_CLASSES; cls++) {
        void *word = mym_slot_of(cache, MYM_SLOTS + cls);

        if (word != MYM_SPAN_CLOSED && word != MYM_SPAN_SHUT)
            units += mym_span_units(cls);
    }
    return units;
}

/* Not for a size that is only one of many, or of which many are wanted at once. */
static bool may_open(struct mym_cache *own, unsigned cls)
{
    uint32_t *missed = &cache_here(own)->missed;
    uint32_t now = __atomic_load_n(missed, __ATOMIC_RELAXED);

    if (now == MANY(cls))
        __atomic_store_n(missed, 0, __ATOMIC_RELAXED);
    return now == ONE(cls);
}

static MYM_SLOW bool open_with(struct mym_cache *own, unsigned cls, void *span)
{
    uint32_t units = mym_span_units(cls);

    mym_chunk_learn(span, units * MYM_UNIT); /* the page heap will not see it soon */
    while (mym_spans_open_in(cache_here(own)) + units > CACHE_MOST &&
           close_one(own, cls))
        ;
    if (!mym_idle_grant(MYM_HOLDS_SPANS, units, 1))
        return false;
    set_hint(&cache_here(own)->open, bit(cls), true);
    if (swap(own, cls, MYM_SPAN_CLOSED, span))
        return true;
    mym_idle_return(MYM_HOLDS_SPANS, units);
    return false;
}

enum mym_push mym_span_push(unsigned cls, void *span)
{
    struct mym_cache *own = mym_thread_hold();
    void *word = read_word(own, cls);
    bool kept;

    if (MYM_UNLIKELY(word == MYM_SPAN_SHUT)) {
        mym_thread_leave(own);
        return MYM_PUSH_SHUT;
    }
    if (word == MYM_SPAN_CLOSED ? !may_open(own, cls) : word != MYM_SPAN_NONE) {
        mym_thread_leave(own);
        return MYM_PUSH_REFUSED;
    }
    mym_span_mark(record_of(span), true); /* as in mym_span_quick_push */
    kept = (word == MYM_SPAN_NONE && swap(own, cls, MYM_SPAN_NONE, span)) ||
           (word == MYM_SPAN_CLOSED && open_with(own, cls, span));
    if (!kept)
        mym_span_mark(record_of(span), false);
    mym_thread_leave(own);
    return kept ? MYM_PUSH_KEPT : MYM_PUSH_REFUSED;
}

void mym_spans_close_here(void)
{
    struct mym_cache *own = mym_thread_hold();

    while (close_one(own, 0))
        ;
    mym_thread_leave(own);
}

void mym_spans_close(struct mym_cache *cache)
{
    for (unsigned cls = 0; cls < MYM_SPAN_CLASSES; cls++) {
        void *word = mym_slot_of(cache, MYM_SLOTS + cls);

        if (word == MYM_SPAN_CLOSED || word == MYM_SPAN_SHUT)
            continue;
        mym_slot_set(cache, MYM_SLOTS + cls, MYM_SPAN_CLOSED);
        mym_idle_return(MYM_HOLDS_SPANS, mym_span_units(cls));
        if (is_span(word))
            release(word);
    }
}

size_t mym_spans_in(const struct mym_cache *cache)
{
    size_t units = 0;

    for (unsigned cls = 0; cls < MYM_SPAN_CLASSES; cls++)
        if (is_span(mym_slot_of(cache, MYM_SLOTS + cls)))
            units += mym_span_units(cls);
    return units * MYM_UNIT;
}
