/*
 * ledger.c - how much idle memory may stay: bytes say what is in use, who is granted what, and
 * when a second passes.
 *
 * The model of the rule keeps what was in use in each moment of the second that runs, and
 * finds the greatest climb among all pairs of moments; between seconds it forgets an eighth,
 * in fractions. Of the grants it knows who holds how much.
 */
#include "bytes.h"
#include "check.h"
#include "spans.h"

#include "heap/runs.h"

#define MOMENTS 400

static struct {
    uint64_t keep, swing;
    uint64_t high[MOMENTS], use[MOMENTS]; /* of this second */
    unsigned moments, before;             /* the first ones are from before it */
    bool helped;
} model;

static struct mym_ledger ledger;

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The greatest climb out of a trough, not above what was there before it. */
static uint64_t climb(void)
{
    uint64_t most = 0;

    for (unsigned low = 0; low < model.moments; low++)
        for (unsigned later = model.before; later < model.moments; later++) {
            uint64_t top = least(model.use[later], model.high[low]);

            if (later > low && top > model.use[low] && top - model.use[low] > most)
                most = top - model.use[low];
        }
    return most;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t allowance(void)
{
    uint64_t now = model.use[model.moments - 1], high = model.high[model.moments - 1];
    uint64_t most = greater(3 * model.keep, high / 4) - model.keep;

    if (model.keep == 0)
        return 0;
    if (model.helped)
        return model.keep + high - now;
    return model.keep + least(least(greater(model.swing, climb()), high - now), most);
}

static void see(uint64_t use)
{
    unsigned i = model.moments++;

    model.use[i] = use;
    model.high[i] = greater(use, model.high[i - 1]);
    mym_ledger_see(&ledger, (uint32_t)use);
}

/* What is `from` goes an eighth of the way to what is `to`, a whole unit at least. */
static uint64_t nearer(uint64_t from, uint64_t to)
{
    return from > to ? (7 * (from - to)) / 8 + to : to - (7 * (to - from)) / 8;
}

static void age(void)
{
    uint64_t now = model.use[model.moments - 1], high = model.high[model.moments - 1];
    uint64_t low = now, seen = climb();

    for (unsigned i = model.moments; i-- > 0;) {
        low = least(low, model.use[i]);
        if (i >= model.before && model.use[i] >= model.high[i - 1])
            break;
    }
    model.swing = greater(seen, nearer(greater(model.swing, seen), 0));
    /* The trough of before is a moment of its own, then what is in use now. */
    model.high[0] = model.high[1] = nearer(high, now);
    model.use[0] = nearer(low, now);
    model.use[1] = now;
    model.moments = model.before = 2;
    mym_ledger_age(&ledger);
}

/* ---- who holds what ---- */

static uint32_t held[MYM_HOLDERS], hollow, span, span_units;

static uint32_t held_by_all(void)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < MYM_HOLDERS; i++)
        sum += held[i];
    return sum;
}

static void check_held(void)
{
    struct mym_pages_info info;
    uint32_t idle = held_by_all() + hollow;

    mym_idle_settle();
    info = mym_pages_info();
    for (unsigned i = 0; i < MYM_HOLDERS; i++)
        CHECK(info.held[i] == held[i] * MYM_UNIT && mym_idle_held(i) == held[i]);
    CHECKF(mym_pages.ledger.use == span_units - (uint32_t)least(span_units, idle),
           "%u in use of %u, %u idle", mym_pages.ledger.use, span_units, idle);
    CHECK(mym_idle_is_overdrawn() == (held_by_all() > info.allowance / MYM_UNIT / 2));
}

static void grant(enum mym_holder holder, uint32_t units, uint32_t part)
{
    size_t may = mym_pages_info().allowance / MYM_UNIT / 2;
    bool expected = part == 0 || held_by_all() + units <= may / part;

    CHECKF(mym_idle_grant(holder, units, part) == expected,
           "%u units beside %u of %zu, one part in %u", units, held_by_all(), may,
           part);
    held[holder] += expected ? units : 0;
}

static void give_back(enum mym_holder holder, uint32_t units)
{
    units = (uint32_t)least(units, held[holder]);
    held[holder] -= units;
    mym_idle_return(holder, units);
}

static void change_hollow(uint32_t units)
{
    uint32_t less = (uint32_t)least(units / 2, hollow);
    int32_t change = units % 2 ? (int32_t)units : -(int32_t)less;

    hollow += (uint32_t)change;
    CHECK(mym_idle_add_hollow(change) == hollow);
}

/* More or less of the heap is in use. */
static void change_span(uint32_t units)
{
    if (span_units != 0)
        mym_pages_put(span);
    span = 0;
    if (units != 0)
        span = take_units(units);
    span_units = units;
}

/* ---- steps ---- */

static void play(struct bytes *bytes)
{
    unsigned what = read_byte(bytes), value = read_word(bytes);
    enum mym_holder holder = what / 16 % MYM_HOLDERS;
    uint64_t change = (uint64_t)(value >> value % 16) * (what / 8 + 1u);

    switch (what % 8) {
    case 0:
        see(model.use[model.moments - 1] + change);
        break;
    case 1:
        see(model.use[model.moments - 1] - least(model.use[model.moments - 1], change));
        break;
    case 2:
        see((uint64_t)value << what / 16);
        break;
    case 3:
        age();
        break;
    case 4:
        grant(holder, value >> value % 16, what / 8 % 2 + value % 3);
        break;
    case 5:
        give_back(holder, value);
        break;
    case 6:
        change_hollow(value);
        break;
    default:
        if (what & 8)
            mym_idle_set_keep((size_t)(value % 1024) * MYM_UNIT);
        else
            change_span(value % 1024);
    }
    if (model.moments == MOMENTS)
        age();
    CHECKF(mym_ledger_allowance(&ledger) == allowance(),
           "%u units may stay, %llu by the model, %u in use, high %u, swing %u",
           mym_ledger_allowance(&ledger), (unsigned long long)allowance(), ledger.use,
           ledger.high, ledger.swing);
    check_held();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct bytes bytes = {data, length};
    unsigned first = read_byte(&bytes);

    check_begin("ledger");
    free(malloc(1));
    model.keep = first % 8 * 100;
    model.helped = first & 8;
    model.swing = model.high[0] = model.use[0] = 0;
    model.moments = model.before = 1;
    ledger = (struct mym_ledger){.keep = (uint32_t)model.keep, .helped = model.helped};
    while (bytes.left >= 3)
        play(&bytes);
    for (unsigned i = 0; i < MYM_HOLDERS; i++)
        give_back(i, held[i]);
    change_hollow(2 * hollow);
    change_span(0);
    check_held();
    CHECK(mym_pages_verify() == 0);
    return 0;
}
