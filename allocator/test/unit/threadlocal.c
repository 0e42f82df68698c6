/*
 * threadlocal.c - a library whose thread-local variable is large: it is opened by dlopen, so
 * the loader has malloc make one for each thread that uses it.
 */
#define LENGTH (6u << 20)

static __thread char variable[LENGTH];

char *thread_local_touch(void);
char *thread_local_touch(void)
{
    for (unsigned i = 0; i < LENGTH; i += 4096)
        variable[i] = 1;
    return variable;
}
