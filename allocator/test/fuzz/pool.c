/*
 * pool.c - pools and their slabs by themselves: bytes say which magazines are loaded, brought
 * back and exchanged, which objects pass by them, what is trimmed, and how many caches share what
 * magazines may hold.
 *
 * An object in the test's hands has its own address, changed by a key, in its first word and
 * its last one. So one that is handed out twice is seen, and one whose page was given back to
 * the kernel. Of each pool the verifier and one equation say the rest: what is not free is
 * in hands or in depots.
 */
#include "bytes.h"
#include "check.h"
#include "magazines.h"

#include "heap/runs.h"
#include "pool/pool.h"

#include <string.h>

#define HANDS   24
#define OBJECTS 96
#define KEY     0x5bd1e995a7c3f10bu

static const size_t sizes[] = {16, 48, 320, 1024, 2048, 9000, 32768, 131072};
#define POOLS (sizeof sizes / sizeof *sizes)

static struct hand {
    struct mym_pool *pool; /* NULL: nothing in it */
    struct mym_magazine *magazine;
    unsigned used;
} hands[HANDS];

static struct object {
    struct mym_pool *pool; /* NULL: none */
    void *object;
} objects[OBJECTS];

static uint64_t held[MYM_CLASSES]; /* objects in both */

/* ---- objects in hands ---- */

static uint64_t *last_word(const struct mym_pool *pool, void *object)
{
    return (uint64_t *)((char *)object + mym_classes[mym_pool_class(pool)].size) - 1;
}

static uint64_t mark_of(const void *object)
{
    return (uintptr_t)object ^ KEY;
}

static void receive(const struct mym_pool *pool, void *object)
{
    const struct mym_class *c = &mym_classes[mym_pool_class(pool)];
    uint32_t slab = mym_heap.units[mym_unit_of(object)].first;
    uint64_t *first = object;

    CHECKF(mym_in_heap(object) &&
               mym_heap.cls[mym_unit_of(object)] == mym_pool_class(pool),
           "%p is not of class %u", object, mym_pool_class(pool));
    CHECKF(mym_slab_index(c, mym_slab_start(slab), object) < c->objects,
           "%p starts in the midst of an object", object);
    CHECKF(*first != mark_of(object), "%p was handed out twice", object);
    *first = *last_word(pool, object) = mark_of(object);
    held[mym_pool_class(pool)]++;
}

static void release(const struct mym_pool *pool, void *object)
{
    uint64_t *first = object;

    CHECKF(*first == mark_of(object) && *last_word(pool, object) == mark_of(object),
           "%p of %u bytes was written to or given back to the kernel", object,
           mym_classes[mym_pool_class(pool)].size);
    *first = *last_word(pool, object) = 0;
    held[mym_pool_class(pool)]--;
}

static void receive_all(const struct hand *hand)
{
    CHECK(mym_magazine_is_whole(hand->magazine, hand->used));
    for (unsigned i = 0; i < hand->used; i++)
        receive(hand->pool, hand->magazine->entry[i]);
}

static void release_all(const struct hand *hand)
{
    for (unsigned i = 0; i < hand->used; i++)
        release(hand->pool, hand->magazine->entry[i]);
}

/* ---- what must hold after every step ---- */

static uint64_t taken, loaded;

static void count(struct mym_pool *pool, void *cls)
{
    if (mym_pool_class(pool) != *(const unsigned *)cls)
        return;
    CHECK(mym_pool_verify(pool) == 0);
    taken += mym_pool_used(pool);
    loaded += pool->loaded_objects;
}

static void check_class(unsigned cls)
{
    taken = loaded = 0;
    mym_pools_each(count, &cls);
    CHECKF(taken == loaded + held[cls],
           "class %u: %llu taken, %llu in depots, %llu held", cls,
           (unsigned long long)taken, (unsigned long long)loaded,
           (unsigned long long)held[cls]);
}

static void check_all(void)
{
    size_t magazines = 0;

    for (unsigned i = 0; i < HANDS; i++)
        magazines += hands[i].pool != NULL;
    check_magazines(magazines);
    for (unsigned i = 0; i < POOLS; i++)
        check_class(mym_class_of(sizes[i]));
    CHECK(mym_pools_verify_idle() == 0 && mym_pages_verify() == 0);
}

/* ---- steps ---- */

static struct mym_pool *pool_of(unsigned which)
{
    return mym_pool_of(which / 16, mym_class_of(sizes[which % POOLS]));
}

/* A magazine that is in hand for an object of its pool more or less. */
static void change(struct hand *hand, struct object *object)
{
    if (hand->pool == NULL)
        return;
    if (object->pool == NULL && hand->used > 0) {
        object->pool = hand->pool;
        object->object = hand->magazine->entry[--hand->used];
    } else if (object->pool == hand->pool && hand->used < hand->magazine->capacity) {
        hand->magazine->entry[hand->used++] = object->object;
        object->pool = NULL;
    }
}

static void load(struct hand *hand, struct mym_pool *pool, unsigned id)
{
    struct mym_magazine *empty = NULL;

    if (hand->pool != NULL && hand->used > 0)
        return;
    if (hand->pool != NULL) {
        pool = hand->pool;
        empty = hand->magazine;
    }
    hand->magazine = mym_pool_load(pool, id, empty);
    hand->pool = hand->magazine == NULL ? NULL : pool;
    if (hand->pool == NULL)
        return;
    hand->used = hand->magazine->used;
    CHECK(hand->used > 0);
    receive_all(hand);
}

static void unload(struct hand *hand, unsigned id)
{
    if (hand->pool == NULL)
        return;
    release_all(hand);
    mym_pool_unload(hand->pool, id, hand->magazine, hand->used);
    hand->pool = NULL;
}

static void exchange(struct hand *hand, struct mym_pool *pool, unsigned id)
{
    if (hand->pool != NULL && hand->used == 0)
        return;
    if (hand->pool == NULL) {
        hand->magazine = mym_pool_exchange(pool, id, NULL, 0);
    } else {
        pool = hand->pool;
        release_all(hand);
        hand->magazine = mym_pool_exchange(pool, id, hand->magazine, hand->used);
    }
    hand->pool = hand->magazine == NULL ? NULL : pool;
    if (hand->pool == NULL)
        return;
    hand->used = hand->magazine->used; /* 0, or it is the same with more room */
    CHECK(hand->used < hand->magazine->capacity);
    CHECK(hand->magazine->capacity == /* whatever it was before */
          mym_magazine_entries(mym_magazine_ration(pool->batch)));
    CHECK(mym_magazine_is_whole(hand->magazine, hand->used));
    receive_all(hand);
}

/* Past the magazines. */
static void pass(struct object *object, struct mym_pool *pool)
{
    if (object->pool != NULL) {
        release(object->pool, object->object);
        mym_pool_put(mym_pool_owner(mym_pool_class(object->pool), object->object),
                     object->object);
        object->pool = NULL;
        return;
    }
    object->object = mym_pool_take(pool);
    if (object->object == NULL)
        return;
    object->pool = pool;
    receive(pool, object->object);
}

/* So many units more than are in use may be. */
static void set_limit(unsigned units)
{
    struct mym_pages_info info = mym_pages_info();
    size_t most = info.mapped - info.free + units * MYM_UNIT;

    mym_pages_set_limit(units < 64 ? most : SIZE_MAX, SIZE_MAX);
}

static void play(struct bytes *bytes)
{
    unsigned what = read_byte(bytes), which = read_byte(bytes);
    struct hand *hand = &hands[which % HANDS];
    struct object *object = &objects[which % OBJECTS];
    struct mym_pool *pool = pool_of(what / 16 + which / 32 * 16);

    switch (what % 16) {
    case 15:
        mym_pool_trim(pool, which % 2);
        break;
    case 14:
        mym_pool_upkeep(pool, which % 2, which & 2);
        break;
    case 13:
        if (what < 192)
            mym_idle_set_keep((size_t)which * MYM_UNIT);
        else
            mym_magazines_share(which * 2);
        break;
    case 12:
        set_limit(which);
        break;
    case 11:
        mym_idle_age();
        check_all();
        break;
    case 8:
    case 9:
    case 10:
        change(hand, object);
        break;
    case 6:
    case 7:
        pass(object, pool);
        break;
    case 4:
    case 5:
        exchange(hand, pool, which % 3);
        break;
    case 3:
        unload(hand, which % 3);
        break;
    default:
        load(hand, pool, which % 3);
    }
    check_class(mym_class_of(sizes[what / 16 % POOLS]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct bytes bytes = {data, length};

    check_begin("pool");
    free(malloc(1));
    mym_idle_set_keep((size_t)16 << 20);
    while (bytes.left >= 2)
        play(&bytes);
    mym_pages_set_limit(SIZE_MAX, SIZE_MAX);
    mym_magazines_share(1);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (objects[i].pool != NULL)
            pass(&objects[i], NULL);
    for (unsigned i = 0; i < HANDS; i++)
        unload(&hands[i], i);
    check_all();
    for (unsigned i = 0; i < POOLS; i++)
        for (unsigned arena = 0; arena < mym_arena_count; arena++)
            mym_pool_trim(&mym_arenas[arena]->pool[mym_class_of(sizes[i])], true);
    check_all();
    CHECK(mym_pages.slabs == 0);
    return 0;
}
