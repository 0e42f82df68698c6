/*
 * created.c - arenas that a program creates: numbers, and nothing behind them.
 *
 * redis 8 ends where it gets none, BIND's libraries where one cannot be given back. What is
 * asked for "in" one lies in arena 0 with all else, and is the program's to free.
 *
 * Locking: mym_info_lock guards which there are.
 */
#include "face/created.h"

#include "alloc/info.h"

#include <errno.h>
#include <stdatomic.h>

#define MOST_ARENAS 4095u

/* A bit each, and the last that there ever was. */
static uint64_t created[(MOST_ARENAS + 1) / 64];
static _Atomic unsigned last_created;

unsigned mym_arena_numbers(void)
{
    return 1 + atomic_load(&last_created);
}

bool mym_arena_is_created(size_t arena)
{
    return arena > 0 && arena < mym_arena_numbers();
}

uint64_t mym_arenas_read(const size_t *unused)
{
    (void)unused;
    return mym_arena_numbers();
}

static unsigned take_number(void)
{
    unsigned number = 1;

    mym_mutex_lock(&mym_info_lock, MYM_RANK_INFO);
    while (number <= MOST_ARENAS && created[number / 64] >> number % 64 & 1)
        number++;
    if (number <= MOST_ARENAS) {
        created[number / 64] |= (uint64_t)1 << number % 64;
        if (number > atomic_load(&last_created))
            atomic_store(&last_created, number);
    }
    mym_mutex_unlock(&mym_info_lock, MYM_RANK_INFO);
    return number;
}

/* Give the number back. What is still in use stays so: it never was in this arena. */
int mym_arena_destroy(const size_t *at, uint64_t nothing)
{
    uint64_t bit = (uint64_t)1 << at[0] % 64, before;

    (void)nothing;
    if (!mym_arena_is_created(at[0]))
        return EFAULT;
    mym_mutex_lock(&mym_info_lock, MYM_RANK_INFO);
    before = created[at[0] / 64];
    created[at[0] / 64] = before & ~bit;
    mym_mutex_unlock(&mym_info_lock, MYM_RANK_INFO);
    return before & bit ? 0 : EFAULT;
}

uint64_t mym_arena_read_initialized(const size_t *at)
{
    return !mym_arena_is_created(at[0]) || created[at[0] / 64] >> at[0] % 64 & 1;
}

/* Extent hooks would be called by nobody. */
int mym_arena_create(const struct mym_exchange *call)
{
    unsigned number;
    int error = mym_put_number(call, 0, sizeof number);

    if (error != 0)
        return error;
    if (call->new != NULL || call->new_length != 0)
        return EFAULT;
    number = take_number();
    if (number > MOST_ARENAS)
        return EAGAIN;
    return mym_put_number(call, number, sizeof number);
}
