/*
 * operators.c - C++ operator new and delete, by their mangled names (Itanium C++ ABI).
 *
 * libstdc++'s operators come down to malloc and free and would be recorded there; those
 * of jemalloc, tcmalloc, mimalloc and mymalloc do not. So an operator new is recorded
 * here unless malloc has just recorded it. It must not hold the recorder while it calls
 * the next one: that may throw, and no exception passes through this file's frames with
 * anything left to undo.
 */
#include "format.h"
#include "interpose.h"
#include "recorder.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* NULL when no C++ library is loaded that this file could find. */
static void *find_operator(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++abi.so.1",
                                            "libc++.so.1"};
    void *found = dlsym(RTLD_NEXT, name);

    /* A C++ library that came with a plug-in is not in the scope of RTLD_NEXT. */
    for (size_t i = 0; !found && i < sizeof(libraries) / sizeof(libraries[0]); i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);

        if (library)
            found = dlsym(library, name);
    }
    return found;
}

static void *note_new(void *p, size_t size, size_t alignment)
{
    if (!p || recorder_has(p) || !recorder_enter())
        return p;
    if (alignment)
        recorder_took_aligned(alignment, size, p);
    else
        recorder_took(TRACE_MALLOC, size, p);
    recorder_leave();
    return p;
}

/* Without the next operator, memory of malloc; the operators below give it to free. */
static void *take_plain(size_t size, size_t alignment)
{
    void *p = NULL;

    if (alignment <= 16)
        p = malloc(size);
    else if (posix_memalign(&p, alignment, size))
        p = NULL;
    return p;
}

#define FIND(name)                                                     \
    static _Atomic(void *) found;                                      \
    void *symbol = atomic_load_explicit(&found, memory_order_acquire); \
    __typeof__(&(name)) next;                                          \
    if (!symbol) {                                                     \
        symbol = find_operator(#name);                                 \
        atomic_store(&found, symbol);                                  \
    }                                                                  \
    memcpy(&next, &symbol, sizeof(next))

#define NEW(name, alignment, parameters, ...)                                         \
    void *name parameters;                                                            \
    EXPORT void *name parameters                                                      \
    {                                                                                 \
        FIND(name);                                                                   \
        recorder_forget();                                                            \
        return note_new(next ? next(__VA_ARGS__) : take_plain(size, alignment), size, \
                        alignment);                                                   \
    }

#define DELETE(name, parameters, ...)     \
    void name parameters;                 \
    EXPORT void name parameters           \
    {                                     \
        FIND(name);                       \
        bool on;                          \
        if (!next) {                      \
            free(p);                      \
        } else if (record_free(p, &on)) { \
            next(__VA_ARGS__);            \
            record_free_end(on);          \
        }                                 \
    }

#define NOTHROW const void *nothrow

NEW(_Znwm, 0, (size_t size), size)
NEW(_Znam, 0, (size_t size), size)
NEW(_ZnwmRKSt9nothrow_t, 0, (size_t size, NOTHROW), size, nothrow)
NEW(_ZnamRKSt9nothrow_t, 0, (size_t size, NOTHROW), size, nothrow)
NEW(_ZnwmSt11align_val_t, align, (size_t size, size_t align), size, align)
NEW(_ZnamSt11align_val_t, align, (size_t size, size_t align), size, align)
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, align, (size_t size, size_t align, NOTHROW),
    size, align, nothrow)
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, align, (size_t size, size_t align, NOTHROW),
    size, align, nothrow)

DELETE(_ZdlPv, (void *p), p)
DELETE(_ZdaPv, (void *p), p)
DELETE(_ZdlPvm, (void *p, size_t size), p, size)
DELETE(_ZdaPvm, (void *p, size_t size), p, size)
DELETE(_ZdlPvRKSt9nothrow_t, (void *p, NOTHROW), p, nothrow)
DELETE(_ZdaPvRKSt9nothrow_t, (void *p, NOTHROW), p, nothrow)
DELETE(_ZdlPvSt11align_val_t, (void *p, size_t align), p, align)
DELETE(_ZdaPvSt11align_val_t, (void *p, size_t align), p, align)
DELETE(_ZdlPvmSt11align_val_t, (void *p, size_t size, size_t align), p, size, align)
DELETE(_ZdaPvmSt11align_val_t, (void *p, size_t size, size_t align), p, size, align)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *p, size_t align, NOTHROW), p, align,
       nothrow)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *p, size_t align, NOTHROW), p, align,
       nothrow)
