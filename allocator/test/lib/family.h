/*
 * family.h - the malloc family under test, by its usual names.
 *
 * The same test source is built twice. With TEST_MY the names below become the My*
 * functions of the static library; without it they stay the process's own, which is
 * libc's, or mymalloc's when the preload library is in front. With TEST_LINKED it is linked
 * with a library that replaces them: what musl has no name for are My* of that.
 */
#ifndef TEST_FAMILY_H
#define TEST_FAMILY_H

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "mymalloc/mymalloc.h"

/* What libc may lack, or what only mymalloc has. NULL where it is not there. */
struct family {
    void (*free_sized)(void *ptr, size_t size);
    void (*free_aligned_sized)(void *ptr, size_t alignment, size_t size);
    size_t (*good_size)(size_t size);
    size_t (*verify)(void);
    const char *(*version)(void);
    const char *(*frontend)(const char **why);
};
extern struct family family;

/*
 * Fill in `family`; end the test when the environment variable TEST_EXPECT names an
 * allocator ("mymalloc", "libc") and another one answers.
 */
void family_init(void);

/* True when the functions under test are mymalloc's. */
bool is_mymalloc(void);

#ifdef TEST_MY
#define malloc             MyMalloc
#define free               MyFree
#define calloc             MyCalloc
#define realloc            MyRealloc
#define reallocarray       MyReallocArray
#define aligned_alloc      MyAlignedAlloc
#define posix_memalign     MyPosixMemalign
#define memalign           MyMemalign
#define valloc             MyValloc
#define malloc_usable_size MyUsableSize
#endif
#if defined TEST_MY || defined TEST_LINKED
#define pvalloc      MyPvalloc
#define malloc_trim  MyTrim
#define mallopt      MyMallopt
#define malloc_stats MyStats
#define malloc_info  MyMallocInfo
/* With parentheses: struct mallinfo2 keeps its name. */
#define mallinfo2() MyMallinfo2()
#define mallinfo()  MyMallinfo()
#endif

#endif
