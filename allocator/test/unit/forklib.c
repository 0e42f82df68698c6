/* forklib.c - a library with fork handlers, as numeric and network libraries have them. */
#include <pthread.h>
#include <stddef.h>

/* What the handlers do; NULL: nothing. */
void (*forklib_work)(int phase);

static void call(int phase)
{
    if (forklib_work)
        forklib_work(phase);
}

static void prepare(void)
{
    call(0);
}

static void parent(void)
{
    call(1);
}

static void child(void)
{
    call(2);
}

/* Before the constructors of what is loaded in front of it, the allocator's too. */
__attribute__((constructor)) static void start(void)
{
    pthread_atfork(prepare, parent, child);
}
