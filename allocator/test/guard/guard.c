/*
 * guard.c - misuse of guarded objects, one case a process; guard.py reads the reports.
 *
 * The functions that are to be named in a report are never inlined. A case that goes on
 * says "went on" and ends with 0.
 */
#include "guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT __attribute__((noinline))

static volatile char sink;

/* Each is a frame of its own: nothing behind the call is left out. */
KEPT char *take_it(size_t size)
{
    char *p = malloc(opaque(size));

    CHECK(p);
    return (char *)opaque((uintptr_t)p);
}

KEPT static void free_it(void *p)
{
    free(p);
    sink = 0;
}

KEPT void write_it(char *p)
{
    *(volatile char *)p = 1;
    sink = 0;
}

KEPT void read_it(const char *p)
{
    sink = *(const volatile char *)p;
    sink = 0;
}

KEPT static void copy_it(char *to, const char *from, size_t size)
{
    memcpy(to, from, opaque(size));
    sink = 0;
}

void went_on(void)
{
    puts("went on");
    fflush(stdout);
}

/* Each fourth starts at its page's start. */
static char *take_left(size_t size)
{
    char *p;

    for (int i = 0; i < 8; i++)
        if ((uintptr_t)(p = take_it(size)) % (size_t)sysconf(_SC_PAGESIZE) == 0)
            return p;
    CHECKF(0, "none of 8 objects of %zu bytes starts at a page", size);
    return NULL;
}

static char *take_right(size_t size)
{
    char *p = take_it(size);

    return (uintptr_t)p % (size_t)sysconf(_SC_PAGESIZE) == 0 ? take_it(size) : p;
}

/* ---- beyond an object ---- */

static void overflow_write(void)
{
    write_it(take_right(64) + 64);
}

/* Of an object whose cell another one had, which was freed. */
static void overflow_in_used_cell(void)
{
    for (int i = 0; i < 600; i++)
        free_it(take_it(64));
    overflow_write();
}

static void overflow_read(void)
{
    read_it(take_right(1040) + 1040);
}

static void overflow_of_pages(void)
{
    char *p = take_right(20000);

    memset(p, 1, 20000);
    read_it(p + 20000);
}

static void overflow_in_libc(void)
{
    static const char from[200];

    copy_it(take_right(128), from, 136);
}

static void overflow_of_nothing(void)
{
    char *p = malloc(opaque(0));

    CHECK(p && malloc_usable_size(p) == 1);
    write_it(p + 16);
}

static void overflow_of_aligned(void)
{
    char *p = aligned_alloc(64, opaque(192));

    if ((uintptr_t)p % 4096 == 0)
        p = aligned_alloc(64, opaque(192));
    CHECK((uintptr_t)p % 64 == 0);
    write_it((char *)opaque((uintptr_t)p) + 192);
}

static void underflow_write(void)
{
    write_it(take_left(64) - 1);
}

static void underflow_read(void)
{
    read_it(take_left(64) - 9);
}

/* 100 bytes end 12 before their page does: objects lie on multiples of 16. */
static void overflow_within_alignment(void)
{
    char *p = take_right(100);

    write_it(p + 100);
    free_it(p);
}

static void read_within_alignment(void)
{
    char *p = take_right(100);

    read_it(p + 111);
    free_it(p);
    went_on();
}

/* All that is left there, by the same byte: a copy that is too long, of zeros. */
static void overflow_of_all_that_is_left(void)
{
    char *p = take_right(100);

    memset(p, 0, opaque(112));
    free_it(p);
}

KEPT static char *take_far_down(unsigned depth)
{
    char *p = depth == 0 ? take_right(64) : take_far_down(depth - 1);

    sink = 0;
    return p;
}

/* More frames than are kept. */
static void overflow_of_far_down(void)
{
    write_it(take_far_down(50) + 64);
}

static jmp_buf out;
static char *taken;

KEPT __attribute__((noreturn)) static void take_and_leave(void)
{
    taken = take_right(64);
    longjmp(out, 1);
}

/* What it would return to is another function's first instruction. */
KEPT __attribute__((noreturn)) static void end_by_a_call(void)
{
    take_and_leave();
}

static void overflow_of_last_call(void)
{
    if (setjmp(out) == 0)
        end_by_a_call();
    write_it(taken + 64);
}

static void overflow_of_left(void)
{
    char *p = take_left(100);

    write_it(p + 300);
    free_it(p);
}

static void underflow_of_right(void)
{
    char *p = take_right(100);

    write_it(p - 1);
    free_it(p);
}

/* ---- after its end ---- */

char *take_and_free(void)
{
    char *p = take_it(500);

    memset(p, 7, 500);
    free_it(p);
    return (char *)opaque((uintptr_t)p);
}

static void use_after_free_read(void)
{
    read_it(take_and_free() + 5);
}

static void use_after_free_write(void)
{
    write_it(take_and_free() + 499);
}

static void *free_in_thread(void *p)
{
    free_it(p);
    return NULL;
}

static char *freed_by_another(void)
{
    char *p = take_it(500);
    pthread_t thread;

    CHECK(!pthread_create(&thread, NULL, free_in_thread, p));
    pthread_join(thread, NULL);
    return (char *)opaque((uintptr_t)p);
}

static void use_after_free_by_another(void)
{
    read_it(freed_by_another());
}

KEPT static char *grow_it(char *p, size_t size)
{
    p = realloc(p, opaque(size));
    CHECK(p);
    return (char *)opaque((uintptr_t)p);
}

static void use_after_realloc(void)
{
    char *p = take_it(500), *old = (char *)opaque((uintptr_t)p);

    memset(p, 7, 500);
    p = grow_it(p, 3000);
    CHECK(p != old && p[0] == 7 && p[499] == 7);
    read_it(old);
}

static void use_long_after_free(void)
{
    char *p = take_and_free();

    for (int i = 0; i < 400; i++)
        free(take_it(100));
    read_it(p);
}

/* ---- pointers that are no object ---- */

static void double_free(void)
{
    free_it(take_and_free());
}

static void double_free_by_another(void)
{
    free_it(freed_by_another());
}

static void interior_free(void)
{
    free_it(take_it(500) + 16);
}

static void usable_of_freed(void)
{
    sink = (char)malloc_usable_size(take_and_free());
}

static void realloc_of_freed(void)
{
    grow_it(take_and_free(), 1000);
}

static void wrong_size(void)
{
    family.free_sized(take_it(500), 1000);
}

/* ---- all that may be done ---- */

static void right_use(void)
{
    char *p[40];

    for (size_t i = 0; i < 40; i++) {
        size_t size = i * i * 20;

        p[i] = i % 3 ? malloc(size) : calloc(1, size);
        CHECK(p[i] && (uintptr_t)p[i] % 16 == 0);
        CHECK(i == 0 || i % 3 || (p[i][0] == 0 && p[i][size - 1] == 0));
        CHECK(malloc_usable_size(p[i]) >= size);
        memset(p[i], (int)i, malloc_usable_size(p[i]));
    }
    for (size_t i = 0; i < 40; i++) {
        p[i] = realloc(p[i], i * i * 10 + 100);
        CHECK(p[i] && (i < 20 || p[i][500] == (char)i));
    }
    for (size_t i = 0; i < 40; i++)
        family.free_sized(p[i], i * i * 10 + 100);
    for (size_t alignment = 16; alignment <= 65536; alignment *= 2) {
        char *object = aligned_alloc(alignment, 300);

        CHECK(object && (uintptr_t)object % alignment == 0);
        memset(object, 1, 300);
        family.free_aligned_sized(object, alignment, 300);
    }
    /* As much as a size class has, where somebody asked what that is, before or now. */
    family.free_sized(malloc(opaque(100)), 112);
    family.free_sized(malloc(opaque(100)), family.good_size(100));
    /* Who asks may use it. */
    for (size_t size = 0; size < 40000; size += size / 8 + 1) {
        char *object = malloc(opaque(size));

        CHECK(object && malloc_usable_size(object) >= family.good_size(size));
        memset(object, 1, family.good_size(size));
        free(object);
    }
    CHECK(family.verify() == 0);
    went_on();
}

/* More than can be guarded, and more than there are cells; each is an object. */
static void more_than_cells(void)
{
    char *p[2000];
    size_t before = resident_bytes();

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2000; i++) {
            p[i] = malloc(opaque((size_t)(i * 37 % 9000)));
            CHECK(p[i]);
            memset(p[i], i, (size_t)(i * 37 % 9000));
        }
        CHECK(family.verify() == 0);
        for (int i = 0; i < 2000; i++) {
            CHECK(i * 37 % 9000 == 0 || *p[i] == (char)i);
            free(p[i]);
        }
    }
    CHECK(is_slow() || resident_bytes() < before + (20 << 20));
    went_on();
}

/* One in a MiB: about 95 of the objects that are written to after their free. */
static void rarely(void)
{
    static char *p[1000];
    long i = 0;

    for (; i < 100000; i++) {
        char **at = &p[i * 37 % 1000];

        free_it(*at);
        if (*at)
            write_it(*at + 5);
        *at = take_it(1000);
        if (i % 1000 == 0)
            family.free_sized(take_it(100), 100);
    }
    went_on();
}

/* ---- going on ---- */

static void goes_on(void)
{
    char *p = take_right(64), *left = take_left(64), *freed;

    write_it(p + 64);
    write_it(p + 65); /* told once */
    free_it(p);
    write_it(left - 1);
    freed = take_and_free();
    read_it(freed + 5);
    CHECK(freed[7] == 0);
    freed = take_and_free();
    free_it(freed);
    free_it(take_it(500) + 16);
    p = take_right(100);
    write_it(p + 100);
    free_it(p);
    CHECK(family.verify() == 0);
    went_on();
}

/* Errors without end: what is guarded is used up, and the program goes on. */
static void goes_on_for_long(void)
{
    for (int i = 0; i < 1000; i++)
        write_it(take_and_free() + 5);
    CHECK(family.verify() == 0);
    went_on();
}

/* ---- fork ---- */

static void child_has_it(void)
{
    char *p = take_it(500);
    int status;

    if (fork() == 0) {
        free_it(p);
        read_it((char *)opaque((uintptr_t)p));
    }
    CHECK(wait(&status) > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    free_it(p); /* it is the parent's still */
    went_on();
}

const struct test tests[] = {
#define CASE(name)  \
    {               \
#name, name \
    }
    CASE(overflow_write),
    CASE(overflow_in_used_cell),
    CASE(overflow_read),
    CASE(overflow_of_pages),
    CASE(overflow_in_libc),
    CASE(overflow_of_nothing),
    CASE(overflow_of_aligned),
    CASE(underflow_write),
    CASE(underflow_read),
    CASE(overflow_within_alignment),
    CASE(read_within_alignment),
    CASE(overflow_of_left),
    CASE(overflow_of_all_that_is_left),
    CASE(overflow_of_far_down),
    CASE(overflow_of_last_call),
    CASE(underflow_of_right),
    CASE(use_after_free_read),
    CASE(use_after_free_write),
    CASE(use_after_free_by_another),
    CASE(use_after_realloc),
    CASE(use_long_after_free),
    CASE(double_free),
    CASE(double_free_by_another),
    CASE(interior_free),
    CASE(usable_of_freed),
    CASE(realloc_of_freed),
    CASE(wrong_size),
    CASE(right_use),
    CASE(more_than_cells),
    CASE(rarely),
    CASE(none_at_start),
    CASE(default_for_others),
    CASE(default_for_sent),
    CASE(own_handler),
    CASE(handlers_that_pass_on),
    CASE(others_passed_on),
    CASE(own_handler_once),
    CASE(ignored),
    CASE(many_handlers),
    CASE(handler_of_a_child),
    CASE(handler_after_vforks),
    CASE(protected_by_program),
    CASE(protected_and_freed),
    CASE(allocates_at_the_end),
    CASE(goes_on),
    CASE(goes_on_for_long),
    CASE(goes_on_with_the_rest),
    CASE(goes_on_in_threads),
    CASE(goes_on_in_a_child),
    CASE(goes_on_beside_handler),
    CASE(pages_that_stay_open),
    CASE(jump_after_free),
    CASE(child_has_it),
    {NULL, NULL},
};
