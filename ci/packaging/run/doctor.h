/*
 * doctor.h - mymalloc-run --doctor: what the allocator finds on this machine.
 */
#ifndef MYMALLOC_RUN_DOCTOR_H
#define MYMALLOC_RUN_DOCTOR_H

enum { UNWRITTEN = 74 }; /* --inside's status where standard output takes nothing */

/*
 * Run mymalloc-run again under the library, then look at the named program's file, if one
 * is named. Returns 0, or 1 when something is amiss, 126 when that is no program, 127 when
 * there is none.
 */
int doctor(const char *library, const char *name);

/* The second half, in the process that has the library preloaded. */
int doctor_inside(void);

#endif
