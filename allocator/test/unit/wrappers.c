/* wrappers.c - what symbols.py must find: libc's wrappers of system calls; a circle of calls. */
#include <sys/mman.h>
#include <unistd.h>

void *wrapped_map(void);
long wrapped_call(void);
long call_there(long count); /* circle.c */

void *wrapped_map(void)
{
    return mmap(NULL, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

long wrapped_call(void)
{
    return call_there(syscall(0));
}
