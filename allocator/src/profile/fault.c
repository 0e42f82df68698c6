/*
 * fault.c - SIGSEGV: ours first, everybody else's as if we were not there.
 *
 * The handler is installed at the first guarded sample, in front of what is there: a runtime
 * that sets one of its own at start does so where there is none only (Rust's, which tells of
 * stacks that are full). A program that sets one afterwards replaces it; at the next sample
 * ours is set again, in front of that one, with its mask and flags. The program's may pass on what is not its own to
 * the handler that it found: the one that we set before. So each that we set is a function
 * of its own, with what was there when it was set behind it, and no two can call each other
 * in a circle. FRONTS of them are set at most.
 */
#include "profile/guarded.h"

#include "os/os.h"

#include <signal.h>
#include <ucontext.h>

#define FRONTS 4u

static void in_front_0(int signal, siginfo_t *info, void *context);
static void in_front_1(int signal, siginfo_t *info, void *context);
static void in_front_2(int signal, siginfo_t *info, void *context);
static void in_front_3(int signal, siginfo_t *info, void *context);

typedef void (*any_handler)(void);
typedef void (*full_handler)(int, siginfo_t *, void *);
static const full_handler in_front[FRONTS] = {in_front_0, in_front_1, in_front_2,
                                              in_front_3};

static struct mym_os_action behind[FRONTS];
static unsigned fronts; /* set so far; under the guard's lock */
static void *restorer;  /* by which a handler returns: libc's */
static mym_on_fault *on_fault;

/* ---- what the kernel tells ---- */

#if defined(__x86_64__)

static uintptr_t code_of(const ucontext_t *context)
{
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

/* The page fault's error code: bit 1 is a write. */
static enum mym_access access_of(const ucontext_t *context)
{
    return context->uc_mcontext.gregs[REG_ERR] & 2 ? MYM_WRITE : MYM_READ;
}

#else

static uintptr_t code_of(const ucontext_t *context)
{
    return context->uc_mcontext.pc;
}

/* The syndrome is in one of the records behind the registers; its bit 6 is a write. */
static enum mym_access access_of(const ucontext_t *context)
{
    static const uint32_t syndrome = 0x45535201;
    const unsigned char *at = (const unsigned char *)context->uc_mcontext.__reserved;
    const unsigned char *end = at + sizeof context->uc_mcontext.__reserved;

    for (const uint32_t *head; at + 16 <= end; at += head[1]) {
        head = (const uint32_t *)(const void *)at;
        if (head[0] == syndrome)
            return *(const uint64_t *)(const void *)(at + 8) & 1u << 6 ? MYM_WRITE
                                                                       : MYM_READ;
        if (head[0] == 0 || head[1] == 0)
            break;
    }
    return MYM_ACCESS;
}

#endif

/* ---- whose it is ---- */

/* The kernel's own faults come again when the handler returns; what was sent does not. */
static void fall_to_default(int signal, const siginfo_t *info)
{
    const struct mym_os_action none = {.handler = NULL}; /* SIG_DFL */

    mym_os_action(signal, &none, NULL);
    if (info->si_code <= 0)
        mym_os_raise(signal);
}

static void pass_on(const struct mym_os_action *next, int signal, siginfo_t *info,
                    void *context)
{
    bool ignored = next->handler == (any_handler)SIG_IGN;

    if (ignored && info->si_code <= 0)
        return;
    if (ignored || next->handler == (any_handler)SIG_DFL) {
        fall_to_default(signal, info);
        return;
    }
    if (next->flags & (unsigned)SA_RESETHAND) {
        const struct mym_os_action none = {.handler = NULL};

        mym_os_action(signal, &none, NULL);
    }
    if (next->flags & SA_SIGINFO)
        ((full_handler)next->handler)(signal, info, context);
    else
        ((void (*)(int))next->handler)(signal);
}

/* si_code: of those that the kernel makes itself alone the address means something. */
static void handle(unsigned front, int signal, siginfo_t *info, void *context)
{
    if (info->si_code <= 0 ||
        !on_fault(info->si_addr, access_of(context), code_of(context)))
        pass_on(&behind[front], signal, info, context);
}

static void in_front_0(int signal, siginfo_t *info, void *context)
{
    handle(0, signal, info, context);
}

static void in_front_1(int signal, siginfo_t *info, void *context)
{
    handle(1, signal, info, context);
}

static void in_front_2(int signal, siginfo_t *info, void *context)
{
    handle(2, signal, info, context);
}

static void in_front_3(int signal, siginfo_t *info, void *context)
{
    handle(3, signal, info, context);
}

/* ---- coming first ---- */

static bool is_ours(const struct mym_os_action *action)
{
    for (unsigned i = 0; i < fronts; i++)
        if (action->handler == (any_handler)in_front[i])
            return true;
    return false;
}

/* One is set by libc, which knows what a handler returns by, and taken back. */
bool mym_fault_start(mym_on_fault *ours)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    struct mym_os_action before, set;

    on_fault = ours;
    action.sa_sigaction = in_front[0];
    if (!mym_os_action(SIGSEGV, NULL, &before) ||
        sigaction(SIGSEGV, &action, NULL) != 0 ||
        !mym_os_action(SIGSEGV, &before, &set))
        return false;
    restorer = set.restorer;
    return true;
}

void mym_fault_come_first(void)
{
    struct mym_os_action now, set = {.restorer = restorer};

    if (fronts == FRONTS || !mym_os_action(SIGSEGV, NULL, &now) || is_ours(&now))
        return;
    set.handler = (any_handler)in_front[fronts];
    set.mask = now.mask;
    set.flags = (now.flags & ~(unsigned long)(unsigned)SA_RESETHAND) | SA_SIGINFO;
    /* One that runs on the default action may well find the stack full. */
    if (now.handler == (any_handler)SIG_DFL)
        set.flags |= SA_ONSTACK;
#if defined(__x86_64__)
    set.flags |= 0x04000000; /* SA_RESTORER */
#endif
    behind[fronts] = now; /* it may be called at once */
    if (mym_os_action(SIGSEGV, &set, &now))
        behind[fronts++] = now;
}
