/*
 * askew.c - callers whose stack is 8 bytes from where the ABI of x86-64 wants it, as assembly
 * and generated code can have it. libc's malloc bears it, but for a thread's first call.
 */
#include "check.h"
#include "family.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

/* function(a, b, c), called so. */
uintptr_t askew(uintptr_t function, uintptr_t a, uintptr_t b, uintptr_t c);
__asm__(".pushsection .text\n\t"
        ".type askew, @function\n"
        "askew: .cfi_startproc\n\t"
        "endbr64\n\t"
        "subq $16, %rsp\n\t" /* 8 would be right */
        ".cfi_adjust_cfa_offset 16\n\t"
        "movq %rdi, %rax\n\t"
        "movq %rsi, %rdi\n\t"
        "movq %rdx, %rsi\n\t"
        "movq %rcx, %rdx\n\t"
        "callq *%rax\n\t"
        "addq $16, %rsp\n\t"
        ".cfi_adjust_cfa_offset -16\n\t"
        "ret\n\t"
        ".cfi_endproc\n\t"
        ".size askew, . - askew\n\t"
        ".popsection");

#define CALL(function, a, b, c) \
    askew((uintptr_t)(function), (uintptr_t)(a), (uintptr_t)(b), (uintptr_t)(c))

static void *take(size_t size)
{
    return (void *)CALL(malloc, size, 0, 0); /* NOLINT */
}

static void put(void *object)
{
    CALL(free, object, 0, 0);
}

/* Of all sizes, often enough that each slow path is gone through. */
static void *take_and_put(void *seed)
{
    static const size_t sizes[] = {100, 3000, 40000, 400000, 3 << 20, 40 << 20};
    enum { LIVE = 500 };
    void *live[LIVE] = {NULL};
    uint32_t random = (uint32_t)(uintptr_t)seed;

    for (unsigned i = 0; i < 40 * LIVE; i++) {
        unsigned at = (random = random * 1664525 + 1013904223) >> 8;
        size_t most = sizes[i % 1000 == 0 ? 5 : i % 100 == 0 ? 4 : i % 4];

        put(live[at % LIVE]);
        live[at % LIVE] = take(1 + at % most);
        CHECK(live[at % LIVE]);
        *(volatile char *)live[at % LIVE] = 1;
    }
    for (unsigned i = 0; i < LIVE; i++)
        put(live[i]);
    return NULL;
}

static void objects_are_taken_and_freed(void)
{
    take_and_put(NULL);
}

static void threads_begin_and_end_so(void)
{
    pthread_t threads[4];

    for (uintptr_t i = 0; i < 4; i++)
        CHECK(!pthread_create(&threads[i], NULL, take_and_put, (void *)i)); /* NOLINT */
    for (unsigned i = 0; i < 4; i++)
        CHECK(!pthread_join(threads[i], NULL));
}

static void the_rest_of_the_family(void)
{
    static const size_t sizes[] = {1, 500, 9000, 200000, 2 << 20, 50 << 20};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    void *object = NULL;

    for (unsigned i = 0; i < SIZES * SIZES; i++) {
        size_t from = sizes[i / SIZES], to = sizes[i % SIZES];

        object = (void *)CALL(calloc, from, 1, 0); /* NOLINT */
        CHECK(object);
        *(char *)object = 7;
        object = (void *)CALL(realloc, object, to, 0); /* NOLINT */
        CHECK(object && *(char *)object == 7);
        CHECK(CALL(malloc_usable_size, object, 0, 0) >= to);
        put(object);
        CHECK(CALL(posix_memalign, &object, 4096, to) == 0);
        put(object);
        object = (void *)CALL(aligned_alloc, 1 << 16, to, 0); /* NOLINT */
        CHECK(object);
        put(object);
    }
    CALL(malloc_trim, 0, 0, 0);
}

static void refusals_are_told(void)
{
    CHECK(CALL(malloc, opaque(PTRDIFF_MAX), 0, 0) == 0);
    CHECK(CALL(malloc, opaque((size_t)1 << 48), 0, 0) == 0);
    CHECK(CALL(calloc, opaque(SIZE_MAX / 2), 3, 0) == 0);
    CHECK(CALL(aligned_alloc, opaque((size_t)1 << 47), 1, 0) == 0);
}

static void operators_of_cxx(void)
{
    uintptr_t make = (uintptr_t)dlsym(RTLD_DEFAULT, "_Znwm");
    uintptr_t unmake = (uintptr_t)dlsym(RTLD_DEFAULT, "_ZdlPv");
    uintptr_t unmake_sized = (uintptr_t)dlsym(RTLD_DEFAULT, "_ZdlPvm");

    if (make == 0 || unmake == 0 || unmake_sized == 0)
        return;
    for (unsigned i = 0; i < 20000; i++) {
        size_t size = i % 100 == 0 ? 1 << 20 : i % 2000;

        CALL(unmake, CALL(make, size, 0, 0), 0, 0);
        CALL(unmake_sized, CALL(make, size, 0, 0), size, 0);
    }
}

const struct test tests[] = {
    {"objects_are_taken_and_freed", objects_are_taken_and_freed},
    {"threads_begin_and_end_so", threads_begin_and_end_so},
    {"the_rest_of_the_family", the_rest_of_the_family},
    {"refusals_are_told", refusals_are_told},
    {"operators_of_cxx", operators_of_cxx},
    {NULL, NULL},
};
