/*
 * spans.c - the words that keep free large objects: bytes say which are taken and given back,
 * on which of two CPUs, and when a cache is closed or drained.
 *
 * The model knows each span that was given back and not taken again. After every step the
 * words of all caches and what the page heap has loose are walked: each span is there once,
 * and of those that were given back; the others were joined with free runs. What is in use by
 * the page heap is what the test holds and what lies in words, so none is lost.
 */
#include "bytes.h"
#include "check.h"

#include "cache/cache.h"
#include "heap/runs.h"
#include "pool/pool.h"

#include <sched.h>
#include <string.h>

#define SLOTS 64  /* that bytes can name: what is ours is in one of them */
#define SPANS 256 /* and behind them what was given back, when its slot is used again */

/* Two lengths have no class, and one word for both. */
#define LENGTHS (MYM_SPAN_CLASSES + 2)

static bool is_long(unsigned cls)
{
    return cls >= MYM_SPAN_CLASSES;
}

static struct span {
    uint32_t first;
    unsigned cls; /* or what would be the next ones */
    enum { NOWHERE, OURS, BACK, IN_WORD, LOOSE } where;
} spans[SPANS];

static uint64_t *word_of(const struct span *span)
{
    return mym_unit_address(span->first + mym_span_units(span->cls) - 1);
}

/* ---- what must hold after every step ---- */

struct sums {
    size_t bytes;   /* of spans in words */
    uint32_t words; /* units that open words stand for */
};

/* One that is in a list was given back, and is found in no other. */
static void find(uintptr_t word, unsigned cls, bool in_word)
{
    uint32_t first = mym_unit_of((const void *)word); /* NOLINT */
    struct span *span = NULL;

    for (int i = 0; i < SPANS && span == NULL; i++)
        if (spans[i].where == BACK && spans[i].first == first)
            span = &spans[i];
    CHECKF(span != NULL && span->cls == cls, "span %u of class %u was not given back",
           first, cls);
    CHECK(mym_span_record(word)->state == MYM_CACHED &&
          mym_span_record(word)->first == first);
    span->where = in_word ? IN_WORD : LOOSE;
}

/* Each word below has one span less, and room for one more. */
static void walk_word(uintptr_t word, unsigned cls, struct sums *sums)
{
    uintptr_t each = MYM_SPAN_ROOM - MYM_SPAN_HELD, low = word & (MYM_SPAN_IDLE - 1);

    if (word == MYM_SPAN_CLOSED)
        return;
    sums->words += (low / MYM_SPAN_ROOM + low % MYM_SPAN_ROOM) * mym_span_units(cls);
    for (; word >= MYM_UNIT; word = mym_span_record(word)->below, low += each) {
        CHECKF((word & (MYM_SPAN_IDLE - 1)) == low, "a word reads %zx, not %zx",
               (size_t)word % MYM_UNIT, (size_t)low);
        find(word, cls, true);
        sums->bytes += mym_span_units(cls) * MYM_UNIT;
    }
    CHECKF(word == low && word % MYM_SPAN_ROOM == 0, "the last word reads %zx, not %zx",
           (size_t)word, (size_t)low);
}

static void walk_long(uintptr_t word, struct sums *sums)
{
    uint32_t units = word & (MYM_SPAN_IDLE - 1);

    sums->words += units;
    if (word < MYM_UNIT)
        return;
    CHECKF(mym_span_record(word)->length == units, "the word of %u units", units);
    for (unsigned cls = MYM_SPAN_CLASSES; cls < LENGTHS; cls++)
        if (mym_span_units(cls) == units)
            find(word & ~(MYM_UNIT - 1), cls, true);
    sums->bytes += units * MYM_UNIT;
}

static void walk_cache(const struct mym_cache *cache, struct sums *sums)
{
    struct sums own = {0, 0};

    for (unsigned cls = 0; cls < MYM_SPAN_CLASSES; cls++)
        walk_word(mym_span_word_of(cache, MYM_SLOTS + cls), cls, &own);
    if (own.words == 0)
        walk_long(mym_span_word_of(cache, MYM_SLOTS + MYM_SPAN_LONG), &own);
    else
        CHECK(mym_span_word_of(cache, MYM_SLOTS + MYM_SPAN_LONG) == MYM_SPAN_CLOSED);
    CHECKF(own.words <= mym_span_units(LENGTHS - 1),
           "the words of a cache stand for %u units", own.words);
    CHECK(own.words == mym_spans_open_in(cache) && own.bytes == mym_spans_in(cache));
    sums->words += own.words;
    sums->bytes += own.bytes;
}

static void walk_loose(unsigned kind, unsigned cls)
{
    uint32_t length = mym_span_units(cls);
    uintptr_t list = mym_pages.loose[kind][is_long(cls) ? 1 : length];

    if (is_long(cls) && mym_pages.loose_long != length)
        return;
    for (; list != 0; list = mym_span_record(list)[1].below) {
        CHECKF(mym_span_list_is_whole(list, mym_span_units(cls)),
               "a loose list of class %u", cls);
        for (uintptr_t span = list; span >= MYM_UNIT;
             span = mym_span_record(span)->below)
            find(span, cls, false);
    }
}

static struct sums walk_all(void)
{
    struct sums sums = {0, 0};

    for (int i = 0; i < SPANS; i++)
        if (spans[i].where != NOWHERE && spans[i].where != OURS)
            spans[i].where = BACK;
    for (unsigned id = 0; id < mym_caches_top; id++)
        if (mym_cache_made(id) != NULL)
            walk_cache(mym_cache_made(id), &sums);
    for (struct mym_cache *cache = mym_thread_caches; cache != NULL;
         cache = cache->next)
        walk_cache(cache, &sums);
    for (unsigned cls = 0; cls < LENGTHS; cls++) {
        walk_loose(MYM_THICK, cls);
        walk_loose(MYM_THIN, cls);
    }
    for (int i = 0; i < SPANS; i++)
        if (spans[i].where == BACK)
            spans[i].where = NOWHERE; /* joined with what is free beside it */
    return sums;
}

static void check_sums(void)
{
    struct sums sums = walk_all();
    struct mym_pages_info info = mym_pages_info();
    size_t ours = 0;

    for (int i = 0; i < SPANS; i++)
        if (spans[i].where == OURS) {
            ours += mym_span_units(spans[i].cls) * MYM_UNIT;
            CHECKF(*word_of(&spans[i]) == spans[i].first, "span %u was written to",
                   spans[i].first);
        }
    CHECKF(info.held[MYM_HOLDS_SPANS] == sums.words * MYM_UNIT,
           "words stand for %u units, %zu bytes were granted", sums.words,
           info.held[MYM_HOLDS_SPANS]);
    CHECKF(info.mapped - info.free == ours + sums.bytes,
           "%zu bytes in use, %zu and %zu", info.mapped - info.free, ours, sums.bytes);
}

/* ---- steps ---- */

/* What else was there is no more, or it was cut from what that was joined to. */
static void check_alone(uint32_t first, bool cached)
{
    for (int i = 0; i < SPANS; i++)
        if (spans[i].first == first && spans[i].where != NOWHERE) {
            CHECKF(spans[i].where != OURS, "span %u is in two places", first);
            spans[i].where = NOWHERE;
            cached = false;
        }
    CHECKF(!cached, "span %u was not given back", first);
}

static void take(struct span *span, unsigned cls)
{
    uint32_t units = mym_span_units(cls), first;
    void *object = is_long(cls) ? mym_span_take_long(units) : mym_span_take(cls);
    bool zeroed = false;

    first = object != NULL ? mym_unit_of(object)
                           : mym_pages_take(units, 1, MYM_LARGE, false, &zeroed);
    CHECK(first != 0 && !mym_heap.units[first].cached);
    CHECK(mym_heap.units[first].length == units);
    check_alone(first, object != NULL);
    span->first = first;
    span->cls = cls;
    span->where = OURS;
    *word_of(span) = span->first;
}

static enum mym_push push(const struct span *span, void *object)
{
    return is_long(span->cls) ? mym_span_push_long(object)
                              : mym_span_push(span->cls, object);
}

static void put(struct span *span)
{
    void *object = mym_unit_address(span->first);
    struct mym_unit *record = &mym_heap.units[span->first];

    *word_of(span) = ~(uint64_t)0;
    span->where = BACK;
    if (push(span, object) == MYM_PUSH_SHUT && mym_cache_open_here())
        push(span, object);
    if (record->cached)
        return;
    mym_dense_ended(object, mym_span_units(span->cls) * MYM_UNIT);
    mym_span_mark(record, true);
    mym_pages_put_loose((uintptr_t)object + MYM_SPAN_HELD);
}

/* What was given back is known by another record; false: there is none. */
static bool vacate(struct span *span)
{
    struct span *to = &spans[SLOTS];

    while (span->where != NOWHERE && to->where != NOWHERE)
        if (++to == &spans[SPANS])
            return false;
    if (span->where != NOWHERE) {
        *to = *span;
        span->where = NOWHERE;
    }
    return true;
}

/* On the CPU that the process had first, or on the second. */
static void move(unsigned which)
{
    static cpu_set_t all;
    cpu_set_t one;

    if (CPU_COUNT(&all) == 0)
        sched_getaffinity(0, sizeof all, &all);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && which-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, CPU_COUNT(&one) == 1 ? &one : &all);
}

static void play(struct bytes *bytes)
{
    unsigned what = read_byte(bytes), which = read_byte(bytes);
    struct span *span = &spans[which % SLOTS];
    unsigned cls = what / 16 * 2 + which / 128;

    switch (what % 16) {
    case 15:
        mym_spans_close_here();
        break;
    case 14:
        mym_cache_drain();
        break;
    case 13:
        mym_idle_set_keep(which * 4 * MYM_UNIT);
        break;
    case 12:
        mym_pages_purge(which * MYM_UNIT);
        break;
    case 11:
        move(which % 2);
        break;
    case 10:
        CHECK(mym_pages_verify() == 0);
        break;
    default:
        /* A bit more often of one size: what it asks for again is what a word is for. */
        if (span->where == OURS)
            put(span);
        else if (vacate(span))
            take(span, cls % (what % 2 ? 4 : LENGTHS));
    }
    check_sums();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct bytes bytes = {data, length};

    check_begin("spans");
    free(malloc(1));
    move(0);
    mym_idle_set_keep((size_t)64 << 20);
    while (bytes.left >= 2)
        play(&bytes);
    for (int i = 0; i < SPANS; i++)
        if (spans[i].where == OURS)
            put(&spans[i]);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        move(cpu);
        mym_spans_close_here();
    }
    check_sums();
    CHECK(mym_pages_verify() == 0);
    mym_pages_purge(0);
    CHECK(mym_cache_verify() == 0);
    return 0;
}
