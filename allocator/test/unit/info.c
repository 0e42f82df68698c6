/* info.c - mallinfo, malloc_trim, malloc_info, malloc_stats, mallopt. */
#include "check.h"
#include "family.h"

#include <errno.h>
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

static void mallopt_answers(void)
{
    CHECK(mallopt(M_TRIM_THRESHOLD, 64 << 20) == 1);
    CHECK(mallopt(M_ARENA_MAX, 4) == 1);
    if (is_mymalloc())
        CHECK(mallopt(123456, 1) == 0);
}

const struct test tests[] = {
    {"mallinfo_follows_use", mallinfo_follows_use},
    {"mallinfo_sees_large", mallinfo_sees_large},
    {"trim_gives_memory_back", trim_gives_memory_back},
    {"malloc_info_is_xml", malloc_info_is_xml},
    {"stats_are_told", stats_are_told},
    {"mallopt_answers", mallopt_answers},
    {NULL, NULL},
};
