/*
 * cxx.h - the C++ library that a caller is linked with.
 */
#ifndef MYM_FACE_CXX_H
#define MYM_FACE_CXX_H

#include <stdbool.h>
#include <stddef.h>

/* A function of it that is not ours; NULL: there is none. */
void *mym_cxx_find(const void *caller, const char *function, const void *ours);

/* False: it has no new-handler for certain. */
bool mym_cxx_may_handle(const void *caller);

/*
 * A nothrow form where the program's operator new, which may throw, is to be called: the library's,
 * which catches that.
 */
void *mym_cxx_catch(const char *form, void *(*otherwise)(size_t), const void *caller,
                    size_t size, const void *nothrow);
void *mym_cxx_catch_aligned(const char *form, void *(*otherwise)(size_t, size_t),
                            const void *caller, size_t size, size_t alignment,
                            const void *nothrow);

#endif
