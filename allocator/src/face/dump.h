/*
 * dump.h - heap profiles that a program asks for by jemalloc's control interface.
 */
#ifndef MYM_FACE_DUMP_H
#define MYM_FACE_DUMP_H

#include "face/names.h"

#define MYM_DUMP_PREFIX "jeprof" /* opt.prof_prefix, as jemalloc has it */

/* For the table of names. */
int mym_dump_profile(const struct mym_exchange *call);
int mym_dump_set_prefix(const size_t *unused, uint64_t value);

#endif
