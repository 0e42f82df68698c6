/* misuse.h - the cases of misuse.c, and what a build does not always catch (misuses.c). */
#ifndef TEST_MISUSE_H
#define TEST_MISUSE_H

#include <stdbool.h>
#include <stddef.h>

#define OTHERS 20u

/* What a case has around its object: others of the same size. */
struct scene {
    size_t size;
    unsigned count;
    char *object, *other[OTHERS];
};

struct misuse {
    const char *kind, *name;
    size_t size; /* bytes of the object */
    size_t by;   /* bytes that are written, or claimed; an alignment, or enum door */
    size_t at;   /* offset in it, or enum place */
};

/* What takes an object back, in doors.c. */
enum door {
    DELETE,
    DELETE_ARRAY,
    DELETE_SIZED,
    DELETE_ARRAY_SIZED,
    DELETE_ALIGNED_SIZED,
    FREE_SIZED,
    FREE_ALIGNED_SIZED,
    REALLOC_TO_ZERO,
    SDALLOCX,
    DALLOCX_PAST,
    SDALLOCX_PAST,
    MI_FREE,
    TC_FREE_SIZED,
};

enum place { STACK, STATIC, MAPPED, CODE, BREAK, INTEGER };

extern const struct misuse misuse[];
extern const size_t misuses;

struct expected {
    const char *build;
    unsigned percent; /* are always caught, at least */
    const char *const *missed;
};

extern const struct expected expectation[];
extern const size_t expectations;

struct kind {
    const char *name; /* NULL: the end */
    void (*run)(const struct misuse *m);
};

extern const struct kind classic_kinds[], unusual_kinds[], hostile_kinds[],
    door_kinds[], attack_kinds[];

/* ---- what a case is made of: scene.c ---- */

extern bool harm; /* of the child */
extern struct scene scene;
#define TARGET_BYTES (4 * 4096u)
extern char target[TARGET_BYTES]; /* nobody's heap; zeros but for its first byte */

/* The whole object, or both ends of a long one. */
void fill(char *object, size_t size, int with);
bool is_filled(const char *object, size_t size, int with);
bool overlap(const char *a, const char *b, size_t size);

void set_scene(size_t size);
/* The program goes on, and ends what it has: with the object, if that is still its own. */
void go_on(bool owned);
/* What the case found harmed, if it is. */
void harmed(bool is);

/* The pointer, unknown to the compiler. */
char *unknown(const void *p);

#endif
