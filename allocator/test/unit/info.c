/* info.c - mallinfo, malloc_trim, malloc_info, malloc_stats, mallopt. */
#include "check.h"
#include "family.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 200000, SIZE = 200 };
static void *objects[COUNT];

static void take_all(void)
{
    for (int i = 0; i < COUNT; i++) {
        objects[i] = malloc(SIZE);
        CHECK(objects[i]);
        memset(objects[i], i & 0xff, SIZE);
    }
}

static void free_all(void)
{
    for (int i = 0; i < COUNT; i++)
        free(objects[i]);
}

static void mallinfo_follows_use(void)
{
    struct mallinfo2 before = mallinfo2(), during, after;
    struct mallinfo old;

    take_all();
    during = mallinfo2();
    CHECKF(during.uordblks + during.hblkhd >=
               before.uordblks + before.hblkhd + (size_t)COUNT * SIZE,
           "%zu -> %zu", before.uordblks, during.uordblks);
    CHECKF(during.uordblks <= before.uordblks + (size_t)COUNT * SIZE * 2, "%zu -> %zu",
           before.uordblks, during.uordblks);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    old = mallinfo();
#pragma GCC diagnostic pop
    CHECK((size_t)(unsigned)old.uordblks >= (size_t)COUNT * SIZE);
    free_all();
    malloc_trim(0);
    after = mallinfo2();
    CHECKF(after.uordblks <= before.uordblks + ((size_t)1 << 20), "%zu -> %zu",
           before.uordblks, after.uordblks);
}

/* A large object is in use by its bytes, wherever they are counted. */
static void mallinfo_sees_large(void)
{
    struct mallinfo2 before = mallinfo2(), during;
    void *p = malloc((size_t)100 << 20);

    CHECK(p);
    during = mallinfo2();
    CHECKF(during.uordblks + during.hblkhd >=
               before.uordblks + before.hblkhd + ((size_t)100 << 20),
           "%zu + %zu", during.uordblks, during.hblkhd);
    free(p);
}

/* So are small ones by theirs in the heap; with MYMALLOC_GUARD some have pages of their own. */
static void mallinfo_sees_guarded(void)
{
    enum { MANY = 400, BYTES = 4096 };
    struct mallinfo2 before = mallinfo2(), during;
    void *object[MANY];

    for (int i = 0; i < MANY; i++)
        CHECK((object[i] = malloc(BYTES)));
    during = mallinfo2();
    CHECKF(during.uordblks >= before.uordblks + (size_t)MANY * BYTES, "%zu, then %zu",
           before.uordblks, during.uordblks);
    CHECK(during.uordblks + during.fordblks == during.arena || !is_mymalloc());
    for (int i = 0; i < MANY; i++)
        free(object[i]);
}

static void trim_gives_memory_back(void)
{
    size_t before, full, after;

    malloc_trim(0);
    before = resident_bytes();
    take_all();
    full = resident_bytes();
    free_all();
    malloc_trim(0);
    after = resident_bytes();
    if (is_slow())
        return;
    CHECKF(full >= before + (size_t)COUNT * SIZE * 9 / 10, "%zu -> %zu", before, full);
    CHECKF(after <= before + ((size_t)2 << 20), "%zu -> %zu -> %zu", before, full,
           after);
}

/* More than there can be stays: all. */
static void trim_leaves_what_it_is_told_to(void)
{
    enum { MANY = 20 };
    size_t bytes = (size_t)2 << 20, before;
    unsigned char *object[MANY];

    if (!is_mymalloc())
        return;
    for (int i = 0; i < MANY; i++) {
        CHECK((object[i] = malloc(bytes)));
        memset(object[i], 1, bytes);
    }
    for (int i = 0; i < MANY; i++)
        free(object[i]);
    for (unsigned shift = 32; shift < 64; shift += 8) {
        before = mallinfo2().keepcost;
        malloc_trim(opaque((size_t)1 << shift));
        CHECKF(mallinfo2().keepcost >= before && before >= bytes,
               "pad 2^%u: %zu bytes are dirty, %zu before", shift, mallinfo2().keepcost,
               before);
    }
    malloc_trim(0);
}

/* The document goes to stdout for an XML parser when TEST_XML is set. */
static void malloc_info_is_xml(void)
{
    FILE *stream = tmpfile();
    long length;

    CHECK(stream);
    take_all();
    CHECK(malloc_info(0, stream) == 0);
    CHECK(malloc_info(1, stream) != 0);
    free_all();
    CHECK(fflush(stream) == 0);
    length = ftell(stream);
    CHECKF(length > 50, "%ld bytes", length);
    rewind(stream);
    if (getenv("TEST_XML")) {
        FILE *out = fopen(getenv("TEST_XML"), "w");
        int byte;

        CHECK(out);
        while ((byte = getc(stream)) != EOF)
            putc(byte, out);
        CHECK(fclose(out) == 0);
    }
    rewind(stream);
    CHECK(getc(stream) == '<');
    fclose(stream);
}

/* In this order, with a size: some programs go by that. Where the last one ends. glibc 2.43 has no
 * fast ones any more. */
static const char *find_totals(const char *text, bool all)
{
    static const char *const names[] = {
        "total type=\"fast\"",     "total type=\"rest\"", "total type=\"mmap\"",
        "system type=\"current\"", "system type=\"max\"", "aspace type=\"total\"",
        "aspace type=\"mprotect\""};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (i == 2 && !all)
            continue;
        while (*text == '<' || *text == '\n')
            text++;
        if (i == 0 && !is_mymalloc() && strncmp(text, names[1], strlen(names[1])) == 0)
            continue;
        CHECKF(strncmp(text, names[i], strlen(names[i])) == 0, "%s, not %.60s",
               names[i], text);
        text = strchr(text, '>');
        CHECK(text && text[-1] == '/');
        text++;
    }
    return text;
}

/* Bytes of what is free, by size. */
static size_t free_by_size(void)
{
    static char text[1 << 20];
    FILE *stream = fmemopen(text, sizeof text, "w");
    const char *at = text, *end;
    size_t sum = 0;

    CHECK(stream && malloc_info(0, stream) == 0 && fclose(stream) == 0);
    end = strstr(text, "</sizes>");
    if (end == NULL) /* libc with nothing free */
        end = strstr(text, "<sizes/>");
    CHECK(end);
    while ((at = strstr(at, "total=\"")) != NULL && at < end)
        sum += strtoul(at += strlen("total=\""), NULL, 10);
    find_totals(end + strlen("</sizes>"), false);
    for (at = end; strstr(at, "</heap>"); at += strlen("</heap>"))
        at = strstr(at, "</heap>");
    CHECK(strcmp(find_totals(at, true), "\n</malloc>\n") == 0);
    return sum;
}

static void malloc_info_is_as_libc_writes_it(void)
{
    size_t before, after;

    before = free_by_size();
    take_all();
    after = free_by_size();
    CHECKF(after < before + ((size_t)1 << 20), "%zu bytes free, before %zu", after,
           before);
    free_all();
}

/* malloc_stats writes to standard error, whatever is left of the heap. */
static void stats_are_told(void)
{
    int ends[2], saved = dup(STDERR_FILENO);
    char text[256];
    ssize_t length;

    CHECK(pipe(ends) == 0 && saved >= 0);
    CHECK(dup2(ends[1], STDERR_FILENO) >= 0);
    malloc_stats();
    fflush(stderr);
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    close(ends[1]);
    length = read(ends[0], text, sizeof(text));
    CHECK(length > 20);
    close(ends[0]);
    close(saved);
}

/* ---- beside other threads ---- */

static atomic_bool stop;

static void *churn(void *argument)
{
    enum { HELD = 300 };
    void *held[HELD];

    while (!stop) { /* now all is in slabs, now in use, now cached */
        for (int i = 0; i < HELD; i++)
            held[i] = malloc((size_t)(i % 3) * 500);
        for (int i = 0; i < HELD; i++)
            free(held[i]);
        malloc_trim(0);
    }
    return argument;
}

/* No number in the text is absurd; the heap of this program is far below 4 GiB. */
static void check_numbers(FILE *stream)
{
    char line[256];

    rewind(stream);
    while (fgets(line, sizeof(line), stream))
        for (const char *at = line; (at = strpbrk(at, "-0123456789")) != NULL;) {
            char *end;
            double value = strtod(at, &end);

            CHECKF(value > -10 && value < 1e12, "%s", line);
            at = end > at ? end : at + 1;
        }
}

static void numbers_stay_sane(void)
{
    pthread_t threads[4];
    FILE *stream = tmpfile();
    int saved = dup(STDERR_FILENO), rounds = is_slow() ? 20 : 2000;

    if (!is_mymalloc())
        return;
    CHECK(stream && saved >= 0);
    stop = false;
    for (int i = 0; i < 4; i++)
        CHECK(!pthread_create(&threads[i], NULL, churn, NULL));
    CHECK(dup2(fileno(stream), STDERR_FILENO) >= 0);
    for (int i = 0; i < rounds; i++) {
        struct mallinfo2 info = mallinfo2();

        CHECK(info.uordblks < (size_t)1 << 32 && info.fordblks < (size_t)1 << 32);
        malloc_stats();
    }
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    stop = true;
    for (int i = 0; i < 4; i++)
        CHECK(!pthread_join(threads[i], NULL));
    check_numbers(stream);
    fclose(stream);
}

/* An object in a cache is free, whoever's cache it is. */
static void cached_is_not_used(void)
{
    size_t before = mallinfo2().uordblks, after;
    void *held[60];

    if (!is_mymalloc())
        return;
    for (size_t size = 16; size <= 20000; size = size * 5 / 4) {
        for (int i = 0; i < 60; i++)
            held[i] = malloc(size);
        for (int i = 0; i < 60; i++)
            free(held[i]);
    }
    after = mallinfo2().uordblks;
    CHECKF(after <= before + 4096, "%zu -> %zu", before, after);
}

/* Real-time programs end where one is refused. */
static void mallopt_refuses_nothing(void)
{
    for (int parameter = M_ARENA_MAX; parameter <= M_TRIM_THRESHOLD; parameter++)
        CHECKF(mallopt(parameter, 32 << 20) == 1, "parameter %d", parameter);
    CHECK(mallopt(M_ARENA_MAX, 1) == 1);
}

static void take_and_free(size_t count, size_t size)
{
    static void *held[6000];

    CHECK(count <= sizeof held / sizeof *held);
    for (size_t i = 0; i < count; i++) {
        CHECK((held[i] = malloc(size)));
        memset(held[i], 1, size);
    }
    for (size_t i = 0; i < count; i++)
        free(held[i]);
}

static void keep_threshold(size_t unused)
{
    size_t before = resident_bytes();

    (void)unused;
    stay_on_one_cpu(); /* others' caches may keep some, too */
    CHECK(mallopt(M_TRIM_THRESHOLD, 0) == 1);
    take_and_free(6000, 10000);
    CHECKF(resident_bytes() < before + (30 << 20), "%zu bytes, %zu before",
           resident_bytes(), before);
    CHECK(mallopt(M_TRIM_THRESHOLD, -1) == 1); /* all may stay */
    take_and_free(6000, 10000);
    CHECKF(resident_bytes() > before + (45 << 20), "%zu bytes, %zu before",
           resident_bytes(), before);
    CHECK(malloc_trim(0) == 1);
    CHECKF(resident_bytes() < before + (30 << 20), "%zu bytes, %zu before",
           resident_bytes(), before);
}

static void threshold_is_what_may_stay(void)
{
#ifndef __SANITIZE_THREAD__ /* whose runtime's own memory grows by what is touched */
    if (is_mymalloc())
        run_in_child(keep_threshold, 0);
#else
    (void)keep_threshold;
#endif
}

/* What is collected is the heap's again, wherever it was. */
static void lose_nothing(size_t unused)
{
    size_t before = 0, after = 0;

    (void)unused;
    stay_on_one_cpu(); /* others' caches are emptied when a call is made there */
    for (int round = 0; round < 12; round++) {
        for (size_t size = 100; size <= 500000; size *= 5)
            take_and_free(20, size);
        take_and_free(2, 6000000);
        take_and_free(2, 6000000);
        malloc_trim(0);
        after = mallinfo2().uordblks;
        before = round == 0 ? after : before;
    }
    CHECKF(after <= before + ((size_t)1 << 20), "%zu -> %zu", before, after);
}

static void trim_loses_nothing(void)
{
    if (is_mymalloc())
        run_in_child(lose_nothing, 0);
}

const struct test tests[] = {
    {"mallinfo_follows_use", mallinfo_follows_use},
    {"mallinfo_sees_large", mallinfo_sees_large},
    {"mallinfo_sees_guarded", mallinfo_sees_guarded},
    {"trim_gives_memory_back", trim_gives_memory_back},
    {"trim_leaves_what_it_is_told_to", trim_leaves_what_it_is_told_to},
    {"malloc_info_is_xml", malloc_info_is_xml},
    {"malloc_info_is_as_libc_writes_it", malloc_info_is_as_libc_writes_it},
    {"stats_are_told", stats_are_told},
    {"numbers_stay_sane", numbers_stay_sane},
    {"cached_is_not_used", cached_is_not_used},
    {"threshold_is_what_may_stay", threshold_is_what_may_stay},
    {"trim_loses_nothing", trim_loses_nothing},
    {"mallopt_refuses_nothing", mallopt_refuses_nothing},
    {NULL, NULL},
};
