/*
 * operators.c - the C++ operators new and delete under their own names (Itanium ABI).
 *
 * When the heap is out of memory, operator new calls the new-handler and throws
 * ([new.delete.single]); C can do neither without a C++ library, and the preload library
 * depends on none. So the C++ library's own operator is looked for, when that happens,
 * and called: it asks malloc, which is ours, and does the rest. Looked for then, because
 * a C program may have loaded C++ as a plugin; and from the caller on, because two
 * plugins may have brought libstdc++ and libc++, neither of which catches what the other
 * throws.
 *
 * In the archive this is a file of its own: a program that is linked with it calls
 * operator new, so it has a C++ library, whose functions are simply called.
 */
#include "face/override.h"

#include "base/check.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#define NEW(name, ...)                      \
    void *name(size_t size, ##__VA_ARGS__); \
    EXPORT void *name(size_t size, ##__VA_ARGS__)
#define DELETE(name, ...)                \
    void name(void *ptr, ##__VA_ARGS__); \
    EXPORT void name(void *ptr, ##__VA_ARGS__)

#ifdef MYM_ARCHIVE

typedef void (*new_handler)(void);
new_handler _ZSt15get_new_handlerv(void);
_Noreturn void _ZSt17__throw_bad_allocv(void);

/* Whoever takes the operators takes malloc. */
__attribute__((used)) static void *(*const with_malloc)(size_t) = malloc;

static MYM_COLD void *new_slow(size_t alignment, size_t size)
{
    for (;;) {
        void *object = mym_aligned(alignment, size);
        new_handler handler;

        if (object != NULL)
            return object;
        handler = _ZSt15get_new_handlerv();
        if (handler == NULL)
            _ZSt17__throw_bad_allocv();
        handler();
    }
}

NEW(_Znwm) /* operator new(size_t) */
{
    void *object = mym_malloc(size);

    return MYM_LIKELY(object != NULL) ? object : new_slow(MYM_ALIGNMENT, size);
}

NEW(_ZnwmSt11align_val_t, size_t alignment)
{
    void *object = mym_aligned(alignment, size);

    return MYM_LIKELY(object != NULL) ? object : new_slow(alignment, size);
}

/* The C++ library's nothrow forms call the operators above in a try block: they stay. */

#else

/* Of any C++ library that is loaded; called with the loader's lock held. */
static int note_library(struct dl_phdr_info *info, size_t size, void *name)
{
    const char *base = strrchr(info->dlpi_name, '/');

    (void)size;
    base = base == NULL ? info->dlpi_name : base + 1;
    if ((strncmp(base, "libstdc++.so", 12) != 0 && strncmp(base, "libc++", 6) != 0) ||
        strlen(info->dlpi_name) >= PATH_MAX)
        return 0;
    strcpy(name, info->dlpi_name);
    return 1;
}

/* A function of a loaded object or of those that it needs. */
static void *find_in(const char *object, const char *function)
{
    void *handle = dlopen(object, RTLD_LAZY | RTLD_NOLOAD);
    void *found = NULL;

    if (handle != NULL) {
        found = dlsym(handle, function);
        dlclose(handle);
    }
    return found;
}

/*
 * The operator of the C++ library that the caller is linked with; where that does not
 * tell (it is the program, or C that was left by a jump), of the program's or of any.
 */
static MYM_COLD void *find(const void *caller, const char *operator, const void * own)
{
    char name[PATH_MAX];
    Dl_info info;
    void *found = NULL;

    if (dladdr(caller, &info) != 0 && info.dli_fname != NULL)
        found = find_in(info.dli_fname, operator);
    /* Who stands in front of us and calls us wraps us (a recorder): that would not end. */
    if (found == dlsym(RTLD_DEFAULT, operator))
        found = NULL;
    if (found == NULL || found == own)
        found = dlsym(RTLD_NEXT, operator);
    if (found == NULL && dl_iterate_phdr(note_library, name) != 0)
        found = find_in(name, operator);
    return found == own ? NULL : found;
}

#define CALLER __builtin_return_address(0)
/* In an operator that has no object: the result of the C++ library's own one. */
#define PASS_ON(name, otherwise, ...)                                   \
    do {                                                                \
        __typeof__(&name) form =                                        \
            (__typeof__(&name))find(CALLER, #name, (const void *)name); \
        if (form != NULL)                                               \
            return form(__VA_ARGS__);                                   \
        otherwise;                                                      \
    } while (0)
#define DIE mym_fatal("operator new is out of memory", NULL)

NEW(_Znwm) /* operator new(size_t) */
{
    void *object = mym_malloc(size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_Znwm, DIE, size);
}

NEW(_ZnwmSt11align_val_t, size_t alignment)
{
    void *object = mym_aligned(alignment, size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_ZnwmSt11align_val_t, DIE, size, alignment);
}

NEW(_ZnwmRKSt9nothrow_t, const void *nothrow)
{
    void *object = mym_malloc(size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_ZnwmRKSt9nothrow_t, return NULL, size, nothrow);
}

NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t alignment, const void *nothrow)
{
    void *object = mym_aligned(alignment, size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_ZnwmSt11align_val_tRKSt9nothrow_t, return NULL, size, alignment, nothrow);
}

ALIAS(_ZnwmRKSt9nothrow_t) void *_ZnamRKSt9nothrow_t(size_t, const void *);
ALIAS(_ZnwmSt11align_val_tRKSt9nothrow_t)
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t, size_t, const void *);

#endif

DELETE(_ZdlPv) /* operator delete(void *) */
{
    mym_free(ptr);
}

DELETE(_ZdlPvm, size_t size)
{
    mym_free_sized(ptr, MYM_ALIGNMENT, size);
}

DELETE(_ZdlPvSt11align_val_t, size_t alignment)
{
    (void)alignment;
    mym_free(ptr);
}

DELETE(_ZdlPvmSt11align_val_t, size_t size, size_t alignment)
{
    mym_free_sized(ptr, alignment, size);
}

DELETE(_ZdlPvRKSt9nothrow_t, const void *nothrow)
{
    (void)nothrow;
    mym_free(ptr);
}

DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, size_t alignment, const void *nothrow)
{
    (void)alignment;
    (void)nothrow;
    mym_free(ptr);
}

/* The array forms. */
ALIAS(_Znwm) void *_Znam(size_t);
ALIAS(_ZnwmSt11align_val_t) void *_ZnamSt11align_val_t(size_t, size_t);
ALIAS(_ZdlPv) void _ZdaPv(void *);
ALIAS(_ZdlPvm) void _ZdaPvm(void *, size_t);
ALIAS(_ZdlPvSt11align_val_t) void _ZdaPvSt11align_val_t(void *, size_t);
ALIAS(_ZdlPvmSt11align_val_t) void _ZdaPvmSt11align_val_t(void *, size_t, size_t);
ALIAS(_ZdlPvRKSt9nothrow_t) void _ZdaPvRKSt9nothrow_t(void *, const void *);
ALIAS(_ZdlPvSt11align_val_tRKSt9nothrow_t)
void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *, size_t, const void *);
