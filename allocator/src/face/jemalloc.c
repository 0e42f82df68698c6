/*
 * jemalloc.c - jemalloc's own functions under their names, for libmymalloc_preload.so.
 *
 * A program that is linked with jemalloc and calls these beside malloc and free (redis in
 * Debian sid does) would otherwise take from one heap and give to another. As jemalloc(3)
 * describes them; which arena and which cache a flag names is for jemalloc only.
 */
#include "face/family.h"

#include "os/os.h"

#include <string.h>

#define EXPORT __attribute__((visibility("default")))

#define FLAG_LG_ALIGN 63 /* MALLOCX_LG_ALIGN(n) is n */
#define FLAG_ZERO     64 /* MALLOCX_ZERO */

void *mallocx(size_t size, int flags);
void *rallocx(void *ptr, size_t size, int flags);
size_t xallocx(void *ptr, size_t size, size_t extra, int flags);
size_t sallocx(const void *ptr, int flags);
void dallocx(void *ptr, int flags);
void sdallocx(void *ptr, size_t size, int flags);
size_t nallocx(size_t size, int flags);

static size_t alignment_of(int flags)
{
    size_t alignment = (size_t)1 << (flags & FLAG_LG_ALIGN);

    return alignment < MYM_ALIGNMENT ? MYM_ALIGNMENT : alignment;
}

EXPORT void *mallocx(size_t size, int flags)
{
    size_t alignment = alignment_of(flags);
    void *object;

    if (alignment == MYM_ALIGNMENT && (flags & FLAG_ZERO))
        return mym_calloc(1, size);
    object = mym_aligned(alignment, size);
    return object != NULL && (flags & FLAG_ZERO) ? memset(object, 0, size) : object;
}

/* Growing with FLAG_ZERO: the real size before is where the zeros start. */
EXPORT void *rallocx(void *ptr, size_t size, int flags)
{
    size_t old = mym_usable(ptr);
    size_t alignment = alignment_of(flags);
    void *object = ptr;

    if (alignment == MYM_ALIGNMENT)
        object = mym_realloc(ptr, size);
    else if (size > old || size < old / 2 || (uintptr_t)ptr % alignment != 0)
        object = mym_aligned(alignment, size);
    if (object == NULL)
        return NULL;
    if (object != ptr && alignment != MYM_ALIGNMENT) {
        memcpy(object, ptr, old < size ? old : size);
        mym_free(ptr);
    }
    if ((flags & FLAG_ZERO) && mym_usable(object) > old)
        memset((char *)object + old, 0, mym_usable(object) - old);
    return object;
}

/* In place: an object has the size of its class, whatever is asked for. */
EXPORT size_t xallocx(void *ptr, size_t size, size_t extra, int flags)
{
    (void)size;
    (void)extra;
    (void)flags;
    return mym_usable(ptr);
}

EXPORT size_t sallocx(const void *ptr, int flags)
{
    (void)flags;
    return mym_usable(ptr);
}

EXPORT void dallocx(void *ptr, int flags)
{
    (void)flags;
    mym_free(ptr);
}

EXPORT void sdallocx(void *ptr, size_t size, int flags)
{
    mym_free_aligned_sized(ptr, alignment_of(flags), size);
}

/* The usable size that mallocx would give; 0: no object can be that large. */
EXPORT size_t nallocx(size_t size, int flags)
{
    size_t alignment = alignment_of(flags);
    unsigned class;

    if (!mym_start() || size > MYM_SIZE_MAX || alignment > MYM_SIZE_MAX / 2)
        return 0;
    if (alignment == MYM_ALIGNMENT || MYM_SECURE_SEAL)
        return mym_good_size(size);
    class = mym_class_of_aligned(alignment, size);
    if (class != 0)
        return mym_classes[class].size;
    return alignment <= mym_os_page() ? mym_large_good_size(size)
                                      : (size + MYM_UNIT - 1) & ~(MYM_UNIT - 1);
}
