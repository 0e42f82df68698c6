/*
 * spans.c - the words that keep free large objects: bytes say which are taken and given back,
 * on which of two CPUs, and when a cache is closed or drained.
 *
 * The model knows each span that was given to a cache and not taken again. Such a one is in a
 * word, or went to the page heap, and then its record says so; what is in use by the page
 * heap is what the test holds and what lies in words, so none is lost and none is in both.
 */
#include "bytes.h"
#include "check.h"

#include "cache/cache.h"
#include "heap/runs.h"
#include "pool/pool.h"

#include <sched.h>
#include <string.h>

#define SPANS 64

static struct span {
    uint32_t first;
    unsigned cls;
    enum { NOWHERE, OURS, CACHED } where;
} spans[SPANS];

static uint64_t *word_of(const struct span *span)
{
    return mym_unit_address(span->first + mym_span_units(span->cls) - 1);
}

/* Which of them the cache means; what it holds came from here. */
static struct span *find_cached(const void *object)
{
    for (int i = 0; i < SPANS; i++)
        if (spans[i].where == CACHED && mym_unit_address(spans[i].first) == object)
            return &spans[i];
    return NULL;
}

/* It went from its word to the page heap, whose other spans may lie there now. */
static bool went_back(const struct span *span)
{
    const struct mym_unit *record = &mym_heap.units[span->first];

    return record->kind != MYM_LARGE || !record->cached || record->first != span->first;
}

/* ---- what must hold after every step ---- */

struct sums {
    size_t bytes;   /* of spans in words */
    uint32_t words; /* units that open words stand for */
};

static void add(const struct mym_cache *cache, struct sums *sums)
{
    uint32_t open = mym_spans_open_in(cache);

    CHECKF(open <= MYM_SPAN_MAX / MYM_UNIT, "the words of a cache stand for %u units",
           open);
    sums->words += open;
    sums->bytes += mym_spans_in(cache);
}

static struct sums in_all_caches(void)
{
    struct sums sums = {0, 0};

    for (unsigned id = 0; id < mym_caches.top; id++)
        if (mym_cache_made(id) != NULL)
            add(mym_cache_made(id), &sums);
    for (struct mym_cache *cache = mym_thread_caches; cache != NULL;
         cache = cache->next)
        add(cache, &sums);
    return sums;
}

static void check_sums(void)
{
    struct sums sums = in_all_caches();
    struct mym_pages_info info = mym_pages_info();
    size_t ours = 0, cached = 0;

    for (int i = 0; i < SPANS; i++) {
        size_t bytes = mym_span_units(spans[i].cls) * MYM_UNIT;

        if (spans[i].where == CACHED && went_back(&spans[i]))
            spans[i].where = NOWHERE;
        ours += spans[i].where == OURS ? bytes : 0;
        cached += spans[i].where == CACHED ? bytes : 0;
        if (spans[i].where == OURS)
            CHECKF(*word_of(&spans[i]) == spans[i].first, "span %u was written to",
                   spans[i].first);
    }
    CHECKF(cached == sums.bytes, "%zu bytes in words, %zu by the model", sums.bytes,
           cached);
    CHECKF(info.held[MYM_HOLDS_SPANS] == sums.words * MYM_UNIT,
           "words stand for %u units, %zu bytes were granted", sums.words,
           info.held[MYM_HOLDS_SPANS]);
    CHECKF(info.mapped - info.free == ours + cached, "%zu bytes in use, %zu and %zu",
           info.mapped - info.free, ours, cached);
    CHECK(mym_pages_verify() == 0);
}

/* ---- steps ---- */

static void take(struct span *span, unsigned cls)
{
    void *object = mym_span_take(cls);
    bool zeroed = false;

    if (object != NULL) {
        struct span *was = find_cached(object);

        CHECKF(was != NULL && was->cls == cls, "%p of class %u was not given back",
               object, cls);
        CHECK(!mym_heap.units[was->first].cached);
        was->where = NOWHERE;
        span->first = was->first;
    } else {
        span->first = mym_pages_take(mym_span_units(cls), 1, MYM_LARGE, false, &zeroed);
        CHECK(span->first != 0);
        for (int i = 0; i < SPANS; i++)
            CHECKF(spans[i].where == NOWHERE || went_back(&spans[i]) ||
                       spans[i].first != span->first,
                   "span %u is in two places", span->first);
    }
    span->cls = cls;
    span->where = OURS;
    *word_of(span) = span->first;
}

static void put(struct span *span)
{
    void *object = mym_unit_address(span->first);

    *word_of(span) = ~(uint64_t)0;
    span->where = CACHED;
    if (mym_span_push(span->cls, object) == MYM_PUSH_SHUT && mym_cache_open_here())
        mym_span_push(span->cls, object);
    if (mym_heap.units[span->first].cached)
        return;
    mym_pages_put(span->first);
    span->where = NOWHERE;
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
    struct span *span = &spans[which % SPANS];
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
    default:
        /* A bit more often of one size: what it asks for again is what a word is for. */
        if (span->where == OURS)
            put(span);
        else if (span->where == NOWHERE)
            take(span, cls % (what % 2 ? 4 : MYM_SPAN_CLASSES));
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
    mym_pages_purge(0);
    CHECK(mym_cache_verify() == 0);
    return 0;
}
