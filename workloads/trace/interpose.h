/*
 * interpose.h - what the two families of interposed functions share.
 */
#ifndef TRACE_INTERPOSE_H
#define TRACE_INTERPOSE_H

#include <stdbool.h>

#define EXPORT __attribute__((visibility("default")))

/* True if p is to be passed on; *on then is for record_free_end, after that. */
bool record_free(const void *p, bool *on);
void record_free_end(bool on);

#endif
