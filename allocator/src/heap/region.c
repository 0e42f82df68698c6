/*
 * region.c - where the heap comes from: regions mapped one behind the other, and the
 * tables that describe them.
 *
 * Locking: the caller holds mym_pages.lock, but for mym_pages_init, which runs once.
 */
#include "heap/runs.h"

#include "base/secure.h"
#include "os/os.h"

#define GROW_MIN MYM_CHUNK_UNITS /* 2 MiB */
#define GROW_MAX 1024u           /* 64 MiB */

/*
 * A region is a sixteenth of what there is: locked memory (mlockall) is resident from the
 * moment it is mapped.
 */
#define GROW_PART 16u

/*
 * Unit 0 stays absent: the end of every list, and a guard. That more do is for the
 * class table: what every free reads of it would lie at the start of a page, where all
 * else that is read begins too, and the first-level cache has few places for that. So it
 * begins at line 11 (slabs at 0, the first cache at 25: meta.c), and the heap with a chunk.
 */
#define FIRST_UNIT 704u

_Static_assert(FIRST_UNIT % MYM_CHUNK_UNITS == 0 && FIRST_UNIT > 0, "a whole chunk");
_Static_assert(FIRST_UNIT % MYM_CACHELINE == 0 && FIRST_UNIT % MYM_PAGE != 0,
               "a line of the class table, and not the first of a page");

struct mym_hot mym_hot;
struct mym_heap mym_heap;

/* ---- the tables ---- */

/* One of the tables that are indexed by unit; mapped as the heap grows. */
struct table {
    uintptr_t start;
    size_t entry, mapped; /* bytes */
};
static struct table class_table, unit_table, bit_table, freed_table;

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
                                          &freed_table};

    for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++)
        mym_os_name((void *)tables[i]->start, tables[i]->mapped, /* NOLINT */
                    name_of_tables);
    mym_os_name(mym_unit_address(FIRST_UNIT),
                (size_t)(mym_pages.end - FIRST_UNIT) * MYM_UNIT, name_of_heap);
}

bool mym_region_map_freed(uint32_t end)
{
    return grow_table(&freed_table, end);
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

/* Address space that was unmapped is mapped again, if somebody else is not there now. */
static bool map_gone(uint32_t length)
{
    uint32_t run;

    while (mym_runs_find(MYM_GONE, length, 1, &run) != 0) {
        uint32_t has = mym_heap.units[run].length;

        switch (map_units(run, length)) {
        case MYM_OS_OK:
            mym_runs_cut(run, run, length);
            mym_runs_put(run, length, MYM_CLEAN);
            return true;
        case MYM_OS_TAKEN:
            mym_runs_cut(run, run, has);
            for (uint32_t i = 0; i < has; i++)
                mym_heap.units[run + i].kind = MYM_ABSENT;
            break;
        case MYM_OS_NOMEM:
            return false;
        }
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

bool mym_region_grow(uint32_t length)
{
    uint32_t step = mym_pages.mapped / GROW_PART / GROW_MIN * GROW_MIN;
    uint32_t start = mym_pages.end;

    length = (length + GROW_MIN - 1) / GROW_MIN * GROW_MIN;
    if (map_gone(length))
        return true;
    step = step < GROW_MIN ? GROW_MIN : step > GROW_MAX ? GROW_MAX : step;
    if (step < length)
        step = length;
    for (int tries = 0; tries < 64;) {
        if (step >= mym_pages.limit - start || !grow_tables(start + step))
            return false;
        switch (map_units(start, step)) {
        case MYM_OS_OK:
            append(start, step);
            return true;
        case MYM_OS_TAKEN: /* somebody lives in our window: go round */
            start = (start + 16384) / 16384 * 16384;
            tries++;
            break;
        case MYM_OS_NOMEM:
            if (step == length)
                return false;
            step = length;
            break;
        }
        if (start >= mym_pages.limit)
            return false;
    }
    return false;
}

/*
 * Address windows. Nothing is mapped yet: regions and tables are placed in them as the
 * heap grows, so the virtual size of a process tells what it uses. The first candidate
 * is far from where the kernel puts anything by itself; where that is not possible
 * (39-bit addresses, sanitizers) the kernel names a free stretch.
 */
bool mym_pages_init(void)
{
    unsigned shift = 43;
    uintptr_t chunk = MYM_CHUNK_UNITS * MYM_UNIT;
    uintptr_t at = 0;
    size_t units;

#ifndef MYM_SANITIZED
    uintptr_t entropy = (uintptr_t)__builtin_frame_address(0) >> 12;

    /* 32 to 64 TiB, moved by the randomness of the stack's address. */
    at = ((uintptr_t)1 << 45) +
         (entropy * 0x9E3779B97F4A7C15u >> 20 & 0x3FFF) * ((size_t)1 << 30);
    if (mym_os_map_at(at, MYM_UNIT) == MYM_OS_OK)
        mym_os_unmap((void *)at, MYM_UNIT); /* NOLINT */
    else
        at = 0;
#endif
    if (at == 0) {
        for (shift = 40; shift >= 30 && at == 0; shift--)
            at = mym_os_find_window(((size_t)1 << shift) + ((size_t)1 << (shift - 5)));
        shift++;
    }
    if (at == 0)
        return false;
    units = (size_t)1 << (shift - MYM_UNIT_SHIFT);
    at = mym_round_up(at, chunk);
    class_table = (struct table){at, 1, 0};
    at += mym_round_up(units, chunk);
    unit_table = (struct table){at, sizeof(struct mym_unit), 0};
    at += mym_round_up(units * sizeof(struct mym_unit), chunk) + chunk;
    bit_table = (struct table){at, sizeof(mym_heap.bits[0]), 0};
    at += mym_round_up(units * sizeof(mym_heap.bits[0]), chunk);
    freed_table = (struct table){at, sizeof(mym_heap.freed[0]), 0};
    at += mym_round_up(units * sizeof(mym_heap.freed[0]), chunk);
    mym_heap.cls = (uint8_t *)class_table.start;                    /* NOLINT */
    mym_heap.units = (struct mym_unit *)unit_table.start;           /* NOLINT */
    mym_heap.bits = (uint64_t(*)[MYM_BIT_WORDS])bit_table.start;    /* NOLINT */
    mym_heap.freed = (uint64_t(*)[MYM_BIT_WORDS])freed_table.start; /* NOLINT */
    mym_heap.base = at + chunk;
    mym_pages.limit = (uint32_t)units - MYM_CHUNK_UNITS;
    mym_pages.end = FIRST_UNIT;
    mym_pages.high = MYM_CHUNK_UNITS; /* below it there is nothing to look for */
    mym_pages.most = mym_pages.near = UINT64_MAX; /* until configured */
    if (!grow_tables(mym_pages.end))
        return false;
    mym_hot.heap_base = mym_heap.base;
    mym_hot.heap_class = mym_heap.cls;
    return true;
}
