/* proc.h - what the kernel says of this process, and how much it grants. Nothing here allocates. */
#ifndef TEST_PROC_H
#define TEST_PROC_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A field of /proc/self/status, such as "VmHWM", in KiB; the test fails without it. Those of what
 * is resident need not be exact: see resident_bytes.
 */
size_t status_kib(const char *field);

/* Bytes. */
size_t address_space(void);

/* RLIMIT_AS or RLIMIT_DATA: so many bytes more than there are now. */
void limit_growth(int resource, size_t bytes);

/*
 * A case of this program once more, in a child that is started with so much of all; not where
 * a sanitizer or an emulator maps a quarter of that itself.
 */
void run_within(int resource, size_t bytes, const char *name);

/* So much of it: by RLIMIT_MEMLOCK, or by the capability, which root in a container has not. */
bool may_lock(size_t bytes);

/*
 * The checker's own of so much that is used: AddressSanitizer's, an eighth, where this kernel counts as
 * resident what was only read, or memcheck's, a quarter; else 0. To be asked before anything is measured.
 */
size_t shadow_of(size_t bytes);

/* Lines of /proc/self/maps. */
size_t mapping_count(void);

/*
 * Sum of a field of /proc/self/smaps, such as "AnonHugePages", in KiB, over the mappings
 * that lie in [start, start + bytes) in part.
 */
size_t smaps_kib(const char *field, const void *start, size_t bytes);

/* What is resident and of no file; as exact as that. */
size_t anonymous_kib(void);

/* The mapping that holds the address has this two-letter flag ("hg", "lo", ...). */
int has_vm_flag(const void *address, const char *flag);

#endif
