/*
 * fault.c - memory runs out: NULL with ENOMEM, nothing lost, everything works afterwards.
 */
#include "check.h"
#include "family.h"
#include "proc.h"
#include "refuse.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SLOTS 300

static struct {
    unsigned char *p;
    size_t size, alignment;
} slots[SLOTS];

static unsigned long failures; /* requests that came back with NULL */

static unsigned char mark_of(int slot)
{
    return (unsigned char)(slot * 7 + 1);
}

/* The bytes that are written and checked: so that 70 MiB stay untouched but for some 150 pages. */
static size_t next_byte(size_t j)
{
    return j < 10000 ? j + 1 : j + 40009 + j / 40;
}

static void check_slot(int i, size_t size)
{
    for (size_t j = 0; j < size; j = next_byte(j))
        CHECKF(slots[i].p[j] == mark_of(i), "slot %d, byte %zu of %zu", i, j, size);
}

static void fill_slot(int i)
{
    for (size_t j = 0; j < slots[i].size; j = next_byte(j))
        slots[i].p[j] = mark_of(i);
}

static size_t draw_size(uint64_t *random)
{
    static const size_t limit[] = {100, 1000, 5000, 40000, 300000, 5000000, 70000000};
    uint64_t dice = next_random(random) % 100;
    int range = dice < 40   ? 0
                : dice < 60 ? 1
                : dice < 75 ? 2
                : dice < 88 ? 3
                : dice < 96 ? 4
                : dice < 99 ? 5
                            : 6;

    return 1 + next_random(random) % limit[range];
}

static void give_up(const void *p)
{
    if (!p) {
        CHECKF(errno == ENOMEM, "errno %d", errno);
        failures++;
    }
}

static void take_slot(int i, uint64_t *random)
{
    size_t size = draw_size(random), alignment = 16;
    unsigned char *p;

    errno = 0;
    switch (next_random(random) % 4) {
    case 0:
        p = calloc(1, size);
        break;
    case 1:
        alignment = (size_t)16 << next_random(random) % 14;
        p = aligned_alloc(alignment, size);
        break;
    default:
        p = malloc(size);
    }
    give_up(p);
    CHECK((uintptr_t)p % alignment == 0);
    slots[i].p = p;
    slots[i].size = p ? size : 0;
    if (p)
        fill_slot(i);
}

static void resize_slot(int i, uint64_t *random)
{
    size_t size = draw_size(random), old = slots[i].size;
    unsigned char *p;

    errno = 0;
    p = realloc(slots[i].p, size);
    give_up(p);
    if (!p) {
        check_slot(i, old); /* still there, still whole */
        return;
    }
    slots[i].p = p;
    check_slot(i, size < old ? size : old);
    slots[i].size = size;
    fill_slot(i);
}

static void free_slot(int i)
{
    check_slot(i, slots[i].size);
    errno = 77;
    free(slots[i].p);
    CHECK(errno == 77);
    slots[i].p = NULL;
}

static void free_all(void)
{
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].p)
            free_slot(i);
}

static void play(uint64_t random, int steps)
{
    for (int step = 0; step < steps; step++) {
        int i = (int)(next_random(&random) % SLOTS);

        if (!slots[i].p)
            take_slot(i, &random);
        else if (next_random(&random) % 3 == 0)
            resize_slot(i, &random);
        else
            free_slot(i);
        if (step % 512 == 0)
            malloc_trim(0);
    }
}

/* The heap is as good as new: every size can be had, nothing is still in use. */
static void expect_recovery(size_t used_before)
{
    free_all();
    malloc_trim(0);
    if (family.verify)
        CHECK(family.verify() == 0);
    if (is_mymalloc())
        CHECKF(mallinfo2().uordblks <= used_before + 65536, "%zu bytes were lost",
               mallinfo2().uordblks - used_before);
    for (size_t size = 1; size < (size_t)100 << 20; size = size * 3 / 2 + 1) {
        void *p = malloc(size);

        CHECKF(p, "size %zu", size);
        free(p);
    }
}

static const struct refused refused = {
    play, expect_recovery, &failures, false, 4000, 1500, 20};

static void every_kth_call_fails(void)
{
    refuse_every_kth(&refused, (const size_t[]){1, 2, 3, 5, 7, 13, 0});
}

static void each_call_fails_once(void)
{
    refuse_each_once(&refused);
}

/* ---- address-space limits ---- */

/* Fill the room that is left with objects of one size; returns how many there were. */
static size_t fill_up(size_t size)
{
    void *first = NULL, **last = &first;
    size_t count = 0;
    void *p;

    errno = 0;
    while ((p = malloc(size)) != NULL) {
        memset(p, 0x3c, size < 4096 ? size : 4096);
        *last = p;
        last = p;
        *last = NULL;
        count++;
    }
    CHECKF(errno == ENOMEM, "errno %d", errno);
    while (first) {
        void *next = *(void **)first;

        free(first);
        first = next;
    }
    return count;
}

static void live_within(size_t room)
{
    static const size_t sizes[] = {16, 200, 3000, 30000, 200000, 3000000};
    size_t used = mallinfo2().uordblks;

    limit_growth(RLIMIT_AS, room);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t got = fill_up(sizes[i]) * sizes[i], again;

        malloc_trim(0);
        again = fill_up(sizes[i]) * sizes[i];
        if (room >= (size_t)16 << 20)
            CHECKF(got >= room / 4, "only %zu bytes of %zu in objects of %zu", got,
                   room, sizes[i]);
        if (got > (size_t)1 << 20)
            CHECKF(again >= got / 4 * 3, "%zu bytes, then only %zu, in objects of %zu",
                   got, again, sizes[i]);
    }
    errno = 0;
    CHECK(!malloc(room + ((size_t)256 << 20)) && errno == ENOMEM);
    play(test_seed(), 5000);
    free_all();
    malloc_trim(0);
    if (family.verify)
        CHECK(family.verify() == 0);
    if (is_mymalloc())
        CHECK(mallinfo2().uordblks <= used + 65536);
}

static void address_space_is_limited(void)
{
    for (size_t room = 0; room <= (size_t)40 << 20; room = room * 8 + 65536)
        run_in_child(live_within, room);
}

/* MYMALLOC_LIMIT is kept, whatever the sizes are, and trimming makes room again. */
static void own_limit_is_kept(void)
{
    size_t limit = (size_t)env_number("TEST_LIMIT", 0);

    if (!limit)
        return;
    for (size_t size = 64; size < limit / 8; size = size * 5 + 16) {
        size_t got = fill_up(size) * size;

        CHECKF(got <= limit && got >= limit / 2,
               "%zu bytes in objects of %zu, limit %zu", got, size, limit);
    }
    errno = 0;
    CHECK(!malloc(limit + 1) && errno == ENOMEM);
}

const struct test tests[] = {
    {"address_space_is_limited", address_space_is_limited},
    {"own_limit_is_kept", own_limit_is_kept},
    {"every_kth_call_fails", every_kth_call_fails},
    {"each_call_fails_once", each_call_fails_once},
    {NULL, NULL},
};
