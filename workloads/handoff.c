/*
 * handoff.c - the bounded buffer of handoff.h.
 *
 * Locking: lock guards every field.
 */
#include "handoff.h"
#include "memory.h"

void handoff_init(struct handoff *h, size_t room, bool lifo, bool lazy,
                  unsigned writers)
{
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->not_empty, NULL);
    pthread_cond_init(&h->not_full, NULL);
    h->head = h->count = 0;
    h->room = room;
    h->wake_readers = lazy ? (room + 3) / 4 : 1;
    h->wake_writers = lazy ? room / 2 : room - 1;
    h->readers_asleep = h->writers_asleep = 0;
    h->writers = writers;
    h->lifo = lifo;
    h->entry = memory_map(room * sizeof(*h->entry));
}

/* at < 2 * room: a division would be most of the time under the lock. */
static size_t wrapped(const struct handoff *h, size_t at)
{
    return at < h->room ? at : at - h->room;
}

void handoff_put(struct handoff *h, void *item)
{
    pthread_mutex_lock(&h->lock);
    while (h->count == h->room) {
        h->writers_asleep++;
        pthread_cond_wait(&h->not_full, &h->lock);
        h->writers_asleep--;
    }
    h->entry[wrapped(h, h->head + h->count++)] = item;
    bool wake = h->readers_asleep && h->count >= h->wake_readers;
    pthread_mutex_unlock(&h->lock);
    if (wake)
        pthread_cond_broadcast(&h->not_empty);
}

void *handoff_take(struct handoff *h)
{
    void *item = NULL;
    bool wake = false;

    pthread_mutex_lock(&h->lock);
    while (h->count == 0 && h->writers > 0) {
        h->readers_asleep++;
        pthread_cond_wait(&h->not_empty, &h->lock);
        h->readers_asleep--;
    }
    if (h->count > 0) {
        size_t at = h->lifo ? h->head + h->count - 1 : h->head;
        item = h->entry[wrapped(h, at)];
        h->count--;
        h->head = h->lifo ? h->head : wrapped(h, h->head + 1);
        wake = h->writers_asleep && h->count <= h->wake_writers;
    }
    pthread_mutex_unlock(&h->lock);
    if (wake)
        pthread_cond_broadcast(&h->not_full);
    return item;
}

void handoff_done(struct handoff *h)
{
    pthread_mutex_lock(&h->lock);
    h->writers--;
    pthread_mutex_unlock(&h->lock);
    pthread_cond_broadcast(&h->not_empty);
}
