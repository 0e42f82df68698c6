/* dense.h - objects that are written all over; no lock is needed. */
#ifndef MYM_HEAP_DENSE_H
#define MYM_HEAP_DENSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mym_dense {
    MYM_SPARSE, /* as far as is known */
    MYM_SMALL,  /* of at most a page, or there were not many of about so many bytes */
    MYM_TAILED, /* there were many, dense but for their last units, of which they need a part */
    MYM_DENSE, /* there were many, and they are dense */
};
enum mym_dense mym_is_dense(size_t bytes);
bool mym_is_always_dense(size_t bytes); /* each time that was looked lately */
bool mym_is_seldom_dense(size_t bytes); /* more often not than it was */
/*
 * An object of so many bytes ends: was it? Reads a few of its words. It is where it begins, which
 * may be some lines behind its span: who writes a word of each page counts from there.
 */
void mym_dense_ended(const void *object, size_t bytes);
/* The same of one that still reads as it was left, in the hardened build too. */
void mym_dense_freed(const void *object, size_t bytes);
/* The same in two steps, for who has to find out first what may be read: 0 is no look. */
uint32_t mym_dense_ends(const void *object, size_t bytes);
void mym_dense_look(const void *object, size_t bytes, size_t there, uint32_t drawn);
/* The same without a look. */
void mym_dense_forget(const void *object, size_t bytes);
/*
 * Before the next is taken, or where a lock is held then, after: the one of about that size that
 * this thread took last is written by now. Reads words of it: no lock is held.
 */
void mym_dense_look_back(size_t bytes);
/* It was taken, in so many bytes of pages. */
void mym_dense_taken(const void *object, size_t bytes, size_t whole);

#endif
