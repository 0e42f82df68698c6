/*
 * meta.c - a bump allocator over mappings of its own.
 */
#include "heap/meta.h"

#include "os/mutex.h"
#include "os/os.h"

/* Most programs need no more than the first: address space may be limited, or locked. */
#define STEP_FIRST ((size_t)128 << 10)
#define STEP       ((size_t)1 << 20)

static struct {
    struct mym_mutex lock;
    uintptr_t start, next, end; /* of the last mapping */
} meta;

_Atomic size_t mym_meta_taken;

static const char name_of_records[] = "mymalloc: records";

/* At start there is no more than one. */
void mym_meta_name(void)
{
    void *start = (void *)meta.start; /* NOLINT */

    mym_os_name(start, meta.end - meta.start, name_of_records);
}

void *mym_meta_take(size_t bytes, size_t align)
{
    void *block = NULL;
    uintptr_t at;

    mym_mutex_lock(&meta.lock, MYM_RANK_META);
    at = mym_round_up(meta.next, align);
    if (at + bytes > meta.end) {
        size_t need = mym_round_up(bytes + align, MYM_PAGE);
        size_t step = meta.end == 0 ? STEP_FIRST : STEP;
        void *more = mym_os_map(step = step > need ? step : need);

        if (more == NULL && step > need) /* a tight limit */
            more = mym_os_map(step = need);
        if (more == NULL)
            goto out;
        mym_os_name(more, step, name_of_records);
        meta.start = (uintptr_t)more;
        meta.next = (uintptr_t)more;
        meta.end = (uintptr_t)more + step;
        at = mym_round_up(meta.next, align);
    }
    meta.next = at + bytes;
    mym_meta_count(bytes);
    block = (void *)at; /* NOLINT */
out:
    mym_mutex_unlock(&meta.lock, MYM_RANK_META);
    return block;
}

void mym_meta_count(size_t bytes)
{
    atomic_fetch_add_explicit(&mym_meta_taken, bytes, memory_order_relaxed);
}

size_t mym_meta_bytes(void)
{
    return atomic_load_explicit(&mym_meta_taken, memory_order_relaxed);
}

void mym_meta_fork(enum mym_fork_step step)
{
    mym_mutex_fork(&meta.lock, step);
}
