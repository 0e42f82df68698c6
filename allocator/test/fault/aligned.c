/*
 * aligned.c - blocks of about their alignment that come and go: address space stays flat, also
 * where what is freed is unmapped.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <sys/resource.h>

#define MIB ((size_t)1 << 20)
#define KIB ((size_t)1 << 10)

enum { SLOTS = 24 };
static void *block[SLOTS];
static size_t block_bytes[SLOTS];

/* So many of them are replaced at random; the most bytes that were in use. */
static size_t replace_some(size_t alignment, unsigned steps, uint64_t *random)
{
    size_t live = 0, most = 0;

    for (unsigned i = 0; i < SLOTS; i++)
        live += block_bytes[i];
    while (steps-- > 0) {
        unsigned i = (unsigned)(next_random(random) % SLOTS);
        size_t bytes = alignment / 2 + next_random(random) % (alignment + 1);

        free(block[i]);
        block[i] = aligned_alloc(alignment, bytes);
        CHECK(block[i] && (uintptr_t)block[i] % alignment == 0);
        live += bytes - block_bytes[i];
        block_bytes[i] = bytes;
        most = live > most ? live : most;
    }
    return most;
}

/* Blocks of about their alignment, of which none is touched: address space stays flat. */
static void replace_aligned(size_t alignment)
{
    unsigned steps = is_slow() ? 200 : 1500;
    size_t before = address_space(), most, now;
    uint64_t random = test_seed();

    replace_some(alignment, steps, &random);
    now = address_space() - before;
    most = replace_some(alignment, steps * 3, &random);
    /* Seven standard deviations more than is usual: who follows whom is chance. */
    now = now + now / 4 > most / 4 * 9 ? now + now / 4 : most / 4 * 9;
    /* The heap grows by whole chunks: of small blocks each is much of what there is. */
    CHECKF(address_space() - before <= now + 2 * alignment + 2 * MIB,
           "%zu MiB, then %zu, for at most %zu in use, aligned to %zu KiB", now / MIB,
           (address_space() - before) / MIB, most / MIB, alignment >> 10);
    /* A block of a little more than its alignment takes two of them. */
    CHECKF(now <= 3 * most + 2 * alignment + 4 * MIB,
           "%zu MiB for at most %zu in use, aligned to %zu KiB", now / MIB, most / MIB,
           alignment >> 10);
    for (unsigned i = 0; i < SLOTS; i++)
        free(block[i]);
}

static void aligned_blocks_fit_again(void)
{
    for (size_t alignment = 128 * KIB; alignment <= 64 * MIB; alignment *= 2)
        run_in_child(replace_aligned, alignment);
}

static void aligned_to_8_mib(void)
{
    replace_aligned(8 * MIB);
}

/* A limit that is nowhere near; but a program that is started with one unmaps what it frees. */
#define ROOM (8192 * MIB)

/* Blocks fit where others were. */
static void aligned_blocks_fit_in_holes(void)
{
    run_within(RLIMIT_AS, ROOM, "aligned_to_8_mib");
}

const struct test tests[] = {
    {"aligned_blocks_fit_again", aligned_blocks_fit_again},
    {"aligned_to_8_mib", aligned_to_8_mib},
    {"aligned_blocks_fit_in_holes", aligned_blocks_fit_in_holes},
    {NULL, NULL},
};
