/*
 * vfork.c - statistics each second are of the process that they were asked for: a child of vfork
 * that comes to it, which has an id of its own, leaves them to its parent.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* By how long they are late when the child comes: more than two. */
#define OVERDUE_S 4

#define MANY 16384 /* more than caches hold */

static void use_heap(size_t count, size_t bytes)
{
    static void *objects[MANY];

    for (size_t i = 0; i < count; i++)
        objects[i] = malloc(bytes);
    for (size_t i = 0; i < count; i++)
        free(objects[i]);
}

/* It would write the file of its parent, or one of its own beside it. */
static pid_t have_a_child(void)
{
    pid_t child = vfork(); /* NOLINT: that it may is what this is about */

    if (child != 0)
        return child;
    use_heap(64, (size_t)2 << 20); /* more than ever: it looks what is due */
    _exit(0);
}

int main(int argc, char **argv)
{
    char own[PATH_MAX];
    int status;
    pid_t child;

    if (argc != 2)
        return 2;
    use_heap(MANY, 64);
    unlink(argv[1]);
    sleep(OVERDUE_S);
    child = have_a_child();
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        return 2;
    snprintf(own, sizeof own, "%s.%d", argv[1], (int)child);
    if (unlink(own) == 0 || access(argv[1], F_OK) == 0) {
        fprintf(stderr, "the child of vfork has written statistics\n");
        return 1;
    }
    while (access(argv[1], F_OK) != 0) /* its parent does */
        use_heap(MANY, 64);
    return 0;
}
