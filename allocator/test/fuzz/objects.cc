/*
 * objects.cc - what must hold for an object, whichever call of whichever family took it.
 *
 * Its bytes follow from its number. A call's size and alignment are drawn where places change: at
 * the ends of size classes, around 4 KiB to 2 MiB, now and then up to 40 MiB, and what nobody has.
 */
#include "families.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace
{

constexpr size_t never_refused = size_t{1} << 26; /* bytes, and this for alignments: */
constexpr size_t usual_alignment = size_t{1} << 16,
                 impossible_alignment = size_t{1} << 47;
constexpr int flag_zero = 64, flag_no_cache = 0x100, flag_arena_1 = 2 << 20;

const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));

/* ---- contents ---- */

std::atomic<uint64_t> next_id{1};

unsigned char byte_at(uint64_t id, size_t i)
{
    return static_cast<unsigned char>(
        (id * 0x9e3779b97f4a7c15u + i * 0x94d049bb133111ebu) >> 56);
}

/* The ends whole, 64 bytes between them: of what is long most stays untouched. */
size_t next_byte(size_t i, size_t size)
{
    size_t step = size / 64 + 1;

    if (i < 256 || i + 256 >= size)
        return i + 1;
    return i + step < size - 256 ? i + step : size - 256;
}

void write_all(object &object, size_t size)
{
    object.id = next_id++;
    object.size = size;
    if (size > object.written)
        object.written = size;
    for (size_t i = 0; i < size; i = next_byte(i, size))
        object.p[i] = byte_at(object.id, i);
}

/* The beginning of an object that lies at p now. */
void check_bytes(const object &object, const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < object.size && i < size; i = next_byte(i, object.size))
        CHECKF(p[i] == byte_at(object.id, i),
               "byte %zu of %zu at %p (%p) is %02x, not %02x", i, object.size,
               static_cast<const void *>(p), static_cast<void *>(object.p), p[i],
               byte_at(object.id, i));
}

/* Above 64 KiB a few of each page. */
void check_zeros(const form &form, const unsigned char *p, size_t from, size_t size)
{
    for (size_t i = from; i < size; i += i - from < 65536 || i + 512 > size ? 1 : 509)
        CHECKF(p[i] == 0, "%s: byte %zu of %zu at %p is %02x", form.name, i, size,
               static_cast<const void *>(p), p[i]);
}

/* ---- what is asked for ---- */

bool one_in(uint64_t &random, unsigned count)
{
    return next_random(&random) % count == 0;
}

size_t below(uint64_t &random, size_t limit)
{
    return next_random(&random) % limit;
}

size_t good_size(size_t size)
{
    static auto *const good =
        reinterpret_cast<size_t (*)(size_t)>(find_name("MyGoodSize"));

    return good(size);
}

/* Each length in bits as often. */
size_t draw_length(uint64_t &random, unsigned bits)
{
    return below(random, size_t{1} << (1 + below(random, bits)));
}

/* What is small is more often. */
size_t draw_size(uint64_t &random)
{
    size_t dice = below(random, 1000), around;

    if (dice < 250)
        return below(random, 512);
    if (dice < 350)
        return draw_length(random, 16);
    if (dice < 650) /* one byte less than a place has, as many, or one more */
        return good_size(1 + draw_length(random, 17)) - 1 + below(random, 3);
    around = dice < 990   ? size_t{4096} << below(random, 4 + below(random, 7))
             : dice < 997 ? size_t{4} << 20
                          : size_t{32} << 20;
    if (one_in(random, 2))
        return around - 64 + below(random, 129);
    return around + below(random, around / 4);
}

/*
 * Mostly 1 to 64 KiB. Above, what every machine has room for, or none: two that are given side by
 * side, which are more than there is together, make the kernel refuse another thread's fork.
 */
size_t draw_alignment(uint64_t &random)
{
    if (!is_child && one_in(random, 100))
        return size_t{1} << (one_in(random, 2) ? 17 + below(random, 10)
                                               : 42 + below(random, 22));
    return size_t{1} << below(random, 17);
}

struct asked : call {
    size_t bytes; /* SIZE_MAX: more than there are numbers for */
    bool is_zero; /* what is new reads as zero */

    bool is_impossible() const
    {
        return bytes > PTRDIFF_MAX || alignment >= impossible_alignment;
    }
    bool may_be_refused() const
    {
        return bytes > never_refused || alignment > usual_alignment;
    }
};

/* A product of so many bytes, about. */
void split(asked &asked, size_t bytes, uint64_t &random)
{
    asked.count = one_in(random, 8) ? below(random, bytes + 1) : 1 + below(random, 9);
    asked.size = asked.count != 0 ? bytes / asked.count : bytes;
}

void draw_impossible(asked &asked, const form &form, uint64_t &random)
{
    size_t part = below(random, 1 << 20);

    asked.size = one_in(random, 2) ? SIZE_MAX - part : size_t{PTRDIFF_MAX} + 1 + part;
    if (has_letter(form, 'c') &&
        one_in(random, 2)) { /* of which little is left in 64 bits */
        asked.count = (size_t{1} << 33) + part;
        asked.size = size_t{1} << 31 << below(random, 20);
    }
}

int log_of(size_t alignment)
{
    return alignment != 0 ? __builtin_ctzll(alignment) : 0;
}

/* What stays in its place is at least about half of it. */
size_t draw_near(size_t size, uint64_t &random)
{
    switch (below(random, 4)) {
    case 0:
        return size + below(random, size / 2 + 64);
    case 1:
        return size / 2 - size / 32 + below(random, size / 16 + 1);
    case 2:
        return size / 2 + below(random, size / 2 + 1);
    default:
        return below(random, size + 1);
    }
}

/* near: what the object has, if there is one. */
asked draw_call(const form &form, size_t near, uint64_t &random)
{
    static const char text[] =
        "A text, of which the end is taken, and as many bytes of it as are wanted.";
    asked asked = {};
    size_t bytes = draw_size(random);

    if (form.does == MOVE && near < never_refused && !one_in(random, 3))
        bytes = draw_near(near, random);
    if (form.does == MOVE && one_in(random, 16))
        bytes = 0;
    if (bytes == 0 && (form.traits & NOT_0))
        bytes = 1;
    asked.count = 1;
    asked.size = bytes;
    if (has_letter(form, 'c'))
        split(asked, bytes, random);
    if (has_letter(form, 's') && !is_child && one_in(random, 64))
        draw_impossible(asked, form, random);
    if (has_letter(form, 'a') || (has_letter(form, 'f') && one_in(random, 2)))
        asked.alignment = draw_alignment(random);
    if (has_letter(form, 'O') && asked.alignment < sizeof(void *))
        asked.alignment = sizeof(void *);
    asked.offset =
        asked.alignment < never_refused ? asked.alignment * below(random, 3) : 0;
    asked.flags = log_of(asked.alignment) | (one_in(random, 2) ? flag_zero : 0) |
                  (one_in(random, 4) ? flag_no_cache : 0) |
                  (one_in(random, 8) ? flag_arena_1 : 0);
    asked.text = text + below(random, sizeof text);
    if (has_letter(form, 't'))
        asked.size = strlen(asked.text) + 1;
    if (__builtin_mul_overflow(has_letter(form, 'c') ? asked.count : 1, asked.size,
                               &asked.bytes))
        asked.bytes = SIZE_MAX;
    asked.is_zero =
        (form.traits & ZERO) || (has_letter(form, 'f') && (asked.flags & flag_zero));
    return asked;
}

/* ---- what is given ---- */

void check_refusal(const form &form, const asked &asked)
{
    CHECKF(asked.may_be_refused(), "%s of %zu bytes, alignment %zu: none, errno %d",
           form.name, asked.bytes, asked.alignment, asked.error);
    if (!(form.traits & (ANY_ERRNO | THROWS)))
        CHECKF(asked.error == ENOMEM, "%s of %zu bytes, alignment %zu: errno %d",
               form.name, asked.bytes, asked.alignment, asked.error);
}

size_t asked_alignment(const form &form, const asked &asked)
{
    return form.traits & (PAGES | WHOLE) ? page : asked.alignment;
}

/* It has the room and the alignment; the object's fields are those of the call now. */
void keep(object &object, unsigned char *p, const form &form, const asked &asked,
          uint64_t &random)
{
    size_t alignment = asked_alignment(form, asked), bytes = asked.bytes, usable;

    object.p = p;
    object.asked = bytes;
    object.alignment = alignment;
    object.is_sized =
        !(form.traits & WHOLE) && !has_letter(form, 'o') && !has_letter(form, 't') &&
        (bytes != 0 || form.does == TAKE); /* mi_realloc makes a byte of it */
    CHECKF(!asked.is_impossible(), "%s gave %zu bytes, alignment %zu", form.name, bytes,
           alignment);
    CHECKF(reinterpret_cast<uintptr_t>(p) % (alignment > 16 ? alignment : 16) == 0,
           "%s of %zu bytes, alignment %zu: %p", form.name, bytes, alignment,
           static_cast<void *>(p));
    usable = usable_of(object, random);
    if (form.traits & WHOLE)
        bytes = (bytes + page - 1) / page * page;
    CHECKF(usable >= bytes, "%s of %zu bytes, alignment %zu: %p has %zu", form.name,
           bytes, alignment, static_cast<void *>(p), usable);
    if (has_letter(form, 'u'))
        CHECKF(asked.told == usable, "%s of %zu bytes told %zu, has %zu", form.name,
               bytes, asked.told, usable);
}

/* jemalloc's says beforehand what there will be; of a sample that is no more than was asked for. */
void check_foretold(const object &object, const asked &asked, uint64_t &random)
{
    static auto *const foretell = find<size_t(size_t, int)>("nallocx");
    size_t told = foretell(asked.size, asked.flags), usable = usable_of(object, random);

    CHECKF(told == usable || getenv("MYMALLOC_GUARD"),
           "%zu bytes, flags %x: nallocx says %zu, there are %zu", asked.size,
           static_cast<unsigned>(asked.flags), told, usable);
}

/* Zeros go on from what a family gave zeroed to what the same family resizes with zeros. */
void mark_zeros(object &object, const form &form, const asked &asked)
{
    bool go_on = object.has_zeros && object.zeroed == form.of;

    object.has_zeros = asked.is_zero && (form.of == JEMALLOC || form.of == MIMALLOC) &&
                       (form.does == TAKE || go_on);
    object.zeroed = form.of;
    if (!go_on)
        object.written = 0;
}

/* Of a heap that there is; zeros go on mostly. */
const form &draw_in(const heaps &heaps, const object &object, kind does,
                    uint64_t &random)
{
    for (;;) {
        const form &form = draw_form(does, random);
        bool is_its = object.of != nullptr && object.of->is_arena;

        if (object.p == nullptr && does == MOVE && (form.traits & NOT_0))
            continue;
        if (object.has_zeros && form.of != object.zeroed && !one_in(random, 16))
            continue;
        if (!(form.traits & ARENA) ||
            (object.p == nullptr ? heaps.arena != nullptr : is_its))
            return form;
    }
}

heap *heap_of(const form &form, const object &object, const heaps &heaps)
{
    if (form.traits & ARENA)
        return object.p != nullptr ? object.of : heaps.arena;
    if (form.of != MIMALLOC)
        return object.of;
    return has_letter(form, 'h') ? heaps.named : heaps.chosen;
}

void fresh(object &object, const form &form, const heaps &heaps, uint64_t &random)
{
    asked asked = draw_call(form, 0, random);
    heap *of;
    unsigned char *p;

    object = {};
    of = heap_of(form, object, heaps);
    asked.heap = of != nullptr ? of->name : name_of_malloc;
    p = reinterpret_cast<unsigned char *>(asked.make(form));
    if (p == nullptr) {
        check_refusal(form, asked);
        return;
    }
    object.of = of;
    keep(object, p, form, asked, random);
    mark_zeros(object, form, asked);
    if (has_letter(form, 'f'))
        check_foretold(object, asked, random);
    if (asked.is_zero)
        check_zeros(form, p, 0, asked.bytes);
    if (has_letter(form, 't'))
        CHECKF(memcmp(p, asked.text, asked.size) == 0, "%s of %s", form.name,
               asked.text);
    write_all(object, asked.bytes);
}

/* All that a resize may leave undone. */
void unmoved(object &object, const form &form, const asked &asked)
{
    if (asked.bytes == 0 && (form.traits & FREES_AT_0)) {
        object.p = nullptr;
        return;
    }
    check_refusal(form, asked);
    if (form.traits & FREES_ON_FAILURE)
        object.p = nullptr;
    else
        check_contents(object);
}

} // namespace

void check_contents(const object &object)
{
    check_bytes(object, object.p, object.size);
}

size_t usable_of(const object &object, uint64_t &random)
{
    const form &form = draw_form(TELL, random);
    call call;

    call.object = object.p;
    return call.make(form);
}

void take(object &object, const heaps &heaps, uint64_t &random)
{
    object = {};
    fresh(object, draw_in(heaps, object, one_in(random, 8) ? MOVE : TAKE, random),
          heaps, random);
}

void move(object &object, const heaps &heaps, uint64_t &random)
{
    const form &form = draw_in(heaps, object, MOVE, random);
    size_t before = usable_of(object, random), zeros = before;
    asked asked = draw_call(form, before, random);
    heap *of = heap_of(form, object, heaps);
    struct object old = object;
    unsigned char *p;

    check_contents(object);
    asked.object = object.p;
    asked.heap = of != nullptr ? of->name : name_of_malloc;
    p = reinterpret_cast<unsigned char *>(asked.make(form));
    if (p == nullptr) {
        unmoved(object, form, asked);
        return;
    }
    CHECKF(asked.bytes != 0 || !(form.traits & FREES_AT_0), "%s of 0 bytes: %p",
           form.name, static_cast<void *>(p));
    if (p != object.p)
        object.of = of;
    keep(object, p, form, asked, random);
    if (has_letter(form, 'b'))
        CHECKF(asked.told_before == before, "%s told %zu, had %zu", form.name,
               asked.told_before, before);
    check_bytes(old, p, asked.bytes);
    mark_zeros(object, form, asked);
    if (object.has_zeros && object.written < zeros)
        zeros = object.written;
    if (asked.is_zero)
        check_zeros(form, p, zeros, asked.bytes);
    write_all(object, asked.bytes);
}

/* As it was taken: with an alignment if there was one, and of the size that it has, or may have. */
static bool may_end(const form &form, const object &object)
{
    bool is_its = object.of != nullptr && object.of->is_arena;

    if ((form.traits & ARENA) && !is_its)
        return false;
    if (has_letter(form, 'a') && object.alignment == 0)
        return false;
    if (!has_letter(form, 's'))
        return true;
    return object.is_sized &&
           (has_letter(form, 'a') || has_letter(form, 'f') || object.alignment <= 16);
}

void put(object &object, uint64_t &random)
{
    size_t usable = usable_of(object, random);
    const form *form;
    call call;

    CHECKF(usable >= object.asked, "%p has %zu bytes, not %zu",
           static_cast<void *>(object.p), usable, object.asked);
    check_contents(object);
    do
        form = &draw_form(PUT, random);
    while (!may_end(*form, object) ||
           (object.is_sized && !has_letter(*form, 's') && one_in(random, 2)));
    call.object = object.p;
    call.size = object.asked;
    if (one_in(random, 3))
        call.size += below(random, usable - object.asked + 1);
    call.alignment = object.alignment;
    call.flags = log_of(object.alignment) | (one_in(random, 4) ? flag_no_cache : 0);
    call.heap = object.of != nullptr ? object.of->name : nullptr;
    memset(object.p, 0xdd, object.size < 64 ? object.size : 64);
    object.p = nullptr;
    call.make(*form);
    CHECKF(call.error == 99, "%s: errno is %d", form->name, call.error);
    if (has_letter(*form, 'u'))
        CHECKF(call.told == usable, "%s told %zu, had %zu", form->name, call.told,
               usable);
}

/* As who asks how much there is. */
void use_all(object &object, uint64_t &random)
{
    check_contents(object);
    write_all(object, usable_of(object, random));
}

void grow_in_place(object &object, uint64_t &random)
{
    static auto *const grow =
        reinterpret_cast<size_t (*)(void *, size_t, size_t, int)>(find_name("xallocx"));
    static auto *const expand =
        reinterpret_cast<void *(*)(void *, size_t)>(find_name("mi_expand"));
    size_t usable = usable_of(object, random),
           size = object.size + below(random, 2 * usable + 1);

    check_contents(object);
    if (grow != nullptr) {
        size_t has = grow(object.p, size + (size == 0), below(random, 100),
                          log_of(object.alignment));

        CHECKF(has == usable, "%zu bytes, xallocx says %zu", usable, has);
    }
    if (expand == nullptr)
        return;
    void *p = expand(object.p, size);
    CHECKF(p == (size <= usable ? object.p : nullptr), "%zu bytes of %zu: %p, not %p",
           size, usable, p, static_cast<void *>(object.p));
    if (p != nullptr)
        write_all(object, size);
}

void ask_askew(const heaps &heaps, uint64_t &random)
{
    static const size_t none[] = {0, 3, 24, 48, 100, SIZE_MAX};
    const form &form = draw_in(heaps, {}, one_in(random, 8) ? MOVE : TAKE, random);
    call call;

    if (!(form.traits & TELLS_EINVAL))
        return;
    call.heap = heaps.arena != nullptr ? heaps.arena->name : nullptr;
    call.size = draw_size(random);
    call.alignment = none[below(random, sizeof none / sizeof *none)];
    CHECKF(call.make(form) == 0 && call.error == EINVAL, "%s, alignment %zu: errno %d",
           form.name, call.alignment, call.error);
}
