/*
 * spans.c - free large objects, up to MYM_SPAN_MAX bytes, a list of each size per cache.
 *
 * A cache has a word for each span class, behind its slots, changed by sequences of its own
 * or by the same conditional swap:
 *
 *   CLOSED          spans go to the page heap
 *   room            open: the next span of this size that is freed here is kept here
 *   a span          on top of `held` of them; free, not given to anybody else, their records
 *                   say `cached`. With IDLE: nobody took it since something else was asked
 *                   for in vain
 *   SHUT            in the closed cache: never swapped
 *
 * `below` of a span's record is the word as it was before the span came (heap.h), so who
 * takes the span restores it. It is read in the sequence that takes the span: before, the
 * word may have gone and come back with something else below.
 *
 * A word is opened for a size that is freed when it was the last that was asked for in
 * vain, for one; and when several are asked for that were given back one after the other:
 * then the list that the page heap has loose becomes the word, and when there is
 * no more room all go back as one, so neither is walked. An open
 * word is idle memory, present or to come: it is part of what pools keep (mym_idle_grant),
 * and closed for another size when there is no more of that, or when its span was not taken
 * between two requests in vain: those want other sizes. So what all caches hold is bounded
 * in bytes, and a hit counts nothing.
 *
 * One word more is for lengths that have no class, a single span of one of them:
 *
 *   CLOSED | length, open | a span + its length | SHUT       with IDLE as above
 *
 * It says all there is to know of its span, so nobody who swaps it can be deceived. It stands for
 * its length, and is open when no other word is: what is longer than all of them may stand for.
 *
 * Locking: none. A word is changed by a sequence on its own CPU, or by whoever has the cache
 * for himself.
 */
#include "cache/cache.h"

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

static uintptr_t read_word(struct mym_cache *own, unsigned cls)
{
    return mym_span_word_of(cache_here(own), MYM_SLOTS + cls);
}

static void set_word(struct mym_cache *own, unsigned cls, uintptr_t word)
{
    mym_slot_set(own, MYM_SLOTS + cls, (void **)word); /* NOLINT */
}

static bool swap(struct mym_cache *own, unsigned cls, uintptr_t old, uintptr_t fresh)
{
    if (MYM_LIKELY(own == NULL)) /* the closed cache holds none of the old values */
        return mym_rseq_swap(MYM_SLOTS + cls, old, fresh);
    if (read_word(own, cls) != old)
        return false;
    set_word(own, cls, fresh);
    return true;
}

static bool is_span(uintptr_t word)
{
    return word >= MYM_UNIT;
}

static bool is_open(uintptr_t word)
{
    return word != MYM_SPAN_CLOSED && word != MYM_SPAN_SHUT;
}

static uint32_t held(uintptr_t word)
{
    return is_span(word) ? mym_span_held(word) : 0;
}

/* Spans that an open word may hold. */
static uint32_t room(uintptr_t word)
{
    return is_open(word) ? held(word) + ((word & (MYM_SPAN_IDLE - 1)) >> 8) : 0;
}

uint8_t mym_span_word[MYM_SPAN_MAX / MYM_UNIT + 1];

void mym_spans_init(void)
{
    unsigned units = 0;

    while (units < MYM_SPAN_FIRST)
        mym_span_word[units++] = (uint8_t)MYM_SPAN_NO_WORD;
    for (unsigned i = MYM_SLOTS; i < MYM_SLOTS + MYM_SPAN_CLASSES; i++) {
        set_word(&mym_front.closed, i - MYM_SLOTS, MYM_SPAN_SHUT);
        while (units <= mym_span_units(i - MYM_SLOTS))
            mym_span_word[units++] = (uint8_t)i;
    }
    set_word(&mym_front.closed, MYM_SPAN_LONG, MYM_SPAN_SHUT);
}

_Static_assert(MYM_SPAN_LONG < 32, "a set of them is 32 bits");

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
    uintptr_t word = own != NULL ? read_word(own, cls) : mym_rseq_take(MYM_SLOTS + cls);
    struct mym_unit *record;

    if (!is_span(word))
        return NULL;
    record = mym_span_record(word);
    if (own != NULL)
        set_word(own, cls, record->below);
    mym_span_mark(record, false);
    return (void *)(word & ~(MYM_UNIT - 1)); /* NOLINT */
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
static bool swap_out(struct mym_cache *own, unsigned cls, uintptr_t word)
{
    return swap(own, cls, word, MYM_SPAN_CLOSED) ||
           swap(own, cls, word, MYM_SPAN_CLOSED);
}

/* Units that an open word stands for: of the one for lengths without a class its length. */
static uint32_t stands_for(unsigned cls, uintptr_t word)
{
    if (cls == MYM_SPAN_LONG)
        return is_open(word) ? word & (MYM_SPAN_IDLE - 1) : 0;
    return room(word) * mym_span_units(cls);
}

/* Its spans, as the page heap takes them: one alone needs nothing below. */
static uintptr_t list_of(unsigned cls, uintptr_t word)
{
    uintptr_t list = word & ~(uintptr_t)MYM_SPAN_IDLE;

    if (cls == MYM_SPAN_LONG)
        return (word & ~(MYM_UNIT - 1)) + MYM_SPAN_HELD;
    MYM_ASSERT(mym_span_list_is_whole(list, mym_span_units(cls)));
    return list;
}

static bool close_word(struct mym_cache *own, unsigned cls)
{
    uintptr_t word = read_word(own, cls);

    if (!is_open(word) || !swap_out(own, cls, word))
        return false;
    set_hint(&cache_here(own)->open, bit(cls), false);
    mym_idle_return(MYM_HOLDS_SPANS, stands_for(cls, word));
    if (is_span(word))
        mym_pages_put_loose(list_of(cls, word));
    return true;
}

/* Close the next word after that of `cls` that is open; false: there is none. */
static bool close_one(struct mym_cache *own, unsigned cls)
{
    for (unsigned i = 1; i <= MYM_SPAN_WORDS; i++)
        if (close_word(own, (cls + i) % MYM_SPAN_WORDS))
            return true;
    return false;
}

/* So many units were asked for in vain last: cache->missed. */
static void note_miss(struct mym_cache *own, uint32_t units)
{
    struct mym_cache *cache = cache_here(own);
    uint32_t open = __atomic_load_n(&cache->open, __ATOMIC_RELAXED);

    __atomic_store_n(&cache->missed, units, __ATOMIC_RELAXED);
    for (; open != 0; open &= open - 1) {
        unsigned other = (unsigned)__builtin_ctz(open);
        uintptr_t word = read_word(own, other);

        if (!is_span(word))
            continue;
        if (word & MYM_SPAN_IDLE)
            close_word(own, other);
        else
            swap(own, other, word, word | MYM_SPAN_IDLE);
    }
}

uint32_t mym_spans_open_in(const struct mym_cache *cache)
{
    uint32_t units = 0;

    for (unsigned cls = 0; cls < MYM_SPAN_WORDS; cls++)
        units += stands_for(cls, mym_span_word_of(cache, MYM_SLOTS + cls));
    return units;
}

/* A word is to stand for so many units more: others are closed for it. */
static bool grant(struct mym_cache *own, unsigned cls, uint32_t units)
{
    while (mym_spans_open_in(cache_here(own)) + units > CACHE_MOST &&
           close_one(own, cls))
        ;
    return mym_idle_grant(MYM_HOLDS_SPANS, units, 1);
}

/* What came along with a span becomes the word, if that is empty; or goes back. */
static void keep_rest(struct mym_cache *own, unsigned cls, uintptr_t rest)
{
    uintptr_t word = read_word(own, cls);
    uint32_t more = room(rest) - room(word);

    if (word == MYM_SPAN_SHUT || is_span(word) ||
        (more > 0 && !grant(own, cls, more * mym_span_units(cls)))) {
        mym_pages_put_loose(rest);
        return;
    }
    set_hint(&cache_here(own)->open, bit(cls), true);
    if (swap(own, cls, word, rest))
        return;
    mym_idle_return(MYM_HOLDS_SPANS, more * mym_span_units(cls));
    mym_pages_put_loose(rest);
}

/* From the page heap, if that has some that were given back lately and are whole. */
static void *take_loose(struct mym_cache *own, unsigned cls)
{
    uintptr_t list = mym_pages_take_loose(mym_span_units(cls)), rest;

    if (list == 0)
        return NULL;
    rest = mym_span_record(list)->below;
    mym_span_mark(mym_span_record(list), false);
    if (is_span(rest))
        keep_rest(own, cls, rest);
    return (void *)(list & ~(MYM_UNIT - 1)); /* NOLINT */
}

void *mym_span_take(unsigned cls)
{
    struct mym_cache *own = mym_thread_hold();
    void *span = pop(own, cls);

    if (span == NULL) {
        note_miss(own, mym_span_units(cls));
        span = take_loose(own, cls);
    }
    mym_thread_leave(own);
    return span;
}

/* Not for a size that is only one of many. */
static bool may_open(struct mym_cache *own, uint32_t units)
{
    return __atomic_load_n(&cache_here(own)->missed, __ATOMIC_RELAXED) == units;
}

/* A closed word becomes one that holds a span of so many units. */
static bool open_with(struct mym_cache *own, unsigned cls, uint32_t units,
                      uintptr_t word)
{
    const char *span = (const char *)(word & ~(MYM_UNIT - 1)); /* NOLINT */
    const char *object = span + mym_span_record(word)->lines * MYM_CACHELINE;

    if (!grant(own, cls, units))
        return false;
    mym_dense_ended(object, units * MYM_UNIT); /* the page heap will not see it soon */
    set_hint(&cache_here(own)->open, bit(cls), true);
    if (swap(own, cls, MYM_SPAN_CLOSED, word)) {
        mym_idle_left(units);
        return true;
    }
    mym_idle_return(MYM_HOLDS_SPANS, units);
    return false;
}

static MYM_SLOW bool open_word(struct mym_cache *own, unsigned cls, void *span)
{
    mym_span_record((uintptr_t)span)->below = MYM_SPAN_ROOM;
    return open_with(own, cls, mym_span_units(cls), mym_span_onto(MYM_SPAN_ROOM, span));
}

/* On top of what the word holds; if that is all it may, in its stead. */
static bool push(struct mym_cache *own, unsigned cls, uintptr_t word, void *span)
{
    bool full = held(word) == room(word);
    uintptr_t below =
        full ? room(word) * MYM_SPAN_ROOM : word & ~(uintptr_t)MYM_SPAN_IDLE;

    mym_span_record((uintptr_t)span)->below = below;
    if (!swap(own, cls, word, mym_span_onto(below, span)))
        return false;
    if (full)
        mym_pages_put_loose(word & ~(uintptr_t)MYM_SPAN_IDLE);
    return true;
}

enum mym_push mym_span_push(unsigned cls, void *span)
{
    struct mym_cache *own = mym_thread_hold();
    uintptr_t word = read_word(own, cls);
    bool kept;

    if (MYM_UNLIKELY(word == MYM_SPAN_SHUT)) {
        mym_thread_leave(own);
        return MYM_PUSH_SHUT;
    }
    /* One that holds a single span keeps it. */
    if (word == MYM_SPAN_CLOSED ? !may_open(own, mym_span_units(cls))
                                : is_span(word) && room(word) == 1) {
        mym_thread_leave(own);
        return MYM_PUSH_REFUSED;
    }
    mym_span_mark(mym_span_record((uintptr_t)span),
                  true); /* as in mym_span_quick_push */
    kept = word == MYM_SPAN_CLOSED ? open_word(own, cls, span)
                                   : push(own, cls, word, span);
    if (!kept)
        mym_span_mark(mym_span_record((uintptr_t)span), false);
    mym_thread_leave(own);
    return kept ? MYM_PUSH_KEPT : MYM_PUSH_REFUSED;
}

/* ---- of lengths that have no class ---- */

void *mym_span_take_long(uint32_t units)
{
    struct mym_cache *own = mym_thread_hold();
    uintptr_t word = read_word(own, MYM_SPAN_LONG);
    void *span = NULL;

    if (is_span(word) && stands_for(MYM_SPAN_LONG, word) == units &&
        swap(own, MYM_SPAN_LONG, word, units)) {
        mym_span_mark(mym_span_record(word), false);
        span = (void *)(word & ~(MYM_UNIT - 1)); /* NOLINT */
    } else {
        note_miss(own, units);
    }
    mym_thread_leave(own);
    return span;
}

/*
 * Not before it is known whether such are written all over: each that the page heap gives tells
 * more of it, and gets huge pages then.
 */
static MYM_SLOW bool open_long(struct mym_cache *own, uint32_t units, uintptr_t word)
{
    size_t bytes = (size_t)units * MYM_UNIT;

    return may_open(own, units) &&
           (mym_is_always_dense(bytes) || mym_is_seldom_dense(bytes)) &&
           open_with(own, MYM_SPAN_LONG, units, word);
}

enum mym_push mym_span_push_long(void *span)
{
    struct mym_cache *own = mym_thread_hold();
    uintptr_t word = read_word(own, MYM_SPAN_LONG);
    struct mym_unit *record = mym_span_record((uintptr_t)span);
    uint32_t units = record->length;
    uintptr_t with = (uintptr_t)span + units;
    enum mym_push done = MYM_PUSH_REFUSED;

    if (word == MYM_SPAN_SHUT) {
        done = MYM_PUSH_SHUT;
    } else if (word == units && mym_idle_is_overdrawn()) {
        close_word(own, MYM_SPAN_LONG); /* too long to stay until the next upkeep */
    } else if (!is_span(word)) {
        mym_span_mark(record, true); /* as in mym_span_quick_push */
        if (word == units ? swap(own, MYM_SPAN_LONG, word, with)
                          : open_long(own, units, with))
            done = MYM_PUSH_KEPT;
        else
            mym_span_mark(record, false);
    }
    mym_thread_leave(own);
    return done;
}

void mym_spans_close(struct mym_cache *own)
{
    while (close_one(own, 0))
        ;
}

void mym_spans_close_here(void)
{
    struct mym_cache *own = mym_thread_hold();

    mym_spans_close(own);
    mym_thread_leave(own);
}

size_t mym_spans_in(const struct mym_cache *cache)
{
    size_t units = 0;

    for (unsigned cls = 0; cls < MYM_SPAN_WORDS; cls++) {
        uintptr_t word = mym_span_word_of(cache, MYM_SLOTS + cls);

        if (is_span(word))
            units += cls == MYM_SPAN_LONG ? stands_for(cls, word)
                                          : held(word) * mym_span_units(cls);
    }
    return units * MYM_UNIT;
}
