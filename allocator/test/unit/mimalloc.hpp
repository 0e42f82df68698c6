/* mimalloc.hpp - for the tests of mimalloc's functions: their forms, and what is looked at in objects. */
#ifndef TEST_MIMALLOC_HPP
#define TEST_MIMALLOC_HPP

#include "named.hpp"

#include <cstdlib>
#include <cstring>

inline const size_t more_sizes[] = {1, 100, 5000, 33000, 1 << 20, 40 << 20};

using array_form = void *(size_t, size_t); /* or an alignment */
using zeroed_form = void *(size_t, size_t, size_t);
using move_form = void *(void *, size_t);
using moves_form = void *(void *, size_t, size_t);
using size_form = size_t(const void *);
using make_form = void *();
using move_in_form = void *(void *, void *, size_t);

inline size_t usable(const void *ptr)
{
    return find<size_form>("mi_usable_size")(ptr);
}

inline char *written(void *object, size_t bytes, char value)
{
    CHECKF(object != nullptr && usable(object) >= bytes, "%zu bytes", bytes);
    return static_cast<char *>(memset(object, value, bytes < 9999 ? bytes : 9999));
}

inline bool reads(const char *from, size_t bytes, char value)
{
    for (size_t i = 0; i < bytes && i < 9999; i++)
        if (from[i] != value)
            return false;
    return true;
}

#endif
