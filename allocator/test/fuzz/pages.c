/*
 * pages.c - the page heap by itself: bytes say which spans are taken, resized and given back,
 * what is purged and unmapped, what may stay, and which chunks are dense.
 *
 * The model has for each span its first unit, its length and marks in its memory. After every
 * step the heap's own verifier walks it, and its sums are those of the model. Marks are the
 * only bytes written, so memory that is said to be zero needs to be looked at there only.
 */
#include "bytes.h"
#include "check.h"

#include "heap/runs.h"
#include "os/os.h"

#include <string.h>

#define SPANS 48
#define STEP  4 /* bytes */

static struct span {
    uint32_t first, units;
    enum mym_kind kind;
} spans[SPANS];

static uint32_t in_use; /* units */
static uint64_t most, near;

static uint64_t *word_of(uint32_t unit, bool last)
{
    return (uint64_t *)((char *)mym_unit_address(unit + last) - (last ? 8 : 0));
}

/* Long spans are marked now and then: 8 KiB become resident for each unit that is. */
static uint32_t next_marked(uint32_t i, uint32_t units)
{
    uint32_t step = units / 8 + 1;

    return i + step < units || i + 1 == units ? i + step : units - 1;
}

static void mark(const struct span *span)
{
    for (uint32_t i = 0; i < span->units; i = next_marked(i, span->units))
        *word_of(span->first + i, false) = *word_of(span->first + i, true) =
            (uint64_t)span->first << 32 | (i + 1);
}

/*
 * A bitmap of each unit of a slab or a window, as slab.c and window.c have them: it may go with
 * what is purged, but not while the span is in use.
 */
static void mark_bits(const struct span *span)
{
    for (uint32_t u = span->first; u < span->first + span->units; u++) {
        mym_heap.units[u].has_bits |= MYM_IN_BITS;
        mym_heap.bits[u][u % MYM_BIT_WORDS] = span->first;
    }
}

static void check_bits(const struct span *span)
{
    for (uint32_t u = span->first; u < span->first + span->units; u++) {
        CHECKF(mym_heap.bits[u][u % MYM_BIT_WORDS] == span->first,
               "the bitmap of unit %u was given back", u);
        mym_heap.bits[u][u % MYM_BIT_WORDS] = 0;
    }
}

/* What is left of the span after it was made shorter, or all of it. */
static void check_mark(const struct span *span, uint32_t left)
{
    for (uint32_t i = 0; i < span->units && i < left; i = next_marked(i, span->units))
        CHECKF(*word_of(span->first + i, false) ==
                       ((uint64_t)span->first << 32 | (i + 1)) &&
                   *word_of(span->first + i, true) == *word_of(span->first + i, false),
               "unit %u of %u from %u on was written to or given back", i, span->units,
               span->first);
}

static void check_zero(const struct span *span)
{
    for (uint32_t i = 0; i < span->units; i++)
        CHECKF(*word_of(span->first + i, false) == 0 &&
                   *word_of(span->first + i, true) == 0,
               "unit %u of %u from %u on is said to be zero", i, span->units,
               span->first);
}

/* ---- what must hold after every step ---- */

static void check_sums(void)
{
    struct mym_pages_info info = mym_pages_info();

    CHECK(mym_pages_verify() == 0);
    CHECKF(info.mapped - info.free == in_use * MYM_UNIT, "%zu of %zu bytes, %u units",
           info.free, info.mapped, in_use);
    CHECKF(mym_pages.ledger.use == in_use, "%u units are in use by the ledger, not %u",
           mym_pages.ledger.use, in_use);
}

/* After memory was freed no more stays than may. */
static void check_excess(void)
{
    struct mym_pages_info info = mym_pages_info();
    size_t may = in_use + info.dirty / MYM_UNIT >= near ? 0 : info.allowance;

    CHECKF(info.dirty <= may, "%zu bytes are dirty, %zu may be", info.dirty, may);
}

static void check_taken(const struct span *span, uint32_t align, bool zeroed)
{
    const struct mym_unit *record = &mym_heap.units[span->first];

    CHECK((uintptr_t)mym_unit_address(span->first) % (align * MYM_UNIT) == 0);
    CHECK(record->kind == span->kind && record->first == span->first &&
          record->length == span->units);
    CHECK(mym_pages_find(span->first + span->units / 2) == span->first);
    for (uint32_t i = 0; span->kind != MYM_LARGE && i < span->units; i++)
        CHECK(record[i].first == span->first); /* any pointer into it is asked about */
    for (int i = 0; i < SPANS; i++)
        if (&spans[i] != span && spans[i].units)
            check_apart(spans[i].first, spans[i].units, span->first, span->units);
    if (zeroed)
        check_zero(span);
}

/* ---- steps ---- */

static uint32_t units_of(unsigned byte)
{
    if (byte < 128)
        return 1 + byte % 8;
    return byte < 240 ? 1 + byte % 80 : 1 + (byte - 240) * 70; /* to 1051, 66 MiB */
}

/* So many units at a multiple of `align` are free side by side, dirty, clean or gone. */
static bool has_stretch(uint32_t units, uint32_t align)
{
    uint64_t base = mym_heap.base >> MYM_UNIT_SHIFT;
    uint64_t start = 0;

    for (uint32_t unit = 1; unit < mym_pages.end;) {
        const struct mym_unit *record = &mym_heap.units[unit];

        unit += record->kind == MYM_ABSENT ? 1 : record->length;
        if (!mym_is_free(record->kind))
            start = ((base + unit + align - 1) & ~((uint64_t)align - 1)) - base;
        else if (start + units <= unit)
            return true;
    }
    return false;
}

static void take(struct span *span, unsigned how, unsigned size)
{
    static const enum mym_kind kinds[] = {MYM_LARGE, MYM_SLAB, MYM_LARGE, MYM_WINDOW};
    uint32_t units = units_of(size), align = how % 4 ? 1 : 1u << how / 16 % 6;
    uint32_t mapped = mym_pages.mapped, clean = mym_runs(MYM_CLEAN)->units;
    uint32_t dirty = mym_runs_longest(MYM_DIRTY), fresh = mym_runs_longest(MYM_CLEAN);
    size_t longest = mym_pages_info().longest / MYM_UNIT;
    uint32_t end = has_stretch(units, align) ? mym_pages.end : UINT32_MAX;
    bool zeroed = how & 128, clean_first = false;

    span->kind = kinds[how / 4 % 4];
    clean_first = zeroed && span->kind == MYM_SLAB;
    span->first = mym_pages_take(units, align, span->kind,
                                 how & 64 ? MYM_DENSE : MYM_SPARSE, &zeroed);
    CHECKF((span->first == 0) == (in_use + units > most),
           "%u units more than %u, at most %llu: %u", units, in_use,
           (unsigned long long)most, span->first);
    if (span->first == 0)
        return;
    span->units = units;
    in_use += units;
    check_taken(span, align, zeroed);
    /* Runs half as long again are found without a search. */
    if (longest >= 2 * (units + align))
        CHECK(mym_pages.mapped == mapped);
    CHECKF(mym_pages.end <= end, "the heap grows by %u, %u at %u units would fit",
           mym_pages.end - end, units, align);
    if (!clean_first && dirty >= 2 * (units + align))
        CHECK(!zeroed && mym_runs(MYM_CLEAN)->units == clean);
    if (clean_first && fresh >= 2 * (units + align))
        CHECK(zeroed);
    mark(span);
    if (span->kind != MYM_LARGE)
        mark_bits(span);
}

static void put(struct span *span)
{
    check_mark(span, span->units);
    if (span->kind != MYM_LARGE)
        check_bits(span);
    mym_pages_put(span->first);
    CHECK(mym_heap.units[span->first].kind <
              MYM_SLAB || /* or it could be freed twice */
          (mym_pages.loose_long == span->units &&
           mym_heap.units[span->first].state == MYM_CACHED));
    in_use -= span->units;
    span->units = 0;
    check_excess();
}

static void resize(struct span *span, unsigned size, enum mym_dense dense)
{
    uint32_t units = size % 4 ? units_of(size) : span->units + size / 16;

    check_mark(span, span->units);
    if (!mym_pages_resize(span->first, units, dense)) {
        CHECK(units > span->units);
        return;
    }
    CHECK(units <= span->units || in_use + units - span->units <= most);
    check_mark(span, units);
    in_use += units - span->units;
    if (units < span->units) {
        mym_idle_left(span->units - units);
        span->units = units;
        check_excess();
    }
    span->units = units;
    check_taken(span, 1, false);
    mark(span);
}

static void set_limits(unsigned high, unsigned low)
{
    most = high < 192 ? UINT32_MAX : in_use + (high - 192) * 4;
    near = low < 192 ? UINT32_MAX : in_use + (low - 192) * 4;
    mym_pages_set_limit(most * MYM_UNIT, near * MYM_UNIT);
}

static void purge(unsigned what, unsigned keep)
{
    switch (what % 4) {
    case 0:
        mym_pages_purge(keep * MYM_UNIT);
        CHECK(mym_pages_info().dirty <= keep * MYM_UNIT);
        break;
    case 1:
        mym_pages_unmap();
        CHECK(mym_runs_longest(MYM_CLEAN) < 2 * MYM_CHUNK_UNITS);
        break;
    case 2:
        mym_idle_age();
        check_excess();
        break;
    default:
        mym_idle_cool();
    }
}

static void play(struct bytes *bytes)
{
    unsigned what = read_byte(bytes);
    struct span *span = &spans[read_byte(bytes) % SPANS];
    unsigned size = read_byte(bytes), how = read_byte(bytes);

    switch (what % 16) {
    case 15:
        set_limits(size, how);
        break;
    case 14:
        mym_idle_set_keep(size * (how % 8) * MYM_UNIT);
        check_excess();
        break;
    case 13:
        mym_chunk_set_huge(how % 3, how & 4);
        if (span->units >= 4)
            mym_dense_ended(mym_unit_address(span->first), span->units * MYM_UNIT);
        break;
    case 12:
    case 11:
    case 10:
        purge(how, size);
        break;
    case 9:
    case 8:
    case 7:
        if (span->units != 0 && span->kind == MYM_LARGE)
            resize(span, size, how & 64 ? MYM_DENSE : MYM_SPARSE);
        break;
    default:
        if (span->units == 0)
            take(span, how, size);
        else
            put(span);
    }
    check_sums();
}

/* As at first: nothing in use, nothing resident, nothing mapped that need not be. */
static void begin(void)
{
    check_begin("pages");
    free(malloc(1));
    set_limits(0, 0);
    mym_idle_set_keep(64 * MYM_UNIT);
    mym_chunk_set_huge(MYM_HUGE_AUTO, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct bytes bytes = {data, length};
    struct mym_pages_info info;

    begin();
    while (bytes.left >= STEP)
        play(&bytes);
    set_limits(0, 0);
    for (int i = 0; i < SPANS; i++)
        if (spans[i].units != 0)
            put(&spans[i]);
    mym_pages_purge(0);
    mym_pages_unmap();
    check_sums();
    info = mym_pages_info();
    CHECKF(info.dirty == 0 &&
               info.mapped < 2 * MYM_CHUNK_UNITS * MYM_UNIT * (info.runs + 1),
           "%zu bytes are dirty, %zu mapped", info.dirty, info.mapped);
    return 0;
}
