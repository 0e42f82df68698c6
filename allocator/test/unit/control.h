/* control.h - jemalloc's functions, found by name, and its control interface by type. */
#ifndef TEST_CONTROL_H
#define TEST_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#define NO_CACHE 0x100 /* MALLOCX_TCACHE_NONE */
#define LARGE    ((size_t)24 << 20)

extern int (*control)(const char *, void *, size_t *, void *, size_t);
extern int (*to_mib)(const char *, size_t *, size_t *);
extern int (*by_mib)(const size_t *, size_t, void *, size_t *, void *, size_t);
extern void (*print)(void (*)(void *, const char *), void *, const char *);
extern void *(*take)(size_t, int);
extern void (*put)(void *, int);

/* A function into the pointer at slot; the test fails without it. */
void find(const char *name, void *slot);
/* Those above. */
void find_all(void);
bool is_ours(void); /* not jemalloc's own */

size_t size_at(const char *name);
unsigned unsigned_at(const char *name);
void refresh(void);

#endif
