/*
 * trace.h - reading a trace: its events in the order in which they happened.
 *
 * trace_open checks everything that can be wrong with a file; the events of an opened
 * trace decode without further checks. Two readers sit on top of each other:
 *
 *   trace_next   events as recorded: addresses, merged over threads by ticket
 *   life_next    what they mean: objects, each with a number (slot) while it lives
 */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

#include "format.h"
#include "space.h"

#include <stdbool.h>
#include <stddef.h>

/* A stretch of one thread's ops within a block. */
struct segment {
    const uint8_t *at, *end;
    uint64_t ticket, last; /* of the THREAD op; of the segment's last op */
    uint64_t time;
    uint32_t thread;
};

struct event {
    enum trace_kind kind;
    bool is_return; /* second half of a REALLOC: it returned the new address */
    uint8_t align;  /* log2 */
    uint32_t thread;
    uint64_t ticket;
    uint64_t time; /* microseconds since the recording began */
    uint64_t size;
    uint64_t address;
};

/* Where the reader is in one thread. */
struct cursor {
    const struct segment *segment, *last;
    const uint8_t *at;
    uint64_t ticket, address, time;
    uint64_t returned; /* of a REALLOC, 0 if none is pending */
    struct event ready;
};

struct trace {
    const uint8_t *bytes;
    size_t length;
    bool is_mapped; /* by trace_open */
    struct trace_header header;
    struct space segments;
    size_t segment_count;
    uint32_t threads;
    uint64_t events;
    struct cursor *cursors; /* one per thread */
    uint32_t *heap;         /* threads, the one with the lowest ticket first */
    uint32_t heap_count;
    char error[256];
};

/* False: `error` says in one line what is wrong with the file. */
bool trace_open(struct trace *t, const char *path);
/* The same of bytes that stay where they are; they are not unmapped by trace_close. */
bool trace_open_bytes(struct trace *t, const uint8_t *bytes, size_t length);
void trace_close(struct trace *t);

bool trace_is_sealed(const struct trace *t);
uint32_t trace_crc(uint32_t crc, const void *bytes, size_t length);

void trace_rewind(struct trace *t);
bool trace_next(struct trace *t, struct event *e);

/* ---- objects ---- */

enum { NO_SLOT = UINT32_MAX };

struct act {
    enum trace_kind kind; /* MALLOC CALLOC ALIGNED FRESH REALLOC FREE FAILED */
    bool is_implied;      /* a FREE not recorded: its address was given out again */
    bool is_unknown;      /* a FREE of an object not recorded; slot is NO_SLOT */
    bool has_moved;       /* REALLOC: to another address */
    uint8_t align;
    uint32_t thread;
    uint32_t slot;
    uint64_t ticket, time;
    uint64_t size;
};

/*
 * A slot freed by a thread is used again only by that thread, so that within a slot
 * every change of owner is one from the thread that last had it.
 */
struct life {
    struct trace *trace;
    struct space keys, values; /* address -> slot, open addressing */
    size_t mask, used;
    struct space links; /* free slots, chained */
    uint32_t *free_slots;
    uint32_t *moving; /* per thread: the slot of the REALLOC under way */
    uint64_t *from;   /* and the address it left */
    uint32_t slots;
    bool has_pending;
    struct act pending;
};

void life_open(struct life *l, struct trace *t);
bool life_next(struct life *l, struct act *a);
void life_close(struct life *l);

#endif
