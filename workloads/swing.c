/*
 * swing.c - the same buffers taken, written and freed, again and again.
 *
 * Source: the temporaries of array programs (numpy), the stages of image filters, the
 * batches of data loaders: memory that goes up and down by a fixed amount.
 *
 * A cycle takes `buffers` buffers, which hold `bytes` in all, writes every byte of each,
 * and frees them in the order taken. As many cycles as write `volume` bytes, three at
 * least. What an allocator gives back to the kernel between two cycles is faulted in again.
 */
#include "harness.h"

enum { BYTES, BUFFERS, VOLUME, VERIFY };

enum { LEAST_CYCLES = 3 };

static const struct option_spec options[] = {
    [BYTES] = {"bytes", OPTION_BYTES, false, "128M", 64, 1099511627776.0, NULL,
               "of all buffers together"},
    [BUFFERS] = {"buffers", OPTION_COUNT, false, "4", 1, 1e6, NULL, "of a cycle"},
    [VOLUME] = {"volume", OPTION_BYTES, true, "8G", 1, 1e15, NULL,
                "bytes written by all cycles, or three cycles"},
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"buffers", "", "4 buffers, 128 MiB in all"},
};

static void cycle(struct run *run, void **buffer, size_t buffers, size_t size)
{
    struct tally *tally = &run->tally[0];
    enum verify verify = (enum verify)run_count(run, VERIFY);

    for (size_t i = 0; i < buffers; i++)
        buffer[i] = take(tally, size, VERIFY_ALL); /* fills it */
    run_mark(run);
    for (size_t i = 0; i < buffers; i++) {
        if (verify == VERIFY_SAMPLE) /* few and large: each one's first word */
            tally_check(tally, payload_check(buffer[i], size, verify));
        give(tally, buffer[i], size, verify == VERIFY_ALL ? verify : VERIFY_NONE);
    }
    tally_ops(tally, buffers);
}

static void run_swing(struct run *run)
{
    size_t buffers = run_count(run, BUFFERS), size = run_count(run, BYTES) / buffers;
    void **buffer = memory_map(buffers * sizeof(*buffer));
    uint64_t cycles;

    size += size == 0;
    cycles = run_count(run, VOLUME) / (buffers * size);
    cycles = cycles < LEAST_CYCLES ? LEAST_CYCLES : cycles;
    run_begin(run, false);
    for (uint64_t i = 0; i < cycles; i++)
        cycle(run, buffer, buffers, size);
    run_end(run);
}

WORKLOAD(swing) = {
    .name = "swing",
    .summary = "the same buffers taken, written and freed again and again",
    .source = "temporaries of array programs, batches of data loaders",
    .op = "malloc, writing and free of one buffer",
    WORKLOAD_TABLES(options, variants),
    .run = run_swing,
};
