/* object.h - objects whose contents and ownership can be checked at any time. */
#ifndef STRESS_OBJECT_H
#define STRESS_OBJECT_H

#include <stddef.h>
#include <stdint.h>

struct object {
    unsigned char *p; /* NULL: none */
    size_t size;
    size_t alignment;
    uint64_t id; /* never used twice */
};

/* Sizes are drawn up to this many bytes. */
extern size_t object_max_size;

/* Take a new object by a random member of the family and fill it. */
void object_take(struct object *object, uint64_t *random);

/* Every word holds what was put there. */
void object_check(const struct object *object);

/* Resize it at random; old contents are checked, new ones written. */
void object_resize(struct object *object, uint64_t *random);

/* Check it, then give it back by a random member of the family. */
void object_free(struct object *object, uint64_t *random);

#endif
