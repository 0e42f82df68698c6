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
#include "face/object.h"

#include <stdlib.h>
#include <string.h>

#define NEW(name, ...)                      \
    void *name(size_t size, ##__VA_ARGS__); \
    EXPORT MYM_FAST void *name(size_t size, ##__VA_ARGS__)
#define DELETE(name, ...)                \
    void name(void *ptr, ##__VA_ARGS__); \
    EXPORT MYM_FAST void name(void *ptr, ##__VA_ARGS__)

typedef void (*new_handler)(void);

/*
 * The cold halves are functions of their own, entered by a jump: so the fast ones keep
 * nothing across a call and are as short as malloc. A nothrow form has no exception made
 * where no handler is set: NULL is all that could come of it.
 */

#ifdef MYM_ARCHIVE

new_handler _ZSt15get_new_handlerv(void);
_Noreturn void _ZSt17__throw_bad_allocv(void);
/*
 * A handler may throw, which C cannot catch. The C++ library's array forms, which stay, do:
 * they call operator new[] in a try block, which is ours.
 */
void *_ZnamRKSt9nothrow_t(size_t size, const void *nothrow);
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment,
                                         const void *nothrow);

/* Whoever takes the operators takes malloc. */
__attribute__((used)) static void *(*const with_malloc)(size_t) = malloc;

static MYM_SLOW void *new_aligned_slow(size_t size, size_t alignment)
{
    for (;;) {
        void *object = mym_aligned_slow(alignment, size);
        new_handler handler;

        if (MYM_LIKELY(object != NULL))
            return object;
        handler = _ZSt15get_new_handlerv();
        if (handler == NULL)
            _ZSt17__throw_bad_allocv();
        handler();
    }
}

static MYM_SLOW void *new_slow(size_t size)
{
    return new_aligned_slow(size, MYM_ALIGNMENT);
}

static MYM_SLOW void *nothrow_slow(size_t size, const void *nothrow)
{
    void *object = mym_malloc_slow(size);

    return MYM_LIKELY(object != NULL) || _ZSt15get_new_handlerv() == NULL
               ? object
               : _ZnamRKSt9nothrow_t(size, nothrow);
}

static MYM_SLOW void *nothrow_aligned_slow(size_t size, size_t alignment,
                                           const void *nothrow)
{
    void *object = mym_aligned_slow(alignment, size);

    return MYM_LIKELY(object != NULL) || _ZSt15get_new_handlerv() == NULL
               ? object
               : _ZnamSt11align_val_tRKSt9nothrow_t(size, alignment, nothrow);
}

#define COLD(function, ...) function(__VA_ARGS__)

#else

/* How well an object's function serves the caller: the best of all is taken. */
enum { NOT, SOME_LIBRARY, OWN_LIBRARY, OWN_OBJECT };

struct search {
    const void *caller;
    const char *function;
    const void *ours; /* not to be found */
    bool met;         /* an object that has it: who stands in front of all */
    int rank;
    void *found;
    struct mym_object own; /* the caller's */
};

/* Both are called for each loaded object. */
static int note_caller(struct dl_phdr_info *info, size_t size, void *context)
{
    struct search *search = context;

    (void)size;
    return mym_object_has(info, search->caller) && mym_object_read(info, &search->own);
}

/* What the file name of a C++ library begins with; NULL: it is none. */
static const char *library_of(const struct dl_phdr_info *info)
{
    static const char *const names[] = {"libstdc++.so", "libc++"}; /* and libc++abi */
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *base = slash == NULL ? info->dlpi_name : slash + 1;

    for (int i = 0; i < 2; i++)
        if (strncmp(base, names[i], strlen(names[i])) == 0)
            return names[i];
    return NULL;
}

static int look(struct dl_phdr_info *info, size_t size, void *context)
{
    struct search *search = context;
    const char *library = library_of(info);
    struct mym_object object;
    void *function;
    int rank = NOT;

    (void)size;
    if (!mym_object_read(info, &object) ||
        (function = mym_object_function(info, &object, search->function)) == NULL)
        return 0;
    /* Who stands in front of us and calls us wraps us (a recorder): that would not end. */
    if (object.dynamic == search->own.dynamic && (search->met || library != NULL))
        rank = OWN_OBJECT;
    else if (library != NULL)
        rank = mym_object_needs(&search->own, library) ? OWN_LIBRARY : SOME_LIBRARY;
    search->met = true;
    if (function != search->ours && rank > search->rank) {
        search->found = function;
        search->rank = rank;
    }
    return 0;
}

/*
 * The operator of the caller's own object, where a C++ library is linked into it; else of
 * that which it is linked with; where that does not tell (it is C that was left by a jump),
 * of any. By the objects' own tables: a dlopen may wait for this thread.
 */
static MYM_COLD void *find_other(const void *caller, const char *operator,
                                 const void * own)
{
    struct search search = {.caller = caller, .function = operator, .ours = own };

    dl_iterate_phdr(note_caller, &search);
    dl_iterate_phdr(look, &search);
    return search.found;
}

/* False: the C++ library of the caller has no new-handler for certain. */
static bool may_handle(const void *caller)
{
    new_handler (*get)(void) =
        (new_handler(*)(void))find_other(caller, "_ZSt15get_new_handlerv", NULL);

    return get == NULL || get() != NULL;
}

/* In a cold half that has no object: the result of the C++ library's own operator. */
#define PASS_ON(name, otherwise, ...)                                         \
    do {                                                                      \
        __typeof__(&name) form =                                              \
            (__typeof__(&name))find_other(caller, #name, (const void *)name); \
        if (form != NULL)                                                     \
            return form(__VA_ARGS__);                                         \
        otherwise;                                                            \
    } while (0)
#define DIE mym_fatal("operator new is out of memory", NULL)

void *_Znwm(size_t);
static MYM_SLOW void *new_slow(size_t size, const void *caller)
{
    void *object = mym_malloc_slow(size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_Znwm, DIE, size);
}

void *_ZnwmSt11align_val_t(size_t, size_t);
static MYM_SLOW void *new_aligned_slow(size_t size, size_t alignment,
                                       const void *caller)
{
    void *object = mym_aligned_slow(alignment, size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_ZnwmSt11align_val_t, DIE, size, alignment);
}

void *_ZnwmRKSt9nothrow_t(size_t, const void *);
static MYM_SLOW void *nothrow_slow(size_t size, const void *nothrow, const void *caller)
{
    void *object = mym_malloc_slow(size);

    if (MYM_LIKELY(object != NULL) || !may_handle(caller))
        return object;
    PASS_ON(_ZnwmRKSt9nothrow_t, return NULL, size, nothrow);
}

void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t, size_t, const void *);
static MYM_SLOW void *nothrow_aligned_slow(size_t size, size_t alignment,
                                           const void *nothrow, const void *caller)
{
    void *object = mym_aligned_slow(alignment, size);

    if (MYM_LIKELY(object != NULL) || !may_handle(caller))
        return object;
    PASS_ON(_ZnwmSt11align_val_tRKSt9nothrow_t, return NULL, size, alignment, nothrow);
}

#define COLD(function, ...) function(__VA_ARGS__, __builtin_return_address(0))

ALIAS(_ZnwmRKSt9nothrow_t) void *_ZnamRKSt9nothrow_t(size_t, const void *);
ALIAS(_ZnwmSt11align_val_tRKSt9nothrow_t)
void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t, size_t, const void *);

#endif

NEW(_Znwm) /* operator new(size_t) */
{
    void *object = mym_malloc_quick(size);

    return MYM_LIKELY(object != NULL) ? object : COLD(new_slow, size);
}

NEW(_ZnwmSt11align_val_t, size_t alignment)
{
    void *object = mym_aligned_quick(alignment, size);

    return MYM_LIKELY(object != NULL) ? object
                                      : COLD(new_aligned_slow, size, alignment);
}

NEW(_ZnwmRKSt9nothrow_t, const void *nothrow)
{
    void *object = mym_malloc_quick(size);

    return MYM_LIKELY(object != NULL) ? object : COLD(nothrow_slow, size, nothrow);
}

NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t alignment, const void *nothrow)
{
    void *object = mym_aligned_quick(alignment, size);

    return MYM_LIKELY(object != NULL)
               ? object
               : COLD(nothrow_aligned_slow, size, alignment, nothrow);
}

DELETE(_ZdlPv) /* operator delete(void *) */
{
    mym_free(ptr);
}

DELETE(_ZdlPvm, size_t size)
{
    mym_free_sized(ptr, size);
}

DELETE(_ZdlPvSt11align_val_t, size_t alignment)
{
    (void)alignment;
    mym_free(ptr);
}

DELETE(_ZdlPvmSt11align_val_t, size_t size, size_t alignment)
{
    mym_free_aligned_sized(ptr, alignment, size);
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
