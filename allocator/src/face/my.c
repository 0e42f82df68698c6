/*
 * my.c - the My* functions. The fast paths are inlined here; see alloc/alloc.h.
 */
#include "mymalloc/mymalloc.h"

#include "alloc/info.h"
#include "alloc/metrics.h"
#include "face/family.h"
#include "profile/profile.h"

#include <errno.h>

MYM_FAST void *MyMalloc(size_t size)
{
    return mym_malloc(size);
}

MYM_FAST void MyFree(void *ptr)
{
    mym_free(ptr);
}

void *MyCalloc(size_t count, size_t size)
{
    return mym_calloc(count, size);
}

void *MyRealloc(void *ptr, size_t size)
{
    return mym_realloc(ptr, size);
}

void *MyReallocArray(void *ptr, size_t count, size_t size)
{
    return mym_face_reallocarray(ptr, count, size);
}

void *MyReallocAligned(void *ptr, size_t alignment, size_t size)
{
    return mym_face_realloc_aligned(ptr, alignment, size);
}

MYM_FAST void *MyAlignedAlloc(size_t alignment, size_t size)
{
    return mym_face_aligned_alloc(alignment, size);
}

int MyPosixMemalign(void **out, size_t alignment, size_t size)
{
    return mym_face_posix_memalign(out, alignment, size);
}

void *MyMemalign(size_t alignment, size_t size)
{
    return mym_face_memalign(alignment, size);
}

void *MyValloc(size_t size)
{
    return mym_face_valloc(size);
}

void *MyPvalloc(size_t size)
{
    return mym_face_pvalloc(size);
}

MYM_FAST void MyFreeSized(void *ptr, size_t size)
{
    mym_free_sized(ptr, size);
}

MYM_FAST void MyFreeAlignedSized(void *ptr, size_t alignment, size_t size)
{
    mym_free_aligned_sized(ptr, alignment, size);
}

size_t MyUsableSize(const void *ptr)
{
    return mym_usable(ptr);
}

size_t MyGoodSize(size_t size)
{
    return mym_good_size(size);
}

int MyTrim(size_t pad)
{
    return mym_face_trim(pad);
}

int MyMallopt(int parameter, int value)
{
    return mym_face_mallopt(parameter, value);
}

struct mallinfo MyMallinfo(void)
{
    return mym_face_mallinfo();
}

struct mallinfo2 MyMallinfo2(void)
{
    return mym_face_mallinfo2();
}

void MyStats(void)
{
    mym_face_stats();
}

int MyMallocInfo(int options, FILE *stream)
{
    return mym_face_malloc_info(options, stream);
}

/* The result of a function that tells by errno. */
static int result(int error)
{
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

int MyProfileStart(size_t every)
{
    return result(mym_profile_start(every == 0 ? MYM_PROFILE_EVERY : every));
}

int MyProfileStop(void)
{
    return result(mym_profile_stop());
}

int MyProfileWrite(int file, int form)
{
    if (form != MY_PROFILE_PROTO && form != MY_PROFILE_TEXT)
        return result(EINVAL);
    return result(mym_profile_write(file, form == MY_PROFILE_TEXT ? MYM_PROFILE_TEXT
                                                                  : MYM_PROFILE_PROTO));
}

int MyStatsWrite(int file, int form)
{
    if (form != MY_STATS_JSON && form != MY_STATS_PROMETHEUS)
        return result(EINVAL);
    return result(mym_metrics_write(
        file, form == MY_STATS_JSON ? MYM_METRICS_JSON : MYM_METRICS_PROMETHEUS, NULL));
}

int MyHeapWalk(int (*visit)(void *object, size_t bytes, void *argument), void *argument)
{
    bool failed;
    int stop = mym_walk(visit, argument, &failed);

    return failed ? result(ENOMEM) : stop;
}

const char *MyFrontend(const char **why)
{
    if (why != NULL)
        *why = mym_mode_reason;
    return mym_mode_name();
}

const char *MyVersion(void)
{
    return "mymalloc " MYM_STR(MYMALLOC_VERSION_MAJOR) "." MYM_STR(
        MYMALLOC_VERSION_MINOR) "." MYM_STR(MYMALLOC_VERSION_PATCH);
}

size_t MyVerify(void)
{
    return mym_verify();
}
