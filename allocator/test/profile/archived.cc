/*
 * archived.cc - every way to an object, in a program that has the allocator inside: its own
 * functions are told from the program's by their names alone. For archived.py.
 */
#include <cstdlib>
#include <malloc.h>
#include <new>

extern "C" {
void *mallocx(size_t size, int flags);
void *rallocx(void *ptr, size_t size, int flags);
void *MyMalloc(size_t size);
void *MyCalloc(size_t count, size_t size);
void *MyRealloc(void *ptr, size_t size);
void *MyReallocArray(void *ptr, size_t count, size_t size);
void *MyReallocAligned(void *ptr, size_t alignment, size_t size);
void *MyAlignedAlloc(size_t alignment, size_t size);
void *MyMemalign(size_t alignment, size_t size);
int MyPosixMemalign(void **object, size_t alignment, size_t size);
void *MyValloc(size_t size);
void *MyPvalloc(size_t size);
}

__attribute__((noinline)) void *site_by_pointer(int (*take)(void **, size_t, size_t),
                                                size_t size)
{
    void *object;

    return take(&object, 128, size) == 0 ? object : nullptr;
}

/* Goes on after the call: no jump. */
#define SITE(name, object)                               \
    __attribute__((noinline)) void site_##name(size_t s) \
    {                                                    \
        free(object);                                    \
    }

SITE(malloc, malloc(s))
SITE(calloc, calloc(1, s))
SITE(realloc, realloc(nullptr, s))
SITE(grows, realloc(malloc(s / 3 + 1), 2 * s))
SITE(shrinks, realloc(malloc(3 * s), s))
SITE(reallocarray, reallocarray(nullptr, 1, s))
SITE(aligned_alloc, aligned_alloc(64, (s + 63) & ~(size_t)63))
SITE(memalign, memalign(4096, s))
SITE(posix_memalign, site_by_pointer(posix_memalign, s))
SITE(valloc, valloc(s))
SITE(pvalloc, pvalloc(s))
SITE(new, operator new(s))
SITE(new_array, operator new[](s))
SITE(nothrow, operator new(s, std::nothrow))
SITE(new_aligned, operator new(s, std::align_val_t(64)))
SITE(nothrow_aligned, operator new[](s, std::align_val_t(128), std::nothrow))
SITE(mallocx, mallocx(s, 0))
SITE(mallocx_aligned, mallocx(s, 7))
SITE(mallocx_zeroed, mallocx(s, 64))
SITE(mallocx_past, mallocx(s, 0x100))
SITE(rallocx, rallocx(mallocx(s / 2 + 1, 0), s, 0))
SITE(rallocx_aligned, rallocx(mallocx(s / 2 + 1, 7), 2 * s, 7))
SITE(my_malloc, MyMalloc(s))
SITE(my_calloc, MyCalloc(1, s))
SITE(my_realloc, MyRealloc(MyMalloc(s / 3 + 1), 2 * s))
SITE(my_array, MyReallocArray(nullptr, 2, s))
SITE(my_moved, MyReallocAligned(MyMalloc(s / 3 + 1), 64, 2 * s))
SITE(my_aligned, MyAlignedAlloc(64, (s + 63) & ~(size_t)63))
SITE(my_memalign, MyMemalign(256, s))
SITE(my_posix, site_by_pointer(MyPosixMemalign, s))
SITE(my_valloc, MyValloc(s))
SITE(my_pvalloc, MyPvalloc(s))

static void (*const sites[])(size_t) = {
    site_malloc,          site_calloc,       site_realloc,
    site_grows,           site_shrinks,      site_reallocarray,
    site_aligned_alloc,   site_memalign,     site_posix_memalign,
    site_valloc,          site_pvalloc,      site_new,
    site_new_array,       site_nothrow,      site_new_aligned,
    site_nothrow_aligned, site_mallocx,      site_mallocx_aligned,
    site_mallocx_zeroed,  site_mallocx_past, site_rallocx,
    site_rallocx_aligned, site_my_malloc,    site_my_calloc,
    site_my_realloc,      site_my_moved,     site_my_array,
    site_my_aligned,      site_my_memalign,  site_my_posix,
    site_my_valloc,       site_my_pvalloc,
};

int main()
{
    static const size_t sizes[] = {1,    8,     100,    1000,    1500,
                                   5000, 40000, 140000, 1000000, 40000000};

    for (size_t size : sizes)
        for (auto site : sites)
            for (int i = 0; i < (size < 5000 ? 40 : 2); i++)
                site(size);
}
