/*
 * region.c - where the heap comes from: regions mapped one behind the other, and the
 * tables that describe them.
 *
 * Locking: the caller holds mym_pages.lock, but for mym_pages_map_freed and mym_pages_map_caches,
 * which take it, and mym_pages_init, which runs once.
 */
#include "heap/runs.h"

#include "base/secure.h"
#include "os/os.h"

#define GROW_MAX 1024u /* 64 MiB */
#define GROW_END 4u    /* at a limit; what is left is for records */

/*
 * A region is a sixteenth of what there is: locked memory (mlockall) is resident from the
 * moment it is mapped.
 */
#define GROW_PART 16u

/* 1 GiB: where to look first behind what is somebody else's. */
#define ROUND_UNITS 16384u

/*
 * Unit 0 stays absent: the end of every list, and a guard. That more do is for the
 * class table: what every free reads of it would lie at the start of a page, where all
 * else that is read begins too, and the first-level cache has few places for that. So it
 * begins at line 11 (slabs at 0, the first cache at 25), and the heap with a chunk.
 */
#define FIRST_UNIT   704u
#define FIRST_CACHE  1600u
#define CACHES_BYTES (((size_t)MYM_MAX_CPUS + 2) << MYM_CACHE_SHIFT)

_Static_assert(FIRST_UNIT % MYM_CHUNK_UNITS == 0 && FIRST_UNIT > 0, "a whole chunk");
_Static_assert(FIRST_UNIT % MYM_CACHELINE == 0 && FIRST_UNIT % MYM_PAGE != 0 &&
                   FIRST_CACHE % MYM_CACHELINE == 0 && FIRST_CACHE % MYM_PAGE != 0,
               "a line of a table, and not the first of a page");

struct mym_hot mym_hot;
struct mym_heap mym_heap;

/* ---- the tables ---- */

/* One of the tables that are indexed by unit, or of caches; mapped as the heap grows. */
struct table {
    uintptr_t start;
    size_t entry, mapped; /* bytes */
};
static struct table class_table, unit_table, bit_table, freed_table, cache_table;

static const char name_of_tables[] = "mymalloc: tables",
                  name_of_heap[] = "mymalloc: heap";

/* Entries up to `end` and one more are there; an eighth more each time. */
static bool grow_table(struct table *table, uint32_t end)
{
    size_t need = ((size_t)end + 1) * table->entry;
    size_t step = table->mapped / 8;
    uintptr_t at = table->start + table->mapped;

    if (need <= table->mapped)
        return true;
    need -= table->mapped;
    need = mym_round_up(need > step ? need : step, mym_os_page());
    if (mym_os_map_at(at, need) != MYM_OS_OK)
        return false;
    /* With huge pages always on, a table's first touch would cost 2 MiB. */
    mym_os_huge_pages((void *)at, need, false);    /* NOLINT */
    mym_os_name((void *)at, need, name_of_tables); /* NOLINT */
    table->mapped += need;
    return true;
}

/* What has been mapped of some of them when another fails is used the next time. */
static bool grow_tables(uint32_t end)
{
    return grow_table(&class_table, end) && grow_table(&unit_table, end) &&
           grow_table(&bit_table, end) &&
           (!MYM_SECURE_FREE_CHECK || grow_table(&freed_table, end));
}

/* What was mapped before; holes do no harm. */
void mym_region_name(void)
{
    const struct table *const tables[] = {&class_table, &unit_table, &bit_table,
                                          &freed_table, &cache_table};

    for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++)
        mym_os_name((void *)tables[i]->start, tables[i]->mapped, /* NOLINT */
                    name_of_tables);
    mym_os_name(mym_unit_address(FIRST_UNIT),
                (size_t)(mym_pages.end - FIRST_UNIT) * MYM_UNIT, name_of_heap);
}

static bool lock_and_grow(struct table *table, uint32_t end)
{
    bool done;

    mym_pages_lock();
    done = grow_table(table, end);
    mym_pages_unlock();
    return done;
}

bool mym_pages_map_freed(uint32_t end)
{
    return lock_and_grow(&freed_table, end);
}

/*
 * By sixteen: not two system calls for each. One more is mapped, for the first does not begin
 * the table.
 */
bool mym_pages_map_caches(uint32_t count)
{
    return lock_and_grow(&cache_table, (count + 15u) / 16 * 16);
}

/* ---- regions ---- */

static enum mym_os_result map_units(uint32_t first, uint32_t length)
{
    void *addr = mym_unit_address(first);
    size_t bytes = (size_t)length * MYM_UNIT;
    enum mym_os_result result = mym_os_map_at((uintptr_t)addr, bytes);

    /* Which chunks are huge is decided one by one (chunk.c), whatever the default is. */
    if (result == MYM_OS_OK) {
        mym_os_huge_pages(addr, bytes, false);
        mym_os_name(addr, bytes, name_of_heap);
        mym_pages.mapped += length;
    }
    return result;
}

/* Units from `start` to the end of the chunk in which `length` of them end. */
static uint32_t to_chunk_end(uint32_t start, uint32_t length)
{
    return mym_chunk_up(start + length) - start;
}

/*
 * A part of a gone run is mapped again. Somebody else may be there now: then none of the run is
 * ours any more.
 */
static enum mym_os_result map_again(uint32_t run, uint32_t first, uint32_t length)
{
    enum mym_os_result result = map_units(first, length);
    uint32_t has = mym_heap.units[run].length;

    if (result == MYM_OS_OK) {
        mym_runs_cut(run, first, length);
        mym_runs_put(first, length, MYM_CLEAN);
    } else if (result == MYM_OS_TAKEN) {
        mym_runs_cut(run, run, has);
        for (uint32_t i = 0; i < has; i++)
            mym_heap.units[run + i].kind = MYM_ABSENT;
    }
    return result;
}

/* From `unit` on, where runs touch up to `end`, the first one that is gone. */
static uint32_t next_gone(uint32_t unit, uint32_t end)
{
    while (unit < end && mym_heap.units[unit].kind != MYM_GONE)
        unit += mym_heap.units[unit].length;
    return unit;
}

static uint32_t later(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/*
 * What of [first, end) is gone, from the run `run` on. Whole chunks, as far as the runs have them:
 * all of such can be a huge page then. At a limit no more than that.
 */
static enum mym_os_result map_gone(uint32_t run, uint32_t first, uint32_t end)
{
    enum mym_os_result result = MYM_OS_OK;
    uint32_t next, low = mym_chunk_down(first), high = mym_chunk_up(end);

    for (run = next_gone(run, end); result == MYM_OS_OK && run < end; run = next) {
        uint32_t after = run + mym_heap.units[run].length;
        uint32_t from = later(run, low), need = later(run, first);

        next = next_gone(after, end);
        result = map_again(run, from, mym_least(after, high) - from);
        if (result == MYM_OS_NOMEM)
            result = map_again(run, need, mym_least(after, end) - need);
    }
    return result;
}

void mym_region_regain_at(uint32_t unit, uint32_t length)
{
    uint32_t room = mym_runs_room(MYM_GONE, unit, length);

    if (room >= length || unit + room == mym_pages.end)
        map_gone(unit, unit, unit + mym_least(room, length));
}

uint32_t mym_region_regain(uint32_t length, uint32_t align, uint32_t *run)
{
    enum mym_os_result result = MYM_OS_TAKEN;
    uint32_t first = 0, at = 0;

    while (result == MYM_OS_TAKEN) {
        first = mym_runs_find(MYM_GONE, length, align, run);
        if (first == 0)
            first = mym_runs_find_joined(MYM_GONE, length, align, run);
        if (first == 0)
            return 0;
        at = *run;
        if (mym_heap.units[at].kind == MYM_GONE &&
            mym_heap.units[at - 1].kind == MYM_CLEAN)
            at = mym_heap.units[at - 1].first; /* they are one then */
        result = map_gone(*run, first, first + length);
    }
    if (result != MYM_OS_OK)
        return 0;
    while (at + mym_heap.units[at].length <= first)
        at += mym_heap.units[at].length;
    *run = at;
    /* Not behind a piece that was there before: that would be left over. */
    at = mym_runs_fit(at, length, align);
    return at != 0 ? at : first;
}

/* Units of the clean run that `unit` is an end of; 0: it is in none. */
static uint32_t clean_at(uint32_t unit)
{
    const struct mym_unit *end = &mym_heap.units[unit];

    return unit < mym_pages.end && end->kind == MYM_CLEAN
               ? mym_heap.units[end->first].length
               : 0;
}

/* At a limit: as much of a gone run as is enough together with the clean ones beside it. */
static bool map_beside_clean(uint32_t length)
{
    for (unsigned bin = 0; bin < MYM_RUN_BINS; bin++)
        for (uint32_t run = mym_runs(MYM_GONE)->bins[bin], next; run != 0; run = next) {
            uint32_t has = mym_heap.units[run].length, before = clean_at(run - 1);
            uint32_t need = length > before ? length - before : 1;

            next = mym_heap.units[run].next;
            if (need <= has + clean_at(run + has) &&
                map_again(run, run, need < has ? need : has) == MYM_OS_OK)
                return true;
        }
    return false;
}

static void append(uint32_t start, uint32_t length)
{
    mym_pages.end = start + length;
    atomic_store(&mym_heap.size, (size_t)mym_pages.end * MYM_UNIT);
    __atomic_store_n(&mym_hot.heap_size, (size_t)mym_pages.end * MYM_UNIT,
                     __ATOMIC_RELEASE);
    mym_runs_put(start, length, MYM_CLEAN);
}

/*
 * The tables have a record of each whole chunk: its mark is in the first unit's. They grow for what
 * there is: for what is refused they would be address space that nobody gives back, a 120th of it.
 */
static enum mym_os_result map_region(uint32_t start, uint32_t step)
{
    enum mym_os_result result = map_units(start, step);

    if (result != MYM_OS_OK || grow_tables(start + to_chunk_end(start, step)))
        return result;
    mym_os_unmap(mym_unit_address(start), (size_t)step * MYM_UNIT);
    mym_pages.mapped -= step;
    return MYM_OS_NOMEM;
}

/* Regions end where chunks do, but for those that a limit has no more room for. */
bool mym_region_grow(uint32_t length)
{
    uint32_t start = mym_pages.end, chunks = to_chunk_end(start, length);
    uint32_t step = to_chunk_end(start, mym_pages.mapped / GROW_PART);
    uint32_t least = (length + GROW_END - 1) / GROW_END * GROW_END;

    step = step > GROW_MAX ? GROW_MAX : step;
    step = step < chunks ? chunks : step;
    for (uint32_t stride = ROUND_UNITS;
         start < mym_pages.limit && step < mym_pages.limit - start;)
        switch (map_region(start, step)) {
        case MYM_OS_OK:
            append(start, step);
            return true;
        case MYM_OS_TAKEN: /* somebody lives in our window: go round, each time twice as far */
            start = (start + stride) / ROUND_UNITS * ROUND_UNITS;
            stride *= 2;
            break;
        case MYM_OS_NOMEM:
            if (step <= least)
                return map_beside_clean(length);
            step = step > chunks ? chunks : least;
            break;
        }
    return false;
}

/*
 * Address windows. Nothing is mapped yet: regions and tables are placed in them as the
 * heap grows, so the virtual size of a process tells what it uses. The first candidate
 * is far from where the kernel puts anything by itself; where that is not possible
 * (39-bit addresses, sanitizers) the kernel names a free stretch.
 */
static bool start_at(uintptr_t at, unsigned shift)
{
    size_t units = (size_t)1 << (shift - MYM_UNIT_SHIFT);
    /* Nobody asks for the bits of the units that stay absent. */
    size_t absent = FIRST_UNIT * sizeof(mym_heap.bits[0]) & ~(mym_os_page() - 1);

    at = mym_round_up(at, MYM_CHUNK);
    class_table = (struct table){at, 1, 0};
    at += mym_round_up(units, MYM_CHUNK);
    unit_table = (struct table){at, sizeof(struct mym_unit), 0};
    at += mym_round_up(units * sizeof(struct mym_unit), MYM_CHUNK) + MYM_CHUNK;
    bit_table = (struct table){at, sizeof(mym_heap.bits[0]), absent};
    at += mym_round_up(units * sizeof(mym_heap.bits[0]), MYM_CHUNK);
    freed_table = (struct table){at, sizeof(mym_heap.freed[0]), absent};
    at += mym_round_up(units * sizeof(mym_heap.freed[0]), MYM_CHUNK);
    mym_heap.cls = (uint8_t *)class_table.start;                    /* NOLINT */
    mym_heap.units = (struct mym_unit *)unit_table.start;           /* NOLINT */
    mym_heap.bits = (uint64_t(*)[MYM_BIT_WORDS])bit_table.start;    /* NOLINT */
    mym_heap.freed = (uint64_t(*)[MYM_BIT_WORDS])freed_table.start; /* NOLINT */
    at += MYM_CHUNK;
    cache_table = (struct table){at, (size_t)1 << MYM_CACHE_SHIFT, 0};
    mym_heap.caches = (char *)at + FIRST_CACHE; /* NOLINT */
    mym_heap.base = at + mym_round_up(CACHES_BYTES, MYM_CHUNK) + MYM_CHUNK;
    mym_pages.limit = (uint32_t)units - MYM_CHUNK_UNITS;
    return grow_tables(FIRST_UNIT);
}

/* Where the kernel has a free stretch, the longest that it names. */
static bool start_anywhere(void)
{
    uintptr_t at = 0;
    unsigned shift = 41;

    while (at == 0 && shift > 30) {
        shift--;
        at = mym_os_find_window(((size_t)1 << shift) + ((size_t)1 << (shift - 5)) +
                                CACHES_BYTES);
    }
    return at != 0 && start_at(at, shift);
}

static bool start_far_away(void)
{
#ifndef MYM_SANITIZED
    uintptr_t entropy = (uintptr_t)__builtin_frame_address(0) >> 12;

    /* 32 to 64 TiB, moved by the randomness of the stack's address. */
    return start_at(((uintptr_t)1 << 45) +
                        (entropy * MYM_GOLDEN >> 20 & 0x3FFF) * ((size_t)1 << 30),
                    43);
#else
    return false;
#endif
}

bool mym_pages_init(void)
{
    mym_pages.end = FIRST_UNIT;
    mym_pages.high = MYM_CHUNK_UNITS; /* below it there is nothing to look for */
    mym_pages.most = mym_pages.near = UINT64_MAX; /* until configured */
    if (!start_far_away() && !start_anywhere())
        return false;
    mym_hot.heap_base = mym_heap.base;
    mym_hot.heap_class = mym_heap.cls;
    return true;
}
