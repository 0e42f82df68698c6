/* actors.h - threads that make life hard for the workers. */
#ifndef STRESS_ACTORS_H
#define STRESS_ACTORS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct object;

/* Everything the run did, shown at its end; each enabled actor must have acted. */
struct counts {
    atomic_ullong operations, handed_over, threads, signals, migrations, trims,
        verified, forks;
};
extern struct counts counts;

/* Set once: actors and workers end at their next step. */
extern atomic_bool stress_over;

/* Thread ids of the workers, 0 while there is none. */
extern atomic_int worker_ids[];
extern int worker_count;

/* Send this thread a signal 10,000 times a second until it ends; each may migrate it. */
void storm_begin(void);
void storm_end(void);

/* Thread bodies; the argument is a seed. */
void *migrate_workers(void *seed);
void *trim_always(void *seed);
void *verify_beside(void *seed);
void *fork_always(void *seed);

#endif
