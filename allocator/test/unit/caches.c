/*
 * caches.c - magazines and span words by themselves, and what caches, pools and sparse slabs
 * hold of the memory that may stay idle.
 */
#include "check.h"
#include "family.h"
#include "spans.h"

#include "alloc/alloc.h"
#include "alloc/info.h"
#include "cache/cache.h"
#include "heap/heap.h"
#include "heap/runs.h"
#include "heap/sizes.h"
#include "os/os.h"

#include <string.h>
#include <unistd.h>

/* ---- magazines ---- */

/* Magazines that the pool of this size gave and got. */
static uint64_t exchanges(size_t size)
{
    static struct mym_info info;

    mym_info_read(&info);
    return info.cls[mym_class_of(size)].misses + info.cls[mym_class_of(size)].overflows;
}

/* The first magazines of a class are short. They don't stay so: what two long ones hold needs
   no pool. */
static void short_magazines_grow(void)
{
    for (unsigned part = 1; part <= 4; part++) {
        /* Classes that were not used before; the last has the longest there are at once. */
        const size_t size = part == 4 ? 32 : 96 + part * 32;
        unsigned count = mym_classes[mym_class_of(size)].capacity * part / 4;
        void *objects[256];
        uint64_t before = 0, more;

        CHECK(count <= 256);
        for (unsigned turn = 0; turn < 1000; turn++) {
            for (unsigned i = 0; i < count; i++)
                CHECK((objects[i] = mym_malloc(opaque(size))));
            for (unsigned i = 0; i < count; i++)
                mym_free(objects[i]);
            if (turn == 10)
                before = exchanges(size);
        }
        more =
            exchanges(size) - before; /* each CPU that the thread is on begins anew */
        CHECKF(more <= 100, "%u of %zu bytes: %llu magazines", count, size,
               (unsigned long long)more);
    }
}

static void **current_top(unsigned cls)
{
    const struct mym_cache *cache =
        mym_mode == MYM_MODE_TLS ? mym_thread_own : mym_cache_of(mym_rseq_id());

    return mym_slot_of(cache, cls);
}

static const struct mym_magazine *current(unsigned cls)
{
    return mym_magazine_of(cls, current_top(cls));
}

/* Objects in the current one. */
static unsigned held(unsigned cls)
{
    return (unsigned)(current_top(cls) - current(cls)->entry);
}

/* A batch that would fit into a magazine of the longest that all may have meets no wall. */
static void batches_fit(void)
{
    const size_t size = 96;
    unsigned cls = mym_class_of(size), walls = 0;
    void *objects[48];

    stay_on_one_cpu();
    mym_trim(0);
    for (unsigned turn = 0; turn < 300; turn++) {
        const void *before = current(cls);

        for (unsigned i = 0; i < 48; i++)
            CHECK((objects[i] = mym_malloc(opaque(size))));
        walls += turn >= 200 && current(cls) != before;
        for (unsigned i = 0; i < 48; i++)
            mym_free(objects[i]);
    }
    CHECKF(walls <= 5, "%u of 100 batches", walls);
}

/* Who met a wall of one may go as far up and down as it held when it came, and meets none. */
static void wide_magazines_have_no_inner_walls(void)
{
    const size_t size = 3000;
    unsigned cls = mym_class_of(size), count = 0, half, before, walls = 0;
    const struct mym_magazine *magazine;
    void *objects[600];

    stay_on_one_cpu();
    for (; count < 500; count++)
        CHECK((objects[count] = mym_malloc(opaque(size))));
    do {
        before = held(cls);
        CHECK(count > 300);
        mym_free(objects[--count]);
    } while (held(cls) > before);
    magazine = current(cls);
    half = magazine->capacity / 2u;
    CHECKF(held(cls) == half + 1, "%u of %u", held(cls), magazine->capacity);
    for (unsigned turn = 0; turn < 1000; turn++) {
        for (unsigned i = 0; i < half; i++)
            CHECK((objects[count++] = mym_malloc(opaque(size))));
        walls += current(cls) != magazine;
        for (unsigned i = 1; i < 2 * half; i++)
            mym_free(objects[--count]);
        walls += current(cls) != magazine;
        for (unsigned i = 1; i < half; i++)
            CHECK((objects[count++] = mym_malloc(opaque(size))));
    }
    CHECKF(walls <= 5, "%u of 2000 ways", walls);
    while (count > 0)
        mym_free(objects[--count]);
}

/* ---- span words ---- */

static size_t in_words(void)
{
    size_t objects[MYM_CLASSES] = {0};

    return mym_cache_count(objects);
}

/* So many of a size taken, then freed in the same order. */
static void take_and_free(unsigned count, size_t size)
{
    void *object[64];

    for (unsigned i = 0; i < count; i++)
        CHECK((object[i] = mym_malloc(opaque(size))));
    for (unsigned i = 0; i < count; i++)
        mym_free(object[i]);
}

/* More than the case below has: a step of growth empties the words. */
static void grow_before(void)
{
    uint32_t first = take_units(1024);

    if (mym_pages_hear_growth())
        mym_purge_growth();
    mym_pages_put(first);
}

/* A span is kept for a size that comes and goes, alone or with others, and for no other. */
static void words_are_for_sizes_in_turn(void)
{
    size_t mib = (size_t)1 << 20, unit = MYM_UNIT;
    void *others[2];

    stay_on_one_cpu();
    grow_before();
    mym_trim(0);
    mym_idle_set_keep(1024 * MYM_UNIT);
    for (int i = 0; i < 10; i++) {
        take_and_free(1, mib);
        take_and_free(1, 5 * unit);
    }
    CHECKF(in_words() == mib + 5 * unit, "%zu bytes", in_words());
    for (int i = 0; i < 2; i++) /* in vain */
        CHECK((others[i] = mym_malloc(opaque((6 + (unsigned)i) * unit))));
    CHECKF(in_words() == 0, "%zu bytes", in_words());
    for (int i = 0; i < 2; i++)
        mym_free(others[i]);
    mym_trim(0);
    take_and_free(8, mib); /* many at once: a word keeps one of them */
    CHECKF(in_words() == mib, "%zu bytes", in_words());
    CHECK(mym_pages.loose_places == (uint64_t)1 << 15);
    for (int i = 0; i < 10; i++) /* again: as many as may be, the others stay whole */
        take_and_free(8, mib);
    CHECKF(in_words() == MYM_SPAN_MAX, "%zu bytes", in_words());
    CHECK(mym_pages.loose_places == (uint64_t)1 << 15);
    mym_free(mym_malloc(opaque(7 * mib))); /* what another length needs is joined */
    CHECK(mym_pages.loose_places == 1);    /* its own */
    take_and_free(1, mib);
    CHECKF(in_words() == MYM_SPAN_MAX, "%zu bytes", in_words());
    CHECK(mym_verify() == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
}

static void age(struct mym_pool *pool, void *context)
{
    (void)context;
    mym_pool_upkeep(pool, true, false);
    mym_pool_upkeep(pool, true, false);
}

/* What comes and goes in batches meets its pool for every eighth object, large as it is. */
static void busy_magazines_are_long(void)
{
    const struct mym_pool *pool = &mym_arenas[0]->pool[mym_class_of(MYM_UNIT)];
    uint64_t before = 0;

    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_pools_each(age, NULL); /* no other has any of the budget */
    for (int i = 0; i < 100; i++) {
        before = pool->misses;
        take_and_free(64, MYM_UNIT);
    }
    CHECKF(pool->misses - before <= 64 / 8, "%zu misses",
           (size_t)(pool->misses - before));
    mym_idle_set_keep(0);
    mym_trim(0);
}

/* Of what no cache keeps, those of one length stay whole until anything else is asked for. */
static void long_ones_of_a_length_are_loose(void)
{
    size_t mib = (size_t)1 << 20;
    void *first, *second, *other, *asked[2]; /* what is asked for last a cache keeps */

    mym_trim(0);
    mym_idle_set_keep(1024 * MYM_UNIT);
    CHECK((first = mym_malloc(opaque(8 * mib))));
    CHECK((second = mym_malloc(opaque(8 * mib))));
    CHECK((other = mym_malloc(opaque(9 * mib))));
    CHECK((asked[0] = mym_malloc(opaque(10 * mib))));
    mym_free(first);
    mym_free(second);
    CHECK(mym_pages.loose_count == 2 && mym_pages.loose_units == 16 * mib / MYM_UNIT);
    CHECK(mym_malloc(opaque(8 * mib)) == second);
    CHECK(mym_malloc(opaque(8 * mib)) == first && mym_pages.loose_count == 0);
    CHECK((asked[1] = mym_malloc(opaque(10 * mib))));
    mym_free(first);
    mym_free(second);
    mym_free(other); /* another length has their place */
    CHECK(mym_pages.loose_count == 1 && mym_pages.loose_units == 9 * mib / MYM_UNIT);
    CHECK((first = mym_malloc(opaque(8 * mib))) && mym_pages.loose_count == 0);
    mym_free(first);
    mym_free(asked[0]);
    mym_free(asked[1]);
    CHECK(mym_verify() == 0 && mym_pages.loose_count == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
}

/* One of them is kept, once it is known whether such are written all over; in no word's stead. */
static void a_long_one_is_kept(void)
{
    size_t mib = (size_t)1 << 20;
    void *one;

    mym_trim(0);
    mym_idle_set_keep(1024 * MYM_UNIT);
    take_and_free(1, mib);
    for (int i = 0; i < 10; i++)
        take_and_free(1, 8 * mib);
    CHECKF(in_words() == 8 * mib, "%zu bytes", in_words());
    CHECK(mym_verify() == 0);
    take_and_free(1, 9 * mib); /* in vain, twice */
    take_and_free(1, 9 * mib);
    CHECKF(in_words() != 8 * mib, "%zu bytes", in_words());
    for (int i = 0; i < 3; i++)
        take_and_free(1, 9 * mib);
    CHECKF(in_words() == 9 * mib, "%zu bytes", in_words());
    for (int i = 0; i < 3; i++)
        take_and_free(1, mib); /* all may stand for 4 MiB, or for one that is longer */
    CHECKF(in_words() == mib, "%zu bytes", in_words());
    CHECK(mym_verify() == 0);
    for (int i = 0; i < 3; i++)
        take_and_free(1, 9 * mib);
    CHECK((one = mym_malloc(opaque(9 * mib))));
    mym_idle_set_keep(0); /* less may stay than it has the place for */
    mym_free(one);
    CHECKF(in_words() == 0, "%zu bytes", in_words());
    mym_trim(0);
}

static unsigned told;

static void count_told(void)
{
    told++;
}

/* What a cache begins to keep has the place of other idle memory, and the helper hears of it. */
static void others_go_for_a_long_one(void)
{
    static void *others[60];
    size_t mib = (size_t)1 << 20, idle;
    struct mym_pages_info info;
    void *one;

    mym_trim(0);
    mym_idle_set_keep(32 * mib);
    for (unsigned i = 0; i < 10; i++) { /* known to be written all over */
        CHECK((one = mym_malloc(opaque(12 * mib))));
        memset(one, 1, 12 * mib);
        mym_free(one);
    }
    for (unsigned i = 0; i < 60; i++)
        CHECK((others[i] = mym_malloc(opaque(mib))));
    CHECK((one = mym_malloc(opaque(12 * mib))));
    memset(one, 1, 12 * mib);
    for (unsigned i = 0; i < 60; i++)
        mym_free(others[i]);
    told = 0;
    mym_idle_when_much = count_told;
    mym_free(one);
    mym_idle_when_much = NULL;
    CHECK(mym_span_record((uintptr_t)one)->cached);
    CHECK(told > 0);
    info = mym_pages_info();
    idle = info.dirty + info.idle + (size_t)mym_idle_held_in_all() * MYM_UNIT;
    CHECKF(idle <= info.allowance, "%zu MiB, %zu may stay", idle / mib,
           info.allowance / mib);
    mym_idle_set_keep(0);
    mym_trim(0);
}

/* What was given back last stays whole, but no more than can be joined at once. */
static void few_are_loose(void)
{
    static void *objects[3000];
    uint32_t most = 0;

    mym_idle_set_keep((size_t)4 << 30);
    for (unsigned i = 0; i < 3000; i++)
        CHECK((objects[i] = mym_malloc(opaque(3 * MYM_UNIT))));
    for (unsigned i = 0; i < 3000; i++) {
        mym_free(objects[i]);
        most = mym_pages.loose_count > most ? mym_pages.loose_count : most;
    }
    CHECKF(most > 900 && most <= 1024, "%u are loose", most);
    CHECK(mym_verify() == 0 && mym_pages.loose_count == 0);
    mym_idle_set_keep(0);
    mym_trim(0);
}

#define SPARSE_SLABS 64u

/* Many slabs, of which all but the first object is freed; those stay in kept[]. */
static void make_sparse(void **kept)
{
    static void *objects[SPARSE_SLABS * MYM_UNIT / 1024];
    unsigned count = sizeof objects / sizeof *objects;
    unsigned keep = 0;

    for (unsigned i = 0; i < count; i++)
        CHECK((objects[i] = mym_malloc(opaque(1024))));
    for (unsigned i = 0; i < count; i++)
        if ((uintptr_t)objects[i] % MYM_UNIT < 1024 && keep < SPARSE_SLABS)
            kept[keep++] = objects[i];
        else
            mym_free(objects[i]);
    CHECK(keep >= SPARSE_SLABS / 2 && mym_verify() == 0);
    while (keep < SPARSE_SLABS)
        kept[keep++] = NULL;
}

static void free_all(void **kept)
{
    for (unsigned i = 0; i < SPARSE_SLABS; i++)
        mym_free(kept[i]);
    mym_trim(0);
    CHECK(mym_idle_held(MYM_HOLDS_DEPOTS) == 0 && mym_idle_held(MYM_HOLDS_SLABS) == 0);
}

/* The sums are held against what pools and caches have. */
static void sums_are_verified(void)
{
    uint32_t open;

    for (unsigned holder = 0; holder < MYM_HOLDS_SPANS; holder++) {
        mym_idle_grant(holder, 1, 0);
        CHECK(mym_verify() == 1);
        mym_idle_return(holder, 1);
    }
    mym_idle_set_keep(1024 * MYM_UNIT);
    for (int i = 0; i < 3; i++)
        mym_free(mym_malloc(opaque(1 << 20)));
    open = mym_idle_held(MYM_HOLDS_SPANS);
    CHECK(open > 0 && mym_verify() == 0);
    mym_idle_return(MYM_HOLDS_SPANS, open);
    CHECK(mym_verify() == 1);
    mym_idle_grant(MYM_HOLDS_SPANS, open, 0);
    mym_idle_set_keep(0);
    mym_trim(0);
    mym_idle_add_hollow(1);
    CHECK(mym_verify() == 1);
    mym_idle_add_hollow(-1);
    CHECK(mym_verify() == 0);
}

/* What the checker says, read from a pipe in place of standard error; how much it found. */
static size_t verify_and_read(char *text, size_t room)
{
    int ends[2], saved = dup(STDERR_FILENO);
    ssize_t length;
    size_t bad;

    CHECK(pipe(ends) == 0 && saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    bad = mym_cache_verify();
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    close(ends[1]);
    length = read(ends[0], text, room - 1);
    close(ends[0]);
    text[length > 0 ? length : 0] = '\0';
    return bad;
}

/* One line for one thing that does not hold, and no other. */
static void one_fault_is_told_once(void)
{
    struct mym_cache *cache;
    char text[512];
    size_t bad;

    stay_on_one_cpu();
    mym_free(mym_malloc(opaque(64)));
    if (mym_mode == MYM_MODE_TLS) /* no cache of an id is open */
        return;
    cache = mym_cache_at(mym_rseq_id());
    CHECK(cache != &mym_front.closed && mym_cache_is_open(mym_rseq_id()));
    cache->whose = MYM_COLLECTED;
    bad = verify_and_read(text, sizeof text);
    cache->whose = MYM_ITS;
    CHECK(bad == 1);
    CHECKF(!strcmp(text,
                   "mymalloc: cache check: a cache is open that is being collected\n"),
           "%s", text);
    CHECK(verify_and_read(text, sizeof text) == 0 && text[0] == '\0');
}

/* Slabs that a few objects pin keep their pages as part of what is kept, and no more. */
static void sparse_slabs_are_part_of_keep(void)
{
    static void *again[SPARSE_SLABS * 32];
    void *kept[SPARSE_SLABS];
    uint64_t purged;

    if (mym_os_page() >= MYM_UNIT) /* no page of such a slab is free */
        return;
    mym_idle_set_keep(4 * SPARSE_SLABS * MYM_UNIT);
    purged = mym_pages_info().purged;
    make_sparse(kept);
    CHECK(mym_pages_info().purged == purged);
    CHECKF(mym_idle_held(MYM_HOLDS_SLABS) >= SPARSE_SLABS / 2, "%u units",
           mym_idle_held(MYM_HOLDS_SLABS));
    free_all(kept);

    mym_idle_set_keep(16 * MYM_UNIT);
    purged = mym_pages_info().purged;
    make_sparse(kept);
    CHECK(mym_pages_info().purged >= purged + SPARSE_SLABS / 2 * MYM_UNIT);
    CHECKF(mym_idle_held(MYM_HOLDS_SLABS) <= 16, "%u units",
           mym_idle_held(MYM_HOLDS_SLABS));
    CHECK(!mym_idle_is_swinging());
    for (unsigned i = 0; i < SPARSE_SLABS * 32; i++) /* their pages are wanted again */
        CHECK((again[i] = mym_malloc(opaque(1024))));
    CHECK(mym_idle_is_swinging());
    for (unsigned i = 0; i < SPARSE_SLABS * 32; i++)
        mym_free(again[i]);
    for (unsigned i = 0; i < SPARSE_SLABS; i++)
        mym_free(kept[i]);
    mym_idle_set_keep(0);
    mym_trim(0);
}
const struct test tests[] = {
    {"short_magazines_grow", short_magazines_grow},
    {"batches_fit", batches_fit},
    {"wide_magazines_have_no_inner_walls", wide_magazines_have_no_inner_walls},
    {"sums_are_verified", sums_are_verified},
    {"one_fault_is_told_once", one_fault_is_told_once},
    {"words_are_for_sizes_in_turn", words_are_for_sizes_in_turn},
    {"busy_magazines_are_long", busy_magazines_are_long},
    {"long_ones_of_a_length_are_loose", long_ones_of_a_length_are_loose},
    {"a_long_one_is_kept", a_long_one_is_kept},
    {"others_go_for_a_long_one", others_go_for_a_long_one},
    {"few_are_loose", few_are_loose},
    {"sparse_slabs_are_part_of_keep", sparse_slabs_are_part_of_keep},
    {NULL, NULL},
};
