/*
 * calls.c - a byte string is a sequence of calls; a shadow model says what must hold.
 *
 * Each call takes 6 bytes: what, which slot, and 4 bytes that give size and alignment.
 * The model knows for each slot the address, the size and the pattern. After every call
 * the object it made must be disjoint from all others; at the end the walker looks at
 * the whole heap. Built with libFuzzer, or with a main that plays files.
 */
#include "check.h"
#include "family.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SLOTS 64
#define CALL  6

static struct slot {
    unsigned char *p;
    size_t size;
    size_t alignment; /* C23: decides which sized free may end it; 0: none */
    unsigned char mark;
} slots[SLOTS];

static unsigned char next_mark;

/* Small, medium, large and impossible sizes, all reachable by one byte's change. */
static size_t size_of(const uint8_t bytes[4])
{
    uint32_t value =
        (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16;

    switch (bytes[3] % 8) {
    case 0:
    case 1:
    case 2:
        return value % 300;
    case 3:
        return value % 5000;
    case 4:
        return value % 70000;
    case 5:
        return value; /* to 16 MiB */
    case 6:
        return (size_t)value * 8; /* to 128 MiB */
    default:
        return SIZE_MAX - value * (size_t)(bytes[3] / 8 % 2 ? 1 : (size_t)1 << 39);
    }
}

/* The ends whole, 64 bytes between them: 128 MiB stay mostly untouched. */
static size_t next_byte(size_t i, size_t size)
{
    size_t step = size / 64 + 1;

    if (i < 256 || i + 256 >= size)
        return i + 1;
    return i + step < size - 256 ? i + step : size - 256;
}

static void write_all(struct slot *slot)
{
    slot->mark = ++next_mark;
    for (size_t i = 0; i < slot->size; i = next_byte(i, slot->size))
        slot->p[i] = slot->mark;
}

static void check_bytes(const struct slot *slot, const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < slot->size && i < size; i = next_byte(i, slot->size))
        CHECKF(p[i] == slot->mark, "byte %zu of %zu at %p is %02x, not %02x", i,
               slot->size, (const void *)p, p[i], slot->mark);
}

/* alignment 1 stands for malloc's own */
static void expect(const struct slot *slot, size_t alignment)
{
    uintptr_t start = (uintptr_t)slot->p, end = start + malloc_usable_size(slot->p);

    CHECKF(start % (alignment > 1 ? alignment : 16) == 0, "%p, alignment %zu",
           (void *)slot->p, alignment);
    CHECK(end - start >= slot->size);
    for (int i = 0; i < SLOTS; i++) {
        uintptr_t other = (uintptr_t)slots[i].p;

        if (other && &slots[i] != slot)
            CHECKF(other + slots[i].size <= start || end <= other,
                   "%p (%zu bytes) overlaps %p (%zu)", (void *)slot->p, slot->size,
                   (void *)slots[i].p, slots[i].size);
    }
}

/* The heap may refuse what is large; never what is small, and only with ENOMEM. */
static void fill_slot(struct slot *slot, unsigned char *p, size_t size,
                      size_t alignment)
{
    slot->p = p;
    slot->size = p ? size : 0;
    slot->alignment = alignment;
    if (!p) {
        CHECKF(errno == ENOMEM, "errno %d for %zu bytes", errno, size);
        CHECKF(size > (size_t)1 << 24 || alignment > 65536, "no memory for %zu bytes",
               size);
        return;
    }
    CHECKF(size <= PTRDIFF_MAX, "%zu bytes were given", size);
    expect(slot, alignment);
    write_all(slot);
}

static void take(struct slot *slot, int how, size_t size, size_t alignment)
{
    unsigned char *p = NULL;
    size_t count = (size_t)1 << alignment % 8;

    errno = 0;
    if (how == 0) {
        fill_slot(slot, malloc(size), size, 1);
    } else if (how == 1) {
        p = calloc(count, size);
        if (size > PTRDIFF_MAX / count) {
            CHECK(!p && errno == ENOMEM);
            return;
        }
        for (size_t i = 0; p && i < count * size; i = next_byte(i, count * size))
            CHECKF(p[i] == 0, "calloc of %zu: byte %zu is %02x", count * size, i, p[i]);
        fill_slot(slot, p, count * size, 1);
    } else {
        alignment = (size_t)1 << alignment % 23;
        if (how == 2) {
            fill_slot(slot, aligned_alloc(alignment, size), size, alignment);
            return;
        }
        errno = posix_memalign((void **)&p, alignment, size);
        if (alignment < sizeof(void *))
            CHECK(errno == EINVAL && !p);
        else
            fill_slot(slot, p, size, alignment);
        slot->alignment = 0;
    }
}

static void resize(struct slot *slot, size_t size)
{
    unsigned char *p;

    check_bytes(slot, slot->p, slot->size);
    errno = 0;
    p = realloc(slot->p, size);
    if (size == 0) {
        CHECK(!p);
        slot->p = NULL;
    } else if (!p) {
        CHECK(errno == ENOMEM && size > (size_t)1 << 24);
        check_bytes(slot, slot->p, slot->size);
    } else {
        check_bytes(slot, p, size);
        slot->p = NULL;
        fill_slot(slot, p, size, 1);
    }
}

static void end(struct slot *slot, int how)
{
    check_bytes(slot, slot->p, slot->size);
    errno = 99;
    if (how % 3 == 0 && family.free_sized && slot->alignment == 1)
        family.free_sized(slot->p, slot->size);
    else if (how % 3 == 0 && family.free_aligned_sized && slot->alignment)
        family.free_aligned_sized(slot->p, slot->alignment, slot->size);
    else
        free(slot->p);
    CHECK(errno == 99);
    slot->p = NULL;
}

static void play(const uint8_t call[CALL])
{
    struct slot *slot = &slots[call[1] % SLOTS];
    size_t size = size_of(call + 2);
    int what = call[0] % 16;

    if (what == 15)
        malloc_trim(size);
    else if (what == 14 && family.verify)
        CHECK(family.verify() == 0);
    else if (!slot->p)
        take(slot, what % 4, size, call[0] / 16u + call[5] / 8u);
    else if (what < 5)
        resize(slot, size);
    else
        end(slot, what);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    check_begin("calls");
    for (; length >= CALL; data += CALL, length -= CALL)
        play(data);
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].p)
            end(&slots[i], i);
    if (family.verify)
        CHECK(family.verify() == 0);
    return 0;
}

#ifdef FUZZ_PLAY
/* Without libFuzzer: play the files named on the command line. */
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        static uint8_t data[1 << 16];
        FILE *file = fopen(argv[i], "rb");
        size_t length;

        if (!file) {
            fprintf(stderr, "calls: cannot open %s\n", argv[i]);
            return 2;
        }
        length = fread(data, 1, sizeof(data), file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, length);
    }
    printf("%d sequences of calls played\n", argc - 1);
    return argc < 2;
}
#endif
