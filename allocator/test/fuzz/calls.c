/*
 * calls.c - a byte string is a sequence of calls; a shadow model says what must hold.
 *
 * Each call takes 6 bytes: what, which slot, and 4 bytes that give size and alignment.
 * The model knows for each slot the address, the size and the pattern. After every call
 * the object it made must be disjoint from all others; at the end the walker looks at
 * the whole heap. Built with libFuzzer, or with play.c.
 */
#include "mymalloc/arena.h" /* before family.h renames malloc */

#include "bytes.h"
#include "check.h"
#include "family.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifdef TEST_MY
#include "alloc/background.h"
#endif

#define SLOTS  64
#define CALL   6
#define ARENAS 3

static struct slot {
    unsigned char *p;
    size_t size;
    size_t alignment; /* C23: decides which sized free may end it; 0: none */
    unsigned char mark;
    unsigned arena; /* 1 + the number of the one whose it is; 0: malloc's */
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
        slot->arena = 0;
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
    slot->arena = 0;
}

#ifdef TEST_MY

/* ---- arenas ---- */

static MyArena *arenas[ARENAS];

static void take_from(unsigned which, struct slot *slot, int how, size_t size,
                      size_t alignment)
{
    MyArena *arena = arenas[which];
    unsigned char *p;

    errno = 0;
    if (how == 0) {
        fill_slot(slot, MyArenaAlloc(arena, size), size, 1);
    } else if (how == 1) {
        p = MyArenaCalloc(arena, 1, size);
        for (size_t i = 0; p && i < size; i = next_byte(i, size))
            CHECKF(p[i] == 0, "calloc of %zu: byte %zu is %02x", size, i, p[i]);
        fill_slot(slot, p, size, 1);
    } else {
        fill_slot(slot, MyArenaAllocAligned(arena, alignment, size), size, alignment);
    }
    slot->arena = slot->p ? which + 1 : 0;
}

/* All its objects end with it. */
static void end_all(unsigned which, bool destroy)
{
    for (int i = 0; i < SLOTS; i++) {
        if (!slots[i].p || slots[i].arena != which + 1)
            continue;
        check_bytes(&slots[i], slots[i].p, slots[i].size);
        slots[i].p = NULL;
        slots[i].arena = 0;
    }
    if (destroy) {
        MyArenaDestroy(arenas[which]);
        arenas[which] = NULL;
    } else {
        MyArenaReset(arenas[which]);
    }
}

static void play_arena(struct slot *slot, const uint8_t call[CALL], size_t size)
{
    unsigned which = call[0] / 16u % ARENAS;

    if (arenas[which] == NULL)
        CHECK((arenas[which] = MyArenaCreate(0)));
    if (call[0] / 48 == 4)
        end_all(which, call[5] & 128);
    else if (!slot->p)
        take_from(which, slot, call[0] / 48, size, (size_t)1 << call[5] / 8 % 23);
    else
        end(slot, call[5]);
}

/* ---- the walker, and the helper's work of a second ---- */

static size_t seen;

static int see(void *object, size_t bytes, void *unused)
{
    (void)unused;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].p == object) {
            CHECKF(bytes >= slots[i].size, "%p has %zu bytes, not %zu", object, bytes,
                   slots[i].size);
            seen++;
            return 0;
        }
    check_failed(__FILE__, __LINE__, "%p of %zu bytes is visited, is nobody's", object,
                 bytes);
}

/* Each object once, and nothing else; guarded samples are left out. */
static void walk(void)
{
    size_t held = 0;

    seen = 0;
    CHECK(MyHeapWalk(see, NULL) == 0);
    for (int i = 0; i < SLOTS; i++)
        held += slots[i].p != NULL;
    CHECKF(seen == held || (seen < held && getenv("MYMALLOC_GUARD")),
           "%zu objects are visited, there are %zu", seen, held);
}

static void help(void)
{
    mym_background_work(false);
}

#endif

static void play(const uint8_t call[CALL])
{
    struct slot *slot = &slots[call[1] % SLOTS];
    size_t size = size_of(call + 2);
    int what = call[0] % 16;

#ifdef TEST_MY
    if (what == 13) {
        play_arena(slot, call, size);
        return;
    }
    if (what == 12) {
        call[1] & 128 ? walk() : help();
        return;
    }
#endif
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    check_begin("calls");
    for (; length >= CALL; data += CALL, length -= CALL)
        play(data);
#ifdef TEST_MY
    walk();
    for (unsigned i = 0; i < ARENAS; i++)
        if (arenas[i] != NULL)
            end_all(i, true);
#endif
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].p)
            end(&slots[i], i);
    if (family.verify)
        CHECK(family.verify() == 0);
    return 0;
}
