/*
 * bytes.h - a target reads its steps from a byte string; where that ends it reads zeros.
 *
 * Each target defines LLVMFuzzerTestOneInput. It is built with libFuzzer (fuzz.sh), or with
 * play.c, whose main plays the files of the corpus. At the end of an input a target gives
 * back all that it took, so that one input does not decide what the next one meets.
 */
#ifndef TEST_FUZZ_BYTES_H
#define TEST_FUZZ_BYTES_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *at;
    size_t left;
};

static inline unsigned read_byte(struct bytes *bytes)
{
    if (bytes->left == 0)
        return 0;
    bytes->left--;
    return *bytes->at++;
}

static inline unsigned read_word(struct bytes *bytes) /* of 16 bits */
{
    unsigned low = read_byte(bytes);

    return low | read_byte(bytes) << 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

#endif
