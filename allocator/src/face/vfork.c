/*
 * vfork.c - vfork, whose child may call malloc, for the libraries that replace malloc: that of
 * JDK 8 and 11 does, by opendir(3), and on libc's malloc nothing comes of it. What is done
 * about it is in cache/closed.c.
 *
 * In assembly, for it returns twice on one stack: the child goes on in the caller's frame, and
 * what it calls overwrites what is below, the return address among it. So that waits in a
 * register, which the kernel keeps for either of the two. Where the processor has a shadow
 * stack (CET) the two share that, too: a return of the child would be at the cost of the
 * parent's, which is written over by the child's next call. So the child jumps.
 */
#include "face/override.h"

#include "alloc/background.h"
#include "cache/cache.h"

#include <errno.h>

/* Called by what is below. */
MYM_HIDDEN int mym_vfork_refused(long result);

__attribute__((used)) void mym_vfork_begin(void)
{
    mym_cache_vfork(true);
    mym_background_bar(true);
}

__attribute__((used)) void mym_vfork_end(void)
{
    mym_background_bar(false);
    mym_cache_vfork(false);
}

__attribute__((used)) int mym_vfork_refused(long result)
{
    errno = (int)-result;
    return -1;
}

#if defined(__x86_64__)
/* clang-format off */
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl vfork\n"
    ".type vfork, @function\n"
    "vfork:\n"
    ".cfi_startproc\n"
    "subq $8, %rsp\n"
    ".cfi_adjust_cfa_offset 8\n"
    "call mym_vfork_begin\n"
    "addq $8, %rsp\n"
    ".cfi_adjust_cfa_offset -8\n"
    "popq %rdi\n"
    ".cfi_adjust_cfa_offset -8\n"
    ".cfi_register %rip, %rdi\n"
    "movl $58, %eax\n" /* vfork */
    "syscall\n"
    "testq %rax, %rax\n"
    "jnz 1f\n"
    "notrack jmpq *%rdi\n" /* the child */
    "1: pushq %rdi\n"
    ".cfi_adjust_cfa_offset 8\n"
    ".cfi_rel_offset %rip, 0\n"
    "pushq %rax\n"
    ".cfi_adjust_cfa_offset 8\n"
    "call mym_vfork_end\n"
    "popq %rax\n"
    ".cfi_adjust_cfa_offset -8\n"
    "cmpq $-4095, %rax\n"
    "jae 2f\n"
    "ret\n"
    "2: movq %rax, %rdi\n"
    "jmp mym_vfork_refused\n"
    ".cfi_endproc\n"
    ".size vfork, . - vfork\n"
    ".globl __vfork\n"
    ".set __vfork, vfork\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl vfork\n"
    ".type vfork, %function\n"
    "vfork:\n"
    ".cfi_startproc\n"
    "stp x29, x30, [sp, #-16]!\n"
    ".cfi_adjust_cfa_offset 16\n"
    ".cfi_rel_offset x30, 8\n"
    "bl mym_vfork_begin\n"
    "ldp x29, x30, [sp], #16\n"
    ".cfi_adjust_cfa_offset -16\n"
    ".cfi_restore x30\n"
    "mov x0, #0x4111\n" /* CLONE_VM | CLONE_VFORK | SIGCHLD */
    "mov x1, sp\n"
    "mov x8, #220\n" /* clone */
    "svc #0\n"
    "cbz x0, 1f\n"
    "stp x0, x30, [sp, #-16]!\n"
    ".cfi_adjust_cfa_offset 16\n"
    ".cfi_rel_offset x30, 8\n"
    "bl mym_vfork_end\n"
    "ldp x0, x30, [sp], #16\n"
    ".cfi_adjust_cfa_offset -16\n"
    ".cfi_restore x30\n"
    "cmn x0, #4095\n"
    "b.hs 2f\n"
    "1: ret\n"
    "2: b mym_vfork_refused\n"
    ".cfi_endproc\n"
    ".size vfork, . - vfork\n"
    ".globl __vfork\n"
    ".set __vfork, vfork\n");
#endif
/* clang-format on */
