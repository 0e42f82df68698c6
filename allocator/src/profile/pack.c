/*
 * pack.c - stacks as they are kept: each return address as its distance from the one before.
 *
 * Most of a stack lies in the same file as what it calls: three bytes a frame instead of
 * eight, and cc1 has sixty frames in each.
 */
#include "profile/profile.h"

size_t mym_varint_put(uint8_t *to, uint64_t value)
{
    size_t used = 0;

    for (; value >= 128; value >>= 7)
        to[used++] = (uint8_t)(value | 128);
    to[used++] = (uint8_t)value;
    return used;
}

static size_t get_varint(const uint8_t *from, uint64_t *value)
{
    size_t used = 0;

    *value = 0;
    do
        *value |= (uint64_t)(from[used] & 127) << 7 * used;
    while (from[used++] >= 128);
    return used;
}

size_t mym_stack_pack(uint8_t packed[MYM_PACKED_MOST], void *const *pc, unsigned depth)
{
    uint64_t last = 0;
    size_t used = 0;

    for (unsigned i = 0; i < depth; i++) {
        uint64_t step = (uintptr_t)pc[i] - last;

        /* The sign goes to the end: a small step back is a small number too. */
        used += mym_varint_put(packed + used, step << 1 ^ (0 - (step >> 63)));
        last = (uintptr_t)pc[i];
    }
    return used;
}

size_t mym_stack_unpack(void **pc, const uint8_t *packed, unsigned depth)
{
    uint64_t last = 0, step;
    size_t used = 0;

    for (unsigned i = 0; i < depth; i++) {
        used += get_varint(packed + used, &step);
        last += step >> 1 ^ (0 - (step & 1));
        pc[i] = (void *)(uintptr_t)last; /* NOLINT */
    }
    return used;
}
