/*
 * mappings.c - the kernel refuses what objects of 32 MiB and more need: these are served
 * otherwise, and no mapping is lost.
 */
#include "check.h"
#include "family.h"
#include "gate.h"
#include "proc.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static unsigned refused;

/* The same call, where nothing may move, asks whether it is one mapping. */
static long refuse_moves(long number, const long arguments[6])
{
    bool refuse = number == SYS_mremap && arguments[3] & MREMAP_MAYMOVE;

    refused += refuse;
    return refuse ? -ENOMEM : gate_call(number, arguments);
}

/* It is as idle as before, and the next one of its size. */
static void one_that_cannot_grow_stays_idle(void)
{
    unsigned char *idle = NULL, *longer;

    if (!is_mymalloc() || !gate_install_rule(refuse_moves, 0, 0)) {
        printf("nothing is refused here\n");
        return;
    }
    CHECK(mallopt(M_TRIM_THRESHOLD, 256 << 20) == 1);
    free(malloc(200 *
                MIB)); /* where the heap grows idle mappings go, as much as it does */
    for (unsigned i = 0; i < 8; i++) { /* that such are written all over is known */
        CHECK((idle = malloc(32 * MIB)));
        free(memset(idle, 1, 32 * MIB));
    }
    CHECK((longer = malloc(40 * MIB)) && longer != idle);
    CHECKF(refused == 1, "%u moves were refused", refused);
    CHECK((idle = malloc(32 * MIB)));
    CHECKF(idle[5 * MIB] == 1, "it was not kept");
    free(idle);
    free(longer);
    CHECK(family.verify == NULL || family.verify() == 0);
}

static volatile bool refusing;

/* Nothing short of an object is mapped. */
static long refuse_tables(long number, const long arguments[6])
{
    bool refuse = refusing && number == SYS_mmap && (size_t)arguments[1] < MIB;

    refused += refuse;
    return refuse ? -ENOMEM : gate_call(number, arguments);
}

/* The table of mappings is full, and cannot grow: the heap serves the next ones, or nobody. */
static void what_cannot_be_remembered_is_not_lost(void)
{
    enum { MANY = 140 };
    static char *object[MANY];
    size_t space, served = 0;

    free(malloc(40 * MIB));
    if (!is_mymalloc() || !gate_install_rule(refuse_tables, 0, 0)) {
        printf("nothing is refused here\n");
        return;
    }
    space = status_kib("VmSize");
    refusing = true;
    for (unsigned i = 0; i < MANY; i++) {
        errno = 0;
        object[i] = malloc(32 * MIB);
        CHECK(object[i] || errno == ENOMEM);
        if (object[i] != NULL)
            object[i][0] = object[i][32 * MIB - 1] = (char)(i + 1), served++;
    }
    refusing = false;
    CHECKF(refused > 0 && served >= 100, "%u were refused, %zu served", refused,
           served);
    CHECKF(status_kib("VmSize") <= space + (served + 2) * (32 * MIB / KIB),
           "%zu KiB for %zu objects", status_kib("VmSize") - space, served);
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(object[i] == NULL || (object[i][0] == (char)(i + 1) &&
                                    object[i][32 * MIB - 1] == (char)(i + 1)));
        free(object[i]);
    }
    malloc_trim(0);
    CHECKF(status_kib("VmSize") <= space + 64 * KIB, "%zu KiB, %zu before",
           status_kib("VmSize"), space);
    CHECK(family.verify == NULL || family.verify() == 0);
}

/* It maps no objects, and refuses the first that is to be resized. */
static long refuse_first(long number, const long arguments[6])
{
    bool refuse = number == SYS_mremap
                      ? refused == 0
                      : number == SYS_mmap && (size_t)arguments[1] >= MIB;

    refused += refuse && number == SYS_mremap;
    return refuse ? -ENOMEM : gate_call(number, arguments);
}

/* It is made smaller, but not where it is, nor is there room for another: it has all its bytes. */
static void one_that_cannot_be_cut_is_whole(void)
{
    size_t less = 31 * MIB;
    unsigned char *object = malloc(40 * MIB);

    CHECK(object);
    memset(object, 7, 40 * MIB);
    if (!gate_install_rule(refuse_first, 0, 0)) {
        printf("no seccomp here: nothing is refused\n");
        return;
    }
    CHECK((object = realloc(object, less)) && refused == 1);
    CHECK(malloc_usable_size(object) >= less);
    for (size_t at = 0; at < less; at += 4093)
        CHECKF(object[at] == 7, "byte %zu", at);
    memset(object, 8, less);
    free(object);
    CHECK(family.verify == NULL || family.verify() == 0);
}

/* Neither what is idle nor what the kernel grants is enough: together they are, again and again. */
static void what_is_asked_for_at_a_limit_is_not_lost(void)
{
    static void *small[50];
    struct rlimit limit;

    for (unsigned round = 0; round < 6 && is_mymalloc(); round++) {
        void *large;

        for (unsigned i = 0; i < 50; i++)
            CHECK((small[i] = malloc(MIB)) && memset(small[i], 1, MIB));
        for (unsigned i = 0; i < 50; i++)
            free(small[i]);
        if (round == 0) {
            limit.rlim_cur = limit.rlim_max = (status_kib("VmSize") << 10) + 100 * MIB;
            CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
        }
        CHECKF((large = malloc(130 * MIB)), "round %u, %zu of %zu KiB", round,
               status_kib("VmSize"), (size_t)limit.rlim_cur / KIB);
        free(large);
    }
}

const struct test tests[] = {
    {"one_that_cannot_grow_stays_idle", one_that_cannot_grow_stays_idle},
    {"what_cannot_be_remembered_is_not_lost", what_cannot_be_remembered_is_not_lost},
    {"one_that_cannot_be_cut_is_whole", one_that_cannot_be_cut_is_whole},
    {"what_is_asked_for_at_a_limit_is_not_lost",
     what_is_asked_for_at_a_limit_is_not_lost},
    {NULL, NULL},
};
