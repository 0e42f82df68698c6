/*
 * syscall.h - the system-call instruction.
 *
 * libc's wrappers are not used below the faces: each can be interposed by a library that
 * allocates in it (profilers do), several are cancellation points, and all write errno.
 *
 * The result is the kernel's: -4095 .. -1 is an error number, negated.
 */
#ifndef MYM_BASE_SYSCALL_H
#define MYM_BASE_SYSCALL_H

#include "base/config.h"

#include <sys/syscall.h> /* numbers only */

/* Of <linux/futex.h>: the kernel's headers are a package of their own beside musl. */
#define FUTEX_WAIT         0
#define FUTEX_WAKE         1
#define FUTEX_CMP_REQUEUE  4
#define FUTEX_PRIVATE_FLAG 128

#if defined(__x86_64__)

MYM_INLINE long mym_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result = number;

    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

MYM_INLINE long mym_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#else
#error "mymalloc knows the system calls of x86-64 and aarch64"
#endif

/* The result is an address or a count, not an error. */
MYM_INLINE bool mym_syscall_done(long result)
{
    return (unsigned long)result < (unsigned long)-4095L;
}

#endif
