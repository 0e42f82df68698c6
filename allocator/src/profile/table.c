/*
 * table.c - the stacks that were seen, with what they took; and the sampled objects.
 *
 * Stacks are never given up: there are as many as the program has ways to malloc. One that
 * recurses has no end of them, so those that come when there are STACKS_MOST are told apart by
 * who called malloc alone. Objects are in an open hash table by address, at most half full, which
 * grows and does not shrink.
 *
 * The peak costs nothing but a number for each: when the sum of all in use exceeds what it
 * ever was, that number is counted up, and a stack whose own is less keeps what it has, before
 * that changes (or never, if it does not). So all stacks have what they had at the peak.
 *
 * Locking: table.lock guards everything here, and images; a stack's frames and `older` are never
 * changed once others can find it. Sums and `newest` are read without it.
 */
#include "profile/profile.h"

#include "heap/meta.h"
#include "os/mutex.h"
#include "os/os.h"

#include <string.h>

/*
 * A page each: small programs have some dozens of either, and hashing touches every page
 * there is.
 */
#define BUCKETS_FIRST 512u
#define ROOM_FIRST    128u /* places for objects */

/* Some 20 to 40 MiB. */
#define STACKS_MOST 131072u

static struct {
    struct mym_mutex lock;
    struct mym_stack **bucket; /* as many as there are stacks, or more */
    struct mym_stack *newest;
    size_t buckets, stacks;
    struct mym_sample *sample;
    size_t room, count;    /* count: those that were lifted keep a place */
    uint64_t in_use, most; /* bytes, of all stacks; and when that was most */
    uint64_t peak;         /* the number of times that it was exceeded */
} table;

static struct mym_stack unknown; /* of samples that no profile wants: not in `newest` */

#define LOCK()   mym_mutex_lock(&table.lock, MYM_RANK_PROFILE)
#define UNLOCK() mym_mutex_unlock(&table.lock, MYM_RANK_PROFILE)

/* ---- stacks ---- */

/* A trace as a stack keeps it. */
struct packed {
    uint16_t depth, length;
    uint8_t bytes[MYM_PACKED_MOST];
};

static void pack(struct packed *packed, const struct mym_trace *trace, unsigned most)
{
    packed->depth = (uint16_t)(trace->depth < most ? trace->depth : most);
    packed->length = (uint16_t)mym_stack_pack(packed->bytes, trace->pc, packed->depth);
}

static struct mym_stack **bucket_of(const uint8_t *packed, size_t length)
{
    uint64_t hash = length;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ packed[i]) * 0x100000001B3u; /* FNV-1a */
    return &table.bucket[(hash ^ hash >> 32) & (table.buckets - 1)];
}

static void link_stack(struct mym_stack *stack)
{
    struct mym_stack **bucket = bucket_of(stack->packed, stack->length);

    stack->chain = *bucket;
    *bucket = stack;
}

/* Where there is no memory for more the chains get longer. */
static bool make_buckets(void)
{
    size_t old = table.buckets, more = old == 0 ? BUCKETS_FIRST : 2 * old;
    struct mym_stack **fresh;

    if (table.stacks < old)
        return true;
    fresh = mym_os_map(more * sizeof *fresh);
    if (fresh == NULL)
        return old != 0;
    mym_os_name(fresh, more * sizeof *fresh, "mymalloc: profile");
    if (old != 0)
        mym_os_unmap(table.bucket, old * sizeof *fresh);
    table.bucket = fresh;
    table.buckets = more;
    for (struct mym_stack *stack = table.newest; stack != NULL; stack = stack->older)
        link_stack(stack);
    return true;
}

static struct mym_stack *make_stack(const struct packed *packed)
{
    struct mym_stack *stack =
        mym_meta_take(sizeof *stack + packed->length, _Alignof(struct mym_stack));

    if (stack == NULL)
        return NULL;
    stack->depth = packed->depth;
    stack->length = packed->length;
    memcpy(stack->packed, packed->bytes, packed->length);
    stack->older = table.newest;
    link_stack(stack);
    table.stacks++;
    __atomic_store_n(&table.newest, stack, __ATOMIC_RELEASE); /* mym_profile_stacks */
    return stack;
}

static struct mym_stack *find_stack(const struct packed *packed)
{
    for (struct mym_stack *stack = *bucket_of(packed->bytes, packed->length);
         stack != NULL; stack = stack->chain)
        if (stack->length == packed->length && /* the same bytes are as many frames */
            memcmp(stack->packed, packed->bytes, packed->length) == 0)
            return stack;
    return NULL;
}

/* NULL: no memory. */
static struct mym_stack *stack_of(struct packed *packed, const struct mym_trace *trace)
{
    struct mym_stack *stack;

    if (!make_buckets())
        return NULL;
    stack = find_stack(packed);
    if (stack == NULL && table.stacks >= STACKS_MOST) {
        pack(packed, trace, 1);
        stack = find_stack(packed);
    }
    return stack != NULL ? stack : make_stack(packed);
}

/* ---- objects ---- */

static size_t home(uintptr_t ptr)
{
    return (size_t)((ptr >> 4) * MYM_GOLDEN >> 20) & (table.room - 1);
}

static size_t place_of(uintptr_t ptr)
{
    size_t i = home(ptr);

    while (table.sample[i].ptr != 0 && table.sample[i].ptr != ptr)
        i = (i + 1) & (table.room - 1);
    return i;
}

static bool make_room(void)
{
    struct mym_sample *old = table.sample;
    size_t old_room = table.room;
    size_t room = old_room == 0 ? ROOM_FIRST : 2 * old_room;
    struct mym_sample *fresh;

    if (2 * (table.count + 1) <= old_room)
        return true;
    fresh = mym_os_map(room * sizeof *fresh);
    if (fresh == NULL)
        return false;
    mym_os_name(fresh, room * sizeof *fresh, "mymalloc: profile");
    table.sample = fresh;
    table.room = room;
    for (size_t i = 0; i < old_room; i++)
        if (old[i].ptr != 0)
            fresh[place_of(old[i].ptr)] = old[i];
    if (old != NULL)
        mym_os_unmap(old, old_room * sizeof *old);
    return true;
}

/* Entries behind one that was removed move up to their homes. */
static void close_gap(size_t hole)
{
    for (size_t i = hole;;) {
        size_t want;

        i = (i + 1) & (table.room - 1);
        if (table.sample[i].ptr == 0)
            break;
        want = home(table.sample[i].ptr);
        if (((i - want) & (table.room - 1)) >= ((i - hole) & (table.room - 1))) {
            table.sample[hole] = table.sample[i];
            hole = i;
        }
    }
    table.sample[hole].ptr = 0;
}

static void set(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED); /* mym_profile_sums reads it */
}

static void add_sums(struct mym_sums *to, struct mym_sums what)
{
    set(&to->objects, to->objects + what.objects);
    set(&to->bytes, to->bytes + what.bytes);
}

/* So much more is in use by a stack; the negative of a sum for less. */
static void use(struct mym_stack *stack, struct mym_sums more)
{
    if (stack->saved != table.peak) {
        set(&stack->sums[MYM_PEAK].objects, stack->sums[MYM_NOW].objects);
        set(&stack->sums[MYM_PEAK].bytes, stack->sums[MYM_NOW].bytes);
        set(&stack->saved, table.peak);
    }
    add_sums(&stack->sums[MYM_NOW], more);
    if (stack == &unknown)
        return;
    table.in_use += more.bytes;
    if ((int64_t)(table.in_use - table.most) > 0) {
        table.most = table.in_use;
        set(&table.peak, table.peak + 1);
    }
}

static void place(struct mym_sample sample)
{
    table.sample[place_of(sample.ptr)] = sample;
    use(sample.stack, sample.weight);
}

bool mym_profile_keep(const void *ptr, size_t bytes, size_t every,
                      struct mym_trace *trace)
{
    double weight = mym_sample_weight(bytes, every);
    struct mym_sample sample = {
        .ptr = (uintptr_t)ptr,
        .weight = {(uint64_t)(weight * 65536 + 0.5),
                   (uint64_t)(weight * (double)bytes + 0.5)},
    };
    struct packed packed;
    bool done;

    LOCK();
    mym_images_place(trace->pc, trace->known ? trace->depth : 0);
    pack(&packed, trace, MYM_STACK_DEPTH);
    sample.stack = trace->known ? stack_of(&packed, trace) : &unknown;
    done = sample.stack != NULL && make_room();
    if (done) {
        place(sample);
        table.count++;
        add_sums(&sample.stack->sums[MYM_EVER], sample.weight);
    }
    UNLOCK();
    if (done)
        mym_probe_alloc(ptr, bytes, sample.weight.bytes);
    return done;
}

bool mym_profile_lift(const void *ptr, struct mym_sample *sample)
{
    bool found = false;

    LOCK();
    if (table.room != 0) {
        size_t at = place_of((uintptr_t)ptr);

        found = table.sample[at].ptr != 0;
        if (found) {
            *sample = table.sample[at];
            use(sample->stack,
                (struct mym_sums){-sample->weight.objects, -sample->weight.bytes});
            close_gap(at);
        }
    }
    UNLOCK();
    return found;
}

void mym_profile_settle(const struct mym_sample *sample, bool stays)
{
    LOCK();
    if (stays)
        place(*sample);
    else
        table.count--;
    UNLOCK();
    if (!stays)
        mym_probe_free((void *)sample->ptr); /* NOLINT */
}

bool mym_profile_drop(const void *ptr)
{
    struct mym_sample sample;
    bool found = mym_profile_lift(ptr, &sample);

    if (found)
        mym_profile_settle(&sample, false);
    return found;
}

/* An object that is being resized meanwhile counts as one that was taken afterwards. */
void mym_profile_forget(void)
{
    LOCK();
    for (struct mym_stack *stack = table.newest; stack != NULL; stack = stack->older)
        for (unsigned when = 0; when < MYM_WHENS; when++) {
            set(&stack->sums[when].objects, 0);
            set(&stack->sums[when].bytes, 0);
        }
    for (size_t i = 0; i < table.room; i++)
        if (table.sample[i].ptr != 0)
            table.sample[i].stack = &unknown; /* their frees find them still */
    table.in_use = table.most = 0;
    UNLOCK();
}

/* ---- looking ---- */

struct mym_stack *mym_profile_stacks(void)
{
    return __atomic_load_n(&table.newest, __ATOMIC_ACQUIRE);
}

void mym_profile_sums(const struct mym_stack *stack, struct mym_sums sums[MYM_WHENS])
{
    bool changed = MYM_RACY(stack->saved) == MYM_RACY(table.peak);

    for (unsigned when = 0; when < MYM_WHENS; when++) {
        const struct mym_sums *from =
            &stack->sums[when == MYM_PEAK && !changed ? MYM_NOW : when];

        sums[when].objects = MYM_RACY(from->objects);
        sums[when].bytes = MYM_RACY(from->bytes);
    }
}

void mym_profile_fork(enum mym_fork_step step)
{
    mym_mutex_fork(&table.lock, step);
}

void mym_profile_fork_child(void)
{
    /* Drawn again: children that do the same would else sample the same. */
    mym_countdown.random = 0;
    mym_sample_forget();
}
