/*
 * doctor.h - mymalloc-run --doctor: what the allocator finds on this machine.
 */
#ifndef MYMALLOC_RUN_DOCTOR_H
#define MYMALLOC_RUN_DOCTOR_H

/* Run this program again under the library. Returns 0, or 1 when something is amiss. */
int doctor(const char *library);

/* The second half, in the process that has the library preloaded. */
int doctor_inside(void);

#endif
