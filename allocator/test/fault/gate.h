/*
 * gate.h - make the kernel refuse memory at chosen calls, in any build of the allocator.
 *
 * A seccomp filter turns every mmap, munmap, mremap, madvise and mprotect of the process
 * into SIGSYS, wherever it is made; the handler refuses the call, or makes it itself from
 * the one address that the filter lets through, or does what another kernel would.
 */
#ifndef FAULT_GATE_H
#define FAULT_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* False: no seccomp here (qemu-user, a strict container). For the rest of the process. */
bool gate_install(void);

/*
 * The same with a rule of one's own in place of counting, for a kernel that is different:
 * makes the call, or another one in its place; its result is the kernel's, an error number
 * negated. Calls made in [free_from, free_to) are let through.
 */
typedef long gate_rule(long number, const long arguments[6]);
bool gate_install_rule(gate_rule *rule, uintptr_t free_from, uintptr_t free_to);

/* For rules: the call itself, past the gate; and where the one that is asked about was made. */
long gate_call(long number, const long arguments[6]);
uintptr_t gate_caller(void);

/*
 * Refuse calls of this thread but for munmap: every so-many-th (0: none), or the at-th from now (0:
 * none). Both 0: let all pass, and count.
 */
void gate_refuse(unsigned every, unsigned at);

/* Let all pass again; the number of calls since gate_refuse. */
unsigned gate_allow(void);

/* How many were refused since gate_refuse. */
unsigned gate_refused(void);

#endif
