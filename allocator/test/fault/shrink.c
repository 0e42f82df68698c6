/*
 * shrink.c - nothing is left, and objects are made smaller: none is refused, wherever the smaller one
 * would have its place; each is freed afterwards, by who says its size as well.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define MIB ((size_t)1 << 20)

static const size_t sizes[] = {
    100 * MIB, 40 * MIB, 30 * MIB, 20 * MIB, 12 * MIB, 5 * MIB, 3 * MIB, 300000, 100000,
    60000,     30000,    5000,     3000,     400,      100,     20,      1};
#define SIZES (sizeof sizes / sizeof *sizes)

static void take_all(void)
{
    for (size_t size = 64 * MIB; size >= 16; size /= 2)
        while (malloc(size))
            ;
}

#define STEP(at) (1 + (at) / 16)

/* Of a long one the bytes alone that are looked at: each page is a fault. */
static void *write_bytes(unsigned char *p, size_t size)
{
    if (size <= 5 * MIB)
        return memset(p, 7, size);
    for (size_t at = 0; at < size; at += STEP(at))
        p[at] = 7;
    return p;
}

static void check_bytes(const unsigned char *p, size_t size)
{
    for (size_t at = 0; at < size; at += STEP(at))
        CHECKF(p[at] == 7, "byte %zu of %zu", at, size);
}

/* From one size to a smaller one, and to the next smaller one. */
static void make_smaller(size_t which)
{
    size_t from = sizes[which / SIZES], to = sizes[which % SIZES];
    unsigned char *p = malloc(from), *less;

    CHECK(p);
    write_bytes(p, from);
    limit_growth(RLIMIT_AS, 60 * MIB);
    take_all();
    CHECKF((less = realloc(p, to)), "%zu to %zu bytes", from, to);
    check_bytes(less, to);
    CHECK(malloc_usable_size(less) >= to);
    p = less;
    CHECKF((less = realloc(p, to / 2 + 1)), "%zu to %zu and %zu", from, to, to / 2 + 1);
    check_bytes(less, to / 2 + 1);
    if (family.free_sized && which % 2 == 0)
        family.free_sized(less, to / 2 + 1);
    else
        free(less);
    CHECK(!family.verify || family.verify() == 0);
}

static void each_is_made_smaller(void)
{
    free(malloc(1));
    for (size_t from = 0; from < SIZES; from++)
        for (size_t to = from + 1; to < SIZES; to++)
            run_in_child(make_smaller, from * SIZES + to);
}

/* ---- aligned ones, by each door that there is ---- */

typedef void *door_form(void *ptr, size_t alignment, size_t size);
static void *heap; /* of mimalloc's, while a door has it */

static void *find(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

/* The function of a name, as its type has it. */
#define CALL(type, name, ...) \
    ((union {                 \
        void *found;          \
        type *call;           \
    }){find(name)})           \
        .call(__VA_ARGS__)
typedef void *by_flags(void *ptr, size_t size, int flags);
typedef void *by_size(void *ptr, size_t size, size_t alignment);
typedef void *by_offset(void *ptr, size_t size, size_t alignment, size_t offset);
typedef void *by_count(void *ptr, size_t count, size_t size, size_t alignment);
typedef void *of_heap(void *heap, void *ptr, size_t size, size_t alignment);
typedef void *of_heap_plain(void *heap, void *ptr, size_t size);
typedef void *make_heap(void);
typedef void *from_heap(void *heap, size_t size, size_t alignment);

static void *my(void *ptr, size_t alignment, size_t size)
{
#ifdef TEST_MY
    return MyReallocAligned(ptr, alignment, size);
#else
    return CALL(door_form, "MyReallocAligned", ptr, alignment, size);
#endif
}

static void *jemalloc(void *ptr, size_t alignment, size_t size)
{
    return CALL(by_flags, "rallocx", ptr, size, __builtin_ctzl(alignment));
}

static void *mi_sized(void *ptr, size_t alignment, size_t size)
{
    return CALL(by_size, "mi_realloc_aligned", ptr, size, alignment);
}

static void *mi_zeroed(void *ptr, size_t alignment, size_t size)
{
    return CALL(by_size, "mi_rezalloc_aligned", ptr, size, alignment);
}

static void *mi_offset(void *ptr, size_t alignment, size_t size)
{
    return CALL(by_offset, "mi_realloc_aligned_at", ptr, size, alignment, alignment);
}

static void *mi_counted(void *ptr, size_t alignment, size_t size)
{
    return CALL(by_count, "mi_recalloc_aligned", ptr, 1, size, alignment);
}

static void *mi_heap(void *ptr, size_t alignment, size_t size)
{
    return CALL(of_heap, "mi_heap_realloc_aligned", heap, ptr, size, alignment);
}

/* What is malloc's goes to a heap. */
static void *mi_heap_plain(void *ptr, size_t alignment, size_t size)
{
    (void)alignment;
    return CALL(of_heap_plain, "mi_heap_realloc", heap, ptr, size);
}

static const struct {
    const char *name;
    door_form *call;
    enum { OF_MALLOC, OF_A_HEAP, TO_A_HEAP } heaps;
} doors[] = {
    {"MyReallocAligned", my, OF_MALLOC},
    {"rallocx", jemalloc, OF_MALLOC},
    {"mi_realloc_aligned", mi_sized, OF_MALLOC},
    {"mi_rezalloc_aligned", mi_zeroed, OF_MALLOC},
    {"mi_realloc_aligned_at", mi_offset, OF_MALLOC},
    {"mi_recalloc_aligned", mi_counted, OF_MALLOC},
    {"mi_heap_realloc_aligned", mi_heap, OF_A_HEAP},
    {"mi_heap_realloc", mi_heap_plain, TO_A_HEAP},
};
#define DOORS (sizeof doors / sizeof *doors)

static bool is_there(size_t door)
{
#ifdef TEST_MY
    return door == 0;
#else
    return find(doors[door].name);
#endif
}

static void *take_aligned(size_t door, size_t alignment, size_t size)
{
    void *p = NULL;

    if (doors[door].heaps != OF_MALLOC)
        CHECK((heap = CALL(make_heap, "mi_heap_new")));
    if (doors[door].heaps == OF_A_HEAP)
        p = CALL(from_heap, "mi_heap_malloc_aligned", heap, size, alignment);
    else
        CHECK(!posix_memalign(&p, alignment, size));
    CHECK(p);
    return write_bytes(p, size);
}

static const size_t aligned_sizes[] = {40 * MIB, 3 * MIB, 100000, 5000, 400, 20};
#define ALIGNED (sizeof aligned_sizes / sizeof *aligned_sizes)

static void make_aligned_smaller(size_t which)
{
    static const size_t alignments[] = {64, 4096, 2 * MIB};
    size_t door = which / (ALIGNED * ALIGNED);
    size_t alignment = doors[door].heaps == TO_A_HEAP ? 16 : alignments[which % 3];
    size_t from = aligned_sizes[which / ALIGNED % ALIGNED];
    size_t to = aligned_sizes[which % ALIGNED];
    unsigned char *p = take_aligned(door, alignment, from), *less;

    limit_growth(RLIMIT_AS, 60 * MIB);
    take_all();
    for (int more = 0; more < 2; more++, p = less) {
        to = to / (1 + more) + more;
        CHECKF((less = doors[door].call(p, alignment, to)), "%s, %zu: %zu to %zu bytes",
               doors[door].name, alignment, from, to);
        CHECKF((uintptr_t)less % alignment == 0, "%s: %p", doors[door].name,
               (void *)less);
        check_bytes(less, to);
        CHECK(malloc_usable_size(less) >= to);
    }
    if (family.free_aligned_sized && which % 2 == 0)
        family.free_aligned_sized(less, alignment, to);
    else
        free(less);
    CHECK(!family.verify || family.verify() == 0);
}

static void aligned_ones_are_made_smaller(void)
{
    free(malloc(1));
    for (size_t door = 0; door < DOORS; door++)
        for (size_t from = 0; from < ALIGNED && is_there(door); from++)
            for (size_t to = from + 1; to < ALIGNED; to++)
                run_in_child(make_aligned_smaller,
                             (door * ALIGNED + from) * ALIGNED + to);
}

const struct test tests[] = {
    {"each_is_made_smaller", each_is_made_smaller},
    {"aligned_ones_are_made_smaller", aligned_ones_are_made_smaller},
    {NULL, NULL},
};
