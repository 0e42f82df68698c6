/*
 * topology.h - which CPUs share an arena.
 */
#ifndef MYM_POOL_TOPOLOGY_H
#define MYM_POOL_TOPOLOGY_H

#include "base/config.h"

#define MYM_TOGETHER_LLC 0u           /* CPUs with a last-level cache in common */
#define MYM_TOGETHER_ALL MYM_MAX_CPUS /* all CPUs */

/*
 * Fill group[MYM_MAX_CPUS] with the number of each CPU's group, below MYM_MAX_ARENAS,
 * and return how many groups there are. together: so many CPUs with neighbouring
 * numbers, or MYM_TOGETHER_LLC; NUMA nodes where caches are not told. root: /sys/devices/system.
 */
unsigned mym_topology_read(const char *root, unsigned together, uint8_t *group);

#endif
