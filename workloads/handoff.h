/*
 * handoff.h - a bounded buffer of pointers between threads: one mutex, two conditions.
 *
 * Its memory is the harness's. Pointers are handed over in batches by its users, so that
 * the lock is a small part of the work. Wake-ups would still be a large part where the
 * two sides are equally fast and a batch is short: a lazy buffer lets a reader that found
 * it empty sleep until a quarter is filled, a writer that found it full until half is
 * empty. Nobody sleeps on what will never come: handoff_done wakes every reader.
 */
#ifndef HANDOFF_H
#define HANDOFF_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct handoff {
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
    size_t head, count, room; /* entries are entry[head .. head + count), modulo room */
    size_t wake_readers, wake_writers; /* at this count or above, or below */
    unsigned readers_asleep, writers_asleep;
    unsigned writers; /* that have not said handoff_done */
    bool lifo;
    void **entry;
};

void handoff_init(struct handoff *h, size_t room, bool lifo, bool lazy,
                  unsigned writers);

/* Waits while full. */
void handoff_put(struct handoff *h, void *item);

/* Waits while empty; NULL when empty and every writer is done. */
void *handoff_take(struct handoff *h);

/* One writer will put no more. */
void handoff_done(struct handoff *h);

#endif
