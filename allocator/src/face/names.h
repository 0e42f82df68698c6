/*
 * names.h - what jemalloc's control interface calls things, and what they are here.
 */
#ifndef MYM_FACE_NAMES_H
#define MYM_FACE_NAMES_H

#include "base/config.h"

#include <errno.h>
#include <string.h>

/* What oldp and newp point to, as jemalloc(3) has it. */
enum mym_type {
    MYM_ACTION,   /* nothing */
    MYM_BOOL,     /* bool */
    MYM_UNSIGNED, /* unsigned, uint32_t */
    MYM_SIZE,     /* size_t, ssize_t, uint64_t */
    MYM_TEXT,     /* const char * */
    MYM_OTHER,    /* what the name's `exchange` knows */
};

/* What mallctl was called with. */
struct mym_exchange {
    void *old;
    size_t *old_length;
    const void *new;
    size_t new_length;
};

/*
 * A name: components with dots between. `#` stands for a number; at[0], at[1] are those of
 * the name that is asked for, 0 where it has none. No `read` or no `write`: that cannot be
 * done. Functions but `read` return an error number.
 */
struct mym_name {
    const char *name;
    enum mym_type type;
    uint64_t (*read)(const size_t *at); /* of a text: its address */
    int (*write)(const size_t *at, uint64_t value);
    int (*exchange)(const struct mym_exchange *call); /* instead of both */
};

#define MYM_NUMBERS    2u    /* in a name, at most */
#define MYM_ALL_ARENAS 4096u /* MALLCTL_ARENAS_ALL */

/* As the leaves of a tree: names that begin alike stand together. */
extern MYM_HIDDEN const struct mym_name mym_names[];
extern MYM_HIDDEN const unsigned mym_name_count;

/* Tell a number of so many bytes; EINVAL: there is no place of that length for it. */
MYM_INLINE int mym_put_number(const struct mym_exchange *call, uint64_t value,
                              size_t length)
{
    if (call->old == NULL || call->old_length == NULL || *call->old_length != length) {
        if (call->old_length != NULL)
            *call->old_length = 0;
        return EINVAL;
    }
    memcpy(call->old, &value, length); /* little-endian */
    return 0;
}

/* The program made it: nothing is in it. */
bool mym_arena_is_created(size_t arena);

/*
 * How many numbers there are behind a component (it ends with its dot, "bin."), from 0;
 * whether this is one, or stands for all arenas.
 */
size_t mym_numbers_of(const char *component);
bool mym_number_is_known(const char *component, size_t number);

#endif
