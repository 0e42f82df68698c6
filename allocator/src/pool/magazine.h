/*
 * magazine.h - an array of pointers to free objects of one class (Bonwick and Adams,
 * "Magazines and Vmem", USENIX 2001). What crosses from CPU to CPU.
 *
 *   block, aligned to its own power-of-two size
 *   +------+---------------+-------+-------+-----+---------------+---------+
 *   | next | used capacity | floor | e[0]  | ... | e[capacity-1] | ceiling |
 *   +------+---------------+-------+-------+-----+---------------+---------+
 *                         &floor + 1   ^ top: the first entry that is not in use     1
 *
 * A slot of a cache holds nothing but `top`. Pop finds the floor when there is nothing
 * left, push the ceiling when there is no room: the walls need no count and no mask. Walls
 * are odd, objects are not. The floor is its own address, for pop asks for the line that
 * the next pop returns: NULL is no page, and some CPUs search for it each time.
 * The block, and with it the number of objects, follows from top by rounding down.
 *
 * One for few objects is wide: it comes from the pool half full, and when it is full it leaves half
 * of them there (mym_pool_exchange). So one holds what of others two do, the current and the previous
 * one, without the wall between the two. To copy more objects would cost more than it spares.
 *
 * A magazine belongs to one slot, or to one depot, or to one thread in a slow path.
 */
#ifndef MYM_POOL_MAGAZINE_H
#define MYM_POOL_MAGAZINE_H

#include "heap/sizes.h"

struct mym_magazine {
    struct mym_magazine *next; /* in a depot */
    uint16_t used;             /* in a depot: objects in it */
    uint16_t capacity;         /* entries below the ceiling */
    bool is_wide;              /* twice as many as it comes from the pool with */
    void *floor;               /* MYM_FLOOR of itself */
    void *entry[];
};

#define MYM_CEILING      ((void *)1)
#define MYM_FLOOR(place) ((void *)((char *)(place) + 1))

MYM_INLINE bool mym_is_wall(const void *entry)
{
    return (uintptr_t)entry & 1;
}

_Static_assert(offsetof(struct mym_magazine, entry) ==
                   offsetof(struct mym_magazine, floor) + sizeof(void *),
               "the floor is below the first entry");
_Static_assert(
    offsetof(struct mym_magazine, floor) >= sizeof(void *),
    "two words are below it: push looks at both, and the other is no object");

/* A magazine without room: the floor and the ceiling touch. */
struct mym_no_magazine {
    void *below; /* a wall: push looks there, too */
    void *floor;
    void *ceiling;
};

extern MYM_HIDDEN struct mym_no_magazine
    mym_closed_magazine; /* in every slot of the closed cache */
extern MYM_HIDDEN struct mym_no_magazine
    mym_none_magazine; /* in an open slot that has none yet */
#define MYM_CLOSED (&mym_closed_magazine.ceiling)
#define MYM_NONE   (&mym_none_magazine.ceiling)

/* It was freed last, or but for one. */
MYM_INLINE bool mym_is_on_top(void *const *top, const void *object)
{
    return top[-1] == object || top[-2] == object;
}

/* Of a slot: a magazine is in it. Nothing is known of the wall where there is none. */
MYM_INLINE bool mym_is_magazine(void *const *top)
{
    return top != MYM_NONE && top != MYM_CLOSED;
}

MYM_INLINE size_t mym_magazine_bytes(unsigned cls)
{
    size_t bytes = sizeof(struct mym_magazine) + (mym_classes[cls].entries + 1u) * 8;

    return (size_t)1 << (64 - __builtin_clzll(bytes - 1));
}

MYM_INLINE struct mym_magazine *mym_magazine_of(unsigned cls, void **top)
{
    uintptr_t mask = ~(uintptr_t)(mym_magazine_bytes(cls) - 1);

    return (struct mym_magazine *)((uintptr_t)top & mask); /* NOLINT */
}

/* For assertions: its walls stand, and so many objects find room between them. */
MYM_INLINE bool mym_magazine_is_whole(struct mym_magazine *magazine, unsigned used)
{
    return magazine->floor == MYM_FLOOR(&magazine->floor) &&
           magazine->entry[magazine->capacity] == MYM_CEILING &&
           used <= magazine->capacity;
}

/* A new magazine for the class, empty, or NULL. */
struct mym_magazine *mym_magazine_make(unsigned cls);

/* Of one that is made for so many objects: as many, and as many more if those are few. */
MYM_INLINE unsigned mym_magazine_entries(unsigned objects)
{
    return objects <= MYM_WIDE ? 2 * objects : objects;
}

/* Move the ceiling: for so many objects. */
void mym_magazine_set_capacity(struct mym_magazine *magazine, unsigned objects);

/* There are so many caches, of threads: each gets a share of what magazines may hold. */
void mym_magazines_share(uint32_t caches);
unsigned mym_magazine_ration(unsigned objects);

/* Of the first so many objects: an order that nobody can tell, for the hardened build. */
void mym_magazine_shuffle(struct mym_magazine *magazine, unsigned used);

/* It holds less than any may; then twice as much, or as much as any may. */
bool mym_magazine_is_short(unsigned cls, const struct mym_magazine *magazine);
void mym_magazine_lengthen(unsigned cls, struct mym_magazine *magazine);

#endif
