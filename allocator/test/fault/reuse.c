/*
 * reuse.c - what is freed and taken again lies where it lay: a program that does the same
 * again and again has no more pages resident than after the first time, and what it does
 * not need is given back by one call of the kernel. What grows is not copied where it need
 * not be.
 */
#include "check.h"
#include "family.h"
#include "gate.h"
#include "proc.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { VECTORS = 8, BATCH = 1000, LARGE = 64 };

static unsigned char *objects[BATCH];

/* Vectors grow in turn by doubling, each part is written, then all are freed. */
static size_t grow_vectors(void)
{
    size_t resident;

    memset(objects, 0, sizeof(objects));
    for (size_t size = 16; size <= MIB; size *= 2)
        for (unsigned i = 0; i < VECTORS; i++) {
            CHECK((objects[i] = realloc(objects[i], size)));
            memset(objects[i] + size / 2, 1, size / 2);
        }
    resident = resident_bytes();
    for (unsigned i = 0; i < VECTORS; i++)
        free(objects[i]);
    return resident;
}

static void vectors_do_not_spread(void)
{
    size_t first = grow_vectors(), last = 0;

    for (int cycle = 0; cycle < 40; cycle++)
        last = grow_vectors();
    CHECKF(last <= first + 512 * KIB, "%zu KiB resident, the first time %zu",
           last / KIB, first / KIB);
}

/* The first word of each object is written. */
static size_t take_batch(unsigned count, size_t size)
{
    size_t resident;

    for (unsigned i = 0; i < count; i++) {
        CHECK((objects[i] = malloc(size)));
        objects[i][0] = 1;
    }
    resident = resident_bytes();
    for (unsigned i = 0; i < count; i++)
        free(objects[i]);
    return resident;
}

static void batches_do_not_spread(void)
{
    size_t first = take_batch(BATCH, 128 * KIB), last = 0;

    for (int cycle = 0; cycle < 8; cycle++)
        last = take_batch(BATCH, 128 * KIB);
    CHECKF(last <= first + 512 * KIB, "%zu KiB resident, the first time %zu",
           last / KIB, first / KIB);
}

static unsigned purges, advices;

static long count_advice(long number, const long arguments[6])
{
    advices += number == SYS_madvise;
    purges += number == SYS_madvise && arguments[2] == MADV_DONTNEED;
    return gate_call(number, arguments);
}

/* Where huge pages are the default, an own mapping is told whether to have them. */
static bool huge_by_default(void)
{
    char mode[64] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    bool known = file && fgets(mode, sizeof(mode), file);

    if (file)
        fclose(file);
    return !known || strstr(mode, "[always]");
}

/* A span has no bitmaps to give back besides; of an own mapping nothing is asked. */
static void an_object_goes_by_one_call(void)
{
    take_batch(LARGE, 32 * MIB);
    take_batch(LARGE, 4 * MIB);
    if (!gate_install_rule(count_advice, 0, 0)) {
        printf("no seccomp here: not counted\n");
        return;
    }
    for (unsigned i = 0; i < LARGE; i++) {
        CHECK((objects[i] = malloc(4 * MIB)));
        objects[i][0] = 1;
    }
    malloc_trim(0);
    for (unsigned i = 0; i < LARGE; i += 2)
        free(objects[i]);
    malloc_trim(0);
    for (unsigned i = 1; i < LARGE; i += 2)
        free(objects[i]);
    CHECKF(purges <= LARGE / 2 + LARGE / 4, "%u calls for %u objects", purges,
           LARGE / 2);
    advices = 0;
    for (int cycle = 0; cycle < 4; cycle++)
        take_batch(LARGE, 32 * MIB);
    CHECKF(huge_by_default() || advices <= LARGE / 2, "%u calls for %u objects",
           advices, 4 * LARGE);
}

/* Slabs become free one by one, no two that touch before the last half: their bitmaps go too. */
static void bitmaps_go_with_their_slabs(void)
{
    enum { COUNT = 1 << 15, SIZE = 8000, SLAB = 1 << 16 };
    static unsigned char *object[COUNT];
    size_t before;

    if (!is_mymalloc())
        return;
    for (unsigned i = 0; i < COUNT; i++) /* the records stay */
        CHECK((object[i] = malloc(SIZE)));
    for (unsigned i = 0; i < COUNT; i++)
        free(object[i]);
    malloc_trim(0);
    before = resident_bytes();
    for (unsigned i = 0; i < COUNT; i++)
        CHECK((object[i] = malloc(SIZE)));
    for (unsigned odd = 0; odd < 2; odd++) {
        for (unsigned i = 0; i < COUNT; i++)
            if ((uintptr_t)object[i] / SLAB % 2 == odd)
                free(object[i]);
        malloc_trim(0);
    }
    CHECKF(resident_bytes() <= before + 512 * KIB, "%zu KiB, %zu before",
           resident_bytes() / KIB, before / KIB);
    CHECK(family.verify == NULL || family.verify() == 0);
}

/* ---- what grows ---- */

static unsigned char *written(size_t size)
{
    unsigned char *object = malloc(size);

    CHECK(object);
    for (size_t i = 0; i < size; i += 4 * KIB)
        object[i] = (unsigned char)(i >> 12 | 1);
    return object;
}

static void is_as_written(const unsigned char *object, size_t size)
{
    for (size_t i = 0; i < size; i += 4 * KIB)
        CHECKF(object[i] == (unsigned char)(i >> 12 | 1), "page %zu", i >> 12);
}

/* From the page heap to a mapping of its own, objects on both sides. */
static void pages_come_along(void)
{
    enum { SPANS = 12 };
    unsigned char *object[SPANS], *last;
    size_t peak, mappings;

    for (unsigned i = 0; i < SPANS; i++)
        object[i] = written(16 * MIB);
    last = written(16 * MIB); /* at the end of the heap it may be copied */
    mappings = mapping_count();
    peak = status_kib("VmHWM");
    for (unsigned i = 0; i < SPANS; i++) {
        CHECK((object[i] = realloc(object[i], 40 * MIB)));
        is_as_written(object[i], 16 * MIB);
    }
    CHECKF(status_kib("VmHWM") <= peak + 2048, "%zu KiB at most, %zu before it grew",
           status_kib("VmHWM"), peak);
    CHECKF(mapping_count() <= mappings + 2 * SPANS + 4, "%zu mappings, %zu before",
           mapping_count(), mappings);
    CHECK(family.verify == NULL || family.verify() == 0);
    for (unsigned i = 0; i < SPANS; i++)
        free(object[i]);
    for (unsigned i = 0; i < SPANS; i++) /* what they left is used again */
        object[i] = written(16 * MIB);
    for (unsigned i = 0; i < SPANS; i++)
        free(object[i]);
    free(last);
    malloc_trim(0);
    CHECKF(mapping_count() <= mappings + 8, "%zu mappings in the end, %zu before",
           mapping_count(), mappings);
    CHECK(family.verify == NULL || family.verify() == 0);
}

static unsigned refused;

static long refuse_moves(long number, const long arguments[6])
{
    refused += number == SYS_mremap;
    return number == SYS_mremap ? -ENOMEM : gate_call(number, arguments);
}

static void pages_are_copied_where_they_may_not_move(void)
{
    unsigned char *object = written(16 * MIB), *wall = written(16 * MIB);

    if (!gate_install_rule(refuse_moves, 0, 0)) {
        printf("no seccomp here: nothing is refused\n");
        return;
    }
    CHECK((object = realloc(object, 40 * MIB)));
    is_as_written(object, 16 * MIB);
    CHECK((object = realloc(object, 80 * MIB)));
    is_as_written(object, 16 * MIB);
    CHECK(refused >= 2);
    CHECK(family.verify == NULL || family.verify() == 0);
    free(object);
    free(wall);
}

/* Alone at the end of the heap it grows where it is. */
static void the_last_object_is_not_copied(void)
{
    size_t peak = status_kib("VmHWM"), size = MIB;
    unsigned char *object = written(size);

    for (; size < 16 * MIB; size *= 2) {
        CHECK((object = realloc(object, 2 * size)));
        is_as_written(object, size);
        for (size_t i = size; i < 2 * size; i += 4 * KIB)
            object[i] = (unsigned char)(i >> 12 | 1);
    }
    CHECKF(status_kib("VmHWM") <= peak + 18 * 1024, "%zu KiB at most, %zu before it",
           status_kib("VmHWM"), peak);
    free(object);
}

/* ---- what cannot be unmapped ---- */

static volatile bool refusing; /* free, to the compiler, reads nothing of ours */

static long refuse_unmapping(long number, const long arguments[6])
{
    return refusing && number == SYS_munmap ? -ENOMEM : gate_call(number, arguments);
}

/* As where a mapping more would be too many. Pages go, and address space serves again. */
static void what_cannot_be_unmapped_is_not_lost(void)
{
    unsigned char *object[8];
    size_t resident, space;

    for (unsigned i = 0; i < 8; i++) /* the records stay */
        object[i] = written(16 * MIB);
    space = status_kib("VmSize");
    if (!gate_install_rule(refuse_unmapping, 0, 0)) {
        printf("no seccomp here: nothing is refused\n");
        return;
    }
    refusing = is_mymalloc();
    for (unsigned i = 0; i < 8; i++)
        free(object[i]);
    malloc_trim(0);
    refusing = false;
    for (unsigned i = 0; i < 8; i++)
        object[i] = written(16 * MIB);
    CHECKF(status_kib("VmSize") <= space + 16 * 1024, "%zu KiB, %zu before",
           status_kib("VmSize"), space);
    for (unsigned i = 0; i < 8; i++)
        free(object[i]);
    malloc_trim(0);
    CHECK(family.verify == NULL || family.verify() == 0);
    object[0] = written(200 * MIB);
    resident = resident_bytes();
    refusing = is_mymalloc();
    free(object[0]);
    malloc_trim(0);
    refusing = false;
    CHECKF(resident_bytes() <= resident - 190 * MIB, "%zu KiB stay of %zu",
           resident_bytes() / KIB, resident / KIB);
}

/* ---- where the kernel maps ---- */

static unsigned char *place;

/* As one that maps from below (setarch -L), to where the heap has come by now. */
static long map_in_its_way(long number, const long arguments[6])
{
    long changed[6];

    memcpy(changed, arguments, sizeof(changed));
    if (number == SYS_mmap && arguments[0] == 0 && (size_t)arguments[1] >= 32 * MIB)
        changed[0] = (long)place;
    return gate_call(number, changed);
}

/* The heap goes on behind an own mapping, which is none of it, though it lies between its regions. */
static void a_mapping_lies_between_regions(void)
{
    enum { SPANS = 24 };
    unsigned char *span[SPANS], *mapping;

    CHECK((span[0] = malloc(16 * MIB)));
    place = span[0] + 128 * MIB;
    if (!is_mymalloc() || !gate_install_rule(map_in_its_way, 0, 0)) {
        printf("nothing is mapped elsewhere\n");
        return;
    }
    mapping = written(40 * MIB);
    CHECKF(mapping == place, "the mapping is at %p, not %p", mapping, place);
    for (unsigned i = 1; i < SPANS; i++)
        CHECK((span[i] = malloc(16 * MIB)));
    CHECKF(span[SPANS - 1] > mapping, "the heap is below it still");
    CHECK(malloc_usable_size(mapping) >= 40 * MIB);
    CHECK((mapping = realloc(mapping, 80 * MIB)));
    is_as_written(mapping, 40 * MIB);
    CHECK((mapping = realloc(mapping, 36 * MIB)));
    is_as_written(mapping, 36 * MIB);
    free(mapping);
    for (unsigned i = 0; i < SPANS; i++)
        free(span[i]);
    CHECK(family.verify == NULL || family.verify() == 0);
}

/* ---- two threads ---- */

/* Mappings that are kept when they are freed, and their length. */
enum { KEPT = 8 };
#define KEPT_BYTES (32 * MIB)

static _Atomic int may_free, freeing, purging, freed;
static __thread bool frees;

static void wait_for(_Atomic int *what)
{
    for (int naps = 0; !*what && naps < 60000; naps++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

/* Who frees is held at the page that is tried, who purges until that was freed. */
static long hold_both(long number, const long arguments[6])
{
    bool gives = number == SYS_madvise && arguments[2] == MADV_DONTNEED;

    if (gives && frees && !freeing) {
        freeing = 1;
        wait_for(&purging);
    } else if (gives && !frees && (size_t)arguments[1] >= 8 * MIB && !purging) {
        purging = 1;
        wait_for(&freed);
    }
    return gate_call(number, arguments);
}

/* It ends with the process: libc ends a thread with its signals blocked, the gate's among them. */
static void *free_one(void *object)
{
    wait_for(&may_free);
    frees = true;
    gate_install_rule(hold_both, 0, 0);
    free(*(void **)object);
    freed = 1;
    while (freed)
        pause();
    return NULL;
}

/* While one that is kept is purged in part, another takes its place. */
static void a_mapping_that_lost_its_place_is_not_lost(void)
{
    unsigned char *object[KEPT + 1];
    pthread_t thread;
    size_t space;

    if (!is_mymalloc())
        return;
    CHECK(mallopt(M_TRIM_THRESHOLD, INT_MAX) == 1);
    for (unsigned i = 0; i < 6; i++) /* that such are written all over is known */
        free(written(KEPT_BYTES));
    malloc_trim(0);
    CHECK(pthread_create(&thread, NULL, free_one, &object[KEPT]) == 0);
    space = status_kib("VmSize");
    for (unsigned i = 0; i <= KEPT; i++)
        object[i] = written(KEPT_BYTES);
    for (unsigned i = 0; i < KEPT; i++)
        free(object[i]);
    CHECKF(status_kib("VmSize") >= space + KEPT * (KEPT_BYTES / KIB),
           "%zu KiB, %zu before: none was kept", status_kib("VmSize"), space);
    if (!gate_install_rule(hold_both, 0, 0)) {
        printf("no seccomp here: nobody is held\n");
        return;
    }
    may_free = 1;
    wait_for(&freeing);
    malloc_trim(KEPT * KEPT_BYTES - 8 * MIB);
    CHECKF(freeing && purging && freed, "nobody was held");
    malloc_trim(0);
    CHECKF(status_kib("VmSize") <= space + 16 * 1024, "%zu KiB, %zu before",
           status_kib("VmSize"), space);
    CHECK(family.verify == NULL || family.verify() == 0);
}

/* Not every second time: for what it is kept it is as good as before. */
static void a_mapping_is_kept_each_time(void)
{
    size_t before = resident_bytes();

    if (!is_mymalloc())
        return;
    for (unsigned i = 0; i < 12; i++) {
        free(written(KEPT_BYTES));
        CHECKF(i < 6 || resident_bytes() >= before + KEPT_BYTES - MIB,
               "%zu KiB after round %u, %zu before", resident_bytes() / KIB, i,
               before / KIB);
    }
}

/* Nor is it lost to what lies behind it, though that is of the same kind, and written. */
static void a_mapping_below_anothers_is_kept(void)
{
    size_t size = KEPT_BYTES + 3 * 4096, room = 64 * KIB, before;
    char *area = mmap(NULL, size + room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned below = 0;

    CHECK(area != MAP_FAILED && munmap(area, size) == 0);
    CHECK(mprotect(area + size, room, PROT_READ | PROT_WRITE) == 0);
    memset(area + size, 1, room);
    before = resident_bytes();
    for (unsigned i = 0; i < 12; i++) {
        unsigned char *object = written(size);

        below += object + size == (unsigned char *)area + size;
        free(object);
        CHECKF(!is_mymalloc() || i < 6 || resident_bytes() >= before + size - MIB,
               "%zu KiB after round %u, %zu before", resident_bytes() / KIB, i,
               before / KIB);
    }
    printf("%u of 12 lay below another's\n", below);
    for (size_t i = 0; i < room; i++)
        CHECK(area[size + i] == 1);
}

/* Each leaves a gap in the heap, beside what its end was cut off to: others begin there. */
static void gaps_that_mappings_leave_are_filled(void)
{
    size_t before = status_kib("VmSize"), now;

    for (unsigned i = 0; i < 500; i++) {
        unsigned char *object = malloc(27 * MIB);

        CHECK(object && (object = realloc(object, 20 * MIB)));
        CHECK((object = realloc(object, 40 * MIB)));
        object[40 * MIB - 1] = 1;
        free(object);
    }
    now = status_kib("VmSize");
    CHECKF(now <= before + 64 * KIB, "%zu KiB of address space, before %zu", now,
           before);
}

const struct test tests[] = {
    {"what_cannot_be_unmapped_is_not_lost", what_cannot_be_unmapped_is_not_lost},
    {"a_mapping_that_lost_its_place_is_not_lost",
     a_mapping_that_lost_its_place_is_not_lost},
    {"a_mapping_is_kept_each_time", a_mapping_is_kept_each_time},
    {"a_mapping_below_anothers_is_kept", a_mapping_below_anothers_is_kept},
    {"a_mapping_lies_between_regions", a_mapping_lies_between_regions},
    {"bitmaps_go_with_their_slabs", bitmaps_go_with_their_slabs},
    {"pages_come_along", pages_come_along},
    {"pages_are_copied_where_they_may_not_move",
     pages_are_copied_where_they_may_not_move},
    {"gaps_that_mappings_leave_are_filled", gaps_that_mappings_leave_are_filled},
    {"the_last_object_is_not_copied", the_last_object_is_not_copied},
    {"an_object_goes_by_one_call", an_object_goes_by_one_call},
    {"vectors_do_not_spread", vectors_do_not_spread},
    {"batches_do_not_spread", batches_do_not_spread},
    {NULL, NULL},
};
