/*
 * override.c - the malloc family under its own names, for libmymalloc_preload.so and for
 * linking statically in front of libc.
 */
#include "face/override.h"

#include "alloc/background.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

/* ---- C and POSIX ---- */

EXPORT MYM_FAST void *malloc(size_t size)
{
    return mym_malloc(size);
}

EXPORT MYM_FAST void free(void *ptr)
{
    mym_free(ptr);
}

EXPORT void *calloc(size_t count, size_t size)
{
    return mym_calloc(count, size);
}

EXPORT void *realloc(void *ptr, size_t size)
{
    return mym_realloc(ptr, size);
}

/*
 * As libc's it comes down to realloc: who has one of his own in front of ours (a program with
 * an allocator of its own) frees by his own, too, and need not know of this. Who has both
 * wraps them.
 */
typedef void *realloc_form(void *ptr, size_t size);
typedef void *realloc_array_form(void *ptr, size_t count, size_t size);
extern OWN(realloc) realloc_form own_realloc;
extern OWN(reallocarray) realloc_array_form own_reallocarray;
static realloc_form *const volatile first_realloc = realloc;
static realloc_array_form *const volatile first_reallocarray = reallocarray;

EXPORT void *reallocarray(void *ptr, size_t count, size_t size)
{
    size_t bytes;

    if (first_realloc != own_realloc && first_reallocarray == own_reallocarray &&
        !__builtin_mul_overflow(count, size, &bytes))
        return first_realloc(ptr, bytes);
    return mym_face_reallocarray(ptr, count, size);
}

EXPORT MYM_FAST void *aligned_alloc(size_t alignment, size_t size)
{
    return mym_face_aligned_alloc(alignment, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    return mym_face_posix_memalign(out, alignment, size);
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    return mym_face_memalign(alignment, size);
}

EXPORT void *valloc(size_t size)
{
    return mym_face_valloc(size);
}

EXPORT size_t malloc_usable_size(void *ptr)
{
    return mym_usable(ptr);
}

void free_sized(void *ptr, size_t size);
EXPORT MYM_FAST void free_sized(void *ptr, size_t size)
{
    mym_free_sized(ptr, size);
}

void free_aligned_sized(void *ptr, size_t alignment, size_t size);
EXPORT MYM_FAST void free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
    mym_free_aligned_sized(ptr, alignment, size);
}

size_t malloc_good_size(size_t size);
EXPORT size_t malloc_good_size(size_t size)
{
    return mym_good_size(size);
}

/* For operators.c, which asks whether they stand in front. */
extern OWN(malloc) __typeof__(malloc) own_malloc;
extern OWN(free) __typeof__(free) own_free;
extern OWN(aligned_alloc) __typeof__(aligned_alloc) own_aligned_alloc;
extern OWN(posix_memalign) __typeof__(posix_memalign) own_posix_memalign;

/* ---- what glibc alone has ---- */

#ifdef __GLIBC__
EXPORT void *pvalloc(size_t size)
{
    return mym_face_pvalloc(size);
}

EXPORT int malloc_trim(size_t pad)
{
    return mym_face_trim(pad);
}

EXPORT int mallopt(int parameter, int value)
{
    return mym_face_mallopt(parameter, value);
}

EXPORT struct mallinfo mallinfo(void)
{
    return mym_face_mallinfo();
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    return mym_face_mallinfo2();
}

EXPORT void malloc_stats(void)
{
    mym_face_stats();
}

EXPORT int malloc_info(int options, FILE *stream)
{
    return mym_face_malloc_info(options, stream);
}

/* Names by which libc and old programs reach the same functions. */
ALIAS(free) void cfree(void *);
ALIAS(malloc) void *__libc_malloc(size_t);
ALIAS(free) void __libc_free(void *);
ALIAS(free) void __libc_cfree(void *);
ALIAS(calloc) void *__libc_calloc(size_t, size_t);
ALIAS(realloc) void *__libc_realloc(void *, size_t);
ALIAS(memalign) void *__libc_memalign(size_t, size_t);
ALIAS(valloc) void *__libc_valloc(size_t);
ALIAS(pvalloc) void *__libc_pvalloc(size_t);
ALIAS(posix_memalign) int __posix_memalign(void **, size_t, size_t);
#endif

/* ---- what libc frees with its lock of stacks held: no helper is started there ---- */

#ifdef __GLIBC__
/*
 * Who joins a thread, or ends after one, gives up stacks, and what was allocated as their
 * thread-local storage, under the lock that pthread_create takes. For the latter libc calls the
 * loader, by this name of theirs. In a static program it is libc's own, which nobody replaces.
 */
typedef void end_of_tls(void *thread, bool with_block);
end_of_tls _dl_deallocate_tls;
extern OWN(_dl_deallocate_tls) end_of_tls own_end_of_tls;
static end_of_tls *next_end_of_tls;

#ifdef MYM_ARCHIVE
static end_of_tls *const volatile first_end_of_tls = _dl_deallocate_tls;
extern __typeof__(dlsym) dlsym MYM_MAYBE; /* a static program has none */

static bool is_ours(void)
{
    return first_end_of_tls == own_end_of_tls;
}
#else
static bool is_ours(void)
{
    return true; /* or is not called */
}
#endif

__attribute__((constructor(101))) static void find_end_of_tls(void)
{
    if (next_end_of_tls == NULL && is_ours()) {
        const union {
            void *symbol;
            end_of_tls *call;
        } next = {.symbol = dlsym(RTLD_NEXT, "_dl_deallocate_tls")};

        next_end_of_tls = next.call;
    }
}

EXPORT __attribute__((weak)) void _dl_deallocate_tls(void *thread, bool with_block)
{
    find_end_of_tls(); /* that of a library that was initialised before this one */
    if (next_end_of_tls == NULL)
        return; /* not to be found: what it would have freed stays */
    mym_background_bar(true);
    next_end_of_tls(thread, with_block);
    mym_background_bar(false);
}
#endif

/* ---- fork: our handlers are registered before all others (life.c) ---- */

#ifdef MYM_ARCHIVE
/*
 * Before any constructor. Programs only: a shared library cannot have such a section. musl
 * ignores it; our constructor, one of the first, does it there.
 */
static void start_archive(void)
{
    mym_fork_register();
#ifdef __GLIBC__
    if (!is_ours())
        mym_background_forbid();
#endif
}

__attribute__((used, section(".preinit_array"))) static void (*const first)(void) =
    start_archive;
#else
/*
 * Libraries that were initialised before this one register through here, so that theirs
 * come after ours all the same. In glibc pthread_atfork calls __register_atfork.
 */
typedef void (*fork_handler)(void);
#undef pthread_atfork
int pthread_atfork(fork_handler prepare, fork_handler parent, fork_handler child);

#ifdef __GLIBC__
int __register_atfork(fork_handler prepare, fork_handler parent, fork_handler child,
                      void *library);
EXPORT int __register_atfork(fork_handler prepare, fork_handler parent,
                             fork_handler child, void *library)
{
    static int (*next)(fork_handler, fork_handler, fork_handler, void *);

    if (next == NULL)
        next = (int (*)(fork_handler, fork_handler, fork_handler, void *))dlsym(
            RTLD_NEXT, "__register_atfork");
    if (next == NULL)
        return ENOSYS;
    mym_fork_register(); /* comes here again, once */
    return next(prepare, parent, child, library);
}

/* What libraries of before glibc 2.34 call: theirs cannot be unloaded. */
EXPORT int pthread_atfork(fork_handler prepare, fork_handler parent, fork_handler child)
{
    return __register_atfork(prepare, parent, child, NULL);
}
#else
EXPORT int pthread_atfork(fork_handler prepare, fork_handler parent, fork_handler child)
{
    static int (*next)(fork_handler, fork_handler, fork_handler);

    if (next == NULL)
        next = (int (*)(fork_handler, fork_handler, fork_handler))dlsym(
            RTLD_NEXT, "pthread_atfork");
    if (next == NULL)
        return ENOSYS;
    mym_fork_register(); /* comes here again, once */
    return next(prepare, parent, child);
}
#endif
#endif
