/*
 * ledger.c - how much idle memory may stay, against a model that has no state: what the
 * rule says is computed again from all that happened.
 */
#include "check.h"

#include "heap/ledger.h"

#define MIB  16u /* units */
#define KEEP (60 * MIB)
#define PAST 200u

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/*
 * The greatest climb back from a trough, no higher than what was there before it: of all
 * pairs of moments. And the highest of all.
 */
static uint32_t swing_of(const uint32_t *use, unsigned moments, uint32_t *high)
{
    uint32_t swing = 0;

    *high = 0;
    for (unsigned trough = 0; trough < moments; trough++) {
        *high = use[trough] > *high ? use[trough] : *high;
        for (unsigned later = trough + 1; later < moments; later++) {
            uint32_t back = least(use[later], *high);

            if (back > use[trough] && back - use[trough] > swing)
                swing = back - use[trough];
        }
    }
    return swing;
}

static uint32_t expected(const uint32_t *use, unsigned moments)
{
    uint32_t high, swing = swing_of(use, moments, &high);
    uint32_t most = 3 * KEEP > high / 4 ? 3 * KEEP : high / 4;

    return least(KEEP + least(swing, high - use[moments - 1]), most);
}

/* Within a second nothing is forgotten: the numbers are those of the whole past. */
static void model_agrees(void)
{
    uint64_t random = test_seed();
    unsigned rounds = is_slow() ? 20 : 100;

    for (unsigned round = 0; round < rounds; round++) {
        struct mym_ledger ledger = {.keep = KEEP};
        uint32_t past[PAST], now = 0;
        uint32_t step = MIB << next_random(&random) % 10;

        for (unsigned i = 0; i < PAST; i++) {
            uint32_t change = (uint32_t)(next_random(&random) % step);

            if (next_random(&random) % 2)
                now += change;
            else
                now -= least(now, change * (1 + round % 2));
            past[i] = now;
            mym_ledger_see(&ledger, now);
            if (next_random(&random) % 8 != 0)
                continue;
            CHECKF(mym_ledger_allowance(&ledger) == expected(past, i + 1),
                   "%u units, %u by the model, at moment %u",
                   mym_ledger_allowance(&ledger), expected(past, i + 1), i);
        }
    }
}

/* With seconds in between: bounds, and with each second less. */
static void bounds_hold(void)
{
    uint64_t random = test_seed();
    struct mym_ledger ledger = {.keep = KEEP};

    for (unsigned i = 0; i < 200000; i++) {
        uint32_t now = (uint32_t)(next_random(&random) % (4096u * MIB)), may;
        uint32_t quarter;

        mym_ledger_see(&ledger, now >> next_random(&random) % 12);
        may = mym_ledger_allowance(&ledger);
        quarter = ledger.high / 4;
        CHECK(ledger.low <= ledger.use && ledger.use <= ledger.high);
        CHECK(may >= KEEP && may <= (3 * KEEP > quarter ? 3 * KEEP : quarter));
        CHECKF(ledger.use + may <= ledger.high + KEEP, "%u and %u units of %u",
               ledger.use, may, ledger.high);
        while (next_random(&random) % 3 == 0) {
            mym_ledger_age(&ledger);
            CHECK(mym_ledger_allowance(&ledger) <=
                  may); /* the peak is forgotten, too */
            may = mym_ledger_allowance(&ledger);
        }
    }
    for (unsigned second = 0; second < 100; second++)
        mym_ledger_age(&ledger);
    CHECK(mym_ledger_allowance(&ledger) == KEEP && ledger.swing == 0);
    CHECK(ledger.high == ledger.use && ledger.low == ledger.use);
    ledger.keep = 0;
    mym_ledger_see(&ledger, 0);
    mym_ledger_see(&ledger, 9999 * MIB);
    CHECK(mym_ledger_allowance(&ledger) == 0);
}

/* ---- programs ---- */

/* A heap that keeps what it may: units that had to be faulted in again. */
struct heap {
    struct mym_ledger ledger;
    uint32_t idle;
};

static uint32_t use(struct heap *heap, uint32_t units)
{
    uint32_t before = heap->ledger.use, faults = 0, may;

    mym_ledger_see(&heap->ledger, units);
    if (units > before) {
        faults = units - before - least(heap->idle, units - before);
        heap->idle -= units - before - faults;
    } else {
        heap->idle += before - units;
    }
    may = mym_ledger_allowance(&heap->ledger);
    heap->idle = least(heap->idle, may);
    return faults;
}

static void fall_leaves_keep(void)
{
    struct heap heap = {.ledger.keep = KEEP};

    use(&heap, 1024 * MIB);
    for (uint32_t left = 1024;
         left-- > 0;) { /* freeing allocates a little now and then */
        use(&heap, left * MIB);
        use(&heap, left * MIB + MIB / 4);
    }
    CHECKF(heap.idle <= KEEP + MIB / 4, "%u MiB stay", heap.idle / MIB);
}

/* Down and up by `by` of `size` MiB, a second each: units faulted after the first time. */
static uint32_t swing(struct heap *heap, uint32_t size, uint32_t by)
{
    uint32_t faults = 0;

    use(heap, size * MIB);
    for (unsigned time = 0; time < 20; time++) {
        uint32_t more;

        use(heap, (size - by) * MIB);
        more = use(heap, size * MIB);
        faults += time == 0 ? 0 : more;
        mym_ledger_age(&heap->ledger);
    }
    use(heap, (size - by) * MIB);
    return faults;
}

static void swings_are_kept_in_proportion(void)
{
    struct heap huge = {.ledger.keep = KEEP}, small = huge, whole = huge;

    CHECK(swing(&huge, 10240, 512) == 0 && huge.idle == 512 * MIB);
    CHECK(swing(&small, 200, 150) == 0 && small.idle == 150 * MIB);
    /* Stopped dead at the bottom: a quarter of the peak, or three times what always stays. */
    CHECK(swing(&whole, 4096, 4000) > 0 && whole.idle == 1024 * MIB);
    whole = (struct heap){.ledger.keep = KEEP};
    CHECK(swing(&whole, 500, 500) > 0 && whole.idle == 3 * KEEP);
    whole = (struct heap){.ledger = {.keep = KEEP, .helped = true}};
    CHECK(swing(&whole, 4096, 4000) == 0); /* it will be given back */
    whole = (struct heap){.ledger = {.keep = KEEP, .helped = true}};
    use(&whole, 4096 * MIB);
    use(&whole, 0); /* the first time, too */
    CHECK(use(&whole, 4096 * MIB) == 0);
}

const struct test tests[] = {
    {"model_agrees", model_agrees},
    {"bounds_hold", bounds_hold},
    {"fall_leaves_keep", fall_leaves_keep},
    {"swings_are_kept_in_proportion", swings_are_kept_in_proportion},
    {NULL, NULL},
};
