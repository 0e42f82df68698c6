/*
 * shadow.h - who owns which byte of memory, kept apart from the allocator under test.
 *
 * One byte for each 16 bytes of address space says which object they belong to. Claim
 * and release are atomic exchanges, so two owners of one byte are seen at the moment
 * the second one appears, in whatever thread.
 */
#ifndef STRESS_SHADOW_H
#define STRESS_SHADOW_H

#include <stddef.h>
#include <stdint.h>

void shadow_init(void);

/* An object was handed out: its bytes must have had no owner. tag: 1 to 255. */
void shadow_claim(const void *p, size_t size, uint8_t tag);

/* It is about to be given back: its bytes must still be its own. */
void shadow_release(const void *p, size_t size, uint8_t tag);

#endif
