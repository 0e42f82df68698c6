/*
 * stack.c - the file of statistics is written from within whatever call comes to it, so in a
 * thread with the least stack that there is, too.
 */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define PATIENCE 60 /* seconds: the file is due after one */

static const char *path;

static void *use_heap(void *unused)
{
    time_t end = time(NULL) + PATIENCE;
    struct stat file = {.st_size = 0};

    (void)unused;
    while (file.st_size == 0 && time(NULL) < end) {
        void *object[64];

        for (size_t i = 0; i < 64; i++)
            object[i] = malloc((i + 1) << 12);
        for (size_t i = 0; i < 64; i++)
            free(object[i]);
        if (stat(path, &file) != 0)
            file.st_size = 0;
    }
    return file.st_size > 0 ? &path : NULL;
}

int main(int argc, char **argv)
{
    pthread_attr_t small;
    pthread_t thread;
    void *written;

    if (argc != 2)
        return 2;
    path = argv[1];
    pthread_attr_init(&small);
    if (pthread_attr_setstacksize(&small, (size_t)PTHREAD_STACK_MIN) != 0 ||
        pthread_create(&thread, &small, use_heap, NULL) != 0 ||
        pthread_join(thread, &written) != 0)
        return 2;
    if (written == NULL)
        fprintf(stderr, "%s: nothing was written in %d s\n", path, PATIENCE);
    return written == NULL;
}
