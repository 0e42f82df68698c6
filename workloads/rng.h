/*
 * rng.h - a cheap generator: a counter, mixed by one wide product (wyrand, Wang Yi, 2019).
 *
 * From one number to the next is a single addition, so the processor computes numbers
 * while it waits for the allocator; of xorshift64* it had to wait for each (3 ns, where
 * a pair of malloc and free takes 3.3). Seeded by splitmix64 so that seeds 1, 2, 3 give
 * unrelated streams.
 */
#ifndef RNG_H
#define RNG_H

#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline void rng_seed(struct rng *r, uint64_t seed, uint64_t stream)
{
    uint64_t z = seed + (stream + 1) * 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    r->state = z ^ z >> 31;
}

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t x = r->state += 0xa0761d6478bd642fu;
    unsigned __int128 product = (unsigned __int128)x * (x ^ 0xe7037ed1a0b428dbu);

    return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

/* In [0, n), by multiplication: a division would cost more than some allocators. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

#endif
