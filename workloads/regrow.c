/*
 * regrow.c - vectors and strings that grow by realloc.
 *
 * Source: the growth of C++ vectors and string builders; the realloc workloads of
 * Evans, "A Scalable Concurrent malloc(3) Implementation for FreeBSD", BSDCan 2006.
 *
 * `vectors` vectors grow in turn from `start` to `max-size`, by doubling or by `step`
 * bytes, then all are freed: one cycle. Each new part is filled, as a program would, and
 * the words at the old end and at the beginning are checked after every call.
 */
#include "harness.h"

enum { GROWTH, VECTORS, START, STEP, MAX_SIZE, CYCLES, VERIFY };

static const struct option_spec options[] = {
    [GROWTH] = {"growth", OPTION_CHOICE, false, "double", 0, 0, "double append",
                "double the size, or add step bytes"},
    [VECTORS] = {"vectors", OPTION_COUNT, false, "8", 1, 1e6, NULL,
                 "that grow in turn"},
    [START] = {"start", OPTION_BYTES, false, "16", 16, 1 << 30, NULL, "first size"},
    [STEP] = {"step", OPTION_BYTES, false, "64", 16, 1 << 30, NULL,
              "growth when growth is append"},
    [MAX_SIZE] = {"max-size", OPTION_BYTES, false, "1M", 16, 8.0 * (1 << 30), NULL,
                  "no vector grows beyond this"},
    [CYCLES] = {"cycles", OPTION_COUNT, true, "400", 1, 1e9, NULL,
                "of growing and freeing"},
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"double", "", "8 vectors in turn, doubling from 16 B to 1 MiB"},
    {"append", "growth=append max-size=64K cycles=150",
     "8 strings in turn, 64 bytes at a time, to 64 KiB"},
    {"huge", "start=1M max-size=256M vectors=1 cycles=3",
     "one vector, doubling from 1 MiB to 256 MiB"},
};

struct vector {
    unsigned char *data;
    size_t size;
};

/* Words that must survive: at the start and at the end of what was filled. */
static uint64_t *word_at(struct vector *v, size_t offset)
{
    return (uint64_t *)(void *)(v->data + (offset & ~(size_t)7));
}

static void grow(struct run *run, struct vector *v, size_t size, enum verify verify)
{
    struct tally *tally = &run->tally[0];
    size_t old = v->size;
    unsigned char *data = realloc(v->data, size);

    if (!data)
        out_of_memory("realloc", size);
    v->data = data;
    v->size = size;
    tally_live(tally, (int64_t)(size - old));
    tally_ops(tally, 1);
    if (old && verify != VERIFY_NONE)
        tally_check(tally,
                    *word_at(v, 0) == 1 && *word_at(v, old - 8) == old &&
                        (verify != VERIFY_ALL ||
                         payload_is_filled(data, 8, (old & ~(size_t)7) - 8, 0x5a)));
    memset(data + (old ? (old - 8) & ~(size_t)7 : 0), 0x5a,
           size - (old ? (old - 8) & ~(size_t)7 : 0));
    *word_at(v, 0) = 1;
    *word_at(v, size - 8) = size;
}

static void run_regrow(struct run *run)
{
    size_t vectors = run_count(run, VECTORS), start = run_count(run, START);
    size_t step = run_count(run, STEP), most = run_count(run, MAX_SIZE);
    bool append = run_count(run, GROWTH) == 1;
    enum verify verify = (enum verify)run_count(run, VERIFY);
    struct vector *vector = memory_map(vectors * sizeof(*vector));

    run_begin(run, false);
    for (uint64_t cycle = 0; cycle < run_count(run, CYCLES); cycle++) {
        for (size_t size = start; size <= most; size = append ? size + step : size * 2)
            for (size_t i = 0; i < vectors; i++)
                grow(run, &vector[i], size, verify);
        run_mark(run);
        for (size_t i = 0; i < vectors; i++) {
            tally_live(&run->tally[0], -(int64_t)vector[i].size);
            free(vector[i].data);
            vector[i] = (struct vector){NULL, 0};
        }
    }
    run_end(run);
}

WORKLOAD(regrow) = {
    .name = "regrow",
    .summary = "vectors and strings that grow by realloc",
    .source = "after Evans, BSDCan 2006",
    .op = "realloc to a larger size",
    WORKLOAD_TABLES(options, variants),
    .run = run_regrow,
};
