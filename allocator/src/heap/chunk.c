/*
 * chunk.c - which chunks of the heap the kernel may make huge pages.
 *
 * A huge page is faulted in by one fault instead of 512 and read with one TLB entry, but
 * it is resident as a whole. So a chunk of 2 MiB is asked for as one when its first clean
 * unit goes to something that will be written all over (dense.c). What is left of the chunk is
 * resident from then on: it goes to the dirty runs, which are used first. So no more than one
 * huge page is there in advance, and a heap that is not small has it to spare.
 * A chunk within one object of a size that was dense each time is one in any heap; who takes
 * that object gives back the small pages that it has from before, which nobody else knows of
 * (x86-64, Linux 6.14).
 *
 * A huge chunk is clean as a whole or not at all. When a part of it is given back to the
 * kernel, or goes to what is not dense, it is small from then on: otherwise khugepaged
 * would fill it up again.
 *
 * Locking: mym_pages.lock guards the chunks.
 */
#include "heap/runs.h"

#include "os/os.h"

/*
 * From so many units in use on. Small objects come in many sizes, each of which may be outgrown
 * and leave a part of a chunk; there one huge page is a 32nd of the heap.
 */
#define HUGE_FROM       (8 * MYM_CHUNK_UNITS)
#define HUGE_FROM_SMALL (32 * MYM_CHUNK_UNITS)

static enum mym_huge huge_mode = MYM_HUGE_NEVER; /* until configured */
static bool huge_by_default = true;              /* the same */

/*
 * Each pair of neighbours of which one is huge is one mapping more (memory/huge.c saw 258 of
 * them in a heap of 1 GiB). Beyond so many pairs a chunk becomes huge only beside another
 * one, and small together with those below it: their huge pages stay, new ones are not made.
 */
#define EDGES_MOST 48u

static uint32_t edges;

void mym_chunk_set_huge(enum mym_huge mode, bool by_default)
{
    huge_mode = mode;
    huge_by_default = by_default;
}

/* The mark of a chunk is in the record of its first unit. */
static bool *mark_of(uint32_t unit)
{
    return &mym_heap.units[mym_chunk_down(unit)].huge;
}

bool mym_chunk_is_huge(uint32_t unit)
{
    return *mark_of(unit);
}

/* Chunks from `from` on that are of the other kind change; where they end. */
static uint32_t flip(uint32_t from, uint32_t to, bool huge)
{
    uint32_t end = from;

    for (; end < to && *mark_of(end) != huge; end += MYM_CHUNK_UNITS) {
        *mark_of(end) = huge;
        mym_pages.huge += huge ? 1u : -1u;
    }
    if (end > from) {
        edges += *mark_of(from - 1) == huge ? -1u : 1u;
        edges += *mark_of(end) == huge ? -1u : 1u;
    }
    return end;
}

/* [from, to) are whole chunks; those next to each other of one kind are told at once. */
static void set_marks(uint32_t from, uint32_t to, bool huge)
{
    while (from < to) {
        uint32_t end;

        if (!huge && *mark_of(from) && edges >= EDGES_MOST)
            while (*mark_of(from - 1))
                from -= MYM_CHUNK_UNITS;
        end = flip(from, to, huge);
        if (end > from)
            mym_os_huge_pages(mym_unit_address(from), (size_t)(end - from) * MYM_UNIT,
                              huge);
        from = end > from ? end : from + MYM_CHUNK_UNITS;
    }
}

static bool may_be_marked(uint32_t low, uint32_t high)
{
    return edges < EDGES_MOST || *mark_of(low - 1) || *mark_of(high);
}

bool mym_chunk_is_worth_it(enum mym_dense dense)
{
    uint64_t now = mym_pages_in_use() + mym_pages_dirty();

    if (huge_mode == MYM_HUGE_NEVER || now >= mym_pages.near)
        return false;
    if (huge_mode == MYM_HUGE_ALWAYS)
        return true;
    /* Tails are memory that the program may need, where the container's limit is in sight. */
    if (dense == MYM_SPARSE || (dense == MYM_TAILED && now >= mym_pages.near / 2))
        return false;
    return now >= (dense == MYM_SMALL ? HUGE_FROM_SMALL : HUGE_FROM);
}

bool mym_chunk_would_be_huge(size_t bytes)
{
    return huge_mode == MYM_HUGE_ALWAYS ||
           (huge_mode == MYM_HUGE_AUTO && mym_is_dense(bytes) != MYM_SPARSE);
}

void mym_chunk_advise(void *object, size_t bytes, bool huge)
{
    if (huge || huge_by_default)
        mym_os_huge_pages(object, bytes, huge);
}

uint32_t mym_chunk_use(uint32_t first, uint32_t length, uint32_t end,
                       enum mym_dense dense)
{
    uint32_t last = first + length;
    uint32_t low = mym_chunk_up(first);
    uint32_t high =
        mym_chunk_up(last) <= end ? mym_chunk_up(last) : mym_chunk_down(last);

    set_marks(mym_chunk_down(first), low, false); /* chunks that others share */
    if (low >= high || !mym_chunk_is_worth_it(dense) || !may_be_marked(low, high)) {
        set_marks(low, mym_chunk_up(last), false);
        return last;
    }
    set_marks(low, high, true);
    set_marks(high, mym_chunk_up(last), false);
    return high > last ? high : last;
}

/*
 * A chunk that is one such object's alone costs no memory as a huge page, however small the heap
 * is. It is in small pages if it was used before that was known, and stays so where the kernel
 * would bring them back one by one.
 */
struct mym_stretch mym_chunk_renew(uint32_t first, uint32_t length)
{
    uint32_t low = mym_chunk_up(first), high = mym_chunk_down(first + length);
    struct mym_stretch small = {0, 0};

    if (low >= high || huge_mode == MYM_HUGE_NEVER ||
        !mym_is_always_dense((size_t)length * MYM_UNIT) || !mym_os_frees_tables() ||
        mym_pages_in_use() + mym_pages_dirty() >= mym_pages.near)
        return small;
    while (low < high && *mark_of(low))
        low += MYM_CHUNK_UNITS;
    while (low < high && *mark_of(high - 1))
        high -= MYM_CHUNK_UNITS;
    if (low < high && may_be_marked(low, high)) {
        set_marks(low, high, true);
        small = (struct mym_stretch){low, high};
    }
    return small;
}

void mym_chunk_split(uint32_t first, uint32_t length)
{
    set_marks(mym_chunk_down(first), mym_chunk_up(first + length), false);
}

void mym_chunk_forget(uint32_t from, uint32_t to)
{
    for (; from < to; from += MYM_CHUNK_UNITS)
        flip(from, from + MYM_CHUNK_UNITS, false);
}

bool mym_chunk_may_be_clean(uint32_t from, uint32_t to)
{
    return (from % MYM_CHUNK_UNITS == 0 || !*mark_of(from)) &&
           (to % MYM_CHUNK_UNITS == 0 || !*mark_of(to));
}

bool mym_chunk_adds_up(void)
{
    uint32_t marks = 0, pairs = 0;

    for (uint32_t unit = MYM_CHUNK_UNITS; unit <= mym_pages.end;
         unit += MYM_CHUNK_UNITS) {
        marks += *mark_of(unit);
        pairs += *mark_of(unit) != *mark_of(unit - 1);
    }
    return marks == mym_pages.huge && pairs == edges;
}
