/*
 * region.c - where the heap comes from: regions mapped one behind the other, and the
 * tables that describe them.
 *
 * Locking: the caller holds mym_pages.lock, but for mym_pages_init, which runs once.
 */
#include "heap/runs.h"

#include "os/os.h"

/* Tables are mapped for so many units at a time: 4 KiB of the class table. */
#define TABLE_STEP 4096u

#define GROW_MIN MYM_CHUNK_UNITS /* 2 MiB */
#define GROW_MAX 1024u           /* 64 MiB */

/*
 * Unit 0 stays absent: the end of every list, and a guard. That more do is for the
 * class table: what every free reads of it would lie at the start of a page, where all
 * else that is read begins too, and the first-level cache has few places for that.
 */
#define FIRST_UNIT 704u

struct mym_hot mym_hot;
struct mym_heap mym_heap;

static bool map_tables(uint32_t end)
{
    while (mym_pages.tables <= end) {
        uintptr_t from = mym_pages.tables;
        struct {
            uintptr_t addr;
            size_t bytes;
        } table[] = {
            {(uintptr_t)&mym_heap.class[from], TABLE_STEP},
            {(uintptr_t)&mym_heap.units[from], TABLE_STEP * sizeof(struct mym_unit)},
            {(uintptr_t)&mym_heap.bits[from], TABLE_STEP * sizeof(mym_heap.bits[0])},
            {(uintptr_t)mym_heap.dirty + from / 8, TABLE_STEP / 8},
        };

        for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
            uintptr_t addr = table[i].addr;
            size_t bytes = table[i].bytes;

            if (bytes < MYM_PAGE) { /* dirty bits of 8 steps share a page */
                if (addr % MYM_PAGE != 0)
                    continue;
                bytes = MYM_PAGE;
            }
            if (mym_os_map_at(addr, bytes) != MYM_OS_OK) {
                while (i-- > 0)
                    if (table[i].bytes >= MYM_PAGE)
                        mym_os_unmap((void *)table[i].addr,
                                     table[i].bytes); /* NOLINT */
                return false;
            }
            /* With huge pages always on, a table's first touch would cost 2 MiB. */
            mym_os_huge_pages((void *)addr, bytes, false); /* NOLINT */
        }
        mym_pages.tables += TABLE_STEP;
    }
    return true;
}

/* Map a further region of at least `length` units behind the last one. */
bool mym_region_grow(uint32_t length)
{
    uint32_t step = mym_pages.mapped / 2;
    uint32_t start = mym_pages.end;

    step = step < GROW_MIN ? GROW_MIN : step > GROW_MAX ? GROW_MAX : step;
    length = (length + GROW_MIN - 1) / GROW_MIN * GROW_MIN;
    if (step < length)
        step = length;
    for (int tries = 0; tries < 64;) {
        void *addr = mym_unit_address(start);
        size_t bytes = (size_t)step * MYM_UNIT;

        if (start + step >= mym_pages.limit)
            return false;
        switch (mym_os_map_at((uintptr_t)addr, bytes)) {
        case MYM_OS_OK:
            if (!map_tables(start + step)) {
                mym_os_unmap(addr, bytes);
                return false;
            }
            /* Small programs stay small where huge pages are always on. */
            if (mym_pages.mapped == 0)
                mym_os_huge_pages(addr, bytes, false);
            mym_pages.end = start + step;
            mym_pages.mapped += step;
            atomic_store(&mym_heap.size, (size_t)mym_pages.end * MYM_UNIT);
            __atomic_store_n(&mym_hot.heap_size, (size_t)mym_pages.end * MYM_UNIT,
                             __ATOMIC_RELEASE);
            mym_runs_put(start, step);
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
    size_t units, tables;

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
            at = mym_os_find_window(((size_t)1 << shift) + ((size_t)1 << (shift - 6)));
        shift++;
    }
    if (at == 0)
        return false;
    units = (size_t)1 << (shift - MYM_UNIT_SHIFT);
    at = (at + chunk - 1) & ~(chunk - 1);
    mym_heap.class = (uint8_t *)at;                                       /* NOLINT */
    mym_heap.dirty = (uint64_t *)(at + units);                            /* NOLINT */
    mym_heap.units = (struct mym_unit *)(at + units + units / 8 + chunk); /* NOLINT */
    tables = units + units / 8 + chunk + units * sizeof(struct mym_unit);
    mym_heap.bits = (uint64_t(*)[MYM_BIT_WORDS])(at + tables); /* NOLINT */
    tables += units * sizeof(mym_heap.bits[0]);
    mym_heap.base = (at + tables + chunk) & ~(chunk - 1);
    mym_pages.limit = (uint32_t)units - MYM_CHUNK_UNITS;
    mym_pages.end = FIRST_UNIT;
    mym_pages.high = MYM_CHUNK_UNITS; /* below it there is nothing to look for */
    mym_pages.most = mym_pages.near = UINT64_MAX; /* until configured */
    if (!map_tables(mym_pages.end))
        return false;
    mym_hot.heap_base = mym_heap.base;
    mym_hot.heap_class = mym_heap.class;
    return true;
}
