/*
 * family.h - the members of the malloc family beyond the fast paths: argument rules and
 * errno, shared by the My* functions and the names they take the place of.
 */
#ifndef MYM_FACE_FAMILY_H
#define MYM_FACE_FAMILY_H

#include "mymalloc/mymalloc.h"

#include "alloc/alloc.h"

void *mym_face_reallocarray(void *ptr, size_t count, size_t size);

/* A power of two. */
MYM_INLINE bool mym_face_is_alignment(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* errno is set where the alignment is no power of two, too. */
void *mym_face_realloc_aligned(void *ptr, size_t alignment, size_t size);

/* The cold half: errno is set where the alignment is no power of two. */
void *mym_face_aligned_slow(size_t alignment, size_t size);

MYM_INLINE void *mym_face_aligned_alloc(size_t alignment, size_t size)
{
    void *object = (alignment & (alignment - 1)) == 0
                       ? mym_aligned_quick(MYM_TO_TAKE, alignment, size)
                       : NULL;

    return MYM_LIKELY(object != NULL) ? object : mym_face_aligned_slow(alignment, size);
}

int mym_face_posix_memalign(void **out, size_t alignment, size_t size);
void *mym_face_memalign(size_t alignment, size_t size);
void *mym_face_valloc(size_t size);
void *mym_face_pvalloc(size_t size);
size_t mym_face_whole_pages(size_t size); /* SIZE_MAX: no number of them */
int mym_face_trim(size_t pad);
int mym_face_mallopt(int parameter, int value);
struct mallinfo mym_face_mallinfo(void);
struct mallinfo2 mym_face_mallinfo2(void);
void mym_face_stats(void);
int mym_face_malloc_info(int options, FILE *stream);

#endif
