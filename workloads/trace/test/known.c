/*
 * known.c - a program whose allocations are known to the last one.
 *
 * THREADS threads each make ROUNDS of every kind of call, with sizes that nothing else
 * in the process asks for (see trace_test.py), free half of what they made and pass the
 * other half to the next thread, which frees it. Prints a checksum of the contents, so
 * that a recorder that changed anything would show.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 2000, KINDS = 6, BASE = 3001 };

static void *passed[THREADS][ROUNDS][KINDS];
static pthread_barrier_t barrier;

static void fill(void *p, size_t size, int round)
{
    if (!p)
        abort();
    memset(p, round & 0x7f, size < 64 ? size : 64);
}

/* Sizes BASE + 10 * thread + kind; the realloc ends 5 above where it began. */
static void make(int thread, int round, void **out)
{
    size_t size = BASE + 10 * (size_t)thread;
    void *fresh;

    out[0] = malloc(size);
    out[1] = calloc(1, size + 1);
    if (posix_memalign(&out[2], 256, size + 2))
        abort();
    out[3] = realloc(NULL, size + 3);
    fresh = realloc(out[3], size + 8);
    out[3] = fresh;
    out[4] = memalign(64, size + 4);
    out[5] = reallocarray(NULL, size + 5, 1);
    for (int k = 0; k < KINDS; k++)
        fill(out[k], size, round);
}

static void *run(void *argument)
{
    int thread = (int)(intptr_t)argument;
    int other = (thread + THREADS - 1) % THREADS;
    uint64_t *sum = calloc(1, sizeof(*sum)); /* handed to main, which frees it */

    for (int i = 0; i < ROUNDS; i++) {
        make(thread, i, passed[thread][i]);
        for (int k = 0; k < KINDS / 2; k++)
            free(passed[thread][i][k]);
    }
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < ROUNDS; i++)
        for (int k = KINDS / 2; k < KINDS; k++) {
            *sum += ((unsigned char *)passed[other][i][k])[63];
            free(passed[other][i][k]);
        }
    return sum;
}

int main(void)
{
    pthread_t threads[THREADS];
    void *volatile refused;
    uint64_t total = 0;
    void *sum;

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i))
            return 2;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &sum);
        total += *(uint64_t *)sum;
        free(sum);
    }
    errno = 0;
    refused = malloc(PTRDIFF_MAX); /* recorded as a failure; errno is the program's */
    printf("sum %lu refused %d errno %d\n", (unsigned long)total, refused == NULL,
           errno == ENOMEM);
    return 3;
}
