/*
 * format.h - the bytes of a trace, shared by the recorder and the reader.
 *
 *   file    [ header | block | block | ... ]
 *   block   [ block header | ops, `used` bytes | unused, to `capacity` ]
 *
 * FORMAT.md describes every field and op; change it, and TRACE_VERSION, with this file.
 */
#ifndef TRACE_FORMAT_H
#define TRACE_FORMAT_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "traces are little-endian and are read in place"
#endif

#define TRACE_MAGIC       "\211mtrace\n" /* 8 bytes; not text, and CR/LF damage shows */
#define TRACE_BLOCK_MAGIC 0x4b4c424du    /* "MBLK" */

enum {
    TRACE_VERSION = 1,
    TRACE_BLOCK = 65536,  /* step of the file while it is being recorded */
    TRACE_OP_LIMIT = 128, /* no op, with a THREAD and TIME before it, is longer */
    TRACE_SIZE_BITS = 48, /* of an object: no address space holds more */
    TRACE_GRANULE = 8,    /* addresses are counted in units of this */
};

struct trace_header {
    char magic[8];
    uint32_t version;
    uint32_t first;   /* offset of the first block */
    uint64_t session; /* the same in every trace of one `record` */
    uint64_t length;  /* of the file; 0 until sealed */
    uint64_t blocks;  /* while recording: written so far */
    uint64_t events;  /* 0 until sealed */
    uint64_t missed;  /* calls that could not be recorded */
    uint64_t started; /* nanoseconds since the epoch, CLOCK_REALTIME */
    uint32_t pid;
    uint32_t stopped;  /* errno that ended the recording early, 0 if none did */
    uint32_t children; /* forked processes that were not recorded */
    uint32_t crc;      /* of this header with crc 0; 0 until sealed */
    char command[432];
};
_Static_assert(sizeof(struct trace_header) == 512, "the header is part of the format");

struct trace_block {
    uint32_t magic;
    uint32_t capacity;
    uint32_t used;
    uint32_t crc; /* of the used bytes; 0 until sealed */
};
_Static_assert(sizeof(struct trace_block) == 16, "the header is part of the format");

/*
 * An op starts with one byte: its kind, and in the upper half how many tickets have
 * passed since this thread's last op: 1 to 15 as 0 to 14, more as 15 and a varint.
 */
enum trace_kind {
    TRACE_END,     /* never written: zeroes are not ops */
    TRACE_THREAD,  /* the ops that follow are of another thread */
    TRACE_TIME,    /* the clock has moved */
    TRACE_MALLOC,  /* size, address */
    TRACE_CALLOC,  /* size, address */
    TRACE_ALIGNED, /* log2 of the alignment, size, address */
    TRACE_REALLOC, /* size, tickets until it returned, old address, new address */
    TRACE_FRESH,   /* realloc(NULL, size): size, address */
    TRACE_FREE,    /* address */
    TRACE_FAILED,  /* size */
    TRACE_KINDS,
};

/* Seven bits a byte, the lowest first; the top bit says that more follow. */
static inline uint8_t *varint_put(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* A signed difference with its sign in bit 0, so that small ones stay short. */
static inline uint64_t zigzag(uint64_t difference)
{
    return (difference << 1) ^ (uint64_t)((int64_t)difference >> 63);
}

static inline uint64_t unzigzag(uint64_t coded)
{
    return (coded >> 1) ^ (0 - (coded & 1));
}

#endif
