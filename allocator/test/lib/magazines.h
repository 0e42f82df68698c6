/*
 * magazines.h - each magazine that was made is somewhere: in a cache, in a depot, in hands.
 *
 * For programs that link the allocator statically with -Wl,--wrap=mym_magazine_make.
 */
#ifndef TEST_MAGAZINES_H
#define TEST_MAGAZINES_H

#include <stddef.h>

/* Ends the test if one is lost, or is in two places. No other thread is in the allocator. */
void check_magazines(size_t in_hands);

#endif
