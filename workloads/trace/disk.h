/*
 * disk.h - the recorder's file: opening it, and mapping pieces of it.
 */
#ifndef TRACE_DISK_H
#define TRACE_DISK_H

#include <stdint.h>

/* As open(2) with O_CLOEXEC. */
int disk_open(const char *name, int flags);
void disk_close(int fd);

/*
 * TRACE_BLOCK bytes of the file, with real space under them, shared with the file and
 * not with forked children. NULL, and why in *error, when there is no space.
 */
void *disk_map(int fd, uint64_t offset, int *error);

#endif
