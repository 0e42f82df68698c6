/*
 * plan.h - a trace made ready to be run: nothing is parsed while time is taken.
 *
 *   lane      recorded threads that did not overlap, one after the other
 *   thread    chunks, in its own order
 *   chunk     up to CHUNK_STEPS steps whose tickets span less than half PLAN_WINDOW
 *   step      one call of the allocator, on the object in a slot
 *
 * An object that passes from one thread to another carries the order: the last step of
 * the one publishes, the first step of the other waits. A slot counts its hand-overs;
 * a step waits until that count has reached its own number.
 *
 * Without more, a producer would run far ahead of the consumer that held it back when
 * it was recorded, and memory would grow as it never did. So no lane starts a chunk that
 * is more than PLAN_WINDOW tickets ahead of the slowest lane; one that is waits until it
 * is no more than half of that ahead. This cannot deadlock: of all steps not yet done,
 * take the one that came first in the recording. What it waits for came earlier, so is
 * done; and every other lane is in a chunk that starts less than half a window before
 * it, so its own lane may start the chunk it is in.
 */
#ifndef TRACE_PLAN_H
#define TRACE_PLAN_H

#include "trace.h"

enum { CHUNK_STEPS = 64, PLAN_WINDOW = 4096 };

struct step {
    uint64_t size : TRACE_SIZE_BITS; /* of a FREE: the object's size */
    uint64_t kind : 4;
    uint64_t align : 6;
    uint64_t waits : 1;
    uint64_t publishes : 1;
    uint64_t was_empty : 1; /* a REALLOC of an object of 0 bytes */
    uint32_t slot;
    uint32_t turn; /* which hand-over of the slot to wait for */
};
_Static_assert(sizeof(struct step) == 16, "four steps a cache line");

struct chunk {
    uint64_t ticket; /* of its first step */
    uint32_t first;  /* step, counted from the thread's first */
    uint32_t steps;
};

struct plan_thread {
    struct step *steps;
    struct chunk *chunks;
    uint64_t step_count;
    uint64_t chunk_count;
    uint64_t first, last; /* tickets */
    uint32_t successor;   /* next thread of the lane, or NO_THREAD */
    uint32_t lane;
};

enum { NO_THREAD = UINT32_MAX };

struct plan {
    struct plan_thread *threads;
    uint32_t thread_count;
    uint32_t *lanes; /* the first thread of each */
    uint32_t lane_count;
    uint32_t slots;
    uint64_t steps, chunks;
    uint64_t peak_live; /* bytes, in the recorded order */
    struct step *all_steps;
    struct chunk *all_chunks;
};

/* The trace may be closed afterwards. */
void plan_make(struct plan *p, struct trace *t);
void plan_free(struct plan *p);

#endif
