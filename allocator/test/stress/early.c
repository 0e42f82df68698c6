/*
 * early.c - a library whose resolver of an IFUNC makes a system call by libc's syscall(2): it
 * runs while libraries are relocated, and those that are preloaded are not yet.
 */
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __GLIBC__           /* musl knows no IFUNC */
#if __has_attribute(noplt) /* gcc: no lazy binding here yet; clang has -fno-plt alone */
extern long syscall(long number, ...) __attribute__((noplt));
#endif

long early_process;
extern long (*early_answer)(void);

static long get(void)
{
    return early_process;
}

static __attribute__((used)) long (*resolve(void))(void)
{
    early_process = syscall(SYS_getpid);
    return get;
}

static long early(void) __attribute__((ifunc("resolve")));
long (*early_answer)(void) = early;
#endif
