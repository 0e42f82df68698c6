/*
 * seal.c - closing a recording.
 *
 * The sealed file is written beside the recording and renamed over it, so that there is
 * always one whole file at the path.
 */
#include "seal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool put(FILE *out, const void *bytes, size_t length)
{
    return fwrite(bytes, 1, length, out) == length;
}

/* Copy the used part of every block. t has been checked by trace_open. */
static bool copy_blocks(const struct trace *t, FILE *out, struct trace_header *h)
{
    size_t at = t->header.first;
    struct trace_block block;

    h->blocks = 0;
    for (uint64_t i = 0; i < t->header.blocks; i++) {
        const uint8_t *bytes = t->bytes + at + sizeof(block);

        memcpy(&block, t->bytes + at, sizeof(block));
        at += sizeof(block) + block.capacity;
        if (block.used == 0)
            continue;
        block.capacity = block.used;
        block.crc = trace_crc(0, bytes, block.used);
        if (!put(out, &block, sizeof(block)) || !put(out, bytes, block.used))
            return false;
        h->blocks++;
        h->length += sizeof(block) + block.used;
    }
    return true;
}

static bool write_sealed(const struct trace *t, FILE *out, struct trace_header *h)
{
    *h = t->header;
    h->first = sizeof(*h);
    h->length = sizeof(*h);
    h->events = t->events;
    h->crc = 0;
    if (!put(out, h, sizeof(*h)) || !copy_blocks(t, out, h))
        return false;
    h->crc = trace_crc(0, h, sizeof(*h));
    return fseek(out, 0, SEEK_SET) == 0 && put(out, h, sizeof(*h));
}

bool seal_trace(const char *path, struct trace_header *header, uint32_t *threads,
                char *error, size_t size)
{
    char beside[PATH_MAX + 8];
    struct trace t;
    FILE *out = NULL;
    bool done = false;

    if (!trace_open(&t, path)) {
        snprintf(error, size, "%s", t.error);
        trace_close(&t);
        return false;
    }
    *threads = t.threads;
    snprintf(beside, sizeof(beside), "%s.sealing", path);
    unlink(beside); /* of a seal that was killed, or another user's link */
    out = fopen(beside, "wxe");
    if (out) {
        done = write_sealed(&t, out, header);
        done = fclose(out) == 0 && done && rename(beside, path) == 0;
    }
    if (!done) {
        snprintf(error, size, "%s", strerror(errno));
        if (out)
            unlink(beside);
    }
    trace_close(&t);
    return done;
}
