/*
 * check.h - a test program is a table of named cases; the first broken check ends it.
 */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct test {
    const char *name;
    void (*run)(void);
};

/* Defined by each test program; ends with an entry without name. */
extern const struct test tests[];

/*
 * Name the case that runs now. The first call also finds the family, chooses the seed
 * and prints which allocator answers; main.c does this for a table of tests.
 */
void check_begin(const char *name);

/* Print one line and abort; the seed and case in force are part of it. */
void check_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

#define CHECK(condition)                                        \
    do {                                                        \
        if (!(condition))                                       \
            check_failed(__FILE__, __LINE__, "%s", #condition); \
    } while (0)

/* CHECK with a printf-like account of the values involved. */
#define CHECKF(condition, format, ...)                                  \
    do {                                                                \
        if (!(condition))                                               \
            check_failed(__FILE__, __LINE__, "%s: " format, #condition, \
                         ##__VA_ARGS__);                                \
    } while (0)

/* Two spans, by their first units and lengths, share no unit. */
static inline void check_apart(uint32_t one, uint32_t units, uint32_t other,
                               uint32_t others)
{
    CHECKF(one + units <= other || other + others <= one, "units %u+%u and %u+%u", one,
           units, other, others);
}

/* Keeps the compiler from knowing a size, and so from judging or removing a call. */
static inline size_t opaque(size_t size)
{
    __asm__ volatile("" : "+r"(size));
    return size;
}

/* splitmix64: one word of state, good enough to shuffle with. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* TEST_SEED, or a fresh one; printed by every failing check. */
uint64_t test_seed(void);

/* A number from the environment, or the fallback when it is unset. */
double env_number(const char *name, double fallback);

/* True under valgrind, qemu-user or a sanitizer: fewer repetitions, same checks. */
int is_slow(void);

/*
 * True under that emulator (TEST_UNDER); is_under after a line that says what it lacks. qemu-user ends itself
 * where the child of a process with threads starts one (Debian 12), and RLIMIT_AS is not kept;
 * memcheck, which has its own operators where libstdc++ has some, where these are to throw.
 */
#define QEMU     "qemu-user"
#define MEMCHECK "memcheck"
bool runs_under(const char *emulator);
bool is_under(const char *emulator, const char *lacking);

/* Run it in a child, whose heap and limits are its own; the test fails if that does. */
void run_in_child(void (*run)(size_t), size_t argument);

/* From now on; the caches of other CPUs keep what they have until somebody comes by. */
void stay_on_one_cpu(void);
void run_on(int cpu);

/* Two CPUs on which this thread may run; false: there is one only. */
bool find_two_cpus(int cpu[2]);

/*
 * Resident bytes of this process now, counted page by page: the sums of statm and status are not
 * exact with every kernel (Linux 6.1: up to 66 pages off, one way or the other).
 */
size_t resident_bytes(void);

#endif
