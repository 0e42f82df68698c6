/*
 * write.c - the profile for people's tools: pprof's profile.proto, or the text that came
 * before it, which gperftools' pprof reads too.
 *
 * Nothing is taken from the heap, so it can be written whatever state that is in. Stacks
 * are written in the order in which they are found, the sums of each at one moment.
 *
 * proto: https://github.com/google/pprof/blob/main/proto/profile.proto. An address stands
 * for its location's id. What was returned to is not what called: addresses are
 * one less, as pprof's own readers have it.
 */
#include "profile/profile.h"

#include "os/os.h"
#include "os/out.h"

#include <errno.h> /* numbers only */
#include <string.h>

static uint64_t objects_of(struct mym_sums sums)
{
    return (sums.objects + 32768) >> 16;
}

static uintptr_t caller(void *pc)
{
    return (uintptr_t)pc - 1;
}

/* ---- profile.proto ---- */

/* A message inside of another, whose length goes before it. */
#define MESSAGE_ROOM ((MYM_STACK_DEPTH + 4) * 10 + 32)
struct message {
    size_t used;
    uint8_t bytes[MESSAGE_ROOM];
};

static void add_varint(struct message *message, uint64_t value)
{
    message->used += mym_varint_put(message->bytes + message->used, value);
}

static void add_integer(struct message *message, unsigned field, uint64_t value)
{
    add_varint(message, field << 3);
    add_varint(message, value);
}

static void put_bytes(struct mym_out *out, unsigned field, const char *bytes,
                      size_t length)
{
    uint8_t head[2 * MYM_VARINT_MOST];
    size_t used = mym_varint_put(head, field << 3 | 2);

    used += mym_varint_put(head + used, length);
    mym_out_put(out, (char *)head, used);
    mym_out_put(out, bytes, length);
}

static void put_message(struct mym_out *out, unsigned field,
                        const struct message *message)
{
    put_bytes(out, field, (const char *)message->bytes, message->used);
}

static void put_number(struct mym_out *out, unsigned field, uint64_t value)
{
    struct message message = {.used = 0};

    add_integer(&message, field, value);
    mym_out_put(out, (char *)message.bytes, message.used);
}

static void add_packed(struct message *message, unsigned field,
                       const struct message *values)
{
    add_varint(message, field << 3 | 2);
    add_varint(message, values->used);
    memcpy(message->bytes + message->used, values->bytes, values->used);
    message->used += values->used;
}

enum field {
    SAMPLE_TYPE = 1,
    SAMPLE,
    MAPPING,
    LOCATION,
    STRING = 6,
    DROP_FRAMES,
    TIME = 9,
    PERIOD_TYPE = 11,
    PERIOD,
    DEFAULT_TYPE = 14,
};

enum string {
    NONE,
    /* in the order of enum mym_when */
    ALLOC_OBJECTS,
    ALLOC_SPACE,
    INUSE_OBJECTS,
    INUSE_SPACE,
    PEAK_OBJECTS,
    PEAK_SPACE,
    COUNT,
    BYTES,
    SPACE,
    STRINGS, /* of each mapping come two more, and the last is `ours` */
};
static const char *const strings[STRINGS] = {
    [NONE] = "",
    [ALLOC_OBJECTS] = "alloc_objects",
    [ALLOC_SPACE] = "alloc_space",
    [INUSE_OBJECTS] = "inuse_objects",
    [INUSE_SPACE] = "inuse_space",
    [PEAK_OBJECTS] = "peak_objects",
    [PEAK_SPACE] = "peak_space",
    [COUNT] = "count",
    [BYTES] = "bytes",
    [SPACE] = "space",
};
/*
 * Functions of the allocator where it is a part of the program, and what stands in front of it
 * in each program of C++ or Rust. pprof leaves them out, with what they call. The head names
 * this string and it is written last: a profile that was cut anywhere is none to any reader.
 */
static const char ours[] =
    "mym_.*|malloc_(closed|colder|counted_medium|missed|sample|span|span_colder)|"
    "aligned_colder|(new|nothrow)(_aligned)?_slow|[mr]allocx|calloc|"
    "(own_)?(malloc|realloc(array)?|aligned_alloc)|(posix_)?memalign|p?valloc|"
    "operator new.*|(own)?_Zn[wa]m.*|"
    "My(Malloc|Calloc|Realloc(Array|Aligned)?|AlignedAlloc|PosixMemalign|Memalign|"
    "P?[Vv]alloc)|"
    /* pprof has taken what stands between < and > from names before it looks */
    "(std::(__1::)?(__new_)?|__gnu_cxx::new_)allocator(_traits)?(<.*>)?::allocate|"
    "std::__1::__libcpp_allocate.*|"
    "alloc::alloc::.*|(<alloc::alloc::Global.*>)?::(alloc|grow)(_impl.*|ate.*|)|"
    "__r(ust|dl|g)_(re)?alloc.*";

static void put_type(struct mym_out *out, unsigned field, enum string type,
                     enum string unit)
{
    struct message message = {.used = 0};

    add_integer(&message, 1, type);
    add_integer(&message, 2, unit);
    put_message(out, field, &message);
}

static void put_head(struct mym_out *out, const struct mym_maps *maps)
{
    for (unsigned i = 0; i < STRINGS; i++)
        put_bytes(out, STRING, strings[i], strlen(strings[i]));
    for (unsigned when = 0; when < MYM_WHENS; when++) {
        put_type(out, SAMPLE_TYPE, ALLOC_OBJECTS + 2 * when, COUNT);
        put_type(out, SAMPLE_TYPE, ALLOC_SPACE + 2 * when, BYTES);
    }
    put_type(out, PERIOD_TYPE, SPACE, BYTES);
    put_number(out, PERIOD, MYM_RACY(mym_watch.period));
    put_number(out, TIME, mym_os_wall_ns());
    put_number(out, DROP_FRAMES, STRINGS + 2 * maps->count);
    put_number(out, DEFAULT_TYPE, INUSE_SPACE);
}

/* Bytes of the character of UTF-8 that is next, or 0: it is none. */
static size_t character(const uint8_t *at, size_t left)
{
    size_t length = at[0] < 0x80   ? 1
                    : at[0] < 0xc2 ? 0
                    : at[0] < 0xe0 ? 2
                    : at[0] < 0xf0 ? 3
                    : at[0] < 0xf5 ? 4
                                   : 0;

    if (length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* What could be shorter, halves of a pair, beyond the last one. */
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] >= 0x90))
        return 0;
    return length;
}

/*
 * A path: any bytes, where the format has UTF-8 alone, and readers that look refuse it all. What
 * is none is written as the kernel has a line's end in its list of mappings, \012. Twice: how
 * long it is stands in front.
 */
static void put_path(struct mym_out *out, const char *path, size_t length)
{
    const uint8_t *bytes = (const uint8_t *)path;
    uint8_t head[2 * MYM_VARINT_MOST];
    size_t used = mym_varint_put(head, STRING << 3 | 2), whole = 0;

    for (bool writes = false;; writes = true) {
        for (size_t i = 0, next; i < length; i += next == 0 ? 1 : next) {
            next = character(bytes + i, length - i);
            whole += next == 0 ? 4 : next;
            if (writes && next != 0)
                mym_out_put(out, path + i, next);
            else if (writes)
                mym_out_put(out,
                            (char[]){'\\', (char)('0' + (bytes[i] >> 6)),
                                     (char)('0' + (bytes[i] >> 3 & 7)),
                                     (char)('0' + (bytes[i] & 7))},
                            4);
        }
        if (writes)
            return;
        used += mym_varint_put(head + used, whole);
        mym_out_put(out, (char *)head, used);
    }
}

static void put_mappings(struct mym_out *out, const struct mym_maps *maps)
{
    for (unsigned i = 0; i < maps->count; i++) {
        const struct mym_map *map = &maps->map[i];
        struct message message = {.used = 0};

        add_integer(&message, 1, i + 1);
        add_integer(&message, 2, map->start);
        add_integer(&message, 3, map->end);
        add_integer(&message, 4, map->offset);
        add_integer(&message, 5, STRINGS + 2 * i);
        add_integer(&message, 6, STRINGS + 2 * i + 1);
        put_message(out, MAPPING, &message);
        put_path(out, map->path, map->path_length);
        put_bytes(out, STRING, map->build_id, strlen(map->build_id));
    }
}

static void put_stack(struct mym_out *out, const struct mym_stack *stack,
                      void *const *pc)
{
    struct message message = {.used = 0}, part = {.used = 0};
    struct mym_sums sums[MYM_WHENS];

    mym_profile_sums(stack, sums);
    for (unsigned i = 0; i < stack->depth; i++)
        add_varint(&part, caller(pc[i]));
    add_packed(&message, 1, &part);
    part.used = 0;
    for (unsigned when = 0; when < MYM_WHENS; when++) {
        add_varint(&part, objects_of(sums[when]));
        add_varint(&part, sums[when].bytes);
    }
    add_packed(&message, 2, &part);
    put_message(out, SAMPLE, &message);
}

/* The addresses that were written: each is a location, once. At most half full. */
struct seen {
    uintptr_t *pc;
    size_t room, count;
};

static uintptr_t *place_of(const struct seen *seen, uintptr_t pc)
{
    size_t i = pc * MYM_GOLDEN >> 20;
    uintptr_t *place;

    do
        place = &seen->pc[i++ & (seen->room - 1)];
    while (*place != 0 && *place != pc);
    return place;
}

static bool make_room(struct seen *seen)
{
    struct seen more = {NULL, seen->room == 0 ? 512 : 2 * seen->room, seen->count};

    if (2 * seen->count < seen->room)
        return true;
    more.pc = mym_os_map(more.room * sizeof *more.pc);
    if (more.pc == NULL)
        return false;
    for (size_t i = 0; i < seen->room; i++)
        if (seen->pc[i] != 0)
            *place_of(&more, seen->pc[i]) = seen->pc[i];
    if (seen->pc != NULL)
        mym_os_unmap(seen->pc, seen->room * sizeof *seen->pc);
    *seen = more;
    return true;
}

/* Whether it was not there; false, too, where there is no memory: out->error says so. */
static bool is_new(struct seen *seen, uintptr_t pc, struct mym_out *out)
{
    uintptr_t *place;

    if (!make_room(seen)) {
        out->error = ENOMEM;
        return false;
    }
    place = place_of(seen, pc);
    if (*place == pc)
        return false;
    *place = pc;
    seen->count++;
    return true;
}

static unsigned mapping_of(const struct mym_maps *maps, uintptr_t pc)
{
    unsigned low = 0, high = maps->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (pc < maps->map[middle].start)
            high = middle;
        else if (pc >= maps->map[middle].end)
            low = middle + 1;
        else
            return middle + 1;
    }
    return 0; /* made at run time, for the most part */
}

static void put_location(struct mym_out *out, const struct mym_maps *maps, uintptr_t pc)
{
    struct message message = {.used = 0};

    add_integer(&message, 1, pc);
    add_integer(&message, 2, mapping_of(maps, pc));
    add_integer(&message, 3, pc);
    put_message(out, LOCATION, &message);
}

static void write_proto(struct mym_out *out, const struct mym_maps *maps,
                        const struct mym_stack *newest)
{
    struct seen seen = {NULL, 0, 0};
    void *pc[MYM_STACK_DEPTH];

    put_head(out, maps);
    put_mappings(out, maps);
    for (const struct mym_stack *stack = newest; stack != NULL; stack = stack->older) {
        mym_stack_unpack(pc, stack->packed, stack->depth);
        put_stack(out, stack, pc);
        for (unsigned i = 0; i < stack->depth; i++)
            if (is_new(&seen, caller(pc[i]), out))
                put_location(out, maps, caller(pc[i]));
    }
    put_bytes(out, STRING, ours, strlen(ours));
    if (seen.pc != NULL)
        mym_os_unmap(seen.pc, seen.room * sizeof *seen.pc);
}

/* ---- the text: what is in use and, in brackets, was ever taken ---- */

static void put_sums(struct mym_out *out, const struct mym_sums *sums)
{
    mym_out_digits(out, objects_of(sums[MYM_NOW]), 10);
    mym_out_text(out, ": ");
    mym_out_digits(out, sums[MYM_NOW].bytes, 10);
    mym_out_text(out, " [");
    mym_out_digits(out, objects_of(sums[MYM_EVER]), 10);
    mym_out_text(out, ": ");
    mym_out_digits(out, sums[MYM_EVER].bytes, 10);
    mym_out_text(out, "] @");
}

/* As the kernel has it in its list. */
static void put_line(struct mym_out *out, const struct mym_map *map)
{
    mym_out_digits(out, map->start, 16);
    mym_out_text(out, "-");
    mym_out_digits(out, map->end, 16);
    mym_out_text(out, " r-xp ");
    mym_out_digits(out, map->offset, 16);
    mym_out_text(out, " 00:00 0 ");
    for (size_t i = 0; i < map->path_length; i++)
        if (map->path[i] == '\n')
            mym_out_text(out, "\\012");
        else
            mym_out_put(out, &map->path[i], 1);
    mym_out_text(out, "\n");
}

/* All lines but of code that an image's is written for. */
static void put_lines(struct mym_out *out, const struct mym_maps *maps)
{
    struct mym_line line;
    const char *from = maps->text, *at = from;

    for (; from != NULL && mym_maps_next(maps, &at, &line); from = at) {
        unsigned number = mapping_of(maps, line.start);

        if (line.rights[2] != 'x' || number == 0 || !maps->map[number - 1].is_image)
            mym_out_put(out, from, (size_t)(at - from));
    }
    for (unsigned i = 0; i < maps->count; i++)
        if (maps->map[i].is_image)
            put_line(out, &maps->map[i]);
}

static void write_text(struct mym_out *out, const struct mym_maps *maps,
                       const struct mym_stack *newest)
{
    struct mym_sums total[MYM_WHENS] = {{0, 0}}, sums[MYM_WHENS];
    void *pc[MYM_STACK_DEPTH];

    for (const struct mym_stack *stack = newest; stack != NULL; stack = stack->older) {
        mym_profile_sums(stack, sums);
        for (unsigned when = 0; when < MYM_WHENS; when++) {
            total[when].objects += sums[when].objects;
            total[when].bytes += sums[when].bytes;
        }
    }
    mym_out_text(out, "heap profile: ");
    put_sums(out, total);
    mym_out_text(out,
                 " heapprofile\n"); /* estimates already: readers are not to scale */
    for (const struct mym_stack *stack = newest; stack != NULL; stack = stack->older) {
        mym_profile_sums(stack, sums);
        put_sums(out, sums);
        mym_stack_unpack(pc, stack->packed, stack->depth);
        for (unsigned i = 0; i < stack->depth; i++) {
            mym_out_text(out, " 0x");
            mym_out_digits(out, (uintptr_t)pc[i], 16);
        }
        mym_out_text(out, "\n");
    }
    mym_out_text(out, "\nMAPPED_LIBRARIES:\n");
    put_lines(out, maps);
}

int mym_profile_write(int file, enum mym_profile_form form)
{
    struct work {
        struct mym_out out;
        struct mym_maps maps;
    } *work = mym_os_map(sizeof *work); /* a signal's stack is small */
    /* First: what these stacks are in is mapped, or an image. */
    const struct mym_stack *newest = mym_profile_stacks();
    int error;

    if (work == NULL)
        return ENOMEM;
    work->out.file = file;
    mym_maps_read(&work->maps);
    mym_images_join(&work->maps);
    if (form == MYM_PROFILE_TEXT)
        write_text(&work->out, &work->maps, newest);
    else
        write_proto(&work->out, &work->maps, newest);
    mym_out_flush(&work->out);
    error = work->out.error;
    mym_maps_drop(&work->maps);
    mym_os_unmap(work, sizeof *work);
    return error;
}
