/*
 * slab.c - a span cut into objects of one class, and the bitmap of its free places.
 *
 * The bitmap lies apart from the objects: a stray write through a dangling pointer
 * cannot damage it, and taking a place does not touch the place's memory.
 *
 * Locking: the pool that owns the slab holds its own lock around every call, but where one
 * says that it need not.
 */
#include "heap/runs.h"
#include "heap/sizes.h"

#include "base/check.h"
#include "base/secure.h"
#include "os/os.h"

#include <string.h>

#define COLOURED_MAX 512
#define COLOURS      (MYM_PAGE / MYM_CACHELINE / 2)

/* Lines between the colours of neighbouring classes: about 0.4 of all, and each comes in turn. */
#define COLOUR_STEP 13u

_Static_assert((COLOURS & (COLOURS - 1)) == 0 && COLOUR_STEP % 2 == 1,
               "without a common factor: so many classes have so many colours");

_Static_assert(MYM_BIT_WORDS <= UINT8_MAX, "scan is a byte");

static unsigned bit_words(unsigned objects)
{
    return (objects + 63) / 64;
}

/*
 * For the hardened build: what was freed by malloc's callers reads 0 where malloc looks, other
 * free memory may not.
 */
static MYM_SLOW void zero_places(uint32_t slab, const struct mym_class *c)
{
    char *place = mym_unit_address(slab);

    MYM_ASSERT(c->size >= MYM_ZERO_END);
    if (MYM_SECURE_ZERO_ON_FREE == MYM_ZERO_ALL ? c->size <= MYM_PLACE_MAX
                                                : c->size <= MYM_ZERO_WHOLE) {
        memset(place, 0, (size_t)c->units * MYM_UNIT);
        return;
    }
    for (unsigned i = 0; i < c->objects; i++, place += c->size) {
        memset(place, 0, MYM_ZERO_END);
        memset(place + c->size - MYM_REACH, 0, MYM_REACH);
    }
}

/*
 * The lines of a cache that a slab leaves at its start, of those that its class has to spare:
 * drawn by its place, as those of large objects are (large.c).
 */
static unsigned lines_of(uint32_t slab, const struct mym_class *c)
{
    return (unsigned)((uint64_t)(slab * 0x9e3779b1u) * (c->lines + 1u) >> 32);
}

MYM_SLOW uint32_t mym_slab_make(unsigned cls, unsigned arena, bool *fresh)
{
    const struct mym_class *c = &mym_classes[cls];
    uint32_t slab = mym_pages_take(c->units, 1, MYM_SLAB, mym_is_dense(c->size), fresh);
    struct mym_unit *unit = &mym_heap.units[slab];
    uint64_t *bits = mym_heap.bits[slab];
    unsigned words = bit_words(c->objects);

    if (slab == 0)
        return 0;
    if (MYM_SECURE_WRITE_AFTER_FREE && !*fresh)
        zero_places(slab, c);
    unit->cls = (uint8_t)cls;
    unit->arena = (uint16_t)arena;
    unit->free = c->objects;
    unit->scan = 0;
    unit->lines = (uint8_t)lines_of(slab, c);
    unit->purged = mym_chunk_is_huge(slab) ? MYM_FRESH : MYM_NEVER_PURGED;
    unit->has_bits |= MYM_IN_BITS;
    for (unsigned i = 0; i < words; i++)
        bits[i] = ~(uint64_t)0;
    if (c->objects % 64 != 0)
        bits[words - 1] = ((uint64_t)1 << c->objects % 64) - 1;
    for (unsigned i = 0; i < c->units; i++)
        __atomic_store_n(&mym_heap.cls[slab + i],
                         (uint8_t)(arena == MYM_SAMPLED ? 0 : cls),
                         __ATOMIC_RELAXED); /* the helper may look (collapse.c) */
    return slab;
}

void mym_slab_populate(uint32_t slab)
{
    if (!mym_chunk_is_huge(slab))
        mym_os_populate(mym_unit_address(slab),
                        (size_t)mym_heap.units[slab].length * MYM_UNIT);
}

/*
 * Where the first objects of a fresh slab are taken from. Slabs start at the same line
 * of a page, so the first objects of all classes, the only ones that a small program
 * uses, would share one set of the first-level cache. Half a page, and small objects
 * only: a trivial program would touch more pages for it.
 */
static unsigned colour(const struct mym_class *c)
{
    unsigned line = (unsigned)(c - mym_classes) * COLOUR_STEP % COLOURS;
    unsigned objects = c->size <= COLOURED_MAX ? line * MYM_CACHELINE / c->size : 0;

    return objects < 63 ? objects : 63;
}

unsigned mym_slab_take(uint32_t slab, void **out, unsigned want)
{
    struct mym_unit *unit = &mym_heap.units[slab];
    uint64_t *bits = mym_heap.bits[slab];
    uintptr_t start = mym_slab_start(slab);
    const struct mym_class *c = &mym_classes[unit->cls];
    uintptr_t size = c->size;
    unsigned skip = unit->free == c->objects ? colour(c) : 0;
    uint64_t skipped = bits[unit->scan] & (((uint64_t)1 << skip) - 1);
    unsigned word = unit->scan;
    unsigned got = 0;

    MYM_ASSERT(unit->kind == MYM_SLAB && unit->free <= c->objects);
    if (want > unit->free - skip)
        want = unit->free - skip;
    bits[word] ^= skipped;
    unit->free = (uint16_t)(unit->free - want);
    if (unit->purged != MYM_FRESH)
        unit->purged = MYM_NEVER_PURGED;
    while (got < want) {
        uint64_t set = bits[word];
        uintptr_t at = start + (uintptr_t)word * 64 * size;

        for (; set != 0 && got < want; set &= set - 1)
            out[got++] =
                (void *)(at + (uintptr_t)__builtin_ctzll(set) * size); /* NOLINT */
        bits[word] = set;
        if (set == 0)
            word++;
    }
    if (skipped == 0)
        unit->scan = (uint8_t)word; /* or behind the last: bits of another span */
    else
        bits[unit->scan] |= skipped;
    MYM_ASSERT(got == want);
    return got;
}

/* ---- pages without an object in use ---- */

/* A slab has so many pieces, each of as many pages as the slab has units: they go back whole. */
static unsigned piece_count(void)
{
    return (unsigned)(MYM_UNIT / mym_os_page());
}

static bool is_free(const uint64_t *bits, uint64_t index)
{
    return bits[index / 64] >> index % 64 & 1;
}

/* The objects that start on a piece or reach into it: first .. last - 1. */
struct range {
    uint64_t first, last;
};

static struct range objects_on(const struct mym_unit *slab, unsigned piece)
{
    const struct mym_class *c = &mym_classes[slab->cls];
    uint64_t lines = (uint64_t)slab->lines * MYM_CACHELINE;
    uint64_t from = piece * (c->units * mym_os_page()),
             to = from + c->units * mym_os_page();
    struct range range = {0, 0};

    if (to <= lines)
        return range;
    range.first = from > lines ? (from - lines) / c->size : 0;
    range.last = (to - lines + c->size - 1) / c->size;
    if (range.last > c->objects)
        range.last = c->objects;
    return range;
}

uint64_t mym_slab_hide(uint32_t slab)
{
    struct mym_unit *unit = &mym_heap.units[slab];
    uint64_t *bits = mym_heap.bits[slab];
    uint64_t pieces = 0;

    for (unsigned piece = 0; piece < piece_count(); piece++) {
        struct range range = objects_on(unit, piece);
        uint64_t i = range.first;

        while (i < range.last && is_free(bits, i))
            i++;
        if (i == range.last)
            pieces |= (uint64_t)1 << piece;
    }
    for (uint64_t rest = pieces; rest != 0; rest &= rest - 1) {
        struct range range = objects_on(unit, (unsigned)__builtin_ctzll(rest));

        for (uint64_t i = range.first; i < range.last; i++) {
            unit->free = (uint16_t)(unit->free - is_free(bits, i));
            bits[i / 64] &= ~((uint64_t)1 << i % 64);
        }
    }
    return pieces;
}

void mym_slab_purge(uint32_t slab, uint64_t pieces)
{
    uint32_t length = mym_heap.units[slab].length;
    char *start = mym_unit_address(slab);
    size_t bytes = 0, each = length * mym_os_page();

    MYM_ASSERT(mym_rank_is_held(MYM_RANK_PURGE));
    mym_pages_lock();
    mym_chunk_split(slab, length);
    mym_pages_unlock();
    for (unsigned piece = 0; piece < piece_count(); piece++) {
        unsigned end = piece;

        while (end < piece_count() && pieces >> end & 1)
            end++;
        if (end > piece && mym_os_purge(start + piece * each, (end - piece) * each))
            bytes += (end - piece) * each;
        piece = end;
    }
    mym_pages.purged += bytes;
}

void mym_slab_unhide(uint32_t slab, uint64_t pieces)
{
    struct mym_unit *unit = &mym_heap.units[slab];
    uint64_t *bits = mym_heap.bits[slab];

    for (uint64_t rest = pieces; rest != 0; rest &= rest - 1) {
        struct range range = objects_on(unit, (unsigned)__builtin_ctzll(rest));

        for (uint64_t i = range.first; i < range.last; i++) {
            unit->free = (uint16_t)(unit->free + !is_free(bits, i));
            bits[i / 64] |= (uint64_t)1 << i % 64;
        }
        if (range.first / 64 < unit->scan)
            unit->scan = (uint8_t)(range.first / 64);
    }
}

unsigned mym_slab_put(uint32_t slab, void *const *objects, unsigned count,
                      const char **misuse)
{
    struct mym_unit *unit = &mym_heap.units[slab];
    const struct mym_class c = mym_classes[unit->cls];
    uint64_t *bits = mym_heap.bits[slab];
    uintptr_t start = mym_slab_start(slab), span = (uintptr_t)mym_unit_address(slab);
    uintptr_t length = (uintptr_t)unit->length * MYM_UNIT;
    /* The word in hand stays in a register: through memory each object would wait for
       the one before it. */
    uint64_t word = UINT64_MAX, held = 0;
    uint64_t scan = unit->scan;
    unsigned done = 0;

    while (done < count && (uintptr_t)objects[done] - span < length) {
        uint64_t index = mym_slab_index(&c, start, objects[done]);
        uint64_t bit = (uint64_t)1 << index % 64;

        if (MYM_UNLIKELY(index >= c.objects)) {
            *misuse = MYM_INSIDE;
            break;
        }
        if (index / 64 != word) {
            if (word != UINT64_MAX)
                bits[word] = held;
            word = index / 64;
            held = bits[word];
            scan = word < scan ? word : scan;
        }
        if (MYM_UNLIKELY(held & bit)) {
            *misuse = MYM_TWICE;
            break;
        }
        held |= bit;
        done++;
    }
    if (word != UINT64_MAX)
        bits[word] = held;
    MYM_ASSERT(unit->free + done <= c.objects);
    unit->free = (uint16_t)(unit->free + done);
    unit->scan = (uint8_t)scan;
    if (unit->purged == MYM_FRESH)
        unit->purged = MYM_NEVER_PURGED;
    return done;
}
