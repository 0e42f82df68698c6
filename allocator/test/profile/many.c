/*
 * many.c - a program that recurses has a new stack for each sample: what is remembered has a bound, and
 * the sums stay right.
 */
#include "check.h"

#include "proc.h"

#include "heap/meta.h"
#include "profile/profile.h"

enum { MOST = 131072, SAMPLES = 3 * MOST, CALLERS = 5, DEPTH = 20 };

/* Distinct in all but the innermost frame, of which there are a few. */
static void make_trace(struct mym_trace *trace, uintptr_t number)
{
    trace->known = true;
    trace->depth = DEPTH;
    for (unsigned i = 0; i < DEPTH; i++)
        trace->pc[i] = (void *)(0x400000 + number * 64 + i); /* NOLINT */
    trace->pc[0] = (void *)(0x500000 + number % CALLERS);    /* NOLINT */
}

static void *address_of(uintptr_t number)
{
    return (void *)(0x7f0000000000 + (number + 1) * 16); /* NOLINT */
}

static void check_sums(size_t samples, size_t in_use)
{
    size_t stacks = 0, ever = 0, now = 0, whole = 0;

    for (struct mym_stack *s = mym_profile_stacks(); s != NULL; s = s->older) {
        struct mym_sums sums[MYM_WHENS];

        mym_profile_sums(s, sums);
        CHECK(s->depth == DEPTH || s->depth == 1);
        stacks++;
        whole += s->depth == DEPTH;
        ever += sums[MYM_EVER].objects >> 16;
        now += sums[MYM_NOW].objects >> 16;
    }
    CHECKF(stacks <= MOST + CALLERS, "%zu stacks", stacks);
    CHECK(whole == (samples < MOST ? samples : MOST));
    CHECKF(ever == samples && now == in_use, "%zu of %zu, %zu of %zu", ever, samples,
           now, in_use);
}

/* Of samples, at most half full, and of stacks: a power of two each. */
#define TABLES \
    ((8 * MOST) * sizeof(struct mym_sample) + (2 * MOST) * sizeof(struct mym_stack *))

/* But for records. */
static size_t mapped_kib(void)
{
    return status_kib("VmSize") - mym_meta_bytes() / 1024;
}

static void stacks_have_a_bound(void)
{
    struct mym_trace trace;
    size_t records = 0, before = mapped_kib();

    for (uintptr_t i = 0; i < SAMPLES; i++) {
        make_trace(&trace, i);
        CHECK(mym_profile_keep(address_of(i), 16, 1, &trace));
        if (i == 2 * MOST)
            records = mym_meta_bytes();
    }
    CHECKF(mym_meta_bytes() == records, "%zu KiB more",
           (mym_meta_bytes() - records) >> 10);
    check_sums(SAMPLES, SAMPLES);
    CHECKF(is_slow() || mapped_kib() - before <= TABLES / 1024 + 1024,
           "%zu KiB for tables: those that were too small stay", mapped_kib() - before);
    for (uintptr_t i = 0; i < SAMPLES; i++)
        CHECK(mym_profile_drop(address_of(i)));
    check_sums(SAMPLES, 0);
}

const struct test tests[] = {
    {"stacks_have_a_bound", stacks_have_a_bound},
    {NULL, NULL},
};
