/*
 * defrag.h - which objects a program had better move.
 */
#ifndef MYM_FACE_DEFRAG_H
#define MYM_FACE_DEFRAG_H

#include "face/names.h"

/* experimental.utilization.query and .batch_query of jemalloc 5.2 and later. */
int mym_defrag_query(const struct mym_exchange *call);
int mym_defrag_batch_query(const struct mym_exchange *call);

#endif
