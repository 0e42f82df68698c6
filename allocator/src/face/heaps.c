/*
 * heaps.c - mimalloc's heaps, for libmymalloc_preload.so: each is a reap.
 *
 * The program's name for one is an odd address. So mimalloc's own heaps are told from them, where
 * it is loaded: it calls itself by these names, too. What becomes of such a heap is its own
 * affair; for its objects it is malloc's heap, which is no reap.
 *
 * Locking: none here.
 */
#include "face/mimalloc.h"
#include "face/override.h"

#include "alloc/info.h"
#include "alloc/reap.h"

/* What the program calls malloc's heap, without mimalloc; in 3.6 NULL is one, too. */
static char all __attribute__((aligned(2)));

static void *heap_of(struct mym_reap *reap)
{
    return (char *)reap + 1;
}

/* mimalloc looks into what it gets. */
static void *backing(void)
{
    return mym_mimalloc_find() != NULL ? mym_mimalloc_find()->backing() : &all;
}

static void *by_default(void)
{
    if (mym_mimalloc_chosen != NULL)
        return heap_of(mym_mimalloc_chosen);
    return mym_mimalloc_find() != NULL ? mym_mimalloc_find()->by_default() : &all;
}

/*
 * mimalloc asks, too, and looks into what it gets (mi_heap_get_backing, mi_stats_print): the
 * thread's heap of its own.
 */
void *mi_heap_get_default(void);
EXPORT void *mi_heap_get_default(void)
{
    if (mym_mimalloc_chosen != NULL && mym_mimalloc_calls(__builtin_return_address(0)))
        return mym_mimalloc_find()->by_default();
    return by_default();
}

static void collect_own(bool force)
{
    if (force)
        mym_trim(0);
    else
        mym_cache_drain();
}

void mi_collect(bool force);
EXPORT void mi_collect(bool force)
{
    collect_own(force);
    if (mym_mimalloc_find() != NULL)
        mym_mimalloc_find()->collect(force);
}

/* ---- made, chosen, ended ---- */

static void *make(void)
{
    struct mym_reap *reap = mym_reap_create(0);

    return reap != NULL ? heap_of(reap) : NULL;
}

static bool is_others(void *heap)
{
    return mym_mimalloc_reap(heap) == NULL && heap != NULL &&
           mym_mimalloc_find() != NULL;
}

/* Its objects go on. */
static void leave(void *heap)
{
    if (is_others(heap))
        mym_mimalloc_find()->heap_delete(heap);
    if (mym_mimalloc_reap(heap) == NULL)
        return;
    if (mym_mimalloc_chosen == mym_mimalloc_reap(heap))
        mym_mimalloc_chosen = NULL;
    mym_reap_leave(mym_mimalloc_reap(heap));
}

/* Its objects end with it. */
static void end(void *heap)
{
    if (is_others(heap))
        mym_mimalloc_find()->heap_destroy(heap);
    if (mym_mimalloc_chosen == mym_mimalloc_reap(heap))
        mym_mimalloc_chosen = NULL;
    mym_reap_destroy(mym_mimalloc_reap(heap));
}

static void collect(void *heap, bool force)
{
    if (mym_mimalloc_reap(heap) == NULL)
        collect_own(force);
    if (is_others(heap))
        mym_mimalloc_find()->heap_collect(heap, force);
}

static void *choose(void *heap)
{
    void *former = by_default();

    mym_mimalloc_chosen = mym_mimalloc_reap(heap);
    return former;
}

/* ---- asked ---- */

/* NULL: malloc's. What a deleted heap had is, too: that heap has no name any more. */
static struct mym_reap *reap_of(const void *ptr)
{
    struct mym_reap *reap = mym_reap_of(ptr);

    return reap != NULL && !mym_reap_is_left(reap) ? reap : NULL;
}

static void *heap_that_has(const void *ptr)
{
    struct mym_reap *reap = reap_of(ptr);

    if (reap != NULL)
        return heap_of(reap);
    return mym_is_own(ptr) ? backing() : NULL;
}

static bool has(void *heap, const void *ptr)
{
    return mym_is_own(ptr) && reap_of(ptr) == mym_mimalloc_reap(heap);
}

struct area {
    void *blocks;
    size_t reserved, committed, used, block_size, full_block_size;
};
typedef bool visit_form(void *heap, const struct area *area, void *block, size_t size,
                        void *argument);

struct blocks {
    void *heap;
    size_t count, room;
    struct block {
        void *object;
        size_t bytes;
    } * list;
};

static int note(void *object, size_t bytes, void *argument)
{
    struct blocks *blocks = argument;

    if (object == blocks->list || !has(blocks->heap, object))
        return 0;
    if (blocks->count < blocks->room)
        blocks->list[blocks->count] = (struct block){object, bytes};
    blocks->count++;
    return 0;
}

/* Listed first, for the visitor may free them. Each is an area. */
static bool visit(void *heap, bool deep, visit_form *call, void *argument)
{
    struct blocks blocks = {.heap = heap};
    bool failed, go_on;

    mym_walk(note, &blocks, &failed);
    blocks.room = blocks.count;
    blocks.count = 0;
    blocks.list = failed ? NULL : mym_malloc(blocks.room * sizeof *blocks.list);
    if (blocks.list == NULL)
        return false;
    mym_walk(note, &blocks, &failed);
    go_on = !failed;
    for (size_t i = 0; i < blocks.count && i < blocks.room && go_on; i++) {
        struct block *b = &blocks.list[i];
        struct area area = {b->object, b->bytes, b->bytes, 1, b->bytes, b->bytes};

        go_on = call(heap, &area, NULL, b->bytes, argument) &&
                (!deep || call(heap, &area, b->object, b->bytes, argument));
    }
    mym_free(blocks.list);
    return go_on;
}

/* clang-format off */
#define H     void *heap
#define ARENA void *arena __attribute__((unused))
GIVES(mi_heap_new, make, (void))
GIVES(mi_heap_new_in_arena, make, (ARENA))
GIVES(mi_heap_new_ex, make, (int tag __attribute__((unused)), bool ends __attribute__((unused)), ARENA))
TAKES(mi_heap_delete, leave, (H), heap)
TAKES(mi_heap_destroy, end, (H), heap)
GIVES(mi_heap_set_default, choose, (H), heap)
GIVES(mi_heap_get_backing, backing, (void))
GIVES(mi_heap_main, backing, (void))
GIVES(mi_heap_of, heap_that_has, (const void *ptr), ptr)
TELLS(bool, mi_heap_contains, has, (H, const void *ptr), heap, ptr)
TELLS(bool, mi_heap_contains_block, has, (H, const void *ptr), heap, ptr)
TELLS(bool, mi_heap_check_owned, has, (H, const void *ptr), heap, ptr)
TAKES(mi_heap_collect, collect, (H, bool force), heap, force)
TELLS(bool, mi_heap_visit_blocks, visit, (H, bool deep, visit_form *call, void *argument), heap, deep, call, argument)
/* clang-format on */
