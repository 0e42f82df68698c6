/*
 * jemalloc.c - jemalloc's own functions under their names, for libmymalloc_preload.so.
 *
 * A program that is linked with jemalloc and calls these beside malloc and free (redis in
 * Debian sid does) would otherwise take from one heap and give to another. As jemalloc(3)
 * describes them; which arena and which cache a flag names is for jemalloc only, but for
 * "no cache", by which programs that defragment their heap move objects to fuller slabs.
 */
#include "face/override.h"

#include "os/os.h"
#include "pool/pool.h"
#include "profile/guarded.h"

#include <string.h>

#define FLAG_LG_ALIGN 63      /* MALLOCX_LG_ALIGN(n) is n */
#define FLAG_ZERO     64      /* MALLOCX_ZERO */
#define FLAG_CACHE    0xfff00 /* MALLOCX_TCACHE(n) is n + 2 of these */
#define FLAG_NO_CACHE 0x00100 /* MALLOCX_TCACHE_NONE */

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

/* Where no more is asked for than malloc's alignment, malloc's class. 0: it has none. */
static unsigned class_of(size_t alignment, size_t size)
{
    if (alignment > MYM_ALIGNMENT)
        return mym_class_of_aligned(alignment, size);
    return size <= MYM_CLASS_MAX ? mym_class_of(size) : 0;
}

/*
 * Past the caches: from the fullest slab of the class; NULL: by the usual way, as always in
 * the hardened library, which has more to do for an object.
 */
static void *take_past(size_t alignment, size_t size)
{
    unsigned cls;

    if (MYM_SECURE || !mym_start() || mym_watch.on)
        return NULL;
    cls = class_of(alignment, size);
    return cls == 0 ? NULL : mym_pool_take(mym_pool_of(mym_mode_cpu(0), cls));
}

/* Into its slab; false: it is in none. */
static bool put_past(void *ptr)
{
    unsigned cls = !MYM_SECURE && mym_in_heap(ptr) ? mym_heap.cls[mym_unit_of(ptr)] : 0;

    if (cls != 0)
        mym_pool_put(mym_pool_owner(cls, ptr), ptr);
    return cls != 0;
}

static void put(void *ptr, int flags)
{
    if ((flags & FLAG_CACHE) != FLAG_NO_CACHE || !put_past(ptr))
        mym_free(ptr);
}

/* With FLAG_ZERO up to the real size, from where rallocx goes on. */
EXPORT void *mallocx(size_t size, int flags)
{
    size_t alignment = alignment_of(flags), dirty = 0;
    void *object = NULL;

    if ((flags & FLAG_CACHE) == FLAG_NO_CACHE) {
        object = take_past(alignment, size);
    } else if (alignment == MYM_ALIGNMENT && (flags & FLAG_ZERO)) {
        object = mym_calloc(1, size);
        dirty = size;
    }
    if (object == NULL && dirty == 0)
        object = alignment == MYM_ALIGNMENT ? mym_malloc(size)
                                            : mym_aligned(alignment, size);
    if (object != NULL && (flags & FLAG_ZERO))
        memset((char *)object + dirty, 0, mym_usable(object) - dirty);
    return object;
}

/* With FLAG_ZERO: the real size before is where the zeros start, or the end of what was copied. */
EXPORT void *rallocx(void *ptr, size_t size, int flags)
{
    size_t old = mym_usable(ptr);
    void *object = mym_face_realloc_aligned(ptr, alignment_of(flags), size);

    if (object != ptr && size < old)
        old = size;
    if (object != NULL && (flags & FLAG_ZERO) && mym_usable(object) > old)
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
    put(ptr, flags);
}

EXPORT void sdallocx(void *ptr, size_t size, int flags)
{
    unsigned cls = class_of(alignment_of(flags), size);

    /* A wrong size is told by the usual way. */
    if ((flags & FLAG_CACHE) != FLAG_NO_CACHE || !mym_is_of_class(ptr, cls) ||
        !put_past(ptr)) {
        if (alignment_of(flags) == MYM_ALIGNMENT)
            mym_free_sized(ptr, size);
        else
            mym_free_aligned_sized(ptr, alignment_of(flags), size);
    }
}

/* calloc prefers fresh pages to a class. */
static bool zeroed_by_calloc(size_t size, int flags)
{
    return !MYM_SECURE_SEAL && size > MYM_PLACE_MAX && (flags & FLAG_ZERO) &&
           (flags & FLAG_CACHE) != FLAG_NO_CACHE;
}

/* The usable size that mallocx would give; 0: no object can be that large. */
EXPORT size_t nallocx(size_t size, int flags)
{
    size_t alignment = alignment_of(flags);
    unsigned cls;

    if (!mym_start() || size > MYM_SIZE_MAX || alignment > MYM_SIZE_MAX / 2)
        return 0;
    if (alignment == MYM_ALIGNMENT || MYM_SECURE_SEAL || mym_guarded_may_be(size))
        return zeroed_by_calloc(size, flags) ? mym_large_good_size(size, 1)
                                             : mym_good_size(size);
    cls = mym_class_of_aligned(alignment, size);
    if (cls != 0)
        return mym_classes[cls].size;
    return alignment <= mym_os_page() || size < MYM_MAPPING_MIN
               ? mym_large_good_size(size, alignment)
               : mym_round_up(size, MYM_UNIT);
}
