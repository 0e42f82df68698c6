/*
 * gated.c - which calls gate.c lets through: those of a range of code, wherever it lies. Once in
 * three thousand starts the code of libc lies across a multiple of 4 GiB.
 */
#include "check.h"
#include "gate.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define BOUNDARY ((uintptr_t)0x123400000000)
#define AROUND   ((size_t)8192)

static const unsigned char syscall_and_return[] = {0x0f, 0x05, 0xc3};

static long refuse(long number, const long arguments[6])
{
    (void)number;
    (void)arguments;
    return -ENOSYS;
}

static void map_code(void)
{
    void *code = mmap((void *)(BOUNDARY - AROUND), 2 * AROUND, /* NOLINT */
                      PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    CHECK(code != MAP_FAILED);
}

static unsigned char *put_code(uintptr_t at)
{
    return memcpy((void *)at, syscall_and_return, /* NOLINT */
                  sizeof syscall_and_return);
}

/* madvise of nothing, made there: 0, or what the rule says. */
static long advise_from(const unsigned char *code)
{
    long result = SYS_madvise;

    __asm__ volatile("call *%1"
                     : "+a"(result)
                     : "r"(code), "D"(0L), "S"(0L), "d"((long)MADV_NORMAL)
                     : "rcx", "r11", "memory");
    return result;
}

static void a_range_is_let_through(uintptr_t from, uintptr_t to)
{
    unsigned char *before, *first, *last, *behind;

    map_code();
    before = put_code(from - 64);
    first = put_code(from);
    last = put_code(to - 64);
    behind = put_code(to);
    CHECK(gate_install_rule(refuse, from, to));
    CHECK(advise_from(before) == -ENOSYS);
    CHECK(advise_from(first) == 0);
    CHECK(advise_from(last) == 0);
    CHECK(advise_from(behind) == -ENOSYS);
}

static void within_a_stretch(void)
{
    a_range_is_let_through(BOUNDARY + 256, BOUNDARY + 4096);
}

static void across_two(void)
{
    a_range_is_let_through(BOUNDARY - 4096, BOUNDARY + 4096);
}

static void nothing_is_let_through(void)
{
    unsigned char *code;

    map_code();
    code = put_code(BOUNDARY);
    CHECK(gate_install_rule(refuse, 0, 0));
    CHECK(advise_from(code) == -ENOSYS);
}

const struct test tests[] = {
    {"within_a_stretch", within_a_stretch},
    {"across_two", across_two},
    {"nothing_is_let_through", nothing_is_let_through},
    {NULL, NULL},
};
