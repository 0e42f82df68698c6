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

/* Of the archive they are weak: the program's own are no second ones. */
#ifdef MYM_ARCHIVE
#define OPERATOR EXPORT MYM_FAST __attribute__((weak))
#else
#define OPERATOR EXPORT MYM_FAST
#endif

#define NEW(name, ...)                      \
    void *name(size_t size, ##__VA_ARGS__); \
    MAY_BE_REPLACED(name);                  \
    OPERATOR void *name(size_t size, ##__VA_ARGS__)
#define DELETE(name, ...)                \
    void name(void *ptr, ##__VA_ARGS__); \
    MAY_BE_REPLACED(name);               \
    OPERATOR void name(void *ptr, ##__VA_ARGS__)

typedef void (*new_handler)(void);

/*
 * A program may replace a part of them, the plain new and delete say. The other forms then
 * come down to its own, as the C++ library's do ([new.delete]): what its operator new
 * returned, ours cannot free, for it may begin with a header of the program's. Each form
 * in question is asked for by the address that the linker found for its name.
 *
 * Who has replaced the form that is called, and calls ours nevertheless, wraps it (a
 * recorder): he has seen the call, so it goes no further.
 */
/* Read-only once the program runs. */
#define RELOCATED __attribute__((section(".data.rel.ro.operators")))
#define MAY_BE_REPLACED(name)                                \
    extern __typeof__(name) own##name                        \
        __attribute__((alias(#name), visibility("hidden"))); \
    RELOCATED static __typeof__(name) *first##name = name
/* As if it could change: a compiler takes what is defined here for the only one. */
#define FIRST(name)                      \
    __extension__({                      \
        __asm__("" : "+m"(first##name)); \
        first##name;                     \
    })
#define IS_REPLACED(name, form) \
    (!MYM_LIKELY(FIRST(name) == own##name) && FIRST(form) == own##form)

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

static MYM_APART void *new_aligned_slow(size_t size, size_t alignment)
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

static MYM_APART void *new_slow(size_t size)
{
    return new_aligned_slow(size, MYM_ALIGNMENT);
}

static MYM_APART void *nothrow_slow(size_t size, const void *nothrow)
{
    void *object = mym_malloc_slow(size);

    return MYM_LIKELY(object != NULL) || _ZSt15get_new_handlerv() == NULL
               ? object
               : _ZnamRKSt9nothrow_t(size, nothrow);
}

static MYM_APART void *nothrow_aligned_slow(size_t size, size_t alignment,
                                            const void *nothrow)
{
    void *object = mym_aligned_slow(alignment, size);

    return MYM_LIKELY(object != NULL) || _ZSt15get_new_handlerv() == NULL
               ? object
               : _ZnamSt11align_val_tRKSt9nothrow_t(size, alignment, nothrow);
}

#define COLD(function, ...) function(__VA_ARGS__)

/*
 * What the program's operator new throws, the array form catches, for that comes down to it;
 * where the program has operator new[], too, nothing does.
 */
#define CATCH(array, base, form, ...)                                \
    (FIRST(array) == own##array ? array##RKSt9nothrow_t(__VA_ARGS__) \
                                : FIRST(base)(size))
#define CATCH_ALIGNED(array, base, form, ...)                        \
    (FIRST(array) == own##array ? array##RKSt9nothrow_t(__VA_ARGS__) \
                                : FIRST(base)(size, alignment))

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
static MYM_APART void *new_slow(size_t size, const void *caller)
{
    void *object = mym_malloc_slow(size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_Znwm, DIE, size);
}

void *_ZnwmSt11align_val_t(size_t, size_t);
static MYM_APART void *new_aligned_slow(size_t size, size_t alignment,
                                        const void *caller)
{
    void *object = mym_aligned_slow(alignment, size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_ZnwmSt11align_val_t, DIE, size, alignment);
}

void *_ZnwmRKSt9nothrow_t(size_t, const void *);
static MYM_APART void *nothrow_slow(size_t size, const void *nothrow,
                                    const void *caller)
{
    void *object = mym_malloc_slow(size);

    if (MYM_LIKELY(object != NULL) || !may_handle(caller))
        return object;
    PASS_ON(_ZnwmRKSt9nothrow_t, return NULL, size, nothrow);
}

void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t, size_t, const void *);
static MYM_APART void *nothrow_aligned_slow(size_t size, size_t alignment,
                                            const void *nothrow, const void *caller)
{
    void *object = mym_aligned_slow(alignment, size);

    if (MYM_LIKELY(object != NULL) || !may_handle(caller))
        return object;
    PASS_ON(_ZnwmSt11align_val_tRKSt9nothrow_t, return NULL, size, alignment, nothrow);
}

#define COLD(function, ...) function(__VA_ARGS__, __builtin_return_address(0))

/* The program's operator new may throw: the C++ library's nothrow form catches that. */
typedef void *new_form(size_t size);
typedef void *new_aligned_form(size_t size, size_t alignment);

static MYM_COLD void *catch_form(const char *form, new_form *otherwise,
                                 const void *caller, size_t size, const void *nothrow)
{
    void *(*library)(size_t, const void *) =
        (__typeof__(library))find_other(caller, form, NULL);

    return library != NULL ? library(size, nothrow) : otherwise(size);
}

static MYM_COLD void *catch_aligned_form(const char *form, new_aligned_form *otherwise,
                                         const void *caller, size_t size,
                                         size_t alignment, const void *nothrow)
{
    void *(*library)(size_t, size_t, const void *) =
        (__typeof__(library))find_other(caller, form, NULL);

    return library != NULL ? library(size, alignment, nothrow)
                           : otherwise(size, alignment);
}

#define CATCH(array, base, form, ...) \
    catch_form(#form, FIRST(base), __builtin_return_address(0), __VA_ARGS__)
#define CATCH_ALIGNED(array, base, form, ...) \
    catch_aligned_form(#form, FIRST(base), __builtin_return_address(0), __VA_ARGS__)

#endif

/* ---- new ---- */

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

NEW(_Znam) /* operator new[](size_t) */
{
    void *object;

    if (IS_REPLACED(_Znwm, _Znam))
        return FIRST(_Znwm)(size);
    object = mym_malloc_quick(size);
    return MYM_LIKELY(object != NULL) ? object : COLD(new_slow, size);
}

NEW(_ZnamSt11align_val_t, size_t alignment)
{
    void *object;

    if (IS_REPLACED(_ZnwmSt11align_val_t, _ZnamSt11align_val_t))
        return FIRST(_ZnwmSt11align_val_t)(size, alignment);
    object = mym_aligned_quick(alignment, size);
    return MYM_LIKELY(object != NULL) ? object
                                      : COLD(new_aligned_slow, size, alignment);
}

NEW(_ZnwmRKSt9nothrow_t, const void *nothrow)
{
    void *object;

    if (IS_REPLACED(_Znwm, _ZnwmRKSt9nothrow_t))
        return CATCH(_Znam, _Znwm, _ZnwmRKSt9nothrow_t, size, nothrow);
    object = mym_malloc_quick(size);
    return MYM_LIKELY(object != NULL) ? object : COLD(nothrow_slow, size, nothrow);
}

NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t alignment, const void *nothrow)
{
    void *object;

    if (IS_REPLACED(_ZnwmSt11align_val_t, _ZnwmSt11align_val_tRKSt9nothrow_t))
        return CATCH_ALIGNED(_ZnamSt11align_val_t, _ZnwmSt11align_val_t,
                             _ZnwmSt11align_val_tRKSt9nothrow_t, size, alignment,
                             nothrow);
    object = mym_aligned_quick(alignment, size);
    return MYM_LIKELY(object != NULL)
               ? object
               : COLD(nothrow_aligned_slow, size, alignment, nothrow);
}

/* ---- delete ---- */

DELETE(_ZdlPv) /* operator delete(void *) */
{
    mym_free(ptr);
}

DELETE(_ZdlPvSt11align_val_t, size_t alignment)
{
    (void)alignment;
    mym_free(ptr);
}

DELETE(_ZdlPvm, size_t size)
{
    if (IS_REPLACED(_ZdlPv, _ZdlPvm))
        FIRST(_ZdlPv)(ptr);
    else
        mym_free_sized(ptr, size);
}

DELETE(_ZdlPvmSt11align_val_t, size_t size, size_t alignment)
{
    if (IS_REPLACED(_ZdlPvSt11align_val_t, _ZdlPvmSt11align_val_t))
        FIRST(_ZdlPvSt11align_val_t)(ptr, alignment);
    else
        mym_free_aligned_sized(ptr, alignment, size);
}

DELETE(_ZdlPvRKSt9nothrow_t, const void *nothrow)
{
    (void)nothrow;
    if (IS_REPLACED(_ZdlPv, _ZdlPvRKSt9nothrow_t))
        FIRST(_ZdlPv)(ptr);
    else
        mym_free(ptr);
}

DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, size_t alignment, const void *nothrow)
{
    (void)nothrow;
    if (IS_REPLACED(_ZdlPvSt11align_val_t, _ZdlPvSt11align_val_tRKSt9nothrow_t))
        FIRST(_ZdlPvSt11align_val_t)(ptr, alignment);
    else
        mym_free(ptr);
}

/* ---- delete[], which comes down to delete[](void *), and that to delete ---- */

DELETE(_ZdaPv)
{
    if (IS_REPLACED(_ZdlPv, _ZdaPv))
        FIRST(_ZdlPv)(ptr);
    else
        mym_free(ptr);
}

DELETE(_ZdaPvSt11align_val_t, size_t alignment)
{
    if (IS_REPLACED(_ZdlPvSt11align_val_t, _ZdaPvSt11align_val_t))
        FIRST(_ZdlPvSt11align_val_t)(ptr, alignment);
    else
        mym_free(ptr);
}

#define ARRAY_IS_REPLACED(form) (IS_REPLACED(_ZdlPv, form) || IS_REPLACED(_ZdaPv, form))
#define ALIGNED_ARRAY_IS_REPLACED(form)          \
    (IS_REPLACED(_ZdlPvSt11align_val_t, form) || \
     IS_REPLACED(_ZdaPvSt11align_val_t, form))

DELETE(_ZdaPvm, size_t size)
{
    if (ARRAY_IS_REPLACED(_ZdaPvm))
        FIRST(_ZdaPv)(ptr);
    else
        mym_free_sized(ptr, size);
}

DELETE(_ZdaPvmSt11align_val_t, size_t size, size_t alignment)
{
    if (ALIGNED_ARRAY_IS_REPLACED(_ZdaPvmSt11align_val_t))
        FIRST(_ZdaPvSt11align_val_t)(ptr, alignment);
    else
        mym_free_aligned_sized(ptr, alignment, size);
}

DELETE(_ZdaPvRKSt9nothrow_t, const void *nothrow)
{
    (void)nothrow;
    if (ARRAY_IS_REPLACED(_ZdaPvRKSt9nothrow_t))
        FIRST(_ZdaPv)(ptr);
    else
        mym_free(ptr);
}

DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, size_t alignment, const void *nothrow)
{
    (void)nothrow;
    if (ALIGNED_ARRAY_IS_REPLACED(_ZdaPvSt11align_val_tRKSt9nothrow_t))
        FIRST(_ZdaPvSt11align_val_t)(ptr, alignment);
    else
        mym_free(ptr);
}

#ifndef MYM_ARCHIVE /* which leaves them to the C++ library */

NEW(_ZnamRKSt9nothrow_t, const void *nothrow)
{
    if (IS_REPLACED(_Znwm, _ZnamRKSt9nothrow_t) ||
        IS_REPLACED(_Znam, _ZnamRKSt9nothrow_t))
        return CATCH(_Znam, _Znam, _ZnamRKSt9nothrow_t, size, nothrow);
    return own_ZnwmRKSt9nothrow_t(size, nothrow);
}

NEW(_ZnamSt11align_val_tRKSt9nothrow_t, size_t alignment, const void *nothrow)
{
    if (IS_REPLACED(_ZnwmSt11align_val_t, _ZnamSt11align_val_tRKSt9nothrow_t) ||
        IS_REPLACED(_ZnamSt11align_val_t, _ZnamSt11align_val_tRKSt9nothrow_t))
        return CATCH_ALIGNED(_ZnamSt11align_val_t, _ZnamSt11align_val_t,
                             _ZnamSt11align_val_tRKSt9nothrow_t, size, alignment,
                             nothrow);
    return own_ZnwmSt11align_val_tRKSt9nothrow_t(size, alignment, nothrow);
}

#endif
