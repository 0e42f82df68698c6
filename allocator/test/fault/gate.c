/* gate.c - the filter, the handler, and the one syscall instruction that passes. */
#include "gate.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

static __thread struct {
    bool counting;
    unsigned every, at, calls, refused;
} gate;

#if defined(__x86_64__)

#define THIS_ARCH AUDIT_ARCH_X86_64

__asm__(".text\n"
        ".globl gate_call\n"
        ".hidden gate_call, gate_passed\n"
        "gate_call:\n\t"
        "mov %rdi, %rax\n\t"
        "mov %rsi, %r11\n\t"
        "mov 0(%r11), %rdi\n\t"
        "mov 8(%r11), %rsi\n\t"
        "mov 16(%r11), %rdx\n\t"
        "mov 24(%r11), %r10\n\t"
        "mov 32(%r11), %r8\n\t"
        "mov 40(%r11), %r9\n\t"
        "syscall\n"
        ".globl gate_passed\n"
        "gate_passed:\n\t"
        "ret\n");

static long *result_of(ucontext_t *context)
{
    return (long *)&context->uc_mcontext.gregs[REG_RAX];
}

static void arguments_of(const ucontext_t *context, long arguments[6])
{
    static const int registers[6] = {REG_RDI, REG_RSI, REG_RDX,
                                     REG_R10, REG_R8,  REG_R9};

    for (int i = 0; i < 6; i++)
        arguments[i] = context->uc_mcontext.gregs[registers[i]];
}

#elif defined(__aarch64__)

#define THIS_ARCH AUDIT_ARCH_AARCH64

__asm__(".text\n"
        ".globl gate_call\n"
        ".hidden gate_call, gate_passed\n"
        "gate_call:\n\t"
        "mov x8, x0\n\t"
        "mov x9, x1\n\t"
        "ldp x0, x1, [x9]\n\t"
        "ldp x2, x3, [x9, #16]\n\t"
        "ldp x4, x5, [x9, #32]\n\t"
        "svc #0\n"
        ".globl gate_passed\n"
        "gate_passed:\n\t"
        "ret\n");

static long *result_of(ucontext_t *context)
{
    return (long *)&context->uc_mcontext.regs[0];
}

static void arguments_of(const ucontext_t *context, long arguments[6])
{
    for (int i = 0; i < 6; i++)
        arguments[i] = (long)context->uc_mcontext.regs[i];
}

#endif

extern const char gate_passed[];

static bool is_refused(long number)
{
    if (!gate.counting || number == SYS_munmap)
        return false;
    gate.calls++;
    return (gate.every && gate.calls % gate.every == 0) || gate.calls == gate.at;
}

static long counted(long number, const long arguments[6])
{
    if (is_refused(number)) {
        gate.refused++;
        return -ENOMEM;
    }
    return gate_call(number, arguments);
}

static gate_rule *rule = counted;
static __thread uintptr_t caller;

static void on_call(int signal, siginfo_t *info, void *context)
{
    long arguments[6];

    (void)signal;
    arguments_of(context, arguments);
    caller = (uintptr_t)info->si_call_addr;
    *result_of(context) = rule(info->si_syscall, arguments);
}

#define DATA(field)          (unsigned)offsetof(struct seccomp_data, field)
#define LOAD(offset)         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define EQUAL(k, yes, no)    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, yes, no)
#define AT_LEAST(k, yes, no) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, k, yes, no)
#define RETURN(what)         BPF_STMT(BPF_RET | BPF_K, what)

#define ABOVE(k, yes, no) BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, k, yes, no)

static uint32_t high_half(uintptr_t address)
{
    return (uint32_t)((uint64_t)address >> 32);
}

/*
 * Calls from [free_from, free_to) are no business. A filter compares halves of addresses: the
 * range lies in one stretch of 4 GiB, or begins in one and ends in the next.
 */
static bool install(uintptr_t free_from, uintptr_t free_to)
{
    const uintptr_t passed = (uintptr_t)gate_passed;
    /* None at all: where no code is. */
    const uintptr_t from = free_from == free_to ? UINTPTR_MAX - 1 : free_from;
    const uintptr_t to = free_from == free_to ? UINTPTR_MAX : free_to;
    const uint32_t last =
        high_half(from) == high_half(to) ? (uint32_t)to - 1 : UINT32_MAX;
    struct sock_filter code[] = {
        LOAD(DATA(arch)),
        EQUAL(THIS_ARCH, 0, 18),
        LOAD(DATA(nr)),
        EQUAL(SYS_mmap, 4, 0),
        EQUAL(SYS_munmap, 3, 0),
        EQUAL(SYS_mremap, 2, 0),
        EQUAL(SYS_madvise, 1, 0),
        EQUAL(SYS_mprotect, 0, 12),
        LOAD(DATA(instruction_pointer) + 4),
        EQUAL(high_half(passed), 0, 2),
        LOAD(DATA(instruction_pointer)),
        EQUAL((uint32_t)passed, 8, 0),
        LOAD(DATA(instruction_pointer) + 4),
        EQUAL(high_half(from), 0, 3),
        LOAD(DATA(instruction_pointer)),
        AT_LEAST((uint32_t)from, 0, 5),
        ABOVE(last, 4, 3),
        EQUAL(high_half(to), 0, 3),
        LOAD(DATA(instruction_pointer)),
        AT_LEAST((uint32_t)to, 1, 0),
        RETURN(SECCOMP_RET_ALLOW),
        RETURN(SECCOMP_RET_TRAP),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
    struct sigaction action = {.sa_sigaction = on_call,
                               .sa_flags = SA_SIGINFO | SA_NODEFER};

    return sigaction(SIGSYS, &action, NULL) == 0 &&
           prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

bool gate_install(void)
{
    return install(0, 0);
}

bool gate_install_rule(gate_rule *own, uintptr_t free_from, uintptr_t free_to)
{
    rule = own;
    return install(free_from, free_to);
}

uintptr_t gate_caller(void)
{
    return caller;
}

void gate_refuse(unsigned every, unsigned at)
{
    gate.counting = false;
    gate.every = every;
    gate.at = at;
    gate.calls = gate.refused = 0;
    gate.counting = true;
}

unsigned gate_allow(void)
{
    gate.counting = false;
    return gate.calls;
}

unsigned gate_refused(void)
{
    return gate.refused;
}
