/*
 * mimalloc.c - mimalloc's functions under their names, for libmymalloc_preload.so.
 *
 * As its manuals have them, from 2.0's to 3.6's: those that take or give objects, of the thread's
 * heap or of one that is named (heaps.c). An offset that is no multiple of its alignment stays
 * mimalloc's, where it is loaded, and so do its objects; they come back by the names that are
 * here, and go on to it.
 *
 * mimalloc calls itself by these names, too, where it is loaded: then a heap of its own is
 * malloc's for what takes or gives objects.
 *
 * Locking: none here.
 */
#include "face/mimalloc.h"
#include "face/override.h"

#include "alloc/reap.h"
#include "os/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* mimalloc itself; NULL: it is not loaded. */
static MYM_COLD const struct mym_mimalloc *other(void)
{
    return mym_mimalloc_find();
}

/* An object of one of mimalloc's heaps. */
static bool is_other(const void *ptr)
{
    return ptr != NULL && MYM_UNLIKELY(!mym_is_own(ptr)) && other() != NULL;
}

/* ---- what they are made of; once each, by a jump ---- */

static MYM_SLOW void put(void *ptr)
{
    if (is_other(ptr))
        other()->free(ptr);
    else
        mym_free(ptr);
}

static MYM_SLOW size_t usable(const void *ptr)
{
    return is_other(ptr) ? other()->usable(ptr) : mym_usable(ptr);
}

/* SIZE_MAX, which no object can have, where the product is too large. */
static size_t product(size_t count, size_t size)
{
    size_t bytes;

    return __builtin_mul_overflow(count, size, &bytes) ? SIZE_MAX : bytes;
}

__thread struct mym_reap *mym_mimalloc_chosen;

static MYM_SLOW void *take_reap(struct mym_reap *reap, size_t size, size_t alignment)
{
    if (!mym_face_is_alignment(alignment))
        return NULL;
    return alignment <= MYM_ALIGNMENT ? mym_reap_alloc(reap, size)
                                      : mym_reap_aligned(reap, alignment, size);
}

static void *take_plain(struct mym_reap *reap, size_t size)
{
    return MYM_LIKELY(reap == NULL) ? mym_malloc(size)
                                    : take_reap(reap, size, MYM_ALIGNMENT);
}

/* Zero: up to the object's real end, from where `move` goes on. */
static MYM_SLOW void *take(struct mym_reap *reap, size_t size, size_t alignment,
                           size_t offset, bool zero)
{
    size_t from = 0;
    void *object;

    if (alignment != 0 && MYM_UNLIKELY(offset % alignment != 0)) {
        object = other() != NULL
                     ? other()->at(other()->by_default(), size, alignment, offset)
                     : NULL;
        if (object != NULL && zero)
            memset(object, 0, other()->usable(object));
        return object;
    }
    if (reap != NULL) {
        object = take_reap(reap, size, alignment);
    } else if (zero && alignment == MYM_ALIGNMENT) {
        object = mym_calloc(1, size);
        from = size;
    } else {
        object = mym_face_aligned_alloc(alignment, size);
    }
    if (object != NULL && zero)
        memset((char *)object + from, 0, mym_usable(object) - from);
    return object;
}

static int take_to(void **out, size_t alignment, size_t size)
{
    int saved = errno;
    void *object;

    if (out == NULL || alignment % sizeof(void *) != 0 ||
        !mym_face_is_alignment(alignment))
        return EINVAL;
    object = take(mym_mimalloc_chosen, size, alignment, 0, false);
    errno = saved;
    if (object == NULL)
        return ENOMEM;
    *out = object;
    return 0;
}

/*
 * A size of 0 is one, too. Zero: what is beyond the object's former end, and beyond what was copied
 * where it moves. What cannot stay where it is goes to the heap that is named.
 */
static MYM_SLOW void *move(struct mym_reap *reap, void *ptr, size_t size,
                           size_t alignment, size_t offset, bool zero)
{
    size_t old = usable(ptr);
    bool own = !is_other(ptr), lies;
    void *object;

    if (alignment <= sizeof(void *)) { /* even 0 and 3, which are none to take */
        alignment = MYM_ALIGNMENT;
        offset = 0;
    }
    if (ptr == NULL)
        return take(reap, size, alignment, offset, zero);
    lies =
        mym_face_is_alignment(alignment) && ((uintptr_t)ptr + offset) % alignment == 0;
    if (alignment <= MYM_ALIGNMENT && offset % alignment == 0 && own &&
        mym_reap_of(ptr) == reap) {
        object = mym_realloc(ptr, size + (size == 0));
    } else if (own && lies && mym_fits(old, size) &&
               (!MYM_SECURE_SEAL || size == old)) {
        object = ptr;
    } else {
        object = take(reap, size, alignment, offset, false);
        if (object != NULL) {
            memcpy(object, ptr, old < size ? old : size);
            put(ptr);
        } else if (own && lies && size <= old) {
            object = mym_leave(ptr, size);
        }
    }
    if (object != ptr && size < old)
        old = size;
    if (object != NULL && zero && usable(object) > old)
        memset((char *)object + old, 0, usable(object) - old);
    return object;
}

static void *move_or_free(struct mym_reap *reap, void *ptr, size_t size)
{
    void *object = move(reap, ptr, size, MYM_ALIGNMENT, 0, false);

    if (object == NULL)
        put(ptr);
    return object;
}

static void *expand(void *ptr, size_t size)
{
    return size <= usable(ptr) ? ptr : NULL;
}

static MYM_SLOW char *copy(struct mym_reap *reap, const char *text, size_t length)
{
    char *object = take_plain(reap, length + 1);

    if (object != NULL) {
        memcpy(object, text, length);
        object[length] = '\0';
    }
    return object;
}

static char *copy_all(struct mym_reap *reap, const char *text)
{
    return text != NULL ? copy(reap, text, strlen(text)) : NULL;
}

static char *copy_part(struct mym_reap *reap, const char *text, size_t most)
{
    return text != NULL ? copy(reap, text, strnlen(text, most)) : NULL;
}

static char *copy_path(struct mym_reap *reap, const char *path, char *resolved)
{
    char *whole = realpath(path, resolved), *object = whole;

    if (whole != NULL && resolved == NULL && reap != NULL) {
        object = copy_all(reap, whole);
        mym_free(whole);
    }
    return object;
}

/* How many bytes there are is told, where somebody asks. */
static void *told(void *object, size_t *bytes)
{
    if (object != NULL && bytes != NULL)
        *bytes = usable(object);
    return object;
}

static void *move_told(void *ptr, size_t size, size_t *before, size_t *after)
{
    if (before != NULL)
        *before = usable(ptr);
    return told(move(mym_mimalloc_chosen, ptr, size, MYM_ALIGNMENT, 0, false), after);
}

static void put_told(void *ptr, size_t *bytes)
{
    if (bytes != NULL)
        *bytes = usable(ptr);
    put(ptr);
}

/* The forms of operator new are in operators.c. */
MYM_HIDDEN void *own_Znwm(size_t size);
MYM_HIDDEN void *own_ZnwmSt11align_val_t(size_t size, size_t alignment);
MYM_HIDDEN void *own_ZnwmRKSt9nothrow_t(size_t size, const void *nothrow);
MYM_HIDDEN void *own_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment,
                                                       const void *nothrow);
static const char nothrow;

/* Of a heap; NULL: operator new is to be asked, which calls the handler, or throws. */
static void *take_first(struct mym_reap *reap, size_t size, size_t alignment)
{
    return reap != NULL ? take_reap(reap, size, alignment) : NULL;
}

static void *take_or_throw(struct mym_reap *reap, size_t size)
{
    void *object = take_first(reap, size, MYM_ALIGNMENT);

    return object != NULL ? object : own_Znwm(size);
}

static void *take_new(struct mym_reap *reap, size_t size)
{
    void *object = take_first(reap, size, MYM_ALIGNMENT);

    return object != NULL ? object : own_ZnwmRKSt9nothrow_t(size, &nothrow);
}

static void *take_aligned_or_throw(struct mym_reap *reap, size_t size, size_t alignment)
{
    void *object = take_first(reap, size, alignment);

    return object != NULL ? object : own_ZnwmSt11align_val_t(size, alignment);
}

static void *take_aligned_new(struct mym_reap *reap, size_t size, size_t alignment)
{
    void *object = take_first(reap, size, alignment);

    return object != NULL
               ? object
               : own_ZnwmSt11align_val_tRKSt9nothrow_t(size, alignment, &nothrow);
}

static MYM_SLOW void *move_or_throw(struct mym_reap *reap, void *ptr, size_t size)
{
    void *object = move(reap, ptr, size, MYM_ALIGNMENT, 0, false);
    size_t old;

    if (object != NULL)
        return object;
    object = own_Znwm(size);
    old = usable(ptr);
    if (ptr != NULL)
        memcpy(object, ptr, old < size ? old : size);
    put(ptr);
    return object;
}

/* ---- the names ---- */

#define ANY MYM_ALIGNMENT, 0

/* clang-format off */
/* Each as mi_NAME, in the thread's heap, and as mi_heap_NAME, in the one that is named. */
#define TWICE(type, name, own, parameters, ...) \
    TELLS(type, mi_##name, own, (PLAIN parameters), mym_mimalloc_chosen, __VA_ARGS__) \
    TELLS(type, mi_heap_##name, own, (NAMED parameters), mym_mimalloc_reap(heap), __VA_ARGS__)
#define PLAIN(...) __VA_ARGS__
#define NAMED(...) void *heap, __VA_ARGS__
#define MAKES(...) TWICE(void *, __VA_ARGS__)

MAKES(malloc, take_plain, (size_t size), size)
MAKES(malloc_small, take_plain, (size_t size), size)
MAKES(mallocn, take, (size_t count, size_t size), product(count, size), ANY, false)
MAKES(calloc, take, (size_t count, size_t size), product(count, size), ANY, true)
MAKES(zalloc, take, (size_t size), size, ANY, true)
MAKES(zalloc_small, take, (size_t size), size, ANY, true)
TWICE(char *, strdup, copy_all, (const char *text), text)
TWICE(char *, strndup, copy_part, (const char *text, size_t most), text, most)
TWICE(char *, realpath, copy_path, (const char *path, char *resolved), path, resolved)

MAKES(malloc_aligned, take, (size_t size, size_t alignment), size, alignment, 0, false)
MAKES(zalloc_aligned, take, (size_t size, size_t alignment), size, alignment, 0, true)
MAKES(calloc_aligned, take, (size_t count, size_t size, size_t alignment),
      product(count, size), alignment, 0, true)
MAKES(malloc_aligned_at, take, (size_t size, size_t alignment, size_t offset), size, alignment, offset, false)
MAKES(zalloc_aligned_at, take, (size_t size, size_t alignment, size_t offset), size, alignment, offset, true)
MAKES(calloc_aligned_at, take, (size_t count, size_t size, size_t alignment, size_t offset),
      product(count, size), alignment, offset, true)
GIVES(mi_memalign, take, (size_t alignment, size_t size), mym_mimalloc_chosen, size, alignment, 0, false)
GIVES(mi_aligned_alloc, take, (size_t alignment, size_t size), mym_mimalloc_chosen, size, alignment, 0, false)
GIVES(mi_valloc, take, (size_t size), mym_mimalloc_chosen, size, mym_os_page(), 0, false)
GIVES(mi_pvalloc, take, (size_t size), mym_mimalloc_chosen, mym_face_whole_pages(size), mym_os_page(), 0, false)
TELLS(int, mi_posix_memalign, take_to, (void **out, size_t alignment, size_t size), out, alignment, size)

GIVES(mi_new, take_or_throw, (size_t size), mym_mimalloc_chosen, size)
GIVES(mi_new_n, take_or_throw, (size_t count, size_t size), mym_mimalloc_chosen, product(count, size))
GIVES(mi_heap_alloc_new, take_or_throw, (void *heap, size_t size), mym_mimalloc_reap(heap), size)
GIVES(mi_heap_alloc_new_n, take_or_throw, (void *heap, size_t count, size_t size), mym_mimalloc_reap(heap), product(count, size))
GIVES(mi_new_aligned, take_aligned_or_throw, (size_t size, size_t alignment), mym_mimalloc_chosen, size, alignment)
GIVES(mi_new_nothrow, take_new, (size_t size), mym_mimalloc_chosen, size)
GIVES(mi_new_aligned_nothrow, take_aligned_new, (size_t size, size_t alignment), mym_mimalloc_chosen, size, alignment)
GIVES(mi_new_realloc, move_or_throw, (void *ptr, size_t size), mym_mimalloc_chosen, ptr, size)
GIVES(mi_new_reallocn, move_or_throw, (void *ptr, size_t count, size_t size), mym_mimalloc_chosen, ptr, product(count, size))

MAKES(realloc, move, (void *ptr, size_t size), ptr, size, ANY, false)
MAKES(reallocn, move, (void *ptr, size_t count, size_t size), ptr, product(count, size), ANY, false)
GIVES(mi_reallocarray, move, (void *ptr, size_t count, size_t size), mym_mimalloc_chosen, ptr, product(count, size), ANY, false)
MAKES(reallocf, move_or_free, (void *ptr, size_t size), ptr, size)
MAKES(rezalloc, move, (void *ptr, size_t size), ptr, size, ANY, true)
MAKES(recalloc, move, (void *ptr, size_t count, size_t size), ptr, product(count, size), ANY, true)
MAKES(realloc_aligned, move, (void *ptr, size_t size, size_t alignment), ptr, size, alignment, 0, false)
MAKES(rezalloc_aligned, move, (void *ptr, size_t size, size_t alignment), ptr, size, alignment, 0, true)
MAKES(recalloc_aligned, move, (void *ptr, size_t count, size_t size, size_t alignment),
      ptr, product(count, size), alignment, 0, true)
MAKES(realloc_aligned_at, move, (void *ptr, size_t size, size_t alignment, size_t offset),
      ptr, size, alignment, offset, false)
MAKES(rezalloc_aligned_at, move, (void *ptr, size_t size, size_t alignment, size_t offset),
      ptr, size, alignment, offset, true)
MAKES(recalloc_aligned_at, move, (void *ptr, size_t count, size_t size, size_t alignment, size_t offset),
      ptr, product(count, size), alignment, offset, true)
GIVES(mi_aligned_recalloc, move, (void *ptr, size_t count, size_t size, size_t alignment),
      mym_mimalloc_chosen, ptr, product(count, size), alignment, 0, true)
GIVES(mi_expand, expand, (void *ptr, size_t size), ptr, size)

/* What came with 2.2 and 3. */
GIVES(mi_umalloc, told, (size_t size, size_t *bytes), take_plain(mym_mimalloc_chosen, size), bytes)
GIVES(mi_umalloc_small, told, (size_t size, size_t *bytes), take_plain(mym_mimalloc_chosen, size), bytes)
GIVES(mi_uzalloc, told, (size_t size, size_t *bytes), take(mym_mimalloc_chosen, size, ANY, true), bytes)
GIVES(mi_uzalloc_small, told, (size_t size, size_t *bytes), take(mym_mimalloc_chosen, size, ANY, true), bytes)
GIVES(mi_ucalloc, told, (size_t count, size_t size, size_t *bytes),
      take(mym_mimalloc_chosen, product(count, size), ANY, true), bytes)
GIVES(mi_umalloc_aligned, told, (size_t size, size_t alignment, size_t *bytes),
      take(mym_mimalloc_chosen, size, alignment, 0, false), bytes)
GIVES(mi_uzalloc_aligned, told, (size_t size, size_t alignment, size_t *bytes),
      take(mym_mimalloc_chosen, size, alignment, 0, true), bytes)
GIVES(mi_urealloc, move_told, (void *ptr, size_t size, size_t *before, size_t *after), ptr, size, before, after)
TAKES(mi_ufree, put_told, (void *ptr, size_t *bytes), ptr, bytes)
TAKES(mi_free_small, put, (void *ptr), ptr)
TAKES(mi_free_small_nonnull, put, (void *ptr), ptr)
TAKES(mi_free_small_local, put, (void *ptr), ptr)
TAKES(mi_free_small_local_nonnull, put, (void *ptr), ptr)

#define UNUSED size_t unused __attribute__((unused))
TAKES(mi_free, put, (void *ptr), ptr)
TAKES(mi_cfree, put, (void *ptr), ptr)
TAKES(mi_free_size, put, (void *ptr, UNUSED), ptr)
TAKES(mi_free_aligned, put, (void *ptr, UNUSED), ptr)
TAKES(mi_free_size_aligned, put, (void *ptr, UNUSED, size_t alignment __attribute__((unused))), ptr)

TELLS(size_t, mi_usable_size, usable, (const void *ptr), ptr)
TELLS(size_t, mi_malloc_size, usable, (const void *ptr), ptr)
TELLS(size_t, malloc_size, usable, (const void *ptr), ptr)
TELLS(size_t, mi_malloc_usable_size, usable, (const void *ptr), ptr)
TELLS(bool, mi_check_owned, mym_is_own, (const void *ptr), ptr)
TELLS(size_t, mi_good_size, mym_good_size, (size_t size), size)
TELLS(size_t, mi_malloc_good_size, mym_good_size, (size_t size), size)
/* clang-format on */

/*
 * What a mimalloc has by names that are not its own, 3.6 even strdup: that gives objects of another
 * heap than the program's free takes. As libc's and BSD's they come down to malloc, whosever it is.
 */
static void *(*const volatile first_malloc)(size_t) = malloc;
static void *(*const volatile first_realloc)(void *, size_t) = realloc;
static void (*const volatile first_free)(void *) = free;

static char *duplicate(const char *text, size_t length)
{
    char *object = first_malloc(length + 1);

    if (object != NULL) {
        memcpy(object, text, length);
        object[length] = '\0';
    }
    return object;
}

EXPORT char *strdup(const char *text)
{
    return duplicate(text, strlen(text));
}

EXPORT char *strndup(const char *text, size_t most)
{
    return duplicate(text, strnlen(text, most));
}

void *reallocf(void *ptr, size_t size);
EXPORT void *reallocf(void *ptr, size_t size)
{
    void *object = first_realloc(ptr, size);

    if (object == NULL && size != 0)
        first_free(ptr);
    return object;
}

/* The array at *out; an error number, and that is as it was. */
int mi_reallocarr(void *out, size_t count, size_t size);
EXPORT int mi_reallocarr(void *out, size_t count, size_t size)
{
    int saved = errno;
    void *object;

    if (out == NULL)
        return EINVAL;
    object = move(mym_mimalloc_chosen, *(void **)out, product(count, size), ANY, false);
    errno = saved;
    if (object == NULL)
        return ENOMEM;
    *(void **)out = object;
    return 0;
}

/* Of whatever heap. */
static bool is_known(const void *ptr)
{
    return mym_is_own(ptr) || (other() != NULL && other()->has(ptr));
}

TELLS(bool, mi_is_in_heap_region, is_known, (const void *ptr), ptr)
TELLS(bool, mi_any_heap_contains, is_known, (const void *ptr), ptr)
