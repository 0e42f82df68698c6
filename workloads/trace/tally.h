/*
 * tally.h - what the summary of a trace counts.
 */
#ifndef TRACE_TALLY_H
#define TRACE_TALLY_H

#include "trace.h"

enum { SIZE_CLASSES = 49, LIFE_CLASSES = 65, CURVE = 64, GROWTHS = 6 };

struct thread_tally {
    uint64_t taken, freed, remote;
    uint64_t bytes;       /* taken */
    uint64_t first, last; /* microseconds */
};

struct tally {
    uint64_t calls[TRACE_KINDS];
    uint64_t size_count[SIZE_CLASSES],
        size_bytes[SIZE_CLASSES]; /* class: bits of size-1 */
    uint64_t aligned[64];         /* by log2 */
    uint64_t life_calls[LIFE_CLASSES], life_bytes[LIFE_CLASSES]; /* class: bits of it */
    uint64_t freed, remote;
    uint64_t left, left_bytes; /* live at the end */
    uint64_t taken, taken_bytes;
    uint64_t peak_bytes, peak_objects, peak_call;
    uint64_t curve[CURVE]; /* most live bytes in each part of the calls */
    uint64_t curve_time[CURVE];
    uint64_t in_place, moved, moved_bytes, grown, shrunk;
    uint64_t growth[GROWTHS]; /* of grown, by factor: see tally_growths */
    uint64_t unknown, implied;
    uint64_t microseconds;
    struct thread_tally *threads;
};

/* Upper ends of the factors new size / old size; the last class has none. */
extern const double tally_growths[GROWTHS - 1];

void tally_make(struct tally *tally, struct trace *t);
void tally_free(struct tally *tally, const struct trace *t);

#endif
