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
#include "face/forms.h"
#include "face/override.h"

#include "base/check.h"
#include "face/cxx.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Of the archive they are weak: the program's own are no second ones. */
#ifdef MYM_ARCHIVE
#define OPERATOR EXPORT MYM_FAST __attribute__((weak))
#else
#define OPERATOR EXPORT MYM_FAST
#endif

/*
 * A program may replace a part of them, the plain new and delete say. The other forms then
 * come down to its own, as the C++ library's do ([new.delete]): what its operator new
 * returned, ours cannot free, for it may begin with a header of the program's. Each form
 * in question is asked for by the address that the linker found for its name.
 *
 * Who has replaced the form that is called, and calls ours nevertheless, wraps it (a
 * recorder): he has seen the call, so it goes no further.
 *
 * Who replaces none of them, but malloc and free (a recorder that knows that the C++ library's
 * operators call these; a program with an allocator of its own), is called as by that.
 *
 * All this is asked once, by the first call's cold half. If nobody has replaced anything it opens
 * the limits of the fast paths; else all calls go through the cold halves, which ask again.
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
#define IS_ANOTHERS(name)       (FIRST(name) != own##name)
#define IS_REPLACED(name, form) (IS_ANOTHERS(name) && !IS_ANOTHERS(form))

#define DECLARE(type, name, parameters) \
    type name parameters;               \
    MAY_BE_REPLACED(name);
FORMS(DECLARE)
MORE_FORMS(DECLARE)

#ifdef MYM_ARCHIVE
#define MALLOC_IS_ANOTHERS false /* who has one of his own links none of this */
#else
/* override.c */
extern MYM_HIDDEN __typeof__(malloc) own_malloc;
extern MYM_HIDDEN __typeof__(free) own_free;
extern MYM_HIDDEN __typeof__(aligned_alloc) own_aligned_alloc;
extern MYM_HIDDEN __typeof__(posix_memalign) own_posix_memalign;
RELOCATED static __typeof__(malloc) *first_malloc = malloc;
RELOCATED static __typeof__(free) *first_free = free;
RELOCATED static __typeof__(aligned_alloc) *first_aligned_alloc = aligned_alloc;
RELOCATED static __typeof__(posix_memalign) *first_posix_memalign = posix_memalign;
#define MALLOC_IS_ANOTHERS (IS_ANOTHERS(_malloc) || IS_ANOTHERS(_free))
#define ALIGNED_IS_ANOTHERS \
    (IS_ANOTHERS(_aligned_alloc) || IS_ANOTHERS(_posix_memalign))
#endif

enum whose {
    UNKNOWN,
    OURS,   /* all of it */
    PASSED, /* malloc or free are another's, none of these is */
    MIXED,  /* some of these are */
};
static _Atomic enum whose known;

static MYM_COLD enum whose find_whose(void)
{
    enum whose found = MALLOC_IS_ANOTHERS ? PASSED : OURS;

#define ASK(type, name, parameters) \
    if (IS_ANOTHERS(name))          \
        found = MIXED;
    FORMS(ASK)
    MORE_FORMS(ASK)
    if (found != OURS || mym_operators_open())
        known = found;
    return found;
}

MYM_INLINE enum whose whose(void)
{
    enum whose now = atomic_load_explicit(&known, memory_order_relaxed);

    return MYM_LIKELY(now != UNKNOWN) ? now : find_whose();
}

/* Asked first, for it is what most programs find. */
MYM_INLINE bool is_ours(void)
{
    return MYM_LIKELY(atomic_load_explicit(&known, memory_order_relaxed) == OURS);
}

static MYM_COLD void *take_asked(size_t size)
{
#ifndef MYM_ARCHIVE
    if (whose() == PASSED)
        return FIRST(_malloc)(size + (size == 0));
#endif
    return whose() == OURS ? mym_malloc_slow(size) : mym_malloc(size);
}

#ifndef MYM_ARCHIVE
/* As the C++ library rounds it. That of GCC 16 calls posix_memalign. */
static void *take_aligned_passed(size_t size, size_t alignment)
{
    size_t rounded = mym_round_up(size + (size == 0), alignment);
    size_t least = alignment < MYM_ALIGNMENT ? MYM_ALIGNMENT : alignment;
    void *object = NULL;

    if (rounded < size)
        return NULL;
    if (IS_ANOTHERS(_aligned_alloc))
        return FIRST(_aligned_alloc)(least, rounded);
    return FIRST(_posix_memalign)(&object, least, rounded) == 0 ? object : NULL;
}
#endif

static MYM_COLD void *take_aligned_asked(size_t size, size_t alignment)
{
#ifndef MYM_ARCHIVE
    if (whose() == PASSED && ALIGNED_IS_ANOTHERS)
        return take_aligned_passed(size, alignment);
#endif
    return whose() == OURS ? mym_aligned_slow(alignment, size)
                           : mym_aligned(alignment, size);
}

/* The cold half of all forms of new that nobody has replaced, as far as malloc goes. */
MYM_INLINE void *take(size_t size)
{
    return is_ours() ? mym_malloc_slow(size) : take_asked(size);
}

MYM_INLINE void *take_aligned(size_t size, size_t alignment)
{
    return is_ours() ? mym_aligned_slow(alignment, size)
                     : take_aligned_asked(size, alignment);
}

/*
 * The cold halves are functions of their own, entered by a jump: so the fast ones keep
 * nothing across a call and are as short as malloc. A nothrow form has no exception made
 * where no handler is set: NULL is all that could come of it.
 */
typedef void (*new_handler)(void);

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
        void *object = take_aligned(size, alignment);
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
    void *object = take(size);

    return MYM_LIKELY(object != NULL) ? object : new_aligned_slow(size, MYM_ALIGNMENT);
}

static MYM_APART void *nothrow_slow(size_t size, const void *nothrow)
{
    void *object = take(size);

    return MYM_LIKELY(object != NULL) || _ZSt15get_new_handlerv() == NULL
               ? object
               : _ZnamRKSt9nothrow_t(size, nothrow);
}

static MYM_APART void *nothrow_aligned_slow(size_t size, size_t alignment,
                                            const void *nothrow)
{
    void *object = take_aligned(size, alignment);

    return MYM_LIKELY(object != NULL) || _ZSt15get_new_handlerv() == NULL
               ? object
               : _ZnamSt11align_val_tRKSt9nothrow_t(size, alignment, nothrow);
}

#define COLD(function, ...) function(__VA_ARGS__)
#define CALLER              /* nobody asks who it is */
#define TO(function, ...)   function(__VA_ARGS__)

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

/* In a cold half that has no object: the result of the C++ library's own operator. */
#define PASS_ON(name, otherwise, ...)                                           \
    do {                                                                        \
        __typeof__(&name) form =                                                \
            (__typeof__(&name))mym_cxx_find(caller, #name, (const void *)name); \
        if (form != NULL)                                                       \
            return form(__VA_ARGS__);                                           \
        otherwise;                                                              \
    } while (0)
#define DIE mym_fatal("operator new is out of memory", NULL)

static MYM_APART void *new_slow(size_t size, const void *caller)
{
    void *object = take(size);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_Znwm, DIE, size);
}

/* libstdc++ 12 rounds up to a multiple of the alignment, and what is past SIZE_MAX to a few bytes. */
MYM_INLINE size_t roundable(size_t size)
{
    return size < MYM_SIZE_MAX ? size : MYM_SIZE_MAX;
}

static MYM_APART void *new_aligned_slow(size_t size, size_t alignment,
                                        const void *caller)
{
    void *object = take_aligned(size, alignment);

    if (MYM_LIKELY(object != NULL))
        return object;
    PASS_ON(_ZnwmSt11align_val_t, DIE, roundable(size), alignment);
}

static MYM_APART void *nothrow_slow(size_t size, const void *nothrow,
                                    const void *caller)
{
    void *object = take(size);

    if (MYM_LIKELY(object != NULL) || !mym_cxx_may_handle(caller))
        return object;
    PASS_ON(_ZnwmRKSt9nothrow_t, return NULL, size, nothrow);
}

static MYM_APART void *nothrow_aligned_slow(size_t size, size_t alignment,
                                            const void *nothrow, const void *caller)
{
    void *object = take_aligned(size, alignment);

    if (MYM_LIKELY(object != NULL) || !mym_cxx_may_handle(caller))
        return object;
    PASS_ON(_ZnwmSt11align_val_tRKSt9nothrow_t, return NULL, roundable(size), alignment,
            nothrow);
}

#define COLD(function, ...) function(__VA_ARGS__, __builtin_return_address(0))
#define CALLER              , const void *caller
#define TO(function, ...)   function(__VA_ARGS__, caller)

#define CATCH(array, base, form, ...) \
    mym_cxx_catch(#form, FIRST(base), caller, __VA_ARGS__)
#define CATCH_ALIGNED(array, base, form, ...) \
    mym_cxx_catch_aligned(#form, FIRST(base), caller, __VA_ARGS__)

#endif

/* ---- new ---- */

#define UNWRAP(...) __VA_ARGS__

/* A form's fast half, and which cold one it has. */
#define NEW_QUICK(form, quick, parameters, arguments, cold)                        \
    OPERATOR void *form parameters                                                 \
    {                                                                              \
        void *object = quick;                                                      \
                                                                                   \
        return MYM_LIKELY(object != NULL) ? object : COLD(cold, UNWRAP arguments); \
    }
/* One that comes down to another where that is the program's: both halves. */
#define NEW_FORM(form, quick, parameters, arguments, is_replaced, theirs, own)         \
    static MYM_APART void *form##_slow(UNWRAP parameters CALLER)                       \
    {                                                                                  \
        return whose() == MIXED && (is_replaced) ? theirs : TO(own, UNWRAP arguments); \
    }                                                                                  \
    NEW_QUICK(form, quick, parameters, arguments, form##_slow)

/* clang-format off */
#define TAKE         mym_new_quick(size)
#define TAKE_ALIGNED mym_aligned_quick(MYM_TO_NEW, alignment, size)

NEW_QUICK(_Znwm, TAKE, (size_t size), (size), new_slow)
NEW_QUICK(_ZnwmSt11align_val_t, TAKE_ALIGNED, (size_t size, size_t alignment), (size, alignment), new_aligned_slow)
NEW_FORM(_Znam, TAKE, (size_t size), (size), IS_REPLACED(_Znwm, _Znam), FIRST(_Znwm)(size), new_slow)
NEW_FORM(_ZnamSt11align_val_t, TAKE_ALIGNED, (size_t size, size_t alignment), (size, alignment),
         IS_REPLACED(_ZnwmSt11align_val_t, _ZnamSt11align_val_t), FIRST(_ZnwmSt11align_val_t)(size, alignment), new_aligned_slow)
NEW_FORM(_ZnwmRKSt9nothrow_t, TAKE, (size_t size, const void *nothrow), (size, nothrow),
         IS_REPLACED(_Znwm, _ZnwmRKSt9nothrow_t),
         CATCH(_Znam, _Znwm, _ZnwmRKSt9nothrow_t, size, nothrow), nothrow_slow)
NEW_FORM(_ZnwmSt11align_val_tRKSt9nothrow_t, TAKE_ALIGNED,
         (size_t size, size_t alignment, const void *nothrow), (size, alignment, nothrow),
         IS_REPLACED(_ZnwmSt11align_val_t, _ZnwmSt11align_val_tRKSt9nothrow_t),
         CATCH_ALIGNED(_ZnamSt11align_val_t, _ZnwmSt11align_val_t, _ZnwmSt11align_val_tRKSt9nothrow_t, size, alignment, nothrow),
         nothrow_aligned_slow)
#ifndef MYM_ARCHIVE /* which leaves them to the C++ library */
NEW_FORM(_ZnamRKSt9nothrow_t, TAKE, (size_t size, const void *nothrow), (size, nothrow),
         IS_REPLACED(_Znwm, _ZnamRKSt9nothrow_t) || IS_REPLACED(_Znam, _ZnamRKSt9nothrow_t),
         CATCH(_Znam, _Znam, _ZnamRKSt9nothrow_t, size, nothrow), _ZnwmRKSt9nothrow_t_slow)
NEW_FORM(_ZnamSt11align_val_tRKSt9nothrow_t, TAKE_ALIGNED,
         (size_t size, size_t alignment, const void *nothrow), (size, alignment, nothrow),
         IS_REPLACED(_ZnwmSt11align_val_t, _ZnamSt11align_val_tRKSt9nothrow_t) ||
             IS_REPLACED(_ZnamSt11align_val_t, _ZnamSt11align_val_tRKSt9nothrow_t),
         CATCH_ALIGNED(_ZnamSt11align_val_t, _ZnamSt11align_val_t, _ZnamSt11align_val_tRKSt9nothrow_t, size, alignment, nothrow),
         _ZnwmSt11align_val_tRKSt9nothrow_t_slow)
#endif
/* clang-format on */

/* ---- delete ---- */

/* Whose the object is, in a form's cold half; the fast ones end where the heap does by now. */
MYM_INLINE enum whose whose_freed(void)
{
    enum whose now = whose();

    if (now == OURS)
        mym_operators_grow();
    return now;
}

/* Those of no size; an aligned object is another's if what takes it is. */
MYM_INLINE void put(void *ptr, bool aligned)
{
    enum whose now = whose_freed();

#ifndef MYM_ARCHIVE
    if (now == PASSED && (!aligned || ALIGNED_IS_ANOTHERS)) {
        FIRST(_free)(ptr);
        return;
    }
#endif
    (void)aligned, (void)now;
    mym_free(ptr);
}

MYM_INLINE void put_sized(void *ptr, size_t size)
{
    if (whose_freed() == PASSED)
        put(ptr, false);
    else
        mym_free_sized(ptr, size);
}

MYM_INLINE void put_aligned_sized(void *ptr, size_t size, size_t alignment)
{
    if (whose_freed() == PASSED)
        put(ptr, true);
    else
        mym_free_aligned_sized(ptr, alignment, size);
}

/* What the forms come down to where that is the program's; arrays to delete[], and that to delete. */
#define UNSIZED(form)         IS_REPLACED(_ZdlPv, form)
#define UNSIZED_ALIGNED(form) IS_REPLACED(_ZdlPvSt11align_val_t, form)
#define ARRAY(form)           (UNSIZED(form) || IS_REPLACED(_ZdaPv, form))
#define ARRAY_ALIGNED(form) \
    (UNSIZED_ALIGNED(form) || IS_REPLACED(_ZdaPvSt11align_val_t, form))

/* A form: its fast half, or its cold one. */
#define DELETE_FORM(form, quick, parameters, arguments, is_replaced, theirs, own) \
    static MYM_APART void form##_slow parameters                                  \
    {                                                                             \
        if (whose() == MIXED && is_replaced(form))                                \
            theirs;                                                               \
        else                                                                      \
            own;                                                                  \
    }                                                                             \
    OPERATOR void form parameters                                                 \
    {                                                                             \
        if (!quick)                                                               \
            form##_slow arguments;                                                \
    }

/* clang-format off */
#define END   MYM_RACY(mym_operators.heap_size)
#define QUICK mym_free_quick(END, ptr)
#define QUICK_SIZED mym_free_sized_quick(END, ptr, size)
#define QUICK_ALIGNED_SIZED mym_free_aligned_sized_quick(END, ptr, alignment, size)
#define NOTHROW   const void *nothrow __attribute__((unused))
#define ALIGNMENT size_t alignment __attribute__((unused))
#define NEVER(form) false
#define TO_DELETE         FIRST(_ZdlPv)(ptr)
#define TO_DELETE_ALIGNED FIRST(_ZdlPvSt11align_val_t)(ptr, alignment)
#define TO_ARRAY          FIRST(_ZdaPv)(ptr)
#define TO_ARRAY_ALIGNED  FIRST(_ZdaPvSt11align_val_t)(ptr, alignment)

DELETE_FORM(_ZdlPv, QUICK, (void *ptr), (ptr), NEVER, (void)0, put(ptr, false))
DELETE_FORM(_ZdlPvSt11align_val_t, QUICK, (void *ptr, ALIGNMENT), (ptr, alignment), NEVER, (void)0, put(ptr, true))
DELETE_FORM(_ZdlPvm, QUICK_SIZED, (void *ptr, size_t size), (ptr, size), UNSIZED, TO_DELETE, put_sized(ptr, size))
DELETE_FORM(_ZdlPvmSt11align_val_t, QUICK_ALIGNED_SIZED, (void *ptr, size_t size, ALIGNMENT), (ptr, size, alignment),
            UNSIZED_ALIGNED, TO_DELETE_ALIGNED, put_aligned_sized(ptr, size, alignment))
DELETE_FORM(_ZdlPvRKSt9nothrow_t, QUICK, (void *ptr, NOTHROW), (ptr, nothrow), UNSIZED, TO_DELETE, put(ptr, false))
DELETE_FORM(_ZdlPvSt11align_val_tRKSt9nothrow_t, QUICK, (void *ptr, ALIGNMENT, NOTHROW), (ptr, alignment, nothrow),
            UNSIZED_ALIGNED, TO_DELETE_ALIGNED, put(ptr, true))
DELETE_FORM(_ZdaPv, QUICK, (void *ptr), (ptr), UNSIZED, TO_DELETE, put(ptr, false))
DELETE_FORM(_ZdaPvSt11align_val_t, QUICK, (void *ptr, ALIGNMENT), (ptr, alignment), UNSIZED_ALIGNED, TO_DELETE_ALIGNED, put(ptr, true))
DELETE_FORM(_ZdaPvm, QUICK_SIZED, (void *ptr, size_t size), (ptr, size), ARRAY, TO_ARRAY, put_sized(ptr, size))
DELETE_FORM(_ZdaPvmSt11align_val_t, QUICK_ALIGNED_SIZED, (void *ptr, size_t size, ALIGNMENT), (ptr, size, alignment),
            ARRAY_ALIGNED, TO_ARRAY_ALIGNED, put_aligned_sized(ptr, size, alignment))
DELETE_FORM(_ZdaPvRKSt9nothrow_t, QUICK, (void *ptr, NOTHROW), (ptr, nothrow), ARRAY, TO_ARRAY, put(ptr, false))
DELETE_FORM(_ZdaPvSt11align_val_tRKSt9nothrow_t, QUICK, (void *ptr, ALIGNMENT, NOTHROW), (ptr, alignment, nothrow),
            ARRAY_ALIGNED, TO_ARRAY_ALIGNED, put(ptr, true))
/* clang-format on */
