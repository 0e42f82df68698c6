/*
 * memory.h - what the kernel says of this process's memory. No call here allocates.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>
#include <stdint.h>

/*
 * RSS from /proc/self/statm: cheap, but the kernel batches its counters per CPU, so
 * that it can lag by some hundred KiB (more on machines with many cores).
 */
uint64_t memory_rss_quick(void);

/* RSS from /proc/self/smaps_rollup: exact, walks the page tables. */
uint64_t memory_rss(void);

/* What of it lies in huge pages; 0 where the kernel does not say. */
uint64_t memory_huge(void);

/* VmHWM: the highest RSS since the process began. */
uint64_t memory_peak_rss(void);

/*
 * Zeroed memory for the harness's own arrays, straight from the kernel and already
 * resident, so that neither the allocator nor the faults of a run see it.
 */
void *memory_map(size_t bytes);

/* What memory_map has given so far. */
uint64_t memory_mapped(void);

#endif
