/*
 * trace.c - opening a trace and merging its threads.
 *
 * trace_open decodes the whole file once, with every bound checked, and notes where
 * each thread's segments lie. After that the events are merged with a heap of threads.
 */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static __attribute__((format(printf, 2, 3))) bool refuse(struct trace *t,
                                                         const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(t->error, sizeof(t->error), format, args);
    va_end(args);
    return false;
}

/* CRC-32 as in zlib and PNG. */
uint32_t trace_crc(uint32_t crc, const void *bytes, size_t length)
{
    static uint32_t table[256];
    const uint8_t *at = bytes;

    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;

            for (int bit = 0; bit < 8; bit++)
                c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
            table[i] = c;
        }
    crc = ~crc;
    while (length--)
        crc = crc >> 8 ^ table[(crc ^ *at++) & 0xff];
    return ~crc;
}

bool trace_is_sealed(const struct trace *t)
{
    return t->header.length != 0;
}

/* ---- decoding ---- */

/* NULL when the varint does not end before `end` or does not fit. */
static const uint8_t *varint_get(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte;

        if (at == end)
            return NULL;
        byte = *at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return shift == 63 && byte > 1 ? NULL : at;
    }
    return NULL;
}

struct op {
    unsigned kind;
    uint8_t align;
    uint64_t passed; /* tickets since the op before */
    uint64_t a, b, c, d;
};

/* The fields after the first byte, by kind, as in format.h. */
static const uint8_t *get_op(const uint8_t *at, const uint8_t *end, struct op *op)
{
    static const uint8_t fields[TRACE_KINDS] = {
        [TRACE_THREAD] = 3, [TRACE_TIME] = 1,    [TRACE_MALLOC] = 2,
        [TRACE_CALLOC] = 2, [TRACE_ALIGNED] = 2, [TRACE_REALLOC] = 4,
        [TRACE_FRESH] = 2,  [TRACE_FREE] = 1,    [TRACE_FAILED] = 1,
    };
    uint64_t *const field[] = {&op->a, &op->b, &op->c, &op->d};
    uint8_t first = *at++;

    op->kind = first & 15;
    if (op->kind == TRACE_END || op->kind >= TRACE_KINDS)
        return NULL;
    op->passed = (first >> 4) + 1u;
    if (first >> 4 == 15) {
        at = varint_get(at, end, &op->passed);
        if (!at || op->passed > UINT64_MAX / 2)
            return NULL;
        op->passed += 16;
    }
    if (op->kind == TRACE_ALIGNED) {
        if (at == end || *at > 63)
            return NULL;
        op->align = *at++;
    }
    for (unsigned i = 0; at && i < fields[op->kind]; i++)
        at = varint_get(at, end, field[i]);
    return at;
}

/* ---- opening ---- */

static struct segment *segment_of(struct trace *t, size_t i)
{
    return (struct segment *)t->segments.base + i;
}

/* Add to a ticket or time; false when that would pass the largest one allowed. */
static bool advance(uint64_t *value, uint64_t by)
{
    if (by > UINT64_MAX / 4 || *value > UINT64_MAX / 4)
        return false;
    *value += by;
    return true;
}

/* Decode a block: all its ops must be whole and every op belong to a thread. */
static bool scan_block(struct trace *t, const uint8_t *at, const uint8_t *end)
{
    struct segment *s = NULL;
    uint64_t ticket = 0, time = 0;
    struct op op;

    while (at < end) {
        const uint8_t *start = at;

        at = get_op(at, end, &op);
        if (!at)
            return false;
        if (op.kind == TRACE_THREAD) {
            if (op.a > UINT32_MAX - 1 || op.b > UINT64_MAX / 4)
                return false;
            if (s)
                s->end = start;
            space_grow(&t->segments, t->segment_count + 1, sizeof(*s));
            s = segment_of(t, t->segment_count++);
            *s = (struct segment){at, end, op.b, op.b, op.c, (uint32_t)op.a};
            ticket = op.b;
            time = op.c;
            continue;
        }
        if (!s)
            return false;
        if (op.kind == TRACE_TIME) {
            if (!advance(&time, op.a))
                return false;
            continue;
        }
        if (!advance(&ticket, op.passed))
            return false;
        if (op.kind != TRACE_FREE && op.kind != TRACE_FAILED && op.a >> TRACE_SIZE_BITS)
            return false;
        if (op.kind == TRACE_REALLOC && (op.b == 0 || !advance(&ticket, op.b)))
            return false;
        s->last = ticket;
        t->events++;
    }
    return true;
}

static bool scan_blocks(struct trace *t)
{
    uint64_t blocks = 0, at = t->header.first;
    struct trace_block block;

    while (at < t->length && blocks < t->header.blocks) {
        const uint8_t *bytes = t->bytes + at + sizeof(block);

        if (t->length - at < sizeof(block))
            break;
        memcpy(&block, t->bytes + at, sizeof(block));
        if (block.magic != TRACE_BLOCK_MAGIC || block.used > block.capacity)
            return refuse(t, "damaged: block %lu has no valid header",
                          (unsigned long)blocks);
        if (block.capacity > t->length - at - sizeof(block))
            break;
        if (trace_is_sealed(t) && trace_crc(0, bytes, block.used) != block.crc)
            return refuse(t, "damaged: the checksum of block %lu does not match",
                          (unsigned long)blocks);
        if (!scan_block(t, bytes, bytes + block.used))
            return refuse(t, "damaged: block %lu does not decode",
                          (unsigned long)blocks);
        blocks++;
        at += sizeof(block) + block.capacity;
    }
    if (blocks < t->header.blocks)
        return refuse(t, "truncated: %lu of %lu blocks are there",
                      (unsigned long)blocks, (unsigned long)t->header.blocks);
    if (trace_is_sealed(t) && at != t->length)
        return refuse(t, "damaged: %lu bytes after the last block",
                      (unsigned long)(t->length - at));
    return true;
}

static bool check_header(struct trace *t)
{
    struct trace_header *h = &t->header;
    uint32_t crc;

    if (t->length == 0)
        return refuse(t, "empty file, not a trace");
    if (t->length < 12 || memcmp(t->bytes, TRACE_MAGIC, sizeof(h->magic)) != 0)
        return refuse(t, "not a trace of mymalloc-trace record");
    memcpy(&h->version, t->bytes + 8, sizeof(h->version));
    if (h->version != TRACE_VERSION)
        return refuse(t, "format version %u; this program reads version %d", h->version,
                      TRACE_VERSION);
    if (t->length < sizeof(*h))
        return refuse(t, "truncated: %zu bytes, shorter than a header", t->length);
    memcpy(h, t->bytes, sizeof(*h));
    h->command[sizeof(h->command) - 1] = 0;
    if (trace_is_sealed(t)) {
        crc = h->crc;
        h->crc = 0;
        if (trace_crc(0, h, sizeof(*h)) != crc)
            return refuse(t, "damaged: the checksum of the header does not match");
        if (t->length < h->length)
            return refuse(t, "truncated: %zu of %lu bytes are there", t->length,
                          (unsigned long)h->length);
    }
    if (h->first < sizeof(*h) || h->first > t->length)
        return refuse(t, "damaged: the first block lies outside the file");
    /* The recorder writes none that a terminal obeys; a file of others may have any. */
    for (char *at = h->command; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    return true;
}

static int compare_segments(const void *left, const void *right)
{
    const struct segment *a = left, *b = right;

    if (a->thread != b->thread)
        return a->thread < b->thread ? -1 : 1;
    if (a->ticket != b->ticket)
        return a->ticket < b->ticket ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Sort segments into threads and count those from 0 without gaps. */
static bool sort_threads(struct trace *t)
{
    uint32_t recorded = 0;

    if (t->segment_count) /* qsort takes no NULL */
        qsort(t->segments.base, t->segment_count, sizeof(struct segment),
              compare_segments);
    for (size_t i = 0; i < t->segment_count; i++) {
        struct segment *s = segment_of(t, i);

        if (i == 0 || s->thread != recorded)
            t->threads++;
        else if (s->ticket < s[-1].last)
            return refuse(t, "damaged: thread %u goes back in time", recorded);
        recorded = s->thread;
        s->thread = t->threads - 1;
    }
    t->cursors = space_take(t->threads * sizeof(*t->cursors));
    t->heap = space_take(t->threads * sizeof(*t->heap));
    trace_rewind(t);
    return true;
}

bool trace_open_bytes(struct trace *t, const uint8_t *bytes, size_t length)
{
    *t = (struct trace){.bytes = bytes, .length = length};
    if (!check_header(t) || !scan_blocks(t))
        return false;
    if (trace_is_sealed(t) && t->events != t->header.events)
        return refuse(t, "damaged: %lu events, the header says %lu",
                      (unsigned long)t->events, (unsigned long)t->header.events);
    return sort_threads(t);
}

bool trace_open(struct trace *t, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused, too */
    void *bytes = NULL;
    struct stat s;

    *t = (struct trace){0};
    if (fd < 0 || fstat(fd, &s) != 0) {
        refuse(t, "%s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (!S_ISREG(s.st_mode)) {
        close(fd);
        return refuse(t, "not a regular file");
    }
    if (s.st_size)
        bytes = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        return refuse(t, "cannot be mapped: %s", strerror(errno));
    if (!trace_open_bytes(t, bytes, (size_t)s.st_size))
        return false;
    t->is_mapped = true;
    return true;
}

void trace_close(struct trace *t)
{
    space_give(t->cursors, t->threads * sizeof(*t->cursors));
    space_give(t->heap, t->threads * sizeof(*t->heap));
    space_free(&t->segments);
    if (t->is_mapped)
        munmap((void *)(uintptr_t)t->bytes, t->length);
    *t = (struct trace){0};
}

/* ---- merging ---- */

static uint64_t next_address(struct cursor *c, uint64_t coded)
{
    c->address += unzigzag(coded);
    return c->address;
}

static void fill_event(struct cursor *c, const struct op *op)
{
    struct event *e = &c->ready;

    c->ticket += op->passed;
    *e = (struct event){.kind = (enum trace_kind)op->kind,
                        .thread = c->segment->thread,
                        .ticket = c->ticket,
                        .time = c->time};
    switch (op->kind) {
    case TRACE_FREE:
        e->address = next_address(c, op->a);
        break;
    case TRACE_REALLOC:
        e->size = op->a;
        e->address = next_address(c, op->c);
        c->returned = c->ticket + op->b;
        next_address(c, op->d);
        break;
    case TRACE_FAILED:
        e->size = op->a;
        break;
    default:
        e->size = op->a;
        e->align = op->align;
        e->address = next_address(c, op->b);
    }
}

/* Bring the thread's next event into c->ready; false at its end. */
static bool step_cursor(struct cursor *c)
{
    struct op op = {0};

    if (c->returned) {
        c->ticket = c->ready.ticket = c->returned;
        c->ready.is_return = true;
        c->ready.address = c->address;
        c->returned = 0;
        return true;
    }
    for (;;) {
        while (c->at == c->segment->end) {
            if (c->segment == c->last)
                return false;
            c->segment++;
            c->at = c->segment->at;
            c->ticket = c->segment->ticket;
            c->time = c->segment->time;
            c->address = 0;
        }
        c->at = get_op(c->at, c->segment->end, &op);
        if (!c->at) /* trace_open has seen it decode: the file has changed since */
            return false;
        if (op.kind != TRACE_TIME)
            break;
        c->time += op.a;
    }
    fill_event(c, &op);
    return true;
}

static bool is_before(const struct trace *t, uint32_t a, uint32_t b)
{
    const struct event *x = &t->cursors[a].ready, *y = &t->cursors[b].ready;

    return x->ticket != y->ticket ? x->ticket < y->ticket : a < b;
}

static void sift_down(struct trace *t, uint32_t at)
{
    for (;;) {
        uint32_t child = 2 * at + 1, moved;

        if (child >= t->heap_count)
            return;
        if (child + 1 < t->heap_count &&
            is_before(t, t->heap[child + 1], t->heap[child]))
            child++;
        if (!is_before(t, t->heap[child], t->heap[at]))
            return;
        moved = t->heap[at];
        t->heap[at] = t->heap[child];
        t->heap[child] = moved;
        at = child;
    }
}

void trace_rewind(struct trace *t)
{
    t->heap_count = 0;
    for (size_t i = 0; i < t->segment_count; i++) {
        const struct segment *s = segment_of(t, i);
        struct cursor *c = &t->cursors[s->thread];

        if (i == 0 || s[-1].thread != s->thread)
            *c = (struct cursor){
                .segment = s, .at = s->at, .ticket = s->ticket, .time = s->time};
        c->last = s;
    }
    for (uint32_t i = 0; i < t->threads; i++)
        if (step_cursor(&t->cursors[i]))
            t->heap[t->heap_count++] = i;
    for (uint32_t i = t->heap_count / 2; i-- > 0;)
        sift_down(t, i);
}

bool trace_next(struct trace *t, struct event *e)
{
    struct cursor *c;

    if (t->heap_count == 0)
        return false;
    c = &t->cursors[t->heap[0]];
    *e = c->ready;
    if (!step_cursor(c))
        t->heap[0] = t->heap[--t->heap_count];
    sift_down(t, 0);
    return true;
}
