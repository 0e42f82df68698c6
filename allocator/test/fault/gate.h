/*
 * gate.h - make the kernel refuse memory at chosen calls, in any build of the allocator.
 *
 * A seccomp filter turns every mmap, mremap, madvise and mprotect of the process into
 * SIGSYS, wherever it is made; the handler refuses the call or makes it itself from the
 * one address that the filter lets through.
 */
#ifndef FAULT_GATE_H
#define FAULT_GATE_H

#include <stdbool.h>

/* False: no seccomp here (qemu-user, a strict container). For the rest of the process. */
bool gate_install(void);

/*
 * Refuse calls of this thread: every so-many-th (0: none), or the at-th from now (0:
 * none). Both 0: let all pass, and count.
 */
void gate_refuse(unsigned every, unsigned at);

/* Let all pass again; the number of calls since gate_refuse. */
unsigned gate_allow(void);

/* How many were refused since gate_refuse. */
unsigned gate_refused(void);

#endif
