/*
 * mymalloc.h - the public interface of mymalloc, a per-CPU heap allocator.
 *
 * Common to every function:
 *   - Sizes are in bytes. An object is aligned to 16 bytes unless a larger
 *     alignment was asked for; a size of 0 gives a unique pointer to free.
 *   - Thread safety: every function may be called by any thread at any time;
 *     an object may be freed by another thread than the one that took it.
 *   - Signals: not async-signal-safe, like malloc(3): a handler that interrupts
 *     this allocator's slow path in its own thread can wait for itself forever.
 *     One that interrupts a fast path (most calls) is served, in every front end;
 *     no object is ever handed out twice.
 *   - fork: heap and locks are usable in the child, threads running or not. What
 *     other threads' caches held is the child's; what they had in their hands is
 *     lost to it, a few hundred objects each at most.
 *   - Failure: NULL with errno ENOMEM; the heap is as it was before. A request
 *     above PTRDIFF_MAX always fails.
 *   - Misuse (double free, a pointer that is not an object's start, a wrong size
 *     given to a sized free) ends the program by abort(3) with one line on
 *     standard error as soon as the allocator's records show it.
 */
#ifndef MYMALLOC_H
#define MYMALLOC_H

#include <malloc.h> /* struct mallinfo, struct mallinfo2, M_* of mallopt */
#include <stddef.h>
#include <stdio.h>

#define MYMALLOC_VERSION_MAJOR 0
#define MYMALLOC_VERSION_MINOR 1
#define MYMALLOC_VERSION_PATCH 0

/* What is glibc's <malloc.h>'s (mallinfo(3), mallopt(3)), where libc is musl. */
#ifndef __GLIBC__
struct mallinfo {
    int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks,
        keepcost;
};
struct mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks,
        keepcost;
};
#define M_TRIM_THRESHOLD (-1)
#define M_MMAP_MAX       (-4)
#define M_ARENA_MAX      (-8)
#endif

#ifdef __cplusplus
extern "C" {
#if __cplusplus >= 201103L
#define MYM_NOEXCEPT noexcept
#else
#define MYM_NOEXCEPT throw()
#endif
#else
#define MYM_NOEXCEPT
#endif

#if defined(__GNUC__)
#define MYM_API                      __attribute__((visibility("default")))
#define MYM_ALLOC_SIZE(size)         __attribute__((malloc, alloc_size(size)))
#define MYM_ALLOC_COUNT(count, size) __attribute__((malloc, alloc_size(count, size)))
#else
#define MYM_API
#define MYM_ALLOC_SIZE(size)
#define MYM_ALLOC_COUNT(count, size)
#endif

/* ---- the standard family: ISO C11 7.22.3, C23 7.24.3, POSIX.1-2017 ---- */

/* size bytes, uninitialised. */
MYM_API void *MyMalloc(size_t size) MYM_NOEXCEPT MYM_ALLOC_SIZE(1);

/* Give an object back. NULL is allowed and does nothing. errno is kept. */
MYM_API void MyFree(void *ptr) MYM_NOEXCEPT;

/* count * size bytes, all zero; ENOMEM when the product overflows. */
MYM_API void *MyCalloc(size_t count, size_t size) MYM_NOEXCEPT MYM_ALLOC_COUNT(1, 2);

/*
 * Resize, keeping the first min(old, new) bytes, in place where possible.
 * ptr NULL: as MyMalloc(size). size 0 with ptr: frees ptr and returns NULL, as
 * glibc does. On failure ptr is untouched and still allocated.
 */
MYM_API void *MyRealloc(void *ptr, size_t size) MYM_NOEXCEPT;

/* MyRealloc(ptr, count * size); ENOMEM when the product overflows (POSIX.1-2024). */
MYM_API void *MyReallocArray(void *ptr, size_t count, size_t size) MYM_NOEXCEPT;

/* C11 aligned_alloc. alignment: a power of two, else EINVAL. Any size is taken. */
MYM_API void *MyAlignedAlloc(size_t alignment, size_t size) MYM_NOEXCEPT;

/*
 * As MyRealloc, and the object has the alignment, a power of two, else EINVAL. As there, what
 * is made smaller is not refused, if it lies so already.
 */
MYM_API void *MyReallocAligned(void *ptr, size_t alignment, size_t size) MYM_NOEXCEPT;

/*
 * POSIX: stores the object at *out and returns 0; returns EINVAL (alignment not a
 * power of two multiple of sizeof(void *)) or ENOMEM, leaving *out and errno.
 */
MYM_API int MyPosixMemalign(void **out, size_t alignment, size_t size) MYM_NOEXCEPT;

/* glibc memalign: an alignment that is no power of two is rounded up to one. */
MYM_API void *MyMemalign(size_t alignment, size_t size) MYM_NOEXCEPT;

/* Page-aligned; MyPvalloc also rounds the size up to whole pages. */
MYM_API void *MyValloc(size_t size) MYM_NOEXCEPT;
MYM_API void *MyPvalloc(size_t size) MYM_NOEXCEPT;

/*
 * C23 7.24.3.4, 7.24.3.5: free an object whose requested size (and alignment) the
 * caller knows. A size of another size class is misuse.
 */
MYM_API void MyFreeSized(void *ptr, size_t size) MYM_NOEXCEPT;
MYM_API void MyFreeAlignedSized(void *ptr, size_t alignment, size_t size) MYM_NOEXCEPT;

/* Bytes usable at ptr, at least what was asked for; 0 for NULL. */
MYM_API size_t MyUsableSize(const void *ptr) MYM_NOEXCEPT;

/* The usable size that MyMalloc(size) would give, at least. Allocates nothing. */
MYM_API size_t MyGoodSize(size_t size) MYM_NOEXCEPT;

/* ---- memory and configuration ---- */

/*
 * malloc_trim(3): empty the caches, those of other CPUs by the next call that is made
 * there, give free pages to the kernel except about pad bytes. Returns 1 if any memory was
 * given back, else 0.
 */
MYM_API int MyTrim(size_t pad) MYM_NOEXCEPT;

/*
 * mallopt(3). M_TRIM_THRESHOLD sets the bytes of free memory that may stay resident, -1: all.
 * Together with that M_MMAP_MAX of 0: objects of 32 MiB and more have no mapping of their own, so
 * that freed ones serve all sizes, and no page goes but by MyTrim; not in the hardened library.
 * Other parameters have no effect. Returns 1.
 */
MYM_API int MyMallopt(int parameter, int value) MYM_NOEXCEPT;

/* ---- statistics ---- */

/* mallinfo(3), mallinfo2(3), as far as their fields have a meaning here; others are 0. */
MYM_API struct mallinfo MyMallinfo(void) MYM_NOEXCEPT;
MYM_API struct mallinfo2 MyMallinfo2(void) MYM_NOEXCEPT;

/* malloc_stats(3): a table on standard error. Allocates nothing. */
MYM_API void MyStats(void) MYM_NOEXCEPT;

/*
 * Every number that there is, to an open file: a JSON object by the metrics' names, or the
 * text format of Prometheus, version 0.0.4. Takes nothing from the heap. Returns 0, or -1
 * with errno: that of write(2), EINVAL for another form.
 */
#define MY_STATS_JSON       0
#define MY_STATS_PROMETHEUS 1
MYM_API int MyStatsWrite(int file, int form) MYM_NOEXCEPT;

/* malloc_info(3): XML on stream. Returns 0, or -1 with errno. options must be 0. */
MYM_API int MyMallocInfo(int options, FILE *stream) MYM_NOEXCEPT;

/*
 * Visit each object that the program holds, those of arenas (mymalloc/arena.h) too, by its
 * address and the bytes of its place, in no order that is promised. What was freed and lies in
 * caches is not visited, nor are guarded samples (MYMALLOC_GUARD). A visit that returns
 * something else than 0 ends the walk.
 *
 * For a program that stands still: no other thread takes or frees meanwhile, nor does
 * `visit`. Beside who does all the same, what is visited may be wrong; in the hardened library
 * it can end the program.
 *
 * Returns what the last visit returned, 0 when all were visited; -1 with errno ENOMEM:
 * none was, there is no memory for a map of the heap (1/128 of its address space).
 */
MYM_API int MyHeapWalk(int (*visit)(void *object, size_t bytes, void *argument),
                       void *argument) MYM_NOEXCEPT;

/* ---- heap profile: which calls took the memory that is in use ---- */

/*
 * Begin to sample: about one object for each `every` bytes that are taken (0: 512 KiB;
 * 1: every object; at most 1 TiB), with the stack of the call. Until it is stopped each
 * call takes the allocator's slow path. A later start goes on with the same profile; a
 * thread that was sampled before may allocate 64 KiB until it follows another rate.
 *
 * Estimates are unbiased for each stack by itself. Bytes are those that objects occupy
 * (MyUsableSize). A resize that changes them counts as a free and an allocation. Arenas
 * (mymalloc/arena.h) are sampled as the spans that they hold, with the stacks of the calls
 * by which they grew.
 *
 * Returns 0, or -1 with errno: EBUSY (one is being taken, by MYMALLOC_PROFILE perhaps),
 * EINVAL, ENOMEM, ENOSYS (a static program without backtrace(3)). Not to be called from
 * signal handlers, or while other threads call it or MyProfileStop.
 */
MYM_API int MyProfileStart(size_t every) MYM_NOEXCEPT;

/*
 * Sample no more. What was sampled is known on: it stays in use until it is freed.
 * Returns 0, or -1 with errno EBUSY: none is being taken.
 */
MYM_API int MyProfileStop(void) MYM_NOEXCEPT;

/*
 * Write what was sampled so far, at any time, from any thread, to an open file: in the
 * form of pprof (profile.proto, not compressed: mymalloc-prof, `go tool pprof FILE`), or as
 * the text that gperftools' pprof reads. The former has for each stack what was taken, what
 * is in use, and what was in use when that was most in all. Takes nothing from the heap;
 * opens /proc/self/maps and the files that it names. Returns 0, or -1 with the errno of
 * write(2).
 */
#define MY_PROFILE_PROTO 0
#define MY_PROFILE_TEXT  1
MYM_API int MyProfileWrite(int file, int form) MYM_NOEXCEPT;

/*
 * Which front end serves this process: "rseq-mm_cid", "rseq-cpu_id" or "tls". The
 * reason, one sentence, is stored at *why unless that is NULL. Static strings.
 */
MYM_API const char *MyFrontend(const char **why) MYM_NOEXCEPT;

/* "mymalloc 0.1.0". Its presence under dlsym proves which allocator is loaded. */
MYM_API const char *MyVersion(void) MYM_NOEXCEPT;

/*
 * Walk every structure of the heap and check the invariants of docs/design.md.
 * Returns the number of violations, each told in a line on standard error. May run
 * beside other threads; it then checks what the locks it takes can show.
 */
MYM_API size_t MyVerify(void) MYM_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
