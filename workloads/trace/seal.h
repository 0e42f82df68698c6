/*
 * seal.h - closing a recording: unused space out, totals and checksums in.
 */
#ifndef TRACE_SEAL_H
#define TRACE_SEAL_H

#include "trace.h"

/*
 * Replace the file at `path` by its sealed form. On success *header is that of the
 * sealed file and *threads how many recorded. False: *error says why, in one line, and
 * the file is as it was.
 */
bool seal_trace(const char *path, struct trace_header *header, uint32_t *threads,
                char *error, size_t size);

#endif
