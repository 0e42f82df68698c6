/*
 * mappings.c - own mappings by themselves: bytes say which objects of 32 MiB and more are
 * taken, resized and given back, which spans outgrow the page heap and become one, and how
 * much may lie idle.
 *
 * The model knows each object's address and size, and three marks in it. Pages are
 * mostly not touched; a teacher, one small file mapped again and again, is dense without
 * being resident and lets freed objects be kept.
 */
#include "bytes.h"
#include "check.h"
#include "proc.h"

#include "heap/runs.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OBJECTS 160 /* the table grows at 129 */
#define MIB     ((size_t)1 << 20)

static struct object {
    char *at; /* NULL: none */
    size_t bytes;
    uint64_t mark;
} objects[OBJECTS];

static uint64_t marks, most = SIZE_MAX;

static size_t units(size_t bytes)
{
    return (bytes + MYM_UNIT - 1) / MYM_UNIT;
}

static size_t round_up(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}

static uint64_t *place(const struct object *object, unsigned i)
{
    return (uint64_t *)(object->at + (object->bytes - 8) / 2 * i / 8 * 8); /* NOLINT */
}

static void mark(struct object *object)
{
    object->mark = ++marks;
    for (unsigned i = 0; i < 3; i++)
        *place(object, i) = object->mark + i;
}

/* Those below `bytes` are as they were. */
static void check_mark(const struct object *object, const char *at, size_t bytes)
{
    for (unsigned i = 0; i < 3; i++) {
        size_t offset = (size_t)((char *)place(object, i) - object->at);
        uint64_t now;

        if (offset + 8 > bytes)
            continue;
        memcpy(&now, at + offset, 8);
        CHECKF(now == object->mark + i, "mark %u of %zu bytes at %p is %llu", i,
               object->bytes, (const void *)at, (unsigned long long)now);
    }
}

/* ---- what must hold after every step ---- */

static size_t in_use(void)
{
    size_t sum = 0;

    for (int i = 0; i < OBJECTS; i++)
        sum += objects[i].at == NULL ? 0 : units(objects[i].bytes);
    return sum;
}

static void check_table(void)
{
    struct mym_mapping mapping;
    size_t count, bytes = 0, seen = 0, ours = 0, place = 0;

    while (mym_mapping_next(&place, &mapping))
        seen++;
    for (int i = 0; i < OBJECTS; i++) {
        const struct object *object = &objects[i];

        if (object->at == NULL)
            continue;
        ours++;
        bytes += object->bytes;
        CHECK(mym_mapping_bytes(object->at) == object->bytes);
        CHECK(mym_mapping_has(object->at + object->bytes - 1));
        CHECK(mym_mapping_bytes(object->at + 4096) == 0);
        for (int j = 0; j < i; j++)
            CHECK(objects[j].at == NULL ||
                  objects[j].at + objects[j].bytes <= object->at ||
                  object->at + object->bytes <= objects[j].at);
    }
    CHECKF(mym_mapping_total(&count) == bytes && count == ours && seen == ours,
           "%zu objects of %zu bytes, %zu are listed", ours, bytes, seen);
    CHECK(mym_mappings.moving == 0);
}

static void check_sums(void)
{
    struct mym_pages_info info = mym_pages_info();
    size_t idle = 0, use = in_use();

    check_table();
    for (uint32_t i = 0; i < mym_pages.idle_count; i++) {
        const struct mym_idle *one = &mym_pages.idles[i];

        CHECK(one->dirty <= units(one->bytes));
        idle += one->dirty;
        for (int j = 0; j < OBJECTS; j++)
            CHECK(objects[j].at == NULL ||
                  (char *)one->addr >= objects[j].at + objects[j].bytes ||
                  (char *)one->addr + one->bytes <= objects[j].at);
    }
    CHECKF(info.idle == idle * MYM_UNIT, "%zu bytes idle, not %zu", info.idle,
           idle * MYM_UNIT);
    CHECKF(mym_pages.outside == use && info.mapped == info.free,
           "%llu units are outside, not %zu", (unsigned long long)mym_pages.outside,
           use);
    CHECK(mym_pages.ledger.use == use);
    CHECK(mym_pages_verify() == 0);
}

/* What is mapped, but for the page heap and what the model and the list of idle ones know. */
static size_t mapped_else(void)
{
    size_t known = mym_pages_info().mapped;

    for (int i = 0; i < OBJECTS; i++)
        known += objects[i].at == NULL ? 0 : objects[i].bytes;
    for (uint32_t i = 0; i < mym_pages.idle_count; i++)
        known += mym_pages.idles[i].bytes;
    return status_kib("VmSize") * 1024 - known;
}

/* Tables grow; an object, or an idle one, that was lost is longer than they are. */
static void check_nothing_is_lost(size_t before)
{
    CHECKF(mapped_else() < before + 16 * MIB && before < mapped_else() + 16 * MIB,
           "%zu KiB are mapped by nobody, %zu before", mapped_else() / 1024,
           before / 1024);
}

static void check_excess(void)
{
    struct mym_pages_info info = mym_pages_info();

    CHECKF(info.dirty + info.idle <= info.allowance, "%zu and %zu bytes, %zu may stay",
           info.dirty, info.idle, info.allowance);
}

/* ---- steps ---- */

#define TEACHER (128 * MIB)

static char *teacher;

static void make_teacher(void)
{
    int file = memfd_create("teacher", 0);
    static char written[4096] = {1};
    size_t step = 2 * MIB;

    teacher = mmap(NULL, TEACHER, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(file >= 0 && teacher != MAP_FAILED);
    for (size_t i = 0; i < step; i += sizeof written)
        CHECK(write(file, written, sizeof written) == sizeof written);
    for (size_t i = 0; i < TEACHER; i += step)
        CHECK(mmap(teacher + i, step, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) ==
              teacher + i);
    close(file);
}

static bool taught[64]; /* by the sizes' logarithm */

static bool *is_taught(size_t bytes)
{
    return &taught[63 - __builtin_clzll(bytes)];
}

/*
 * Objects of a size that was taught were written all over, as often as it takes: before each step,
 * for those of the model, which are not, are looked at while they live, too.
 */
static void teach(size_t bytes)
{
    if (!*is_taught(bytes))
        return;
    /* What is known not to be dense is looked at seldom: inputs played before would decide. */
    while (mym_is_dense(bytes) == MYM_SPARSE)
        mym_dense_ended(teacher, bytes);
    for (int i = 0; i < 4; i++)
        mym_dense_ended(teacher, bytes);
}

/* No size is known to be dense: one input does not decide what the next one meets. */
static void forget(void)
{
    static char *untouched;

    if (untouched == NULL) {
        untouched = mmap(NULL, TEACHER, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        make_teacher();
    }
    CHECK(untouched != MAP_FAILED);
    memset(taught, 0, sizeof taught);
    for (size_t bytes = 8 * MIB; bytes <= 64 * MIB; bytes *= 2)
        while (mym_is_dense(bytes) != MYM_SPARSE)
            mym_dense_ended(untouched, bytes);
}

static size_t size_of(unsigned value)
{
    return 32 * MIB + (value % 256) * (MIB / 8) + value / 256 * 1021;
}

static void take(struct object *object, size_t size, bool zeroed)
{
    size_t bytes = round_up(size);
    bool fits = in_use() + units(bytes) <= most;

    teach(bytes);
    object->at = mym_mapping_take(size, &zeroed);
    CHECK((object->at != NULL) == fits);
    if (object->at == NULL)
        return;
    object->bytes = bytes;
    for (unsigned i = 0; zeroed && i < 3; i++)
        CHECK(*place(object, i) == 0);
    mark(object);
}

static void put(struct object *object)
{
    check_mark(object, object->at, object->bytes);
    teach(object->bytes);
    CHECK(mym_mapping_put(object->at + 4096) == 0); /* nothing starts there */
    CHECK(mym_mapping_put(object->at) == object->bytes);
    CHECK(mym_mapping_put(object->at) == 0);
    object->at = NULL;
    check_excess();
}

static void resize(struct object *object, size_t size)
{
    size_t bytes = round_up(size), had = units(object->bytes);
    bool fits = units(bytes) <= had || in_use() - had + units(bytes) <= most;
    char *at = mym_mapping_resize(object->at, size);

    CHECK((at != NULL) == fits);
    if (at == NULL) {
        check_mark(object, object->at, object->bytes);
        return;
    }
    check_mark(object, at, bytes);
    object->at = at;
    object->bytes = bytes;
    mark(object);
}

/* A span of the page heap that grows to an object. */
static void adopt(struct object *object, unsigned length, size_t size)
{
    bool zeroed = false;
    uint32_t span = mym_pages_take(length, 1, MYM_LARGE, false, &zeroed);
    struct object was = {.bytes = length * MYM_UNIT};

    if (span == 0)
        return;
    was.at = mym_unit_address(span);
    mark(&was);
    object->at = mym_mapping_adopt(span, size);
    if (object->at == NULL) {
        check_mark(&was, was.at, was.bytes);
        mym_pages_put(span);
        return;
    }
    check_mark(&was, object->at, was.bytes);
    object->bytes = round_up(size);
    mark(object);
}

static void play(struct bytes *bytes)
{
    unsigned what = read_byte(bytes), which = read_byte(bytes);
    struct object *object = &objects[which % OBJECTS];
    unsigned value = read_word(bytes);

    switch (what % 8) {
    case 7:
        mym_idle_set_keep((value % 512) * MIB);
        check_excess();
        break;
    case 6:
        mym_pages_purge((value % 128) * MIB);
        break;
    case 5:
        most = value % 4 ? SIZE_MAX : in_use() + value / 32;
        mym_pages_set_limit(most == SIZE_MAX ? SIZE_MAX : most * MYM_UNIT, SIZE_MAX);
        most = most == SIZE_MAX ? SIZE_MAX >> MYM_UNIT_SHIFT : most;
        break;
    case 4:
        *is_taught(size_of(value)) = true;
        teach(size_of(value));
        break;
    case 3:
        if (object->at == NULL)
            adopt(object, 1 + which * 2, size_of(value));
        break;
    case 2:
        if (object->at != NULL)
            resize(object, size_of(value));
        break;
    default:
        if (object->at == NULL)
            take(object, size_of(value), what & 64);
        else
            put(object);
    }
    check_sums();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct bytes bytes = {data, length};
    size_t before;

    check_begin("mappings");
    free(malloc(1));
    most = SIZE_MAX >> MYM_UNIT_SHIFT;
    mym_pages_set_limit(SIZE_MAX, SIZE_MAX);
    mym_idle_set_keep(64 * MIB);
    forget();
    before = mapped_else();
    while (bytes.left >= 4) {
        play(&bytes);
        check_nothing_is_lost(before);
    }
    for (int i = 0; i < OBJECTS; i++)
        if (objects[i].at != NULL)
            put(&objects[i]);
    mym_pages_purge(0);
    check_sums();
    CHECK(mym_pages_info().idle == 0);
    return 0;
}
