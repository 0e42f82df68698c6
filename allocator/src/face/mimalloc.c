/*
 * mimalloc.c - mimalloc's functions under their names, for libmymalloc_preload.so.
 *
 * As its manual has them: those that take or give objects without naming a heap of mimalloc's
 * (mi_heap_*) or an offset (mi_*_at). These stay mimalloc's, where it is loaded, and so do
 * their objects; they come back by the names that are here, and go on to it.
 *
 * Locking: none here but the loader's, which dl_iterate_phdr takes.
 */
#include "face/mimalloc.h"
#include "face/override.h"

#include "alloc/info.h"
#include "face/object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- mimalloc itself, beside this heap ---- */

static struct {
    void (*_Atomic free)(void *ptr); /* set last; NULL: not found so far */
    size_t (*usable)(const void *ptr);
    bool (*has)(const void *ptr);
    void (*collect)(bool force);
} other;

/* Not by dlsym, which would change what the program's dlerror says. */
static int look(struct dl_phdr_info *info, size_t size, void *unused)
{
    struct mym_object object;
    void *found;

    (void)size;
    (void)unused;
    if (other.free != NULL) /* another thread was here: the loader's lock lets in one */
        return 1;
    if (mym_object_has(info, (const void *)look) || !mym_object_read(info, &object) ||
        (found = mym_object_function(info, &object, "mi_free")) == NULL)
        return 0;
    other.usable =
        (size_t(*)(const void *))mym_object_function(info, &object, "mi_usable_size");
    other.has = (bool (*)(const void *))mym_object_function(info, &object,
                                                            "mi_is_in_heap_region");
    other.collect = (void (*)(bool))mym_object_function(info, &object, "mi_collect");
    if (other.usable != NULL && other.has != NULL && other.collect != NULL)
        other.free = (void (*)(void *))found;
    return 1;
}

MYM_COLD void mym_mimalloc_find(void)
{
    if (other.free == NULL)
        dl_iterate_phdr(look, NULL);
}

static MYM_COLD bool has_other(void)
{
    mym_mimalloc_find();
    return other.free != NULL;
}

/* An object of one of mimalloc's heaps. */
static bool is_other(const void *ptr)
{
    return ptr != NULL && MYM_UNLIKELY(!mym_is_own(ptr)) && has_other();
}

/* ---- what they are made of; once each, by a jump ---- */

static MYM_SLOW void put(void *ptr)
{
    if (is_other(ptr))
        other.free(ptr);
    else
        mym_free(ptr);
}

static MYM_SLOW size_t usable(const void *ptr)
{
    return is_other(ptr) ? other.usable(ptr) : mym_usable(ptr);
}

/* SIZE_MAX, which no object can have, where the product is too large. */
static size_t product(size_t count, size_t size)
{
    size_t bytes;

    return __builtin_mul_overflow(count, size, &bytes) ? SIZE_MAX : bytes;
}

/* Zero: up to the object's real end, from where `move` goes on. */
static MYM_SLOW void *take(size_t size, size_t alignment, bool zero)
{
    bool cleared = zero && alignment == MYM_ALIGNMENT;
    size_t from = cleared ? size : 0;
    void *object =
        cleared ? mym_calloc(1, size) : mym_face_aligned_alloc(alignment, size);

    if (object != NULL && zero)
        memset((char *)object + from, 0, mym_usable(object) - from);
    return object;
}

/* A size of 0 is one, too. Zero: what is beyond the object's former end. */
static MYM_SLOW void *move(void *ptr, size_t size, size_t alignment, bool zero)
{
    size_t old = usable(ptr);
    void *object;

    if (ptr == NULL || alignment == 0)
        return take(size, alignment, zero);
    if (alignment <= MYM_ALIGNMENT && !is_other(ptr)) {
        object = mym_realloc(ptr, size + (size == 0));
    } else if (!is_other(ptr) && (uintptr_t)ptr % alignment == 0 &&
               mym_fits(old, size) && (!MYM_SECURE_SEAL || size == old)) {
        object = ptr;
    } else {
        object = take(size, alignment, false);
        if (object != NULL) {
            memcpy(object, ptr, old < size ? old : size);
            put(ptr);
        }
    }
    if (object != NULL && zero && mym_usable(object) > old)
        memset((char *)object + old, 0, mym_usable(object) - old);
    return object;
}

static void *move_or_free(void *ptr, size_t size)
{
    void *object = move(ptr, size, MYM_ALIGNMENT, false);

    if (object == NULL)
        put(ptr);
    return object;
}

static void *expand(void *ptr, size_t size)
{
    return size <= usable(ptr) ? ptr : NULL;
}

static MYM_SLOW char *copy(const char *text, size_t length)
{
    char *object = mym_malloc(length + 1);

    if (object != NULL) {
        memcpy(object, text, length);
        object[length] = '\0';
    }
    return object;
}

static char *copy_all(const char *text)
{
    return text != NULL ? copy(text, strlen(text)) : NULL;
}

static char *copy_part(const char *text, size_t most)
{
    return text != NULL ? copy(text, strnlen(text, most)) : NULL;
}

/* The forms of operator new are in operators.c. */
MYM_HIDDEN void *own_Znwm(size_t size);
MYM_HIDDEN void *own_ZnwmSt11align_val_t(size_t size, size_t alignment);
MYM_HIDDEN void *own_ZnwmRKSt9nothrow_t(size_t size, const void *nothrow);
MYM_HIDDEN void *own_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment,
                                                       const void *nothrow);
static const char nothrow;

static MYM_SLOW void *move_or_throw(void *ptr, size_t size)
{
    void *object = move(ptr, size, MYM_ALIGNMENT, false);
    size_t old;

    if (object != NULL)
        return object;
    object = own_Znwm(size); /* calls the handler, or throws */
    old = usable(ptr);
    if (ptr != NULL)
        memcpy(object, ptr, old < size ? old : size);
    put(ptr);
    return object;
}

/* ---- the names ---- */

#define ANY MYM_ALIGNMENT

/* clang-format off */
GIVES(mi_malloc, mym_malloc, (size_t size), size)
GIVES(mi_malloc_small, mym_malloc, (size_t size), size)
GIVES(mi_mallocn, take, (size_t count, size_t size), product(count, size), ANY, false)
GIVES(mi_calloc, take, (size_t count, size_t size), product(count, size), ANY, true)
GIVES(mi_zalloc, take, (size_t size), size, ANY, true)
GIVES(mi_zalloc_small, take, (size_t size), size, ANY, true)
TELLS(char *, mi_strdup, copy_all, (const char *text), text)
TELLS(char *, mi_strndup, copy_part, (const char *text, size_t most), text, most)
TELLS(char *, mi_realpath, realpath, (const char *path, char *resolved), path, resolved)

GIVES(mi_malloc_aligned, take, (size_t size, size_t alignment), size, alignment, false)
GIVES(mi_zalloc_aligned, take, (size_t size, size_t alignment), size, alignment, true)
GIVES(mi_calloc_aligned, take, (size_t count, size_t size, size_t alignment),
      product(count, size), alignment, true)
GIVES(mi_memalign, take, (size_t alignment, size_t size), size, alignment, false)
GIVES(mi_aligned_alloc, take, (size_t alignment, size_t size), size, alignment, false)
GIVES(mi_valloc, mym_face_valloc, (size_t size), size)
GIVES(mi_pvalloc, mym_face_pvalloc, (size_t size), size)
TELLS(int, mi_posix_memalign, mym_face_posix_memalign,
      (void **out, size_t alignment, size_t size), out, alignment, size)

GIVES(mi_new, own_Znwm, (size_t size), size)
GIVES(mi_new_n, own_Znwm, (size_t count, size_t size), product(count, size))
GIVES(mi_new_aligned, own_ZnwmSt11align_val_t, (size_t size, size_t alignment), size, alignment)
GIVES(mi_new_nothrow, own_ZnwmRKSt9nothrow_t, (size_t size), size, &nothrow)
GIVES(mi_new_aligned_nothrow, own_ZnwmSt11align_val_tRKSt9nothrow_t,
      (size_t size, size_t alignment), size, alignment, &nothrow)
GIVES(mi_new_realloc, move_or_throw, (void *ptr, size_t size), ptr, size)
GIVES(mi_new_reallocn, move_or_throw, (void *ptr, size_t count, size_t size), ptr, product(count, size))

GIVES(mi_realloc, move, (void *ptr, size_t size), ptr, size, ANY, false)
GIVES(mi_reallocn, move, (void *ptr, size_t count, size_t size), ptr, product(count, size), ANY, false)
GIVES(mi_reallocarray, move, (void *ptr, size_t count, size_t size), ptr, product(count, size), ANY, false)
GIVES(mi_reallocf, move_or_free, (void *ptr, size_t size), ptr, size)
GIVES(mi_rezalloc, move, (void *ptr, size_t size), ptr, size, ANY, true)
GIVES(mi_recalloc, move, (void *ptr, size_t count, size_t size), ptr, product(count, size), ANY, true)
GIVES(mi_realloc_aligned, move, (void *ptr, size_t size, size_t alignment), ptr, size, alignment, false)
GIVES(mi_rezalloc_aligned, move, (void *ptr, size_t size, size_t alignment), ptr, size, alignment, true)
GIVES(mi_recalloc_aligned, move, (void *ptr, size_t count, size_t size, size_t alignment),
      ptr, product(count, size), alignment, true)
GIVES(mi_aligned_recalloc, move, (void *ptr, size_t count, size_t size, size_t alignment),
      ptr, product(count, size), alignment, true)
GIVES(mi_expand, expand, (void *ptr, size_t size), ptr, size)

#define UNUSED size_t unused __attribute__((unused))
TAKES(mi_free, put, (void *ptr), ptr)
TAKES(mi_cfree, put, (void *ptr), ptr)
TAKES(mi_free_size, put, (void *ptr, UNUSED), ptr)
TAKES(mi_free_aligned, put, (void *ptr, UNUSED), ptr)
TAKES(mi_free_size_aligned, put, (void *ptr, UNUSED, size_t alignment __attribute__((unused))), ptr)

TELLS(size_t, mi_usable_size, usable, (const void *ptr), ptr)
TELLS(size_t, mi_malloc_size, usable, (const void *ptr), ptr)
TELLS(size_t, mi_malloc_usable_size, usable, (const void *ptr), ptr)
TELLS(bool, mi_check_owned, mym_is_own, (const void *ptr), ptr)
TELLS(size_t, mi_good_size, mym_good_size, (size_t size), size)
TELLS(size_t, mi_malloc_good_size, mym_good_size, (size_t size), size)
/* clang-format on */

/* The array at *out; an error number, and that is as it was. */
int mi_reallocarr(void *out, size_t count, size_t size);
EXPORT int mi_reallocarr(void *out, size_t count, size_t size)
{
    int saved = errno;
    void *object;

    if (out == NULL)
        return EINVAL;
    object = move(*(void **)out, product(count, size), ANY, false);
    errno = saved;
    if (object == NULL)
        return ENOMEM;
    *(void **)out = object;
    return 0;
}

/* Of whatever heap. */
bool mi_is_in_heap_region(const void *ptr);
EXPORT bool mi_is_in_heap_region(const void *ptr)
{
    return mym_is_own(ptr) || (has_other() && other.has(ptr));
}

void mi_collect(bool force);
EXPORT void mi_collect(bool force)
{
    if (force)
        mym_trim(0);
    else
        mym_cache_drain();
    if (has_other())
        other.collect(force);
}
