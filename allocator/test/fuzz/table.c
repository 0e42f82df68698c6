/*
 * table.c - the profile's table: bytes say which sampled objects come, from which stacks, and
 * which go; the model has a sum for each stack, and all of them as they were when in all most
 * was in use.
 *
 * Stacks are never given up, so the model is not either: it goes on from input to input.
 */
#include "bytes.h"
#include "check.h"

#include "profile/profile.h"

#include <string.h>

#define STACKS \
    1024 /* more than buckets at first: chains of several, and a table that grows */
#define OBJECTS 512

static struct stack {
    struct mym_trace trace;
    struct mym_sums sums[MYM_WHENS];
} stacks[STACKS];

static struct object {
    struct stack *stack; /* NULL: of samples that no profile wants */
    struct mym_sums weight;
    struct mym_sample lifted;
    enum { NOWHERE, KEPT, LIFTED } where;
} objects[OBJECTS];

static uint64_t in_use, most; /* bytes */

/* The innermost frame has the number; so many have the same depth that some share a bucket.
   The others lie before and behind it, near and at the ends of what an address can be. */
static void make_stacks(void)
{
    static const uintptr_t outer[] = {0x1000, 0x7fffffffffff, 0, UINTPTR_MAX};

    for (unsigned i = 0; i < STACKS; i++) {
        struct mym_trace *trace = &stacks[i].trace;

        trace->known = true;
        trace->depth = i == 0 ? 0 : i % 64 == 0 ? MYM_STACK_DEPTH : 1 + i % 2;
        for (unsigned frame = 0; frame < trace->depth; frame++)
            trace->pc[frame] = (void *)(frame == 0 ? i : outer[frame % 4]); /* NOLINT */
    }
}

/* Neighbours, some far away, and some whose places in a table of any size are the same. */
static void *address_of(unsigned i)
{
    uintptr_t far = (uintptr_t)(i % 4) << 36;

    return (void *)(0x7f0000000000 + far +
                    (i / 4 + 1) * (i % 8 < 4 ? 16 : 65536)); /* NOLINT */
}

/* ---- the model ---- */

static void add(struct mym_sums *sums, struct mym_sums what, int sign)
{
    sums->objects += sign > 0 ? what.objects : -what.objects;
    sums->bytes += sign > 0 ? what.bytes : -what.bytes;
}

static void use(const struct object *object, int sign)
{
    if (object->stack == NULL)
        return;
    add(&object->stack->sums[MYM_NOW], object->weight, sign);
    in_use += sign > 0 ? object->weight.bytes : -object->weight.bytes;
    if (in_use <= most)
        return;
    most = in_use;
    for (unsigned i = 0; i < STACKS; i++)
        stacks[i].sums[MYM_PEAK] = stacks[i].sums[MYM_NOW];
}

static const struct stack *model_of(const struct mym_stack *stack)
{
    void *pc[MYM_STACK_DEPTH] = {NULL};
    uintptr_t i;

    CHECK(mym_stack_unpack(pc, stack->packed, stack->depth) == stack->length);
    i = (uintptr_t)pc[0];
    CHECKF(i < STACKS && stacks[i].trace.depth == stack->depth &&
               memcmp(stacks[i].trace.pc, pc, stack->depth * sizeof(void *)) == 0,
           "a stack of %u frames is not ours", stack->depth);
    return &stacks[i];
}

static void check_stacks(void)
{
    struct mym_sums total = {0, 0}, expected = {0, 0};

    for (struct mym_stack *s = mym_profile_stacks(); s != NULL; s = s->older) {
        const struct stack *model = model_of(s);
        struct mym_sums sums[MYM_WHENS];

        mym_profile_sums(s, sums);
        for (unsigned when = 0; when < MYM_WHENS; when++)
            CHECKF(sums[when].objects == model->sums[when].objects &&
                       sums[when].bytes == model->sums[when].bytes,
                   "stack %td, sum %u: %llu bytes, not %llu", model - stacks, when,
                   (unsigned long long)sums[when].bytes,
                   (unsigned long long)model->sums[when].bytes);
        add(&total, sums[MYM_EVER], 1);
    }
    for (unsigned i = 0; i < STACKS; i++)
        add(&expected, stacks[i].sums[MYM_EVER], 1);
    CHECK(total.objects == expected.objects && total.bytes == expected.bytes);
}

/* ---- steps ---- */

static void keep(unsigned i, unsigned which, size_t bytes, size_t every)
{
    static struct mym_trace none;
    struct object *object = &objects[i];
    double weight = mym_sample_weight(bytes, every);

    /* One for every / bytes, but one at least. */
    CHECK(weight >= 1 && weight * (double)bytes >= (double)every * 0.99);
    CHECK(weight <= 1 + (double)every / (double)bytes);
    object->stack = which % 8 == 7 ? NULL : &stacks[which % STACKS];
    object->weight.objects = (uint64_t)(weight * 65536 + 0.5);
    object->weight.bytes = (uint64_t)(weight * (double)bytes + 0.5);
    CHECK(mym_profile_keep(address_of(i), bytes, every,
                           object->stack ? &object->stack->trace : &none));
    object->where = KEPT;
    if (object->stack != NULL)
        add(&object->stack->sums[MYM_EVER], object->weight, 1);
    use(object, 1);
}

static void drop(unsigned i)
{
    CHECK(mym_profile_drop(address_of(i)) == (objects[i].where == KEPT));
    if (objects[i].where == KEPT) {
        use(&objects[i], -1);
        objects[i].where = NOWHERE;
    }
}

static void lift(unsigned i)
{
    struct object *object = &objects[i];

    CHECK(mym_profile_lift(address_of(i), &object->lifted) == (object->where == KEPT));
    if (object->where != KEPT)
        return;
    CHECK(object->lifted.ptr == (uintptr_t)address_of(i) &&
          object->lifted.weight.bytes == object->weight.bytes &&
          object->lifted.weight.objects == object->weight.objects);
    use(object, -1);
    object->where = LIFTED;
}

static void settle(unsigned i, bool stays)
{
    if (objects[i].where != LIFTED)
        return;
    mym_profile_settle(&objects[i].lifted, stays);
    objects[i].where = stays ? KEPT : NOWHERE;
    if (stays)
        use(&objects[i], 1);
}

/* What is lifted counts as taken afterwards, but for MYM_EVER; other ends are no stack's. */
static void forget(void)
{
    mym_profile_forget();
    for (unsigned i = 0; i < STACKS; i++)
        memset(stacks[i].sums, 0, sizeof stacks[i].sums);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (objects[i].where == KEPT)
            objects[i].stack = NULL;
    in_use = most = 0;
}

static void play(struct bytes *bytes)
{
    unsigned what = read_byte(bytes), i = read_word(bytes) % OBJECTS;
    unsigned which = read_word(bytes);

    if (what == 255 && which % 16 == 10)
        forget();
    else if (what % 8 == 7)
        lift(i);
    else if (what % 8 == 6 || objects[i].where == LIFTED)
        settle(i, what & 64);
    else if (what % 8 == 5 || objects[i].where == KEPT)
        drop(i);
    else
        keep(i, which, (size_t)1 << what / 8 | which, (size_t)1 << which / 2048);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct bytes bytes = {data, length};

    check_begin("table");
    if (!stacks[0].trace.known)
        make_stacks();
    for (unsigned step = 1; bytes.left >= 5; step++) {
        play(&bytes);
        if (step % 32 == 0)
            check_stacks();
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        settle(i, false);
        drop(i);
    }
    check_stacks();
    CHECK(in_use == 0);
    return 0;
}
