/* object.c - the pattern in an object, and the calls that make, resize and end it. */
#include "object.h"

#include "check.h"
#include "family.h"
#include "shadow.h"

#include <stdatomic.h>
#include <string.h>

size_t object_max_size = (size_t)4 << 20;

static _Atomic uint64_t next_id = 1;

static uint8_t tag_of(const struct object *object)
{
    return (uint8_t)(object->id % 255 + 1);
}

/* Word i of an object follows from its address, size and id. */
static uint64_t word_at(const struct object *object, size_t i)
{
    uint64_t key =
        (uint64_t)(uintptr_t)object->p ^ object->id << 20 ^ object->size << 44;

    return (key + i) * 0x9e3779b97f4a7c15u;
}

/* Small objects whole; of larger ones the ends and one word in each 512 bytes. */
static size_t next_word(size_t i, size_t words)
{
    return words <= 1024 || i < 32 || i + 32 >= words ? i + 1
           : i + 64 < words - 32                      ? i + 64
                                                      : words - 32;
}

static void fill(const struct object *object)
{
    size_t words = object->size / 8;

    for (size_t i = 0; i < words; i = next_word(i, words)) {
        uint64_t word = word_at(object, i);

        memcpy(object->p + i * 8, &word, 8);
    }
    for (size_t i = words * 8; i < object->size; i++)
        object->p[i] = tag_of(object);
}

static void check_prefix(const struct object *object, const unsigned char *p,
                         size_t size)
{
    size_t words = object->size / 8;

    for (size_t i = 0; i < words && i * 8 + 8 <= size; i = next_word(i, words)) {
        uint64_t word;

        memcpy(&word, p + i * 8, 8);
        CHECKF(word == word_at(object, i),
               "object %llu at %p, %zu bytes: byte %zu is %016llx",
               (unsigned long long)object->id, (const void *)p, object->size, i * 8,
               (unsigned long long)word);
    }
    for (size_t i = words * 8; i < object->size && i < size; i++)
        CHECKF(p[i] == tag_of(object), "object %llu at %p, %zu bytes: byte %zu is %02x",
               (unsigned long long)object->id, (const void *)p, object->size, i, p[i]);
}

void object_check(const struct object *object)
{
    check_prefix(object, object->p, object->size);
}

/* Mostly small, log-uniform within a range, the large end now and then. */
static size_t draw_size(uint64_t *random)
{
    uint64_t dice = next_random(random) % 1000;
    size_t limit = dice < 700   ? 512
                   : dice < 930 ? 4096
                   : dice < 988 ? 65536
                   : dice < 999 ? 524288
                                : object_max_size;

    return next_random(random) % (limit < object_max_size ? limit : object_max_size);
}

static void check_zero(const struct object *object)
{
    size_t step = object->size > 65536 ? 61 : 1;

    for (size_t i = 0; i < object->size; i += step)
        CHECKF(object->p[i] == 0, "calloc of %zu: byte %zu is %02x", object->size, i,
               object->p[i]);
}

static void own(struct object *object)
{
    CHECKF(object->p, "no memory for %zu bytes", object->size);
    CHECKF((uintptr_t)object->p % object->alignment == 0, "%p, alignment %zu, size %zu",
           (void *)object->p, object->alignment, object->size);
    object->id = atomic_fetch_add(&next_id, 1);
    shadow_claim(object->p, object->size, tag_of(object));
    fill(object);
}

void object_take(struct object *object, uint64_t *random)
{
    size_t size = draw_size(random);

    *object = (struct object){.size = size, .alignment = 16};
    switch (next_random(random) % 10) {
    case 0:
    case 1:
        object->p = calloc(1, size);
        CHECKF(object->p, "no memory for %zu bytes", size);
        check_zero(object);
        break;
    case 2:
        object->alignment = (size_t)16 << next_random(random) % 10;
        object->p = aligned_alloc(object->alignment, size);
        break;
    case 3:
        object->alignment = (size_t)16 << next_random(random) % 5;
        CHECK(posix_memalign((void **)&object->p, object->alignment, size) == 0);
        break;
    case 4:
        object->p = realloc(NULL, size);
        break;
    default:
        object->p = malloc(size);
    }
    own(object);
}

void object_resize(struct object *object, uint64_t *random)
{
    struct object old = *object;
    size_t size = next_random(random) % 4
                      ? draw_size(random)
                      : old.size + next_random(random) % (old.size + 64);

    if (!size)
        size = 1;
    object_check(&old);
    /* Released first: once realloc has moved it, another thread may own the bytes. */
    shadow_release(old.p, old.size, tag_of(&old));
    object->p = realloc(old.p, size);
    CHECKF(object->p, "no memory for %zu bytes", size);
    /* old.p is only a number now: the key of the pattern. */
    check_prefix(&old, object->p, size);
    object->size = size;
    object->alignment = 16;
    own(object);
}

void object_free(struct object *object, uint64_t *random)
{
    object_check(object);
    shadow_release(object->p, object->size, tag_of(object));
    memset(object->p, 0xdd, object->size < 64 ? object->size : 64);
    if (family.free_sized && object->alignment == 16 && next_random(random) % 8 == 0)
        family.free_sized(object->p, object->size);
    else
        free(object->p);
    object->p = NULL;
}
