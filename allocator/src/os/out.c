/*
 * out.c - bytes on their way to a file, in pieces of a page.
 */
#include "os/out.h"

#include "base/check.h"

#include <errno.h> /* numbers only */
#include <string.h>

void mym_out_flush(struct mym_out *out)
{
    size_t done = 0;

    while (out->error == 0 && done < out->used) {
        long wrote = mym_write(out->file, out->bytes + done, out->used - done);

        if (wrote <= 0)
            out->error = wrote == 0 ? EIO : (int)-wrote;
        else
            done += (size_t)wrote;
    }
    out->used = 0;
}

void mym_out_put(struct mym_out *out, const char *bytes, size_t length)
{
    while (length > 0) {
        size_t part = sizeof out->bytes - out->used;

        part = part < length ? part : length;
        memcpy(out->bytes + out->used, bytes, part);
        out->used += part;
        bytes += part;
        length -= part;
        if (out->used == sizeof out->bytes)
            mym_out_flush(out);
    }
}

void mym_out_text(struct mym_out *out, const char *text)
{
    mym_out_put(out, text, strlen(text));
}

void mym_out_digits(struct mym_out *out, uint64_t value, unsigned base)
{
    char digits[20], *end = digits + sizeof digits, *at = mym_digits(end, value, base);

    mym_out_put(out, at, (size_t)(end - at));
}
