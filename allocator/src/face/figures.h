/*
 * figures.h - statistics as jemalloc has them: those of one moment, until the next is asked
 * for (`epoch`).
 */
#ifndef MYM_FACE_FIGURES_H
#define MYM_FACE_FIGURES_H

#include "alloc/info.h"

/* Bytes. */
struct mym_figures {
    size_t small, large; /* handed out */
    size_t active;       /* in slabs and spans with objects */
    size_t dirty;        /* idle, perhaps resident */
    size_t retained;     /* idle, given back, still mapped */
    size_t meta, purged;
};

/* Read all, always or if it never was; how many times that was done. */
uint64_t mym_figures_refresh(bool always);

/* Of an arena, at[0]; of one of its size classes, at[1]. One that was created has nothing. */
struct mym_figures mym_figures_of(const size_t *at);
struct mym_class_info mym_bin_of(const size_t *at);

#endif
