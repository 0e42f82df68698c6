/*
 * bare.c - forks for which no handlers run: _Fork, and the system call clone by libc's two
 * ways to it.
 *
 * Their child is as that of fork, but for the handlers; in a program with several threads it
 * would wait for ever where another thread had one of our locks. Libc's own fork does not come
 * here. A child that shares the memory (CLONE_VM) has no locks of its own, and what waits
 * until the child has executed another program (CLONE_VFORK) may not hold ours meanwhile: these
 * are passed on; what does both is a vfork on a stack of its own, and what holds for one holds
 * for it.
 *
 * Not in the archive: a static program's _Fork would be that which its fork calls.
 */
#include "face/override.h"

#include "alloc/alloc.h"
#include "base/syscall.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <unistd.h>

typedef pid_t fork_form(void);
typedef int clone_form(int (*start)(void *), void *stack, int flags, void *argument,
                       ...);
typedef long call_form(long number, ...);

static fork_form *next_fork;
static clone_form *next_clone;
static void find_next(void);

static int refused(int number)
{
    errno = number;
    return -1;
}

pid_t _Fork(void);
EXPORT pid_t _Fork(void)
{
    bool held;
    pid_t child;

    if (next_fork == NULL) /* of a constructor before ours */
        find_next();
    if (next_fork == NULL)
        return refused(ENOSYS);
    held = mym_fork_bare();
    child = next_fork();
    if (held)
        mym_fork_bare_done(child == 0);
    return child;
}

/* ---- clone(2) ---- */

static bool is_bare(uint64_t flags)
{
    return (flags & (CLONE_VM | CLONE_VFORK)) == 0;
}

static bool is_vfork(uint64_t flags)
{
    return (~flags & (CLONE_VM | CLONE_VFORK)) == 0;
}

/* On the stack of who calls clone; the child has a copy. */
struct beginning {
    int (*start)(void *);
    void *argument;
    bool held;
};

static int begin(void *at)
{
    const struct beginning *here = at;

    if (here->held)
        mym_fork_bare_done(true);
    return here->start(here->argument);
}

EXPORT int clone(int (*start)(void *), void *stack, int flags, void *argument, ...)
{
    struct beginning here = {.start = start, .argument = argument};
    pid_t *in_parent, *in_child;
    void *tls;
    va_list more;
    int child;

    va_start(more, argument);
    in_parent = va_arg(more, pid_t *);
    tls = va_arg(more, void *);
    in_child = va_arg(more, pid_t *);
    va_end(more);
    if (next_clone == NULL)
        find_next();
    if (next_clone == NULL)
        return refused(ENOSYS);
    if (start != NULL && is_vfork((unsigned)flags)) {
        mym_vfork_begin();
        child = next_clone(start, stack, flags, argument, in_parent, tls, in_child);
        mym_vfork_end();
        return child;
    }
    if (start == NULL || !is_bare((unsigned)flags))
        return next_clone(start, stack, flags, argument, in_parent, tls, in_child);
    here.held = mym_fork_bare();
    child = next_clone(begin, stack, flags, &here, in_parent, tls, in_child);
    if (here.held)
        mym_fork_bare_done(false);
    return child;
}

ALIAS(clone) clone_form __clone;

/* Of <linux/sched.h>: the kernel's headers are a package of their own beside musl. */
struct clone3_args {
    uint64_t flags, pidfd, child, parent, signal, stack;
};

#define WITH_ARGUMENTS(last, what)                                           \
    do {                                                                     \
        long a, b, c, d, e, f;                                               \
        va_list all;                                                         \
        va_start(all, last);                                                 \
        a = va_arg(all, long), b = va_arg(all, long), c = va_arg(all, long); \
        d = va_arg(all, long), e = va_arg(all, long), f = va_arg(all, long); \
        va_end(all);                                                         \
        what;                                                                \
    } while (0)

/* A child on a stack of its own would not come back to here. */
static bool is_bare_call(long number, long a, long b)
{
    const struct clone3_args *args = (const struct clone3_args *)a; /* NOLINT */

    switch (number) {
#ifdef SYS_fork
    case SYS_fork:
        return true;
#endif
    case SYS_clone:
        return is_bare((uint64_t)a) && b == 0;
#ifdef SYS_clone3
    case SYS_clone3:
        return args != NULL && (size_t)b >= sizeof *args && is_bare(args->flags) &&
               args->stack == 0;
#endif
    default:
        return false;
    }
}

/* Before the constructor, and before this library is relocated: resolvers of IFUNCs are called then. */
static long call_itself(long number, ...)
{
    long result;

    WITH_ARGUMENTS(number, result = mym_syscall(number, a, b, c, d, e, f));
    return mym_syscall_done(result) ? result : refused((int)-result);
}

/* Called by what is below. */
MYM_HIDDEN call_form mym_bare_call;
MYM_HIDDEN __attribute__((used)) call_form *mym_next_call;

__attribute__((used)) long mym_bare_call(long number, ...)
{
    bool bare, held = false;
    long result;

    WITH_ARGUMENTS(number, {
        bare = is_bare_call(number, a, b);
        if (bare)
            held = mym_fork_bare();
        result = (mym_next_call != NULL ? mym_next_call : call_itself)(number, a, b, c,
                                                                       d, e, f);
    });
    if (held)
        mym_fork_bare_done(result == 0);
    return result;
}

/*
 * A jump, for most calls have fewer arguments, and what lies where the last one would be is the
 * caller's: another thread may write there meanwhile, as a compiled function may to its own.
 */
/* clang-format off */
#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl syscall\n"
    ".type syscall, @function\n"
    "syscall:\n"
    ".cfi_startproc\n"
    "cmpq $56, %rdi\n" /* clone */
    "je mym_bare_call\n"
    "cmpq $57, %rdi\n" /* fork */
    "je mym_bare_call\n"
    "cmpq $435, %rdi\n" /* clone3 */
    "je mym_bare_call\n"
    "movq mym_next_call(%rip), %r11\n"
    "testq %r11, %r11\n"
    "jz mym_bare_call\n"
    "jmp *%r11\n"
    ".cfi_endproc\n"
    ".size syscall, . - syscall\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl syscall\n"
    ".type syscall, %function\n"
    "syscall:\n"
    ".cfi_startproc\n"
    "cmp x0, #220\n" /* clone */
    "b.eq mym_bare_call\n"
    "cmp x0, #435\n" /* clone3 */
    "b.eq mym_bare_call\n"
    "adrp x16, mym_next_call\n"
    "ldr x16, [x16, #:lo12:mym_next_call]\n"
    "cbz x16, mym_bare_call\n"
    "br x16\n"
    ".cfi_endproc\n"
    ".size syscall, . - syscall\n");
#endif
/* clang-format on */

/* Not when they are called first: that may be in a signal handler. */
__attribute__((constructor(101))) static void find_next(void)
{
    void *call = dlsym(RTLD_NEXT, "syscall");

    next_fork = (fork_form *)dlsym(RTLD_NEXT, "_Fork");
    next_clone = (clone_form *)dlsym(RTLD_NEXT, "clone");
    if (call != NULL)
        mym_next_call = (call_form *)call;
}
