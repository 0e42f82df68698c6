/*
 * huge.c - huge pages are where memory is written all over, and nowhere else. Some cases
 * check themselves; others print what is resident in KiB, and huge.sh compares
 * MYMALLOC_HUGE=auto with never.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <string.h>
#include <sys/mman.h>

#define MIB ((size_t)1 << 20)

/* TEST_HUGE is what MYMALLOC_HUGE is. */
static int is_on(void)
{
    const char *mode = getenv("TEST_HUGE");

    return mode == NULL || strcmp(mode, "never") != 0;
}

/* The kernel makes huge pages of what asks for them, at the first touch. */
static int kernel_makes_them(void)
{
    size_t bytes = 64 * MIB;
    char *p = mmap(NULL, bytes + 2 * MIB, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t kib;

    CHECK(p != MAP_FAILED);
    madvise(p, bytes + 2 * MIB, MADV_HUGEPAGE);
    memset(p, 1, bytes + 2 * MIB);
    kib = smaps_kib("AnonHugePages", p, bytes);
    munmap(p, bytes + 2 * MIB);
    if (kib >= bytes / 1024 / 10 * 9)
        return 1;
    printf("SKIP: %zu of %zu KiB are huge where that was asked for\n", kib,
           bytes / 1024);
    return 0;
}

static size_t huge_kib(void)
{
    return smaps_kib("AnonHugePages", NULL, SIZE_MAX);
}

static void **objects;
static size_t count;

static void fill(size_t bytes, size_t size)
{
    count = bytes / size;
    objects = mmap(NULL, count * sizeof(*objects), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(objects != MAP_FAILED);
    madvise(objects, count * sizeof(*objects), MADV_NOHUGEPAGE);
    for (size_t i = 0; i < count; i++) {
        objects[i] = malloc(size);
        CHECK(objects[i]);
        memset(objects[i], 1, size);
    }
}

static void give_up(void)
{
    for (size_t i = 0; i < count; i++)
        free(objects[i]);
    munmap(objects, count * sizeof(*objects));
}

static void empty(void)
{
    give_up();
    malloc_trim(0);
}

/* What a heap has before it asks for huge pages. */
#define SMALL_HEAP (64 * MIB)

/* A heap of small objects lies in huge pages, but for its first part. */
static void dense(void)
{
    size_t total = (is_slow() ? 200 : 256) * MIB, kib;

    if (!kernel_makes_them())
        return;
    fill(total, 200);
    kib = huge_kib();
    CHECKF(is_on() ? kib >= (total - SMALL_HEAP) / 1024 / 10 * 9 : kib == 0,
           "%zu of %zu KiB are huge", kib, total / 1024);
    empty();
    CHECKF(huge_kib() <= 4096, "%zu KiB are huge, all was freed", huge_kib());
}

/* Sizes that were seen to be written all over; also mappings of their own. */
static void dense_large(void)
{
    static const size_t sizes[] = {6 * MIB, 40 * MIB}, total = 240 * MIB;

    if (!kernel_makes_them())
        return;
    for (unsigned i = 0; i < 2; i++) {
        size_t kib;

        for (unsigned learn = 0; learn < 4; learn++) {
            fill(2 * sizes[i], sizes[i]);
            empty();
        }
        fill(total, sizes[i]);
        kib = huge_kib();
        CHECKF(is_on() ? kib >= (total - SMALL_HEAP) / 1024 / 10 * 8 : kib == 0,
               "%zu of %zu KiB are huge in objects of %zu MiB", kib, total / 1024,
               sizes[i] / MIB);
        empty();
    }
}

/* What fills a heap and stays: nothing of its size was ever freed. */
static void kept(void)
{
    static const size_t sizes[] = {20000, 290000, 320000, 5 * MIB / 2};
    size_t total = 160 * MIB;

    if (!kernel_makes_them())
        return;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t kib;

        fill(total, sizes[i]);
        kib = huge_kib();
        CHECKF(is_on() ? kib >= (total - SMALL_HEAP) / 1024 / 10 * 8 : kib == 0,
               "%zu of %zu KiB are huge in objects of %zu KiB", kib, total / 1024,
               sizes[i] / 1024);
        empty();
    }
}

/* One that was written tells of the next, and of what is twice as large: arrays grow by doubling. */
static void soon(void)
{
    static const size_t sizes[] = {20 * MIB, 20 * MIB, 20 * MIB, 40 * MIB, 80 * MIB};
    static char *arrays[sizeof sizes / sizeof *sizes];
    size_t expected = 0, kib;

    if (!kernel_makes_them())
        return;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK((arrays[i] = malloc(sizes[i])));
        memset(arrays[i], 1, sizes[i]);
        expected += i > 0 ? sizes[i] / MIB - 4 : 0; /* its ends may be in small ones */
    }
    kib = huge_kib();
    CHECKF(is_on() ? kib >= expected * 1024 : kib == 0, "%zu KiB are huge, not %zu MiB",
           kib, expected);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
        free(arrays[i]);
}

/* For none of them a page of another was given back. */
static void are_whole(size_t size)
{
    for (size_t i = 0; i < count; i++) {
        const unsigned char *object = objects[i];

        CHECK(object[0] == 1 && object[size - 1] == 1);
    }
}

/* As often as it takes to know that they are dense; then whether they are huge. */
static void take_again(size_t total, size_t size, void (*between)(void))
{
    size_t kib, resident;

    fill(total, size);
    resident = resident_bytes();
    for (unsigned learn = 0; learn < 5; learn++) {
        between();
        fill(total, size);
        are_whole(size);
    }
    kib = huge_kib();
    CHECKF(is_on() ? kib >= total / 1024 / 2 : kib == 0,
           "%zu of %zu KiB are huge in objects of %zu MiB", kib, total / 1024,
           size / MIB);
    CHECKF(resident_bytes() <= resident + MIB, "resident %zu, %zu before",
           resident_bytes(), resident);
    empty();
}

/* The heap is too small for huge pages otherwise. */
static void taken_again(void)
{
    if (!kernel_makes_them())
        return;
    take_again(32 * MIB, 8 * MIB, give_up);
    take_again(32 * MIB, 8 * MIB, empty);
    take_again(40 * MIB, 40 * MIB, give_up);
}

/* "always" is for what nobody has seen yet too, in regions and in own mappings. */
static void unseen(void)
{
    static const size_t sizes[] = {20 * MIB, 48 * MIB};
    const char *mode = getenv("MYMALLOC_HUGE");

    if (mode == NULL || strcmp(mode, "always") != 0 || !kernel_makes_them())
        return;
    for (unsigned i = 0; i < 2; i++) {
        size_t kib;

        fill(sizes[i], sizes[i]);
        kib = huge_kib();
        CHECKF(kib >= sizes[i] / 1024 / 10 * 8, "%zu KiB of one object of %zu MiB", kib,
               sizes[i] / MIB);
        empty();
    }
}

/*
 * A part of a chunk was given back: the chunk must not be asked for as a huge page any
 * more, or khugepaged fills it up again.
 */
static void split(void)
{
    size_t each = 2 * MIB / 200, asked = 0, kept = 0;

    if (!kernel_makes_them())
        return;
    fill(128 * MIB, 200);
    for (size_t i = each; i < count; i += each)
        asked += (size_t)has_vm_flag(objects[i], "hg");
    CHECKF(is_on() ? asked >= 28 : asked == 0, "%zu chunks are asked for", asked);
    for (size_t i = 0; i < count; i++)
        if (i % each != 0) {
            free(objects[i]);
            objects[i] = NULL;
        }
    malloc_trim(0);
    for (size_t i = 0; i < count; i += each) {
        CHECKF(!has_vm_flag(objects[i], "hg"), "object %zu at %p", i, objects[i]);
        kept += *(char *)objects[i] == 1;
    }
    CHECK(kept == (count + each - 1) / each);
    CHECKF(resident_bytes() <= 24 * MIB, "%zu KiB resident", resident_bytes() >> 10);
    empty();
}

/* Random sizes, random frees: few mappings, as each flag of a chunk can split one. */
static void mappings(void)
{
    size_t total = (size_t)env_number("TEST_MIB", 512) * MIB, live = 0, places = 60000;
    void **place = calloc(places, sizeof(*place));
    uint64_t random = test_seed();

    CHECK(place);
    while (live < total) {
        uint64_t dice = next_random(&random) % 100;
        size_t most = dice < 90   ? 4096
                      : dice < 99 ? 100000
                                  : (dice % 2 ? 3 * MIB : 9 * MIB);
        size_t size = 1 + next_random(&random) % most;
        size_t i = next_random(&random) % places;

        live -= place[i] ? malloc_usable_size(place[i]) : 0;
        free(place[i]);
        place[i] = malloc(size);
        CHECK(place[i]);
        memset(place[i], 1, next_random(&random) % 2 ? size : 1);
        live += malloc_usable_size(place[i]);
    }
    CHECKF(mapping_count() < 100, "%zu mappings for %zu MiB", mapping_count(),
           live / MIB);
    printf("mappings %zu\n", mapping_count());
    for (size_t i = 0; i < places; i++)
        free(place[i]);
    free(place);
}

/* ---- compared by huge.sh ---- */

/* Beside a dense heap of 64 MiB: large objects of which one page is touched. */
static void touched(void)
{
    enum { COUNT = 200 };
    static void *large[COUNT];
    size_t before;

    fill(64 * MIB, 500);
    before = resident_bytes();
    for (unsigned i = 0; i < COUNT; i++) {
        large[i] = malloc(2 * MIB + 64 * 1024 * (i % 50));
        CHECK(large[i]);
        *(char *)large[i] = 1;
    }
    printf("touched %zu\n", (resident_bytes() - before) >> 10);
    for (unsigned i = 0; i < COUNT; i++)
        free(large[i]);
    empty();
}

/* Seven of eight small objects are freed at random. */
static void cheese(void)
{
    uint64_t random = test_seed();

    fill(128 * MIB, 100);
    for (size_t i = 0; i < count; i++)
        if (next_random(&random) % 8 != 0) {
            free(objects[i]);
            objects[i] = NULL;
        }
    printf("cheese %zu\n", resident_bytes() >> 10);
    empty();
}

/* The same, by whole slabs: the memory goes back although its chunks were huge. */
static void holes(void)
{
    fill(128 * MIB, 100);
    for (size_t i = 0; i < count; i++)
        if (i / 4000 % 4 != 0) {
            free(objects[i]);
            objects[i] = NULL;
        }
    malloc_trim(0);
    printf("holes %zu\n", resident_bytes() >> 10);
    empty();
}

/* Objects that are no multiple of a huge page and are written all over. */
static void uneven(void)
{
    for (unsigned learn = 0; learn < 4; learn++) {
        fill(10 * MIB, 4400 << 10);
        empty();
    }
    fill(60 * MIB, 500);
    fill(160 * MIB, 4400 << 10);
    printf("uneven %zu\n", resident_bytes() >> 10);
    empty();
}

static void stay(const char *name, size_t size,
                 size_t (*written)(size_t i, size_t size))
{
    count = 200 * MIB / size;
    objects = malloc(count * sizeof(*objects));
    CHECK(objects);
    for (size_t i = 0; i < count; i++) {
        objects[i] = malloc(size);
        CHECK(objects[i]);
        memset(objects[i], 1, written(i, size));
    }
    printf("%s %zu\n", name, resident_bytes() >> 10);
}

static size_t half_of_it(size_t i, size_t size)
{
    (void)i;
    return size / 2;
}

static size_t all_or_little(size_t i, size_t size)
{
    return i % 2 ? size : 1;
}

/* Objects that stay, of which the first half is written, or all of every other one. */
static void halves(void)
{
    stay("halves", 100000, half_of_it);
}

static void others(void)
{
    stay("others", 700000, all_or_little);
}

static void little(void)
{
    fill(100000, 100);
    printf("little %zu\n", resident_bytes() >> 10);
    empty();
}

const struct test tests[] = {
    {"dense", dense},     {"dense_large", dense_large}, {"unseen", unseen},
    {"split", split},     {"taken_again", taken_again}, {"mappings", mappings},
    {"touched", touched}, {"cheese", cheese},           {"holes", holes},
    {"uneven", uneven},   {"little", little},           {"kept", kept},
    {"halves", halves},   {"others", others},           {"soon", soon},
    {NULL, NULL},
};
