/*
 * payload.h - write into objects, and notice when what was written has gone.
 *
 * The cheap form marks the first word with a function of the object's own address: an
 * object handed out twice or overlapping another loses its mark. Checking clears the
 * mark, so that a second owner of the same object is noticed too. The full form fills
 * and checks every byte.
 *
 * Reading an object before freeing it moves its cache line to the freeing thread, which
 * is work of its own: throughput cells therefore check one object in PAYLOAD_EVERY.
 */
#ifndef PAYLOAD_H
#define PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum verify { VERIFY_NONE, VERIFY_SAMPLE, VERIFY_ALL };
#define VERIFY_CHOICES "none sample all"
#define VERIFY_HELP    "payload checked before free: 1 object in 256, or every byte of all"

enum { PAYLOAD_EVERY = 256 };

static inline uint64_t payload_mark(const void *object, size_t size)
{
    return ((uintptr_t)object ^ (uint64_t)size << 48) * 0x9e3779b97f4a7c15u | 1;
}

static inline void payload_write(void *object, size_t size, enum verify verify)
{
    uint64_t mark = payload_mark(object, size);

    if (__builtin_expect(verify == VERIFY_ALL, 0))
        memset(object, (int)(mark >> 56), size);
    if (size >= sizeof(mark))
        memcpy(object, &mark, sizeof(mark));
    else if (size)
        *(volatile unsigned char *)object = (unsigned char)mark;
}

/* One byte in every further page, so that RSS can be held against the size asked for. */
static inline void payload_touch(void *object, size_t size, enum verify verify)
{
    if (verify != VERIFY_ALL) /* which has filled it */
        for (size_t at = 4096; at < size; at += 4096)
            ((volatile unsigned char *)object)[at] = 1;
}

/* True when every byte after the first `from` holds `fill`. */
static inline bool payload_is_filled(const unsigned char *object, size_t from,
                                     size_t size, unsigned char fill)
{
    size_t wrong = 0;

    for (size_t i = from; i < size; i++)
        wrong |= object[i] ^ fill;
    return wrong == 0;
}

/* True when the payload is as it was written; clears the mark. */
static inline bool payload_check(void *object, size_t size, enum verify verify)
{
    uint64_t mark = payload_mark(object, size), found = 0;
    size_t head = size < sizeof(mark) ? (size ? 1 : 0) : sizeof(mark);
    bool good;

    memcpy(&found, object, head);
    good = found == (head == 1 ? (mark & 0xff) : head ? mark : 0);
    memset(object, 0, head);
    if (verify == VERIFY_ALL)
        good &= payload_is_filled(object, head, size, (unsigned char)(mark >> 56));
    return good;
}

#endif
