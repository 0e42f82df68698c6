/*
 * test_pieces.c - the parts under the workloads: sizes, latency, payload, hand-off.
 */
#include "check.h"
#include "handoff.h"
#include "latency.h"
#include "payload.h"
#include "sizes.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static void test_sizes_stay_in_range(void)
{
    static const struct {
        enum sizes_kind kind;
        uint32_t min, max, low, high;
    } c[] = {{SIZES_FIXED, 8, 64, 64, 64},     {SIZES_UNIFORM, 16, 512, 16, 512},
             {SIZES_LOG, 16, 4096, 16, 4096},  {SIZES_LOG, 8, 20, 8, 20},
             {SIZES_LOG, 100, 100, 100, 100},  {SIZES_LOG, 8, 1u << 30, 8, 1u << 30},
             {SIZES_FLEET, 16, 64, 8, 1048576}};
    struct sizes sizes;
    struct rng rng;

    for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        double sum = 0, mean;
        rng_seed(&rng, 1, i);
        sizes_init(&sizes, c[i].kind, c[i].min, c[i].max);
        mean = sizes_mean(&sizes);
        for (int n = 0; n < 1000000; n++) {
            uint32_t size = sizes_draw(&sizes, &rng);
            sum += size;
            if (size < c[i].low || size > c[i].high) {
                CHECK(false, "case %zu drew %u", i, size);
                break;
            }
        }
        CHECK(fabs(sum / 1e6 / mean - 1) < 0.1, "case %zu: mean %g, drew %g", i, mean,
              sum / 1e6);
    }
}

/* Half of a log-uniform draw lies below the geometric mean. */
static void test_log_is_log_uniform(void)
{
    struct sizes sizes;
    struct rng rng;
    int below = 0;

    rng_seed(&rng, 2, 0);
    sizes_init(&sizes, SIZES_LOG, 16, 65536);
    for (int n = 0; n < 1000000; n++)
        below += sizes_draw(&sizes, &rng) < 1024;
    CHECK(abs(below - 500000) < 10000, "%d of 1000000 below the geometric mean", below);
}

/* The published shares that sizes.c claims for "fleet". */
static void test_fleet_has_the_published_shares(void)
{
    struct sizes sizes;
    struct rng rng;
    enum { COUNT = 30000000 };
    const double count = COUNT;
    double small = 0, bytes = 0, small_bytes = 0, above_8k = 0, above_256k = 0;

    rng_seed(&rng, 3, 0);
    sizes_init(&sizes, SIZES_FLEET, 0, 0);
    for (int n = 0; n < COUNT; n++) {
        double size = sizes_draw(&sizes, &rng);
        bytes += size;
        small += size < 1024;
        small_bytes += size < 1024 ? size : 0;
        above_8k += size > 8192 ? size : 0;
        above_256k += size > 262144 ? size : 0;
    }
    CHECK(fabs(small / count - 0.98) < 0.005, "%.3f of the objects below 1 KiB",
          small / count);
    CHECK(fabs(small_bytes / bytes - 0.28) < 0.03, "they hold %.3f of the bytes",
          small_bytes / bytes);
    CHECK(fabs(above_8k / bytes - 0.50) < 0.06, "above 8 KiB: %.3f", above_8k / bytes);
    CHECK(fabs(above_256k / bytes - 0.20) < 0.05, "above 256 KiB: %.3f",
          above_256k / bytes);
}

static void test_latency_buckets(void)
{
    static struct latency h, other;
    unsigned last = 0;

    for (uint64_t ticks = 0; ticks < 100000; ticks++) {
        unsigned bucket = latency_bucket(ticks);
        CHECK(bucket == last || bucket == last + 1, "%u after %u", bucket, last);
        last = bucket;
    }
    CHECK(latency_bucket(UINT64_MAX) < LATENCY_BUCKETS, "%u",
          latency_bucket(UINT64_MAX));
    for (uint64_t ticks = 1; ticks <= 100000; ticks++)
        latency_add(ticks % 2 ? &h : &other, ticks);
    latency_merge(&h, &other);
    CHECK(h.count == 100000 && h.max == 100000, "%llu %llu",
          (unsigned long long)h.count, (unsigned long long)h.max);
    for (int percent = 1; percent < 100; percent++) {
        double is = latency_percentile(&h, percent / 100.0);
        double should = latency_ns((uint64_t)percent * 1000);
        CHECK(fabs(is / should - 1) < 1.0 / 32, "p%d is %g, should be %g", percent, is,
              should);
    }
    CHECK(latency_percentile(&h, 1) <= latency_max(&h), "%g",
          latency_percentile(&h, 1));
}

/* Every byte matters to the full check, the first word to the sampled one. */
static void test_payload_notices_damage(void)
{
    for (size_t size = 1; size <= 64; size++) {
        /* volatile: gcc 14 would see sizes of 1 to 7 and warn of a write that these do not get */
        unsigned char *volatile taken = malloc(size), *object = taken;
        for (size_t at = 0; at < size; at++) {
            payload_write(object, size, VERIFY_ALL);
            CHECK(payload_check(object, size, VERIFY_ALL), "intact %zu", size);
            CHECK(!payload_check(object, size, VERIFY_ALL), "checked twice, %zu", size);
            payload_write(object, size, VERIFY_ALL);
            object[at] ^= 0x10;
            /* objects below 8 bytes are marked in the first byte, filled in the others */
            CHECK(!payload_check(object, size, VERIFY_ALL), "byte %zu of %zu", at,
                  size);
        }
        payload_write(object, size, VERIFY_SAMPLE);
        CHECK(payload_check(object, size, VERIFY_SAMPLE), "intact %zu", size);
        payload_write(object, size, VERIFY_SAMPLE);
        object[0] ^= 1;
        CHECK(!payload_check(object, size, VERIFY_SAMPLE), "first byte of %zu", size);
        free(object);
    }
}

enum { ITEMS = 20000, WRITERS = 3, READERS = 3 };

static struct {
    struct handoff handoff;
    atomic_int seen[WRITERS * ITEMS + 1];
    atomic_int next_writer;
} mail;

static void *write_items(void *unused)
{
    uintptr_t first = (uintptr_t)atomic_fetch_add(&mail.next_writer, 1) * ITEMS;

    (void)unused;
    for (uintptr_t i = 1; i <= ITEMS; i++)
        handoff_put(&mail.handoff, (void *)(first + i));
    handoff_done(&mail.handoff);
    return NULL;
}

static void *read_items(void *unused)
{
    void *item;

    (void)unused;
    while ((item = handoff_take(&mail.handoff)))
        atomic_fetch_add(&mail.seen[(uintptr_t)item], 1);
    return NULL;
}

/* Each item arrives exactly once, and everyone comes home, whatever the room. */
static void test_handoff_delivers_once(size_t room, bool lifo, bool lazy)
{
    pthread_t thread[WRITERS + READERS];

    handoff_init(&mail.handoff, room, lifo, lazy, WRITERS);
    atomic_store(&mail.next_writer, 0);
    for (int i = 0; i <= WRITERS * ITEMS; i++)
        atomic_store(&mail.seen[i], 0);
    for (int i = 0; i < WRITERS + READERS; i++)
        pthread_create(&thread[i], NULL, i < WRITERS ? write_items : read_items, NULL);
    for (int i = 0; i < WRITERS + READERS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 1; i <= WRITERS * ITEMS; i++)
        if (mail.seen[i] != 1) {
            CHECK(false, "room %zu: item %d came %d times", room, i, mail.seen[i]);
            return;
        }
}

static void test_handoff_order(void)
{
    struct handoff h;

    for (int lifo = 0; lifo < 2; lifo++) {
        handoff_init(&h, 3, lifo, false, 1);
        for (uintptr_t round = 0; round < 5; round++) {
            for (uintptr_t i = 1; i <= 3; i++)
                handoff_put(&h, (void *)i);
            for (uintptr_t i = 1; i <= 3; i++) {
                uintptr_t item = (uintptr_t)handoff_take(&h);
                CHECK(item == (lifo ? 4 - i : i), "lifo %d: %zu at %zu", lifo, item, i);
            }
        }
        handoff_done(&h);
        CHECK(handoff_take(&h) == NULL, "empty and done");
    }
}

int main(void)
{
    test_sizes_stay_in_range();
    test_log_is_log_uniform();
    test_fleet_has_the_published_shares();
    test_latency_buckets();
    test_payload_notices_damage();
    test_handoff_order();
    for (size_t room = 1; room <= 64; room = room * 3 + 1)
        for (int kind = 0; kind < 4; kind++)
            test_handoff_delivers_once(room, kind & 1, kind & 2);
    return failures != 0;
}
