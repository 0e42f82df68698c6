/*
 * mimalloc.h - mimalloc itself, where it is loaded beside this library.
 */
#ifndef MYM_FACE_MIMALLOC_H
#define MYM_FACE_MIMALLOC_H

#include "base/config.h"

/* Find it, if it is there, while its table of symbols still says where its functions are. */
void mym_mimalloc_find(void);

#endif
