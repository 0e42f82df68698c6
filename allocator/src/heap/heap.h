/*
 * heap.h - the map of the heap: which unit holds what.
 *
 *   base            one unit            base + size
 *   |               |<-64 KiB->|             |         further regions are mapped here
 *   +-------+-------+----------+------+------+ - - - -
 *   |(never)| slab of 48 B     | free | large ...
 *   +-------+-------+----------+------+------+ - - - -
 *     unit 0   1 ...
 *
 * Flat tables, indexed by unit and mapped as the heap grows, describe it; nothing about an
 * object is kept inside or beside the object:
 *   class[u]   size class of the slab that covers the unit, 0 for all else (1 byte)
 *   units[u]   the span record (32 bytes); that of a span's first unit speaks for it
 *   bits[u]    a slab's free places (64 words), bit set = place free; of a window: where its
 *              objects start, a bit for each 16 bytes
 *   freed[u]   a window's objects that were freed, as bits[u]; 0 for all else. Mapped when
 *              the first such object is freed. In the hardened build (base/secure.h) all
 *              of it is there, and of large objects a bit says: in use
 */
#ifndef MYM_HEAP_HEAP_H
#define MYM_HEAP_HEAP_H

#include "heap/dense.h"
#include "heap/sizes.h"
#include "os/mutex.h"

/* Free runs are of three kinds, and always as long as they can be of their kind. */
enum mym_kind {
    MYM_ABSENT,  /* never ours: the first units, and what somebody else has mapped */
    MYM_GONE,    /* free address space that was unmapped again */
    MYM_CLEAN,   /* free, not resident, reads as zero */
    MYM_DIRTY,   /* free, may be resident: idle memory */
    MYM_PURGING, /* being purged: belongs to the purger for the moment */
    MYM_SLAB,    /* objects of one class, belongs to a pool */
    MYM_WINDOW,  /* objects of a reap, one behind the other (window.c) */
    MYM_LARGE,   /* one object */
};

MYM_INLINE bool mym_is_free(unsigned kind)
{
    return kind >= MYM_GONE && kind <= MYM_DIRTY;
}

struct mym_reap; /* alloc/reap.h */

/* Since they were given back: a slab started here, or a window was; with freed objects. */
enum { MYM_IN_BITS = 1, MYM_IN_FREED = 2 };

#define MYM_NEVER_PURGED UINT8_MAX
/* In a huge page, and nothing was freed there yet: what is free is to be taken yet. */
#define MYM_FRESH (UINT8_MAX - 1)

/*
 * Span record. next/prev link free runs in their bin, slabs in their pool and large spans
 * in their reap; 0 ends a list. In the hardened build next of malloc's large spans counts the
 * pages before the guard. Kept true are the records of the first and the last unit
 * of spans and free runs (boundary tags), and `first` in every unit of a slab or a window.
 *   slab: free == number of set bits in bits[first ..]; no set bit below word `scan`
 */
struct mym_unit {
    union {
        struct {
            uint32_t next;
            union {
                uint32_t prev;
                uint32_t used; /* window: bytes in objects, once it is closed */
            };
        };
        uintptr_t below; /* large, cached: the span below it in a list of such, of one
                            length; what is less than a unit ends it. The bits of an
                            address that are always 0 are its holder's */
    };
    uint32_t first;  /* first unit of the span */
    uint32_t length; /* units in the span */
    union {
        struct {            /* of a slab: */
            uint16_t arena; /* owner, for its whole life as a slab */
            uint16_t free;  /* free places */
            uint8_t bin;    /* list of its pool, MYM_NO_BIN when full */
            uint8_t scan;   /* first word of bits that may have a bit set */
            uint8_t purged; /* objects in use when its free pages were given back last,
                               or MYM_NEVER_PURGED, or MYM_FRESH */
        };
        struct mym_reap *reap; /* window, large: whose objects; NULL: malloc's */
    };
    union {
        struct {
            uint8_t kind; /* enum mym_kind */
            bool cached;  /* large: free, in a cache or loose */
            bool sampled; /* large, window: in use, and known to the profile */
            bool fenced; /* large, hardened build: behind it is a page without access */
        };
        uint32_t state; /* all four, MYM_IN_USE and MYM_CACHED of a large span */
    };
    uint8_t cls; /* slab: its size class; free: what it was, or MYM_REAPED */
    bool huge;   /* first unit of a chunk: the kernel may make it a huge page */
    union {
        bool holes;    /* window: has set bits in freed */
        uint8_t lines; /* of a cache, before its objects: slab; large, malloc's */
    };
    uint8_t has_bits; /* its bitmaps may be resident: MYM_IN_BITS, MYM_IN_FREED */
};
_Static_assert(sizeof(struct mym_unit) == 32, "two to a cache line");

/* What is left in the span of an object that starts some lines behind it, before and after it. */
#define MYM_LINES_ROOM (63u * MYM_CACHELINE)

/* A large span that is in use, and nothing else is to be known about it; one in a cache. */
#define MYM_IN_USE ((uint32_t)MYM_LARGE)
#define MYM_CACHED (MYM_IN_USE | 1u << 8)
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "kind, then cached");

/*
 * One store of the word that is read as one: that would wait for the store of a byte. `kind`,
 * which others may look at, stays as it is; ThreadSanitizer would take it for a race.
 */
MYM_INLINE void mym_span_mark(struct mym_unit *unit, bool cached)
{
#ifdef MYM_SANITIZED
    unit->cached = cached;
#else
    unit->state = cached ? MYM_CACHED : MYM_IN_USE;
#endif
}

/* No class: in the record of a free span that held objects of a reap when that ended. */
#define MYM_REAPED (MYM_CLASSES - 1)

#define MYM_BIT_WORDS 64 /* 64 KiB / 16 bytes / 64 bits */

/*
 * Behind the arenas: slabs of sampled objects (profile/profile.h). In the class table they
 * are no slabs, so that a free falls to the cold half.
 */
#define MYM_SAMPLED MYM_MAX_ARENAS

struct mym_heap {
    uintptr_t base;
    _Atomic size_t size; /* bytes from base to the end of the last region */
    uint8_t *cls;
    struct mym_unit *units;
    uint64_t (*bits)[MYM_BIT_WORDS];
    uint64_t (*freed)[MYM_BIT_WORDS];
    char *caches; /* by id, each of 1 << MYM_CACHE_SHIFT bytes; mapped as ids come */
};

/*
 * Read by every malloc and free, written at start: one cache line, and what is read for an
 * alignment alone. heap_size and
 * small_end stay 0 until all else is in place, so that the fast paths' own limit tests
 * tell "not yet initialised" from all else.
 */
struct mym_hot {
    uintptr_t heap_base;
    size_t heap_size; /* grows while others read it: MYM_RACY */
    const uint8_t *heap_class;
    /* First sizes above; 0 itself fails before the start. */
    size_t small_end, class_end, span_end;
    intptr_t rseq_cs;   /* offset of rseq_cs from the thread pointer */
    intptr_t rseq_id;   /* offset of cpu_id or mm_cid from the thread pointer */
    size_t aligned_end; /* as small_end, of a size rounded up to its alignment */
} __attribute__((aligned(MYM_CACHELINE)));

extern MYM_HIDDEN struct mym_hot mym_hot;
extern MYM_HIDDEN struct mym_heap mym_heap;

MYM_INLINE bool mym_in_heap(const void *ptr)
{
    return (uintptr_t)ptr - mym_heap.base <
           atomic_load_explicit(&mym_heap.size, memory_order_relaxed);
}

MYM_INLINE uint32_t mym_unit_of(const void *ptr)
{
    return (uint32_t)(((uintptr_t)ptr - mym_heap.base) >> MYM_UNIT_SHIFT);
}

MYM_INLINE uint32_t mym_units_for(size_t bytes)
{
    return (uint32_t)((bytes + MYM_UNIT - 1) >> MYM_UNIT_SHIFT);
}

MYM_INLINE void *mym_unit_address(uint32_t unit)
{
    return (void *)(mym_heap.base + ((uintptr_t)unit << MYM_UNIT_SHIFT)); /* NOLINT */
}

/* ---- page heap (pages.c, purge.c, region.c) ---- */

/*
 * Who holds idle memory beside the page heap: slabs without an object, or with so few that their
 * free pages could be given back; depots, beyond their share; open span words; the hardened build's
 * quarantine, large objects.
 */
enum mym_holder {
    MYM_HOLDS_SLABS,
    MYM_HOLDS_DEPOTS,
    MYM_HOLDS_SPANS,
    MYM_HOLDS_SHELF,
    MYM_HOLDERS
};

struct mym_pages_info {
    size_t mapped;            /* bytes of address space in regions */
    size_t free;              /* bytes in free runs */
    size_t dirty;             /* of these, bytes that may be resident */
    size_t idle;              /* bytes of freed own mappings that may be resident */
    size_t held[MYM_HOLDERS]; /* bytes that others hold idle */
    size_t allowance;         /* bytes of all these that may stay */
    size_t purged;            /* bytes given back since start */
    size_t huge;    /* bytes in chunks that the kernel was asked to make huge pages */
    size_t runs;    /* free runs */
    size_t longest; /* bytes in the longest */
};

bool mym_pages_init(void);
void mym_region_name(void); /* for smaps, what was mapped before names were asked for */

/*
 * More is in use or dirty than ever before, by a sixteenth, or memory that was not resident is
 * taken while a sixteenth lies idle in slabs: the moment to look for memory that lies idle.
 * Whoever hears of such a step is the only one, and calls mym_purge_growth, or it is told again.
 */
bool mym_pages_has_grown(void);
bool mym_pages_hear_growth(void);

/*
 * Take a span of `units` whose address is a multiple of `align` units (1: any; a power
 * of two) as `kind`. Its records name kind, first and length. dense: all of it will be
 * touched, so it may lie in huge pages. *zeroed: rather zeroed memory than resident; then:
 * its bytes all read 0.
 * Returns the first unit, or 0 when there is no memory.
 */
uint32_t mym_pages_take(uint32_t units, uint32_t align, enum mym_kind kind,
                        enum mym_dense dense, bool *zeroed);

/* Give a whole span back; it coalesces with its free neighbours. */
void mym_pages_put(uint32_t first);

/*
 * One whose pages the kernel would not make accessible again: it is unmapped, and its address
 * space serves later; if that is refused, too, it is nobody's.
 */
void mym_pages_give_up(uint32_t first);

/*
 * A list of free large objects of one length, marked as cached, is a word; `below` of each
 * record is the list without it:
 *
 *   63                16    15   14   8 7    0
 *  [ span on top, or 0  |  (*) | room | held ]   held + room: may be held    (*) its holder's
 */
#define MYM_SPAN_HELD 0x1u
#define MYM_SPAN_ROOM 0x100u

/* Of the span on top. */
MYM_INLINE struct mym_unit *mym_span_record(uintptr_t list)
{
    return &mym_heap.units[(list - mym_heap.base) >> MYM_UNIT_SHIFT];
}

MYM_INLINE uint32_t mym_span_held(uintptr_t list)
{
    return (uint8_t)list;
}

MYM_INLINE bool mym_span_has_room(uintptr_t list)
{
    return (int16_t)list >= (int16_t)MYM_SPAN_ROOM;
}

/* The list with a span more on top; its record names the list without it. */
MYM_INLINE uintptr_t mym_span_onto(uintptr_t list, const void *span)
{
    return (uintptr_t)span + (uint16_t)list + MYM_SPAN_HELD - MYM_SPAN_ROOM;
}

/* Held and room add up all the way down, and all are marked, and as long as the class. */
bool mym_span_list_is_whole(uintptr_t list, uint32_t length);

/* An empty list of spans of a length: with room for MYM_SPAN_MAX bytes, for one at least. */
#define MYM_LOOSE_MOST ((uint32_t)(MYM_SPAN_MAX / MYM_UNIT))
MYM_INLINE uintptr_t mym_loose_empty(uint32_t length)
{
    return (length < MYM_LOOSE_MOST ? MYM_LOOSE_MOST / length : 1) * MYM_SPAN_ROOM;
}

/*
 * Give back a whole list of them: they stay as they are until another length is asked for
 * (loose.c). One alone needs nothing below.
 */
void mym_pages_put_loose(uintptr_t list);

/* A list that was an empty one (above) before; 0: there are none of this length. */
uintptr_t mym_pages_take_loose(uint32_t length);

/*
 * Resize a large span where it stands; false when the next units are not free, or that is
 * above the limit. Of one that is shorter then: mym_idle_left.
 */
bool mym_pages_resize(uint32_t first, uint32_t units, enum mym_dense dense);

/* mym_heap.freed is there for the units up to `end`; false: no memory. */
bool mym_pages_map_freed(uint32_t end);
/* The table of caches, so many; false: no memory. */
bool mym_pages_map_caches(uint32_t count);

/* The span or free run that the unit is part of: a walk, for reports of misuse. */
uint32_t mym_pages_find(uint32_t unit);

/* Purge until at most `keep` bytes of free memory may be resident; bytes purged. */
size_t mym_pages_purge(size_t keep);

/*
 * Unmap the free chunks that are clean, so that what counts address space (RLIMIT_AS,
 * RLIMIT_DATA) has it back; bytes unmapped.
 */
size_t mym_pages_unmap(void);

/*
 * Held, outside of any pool's lock, by whoever has pages on their way to the kernel that
 * are in no list meanwhile; a fork takes it first, so that its child does not lose them.
 */
void mym_purge_begin(void);
void mym_purge_end(void);
/* And does what others, who found it held, have left. No lock of the heap is held. */
void mym_purge_leave(void);
void mym_purge_fork(enum mym_fork_step step);

/*
 * At most `most` bytes in use, mappings charged to the heap included, then requests
 * fail; from `near` bytes in use or dirty on, nothing free stays resident.
 */
void mym_pages_set_limit(size_t most, size_t near);
/* Address space is counted: what is given back from now on is unmapped. */
void mym_pages_set_scarce(void);
bool mym_pages_is_scarce(void);
/*
 * Programs for real time take memory early and free it, so that all that comes finds its pages
 * there: where all may stay, and nothing is to be a mapping of its own. Then nothing is, no slab begins
 * in fresh memory while there is other, and no page goes but by malloc_trim.
 */
bool mym_pages_is_early(void);
bool mym_pages_is_near_limit(void);      /* so much is in use or dirty */
bool mym_pages_could_hold(size_t bytes); /* if nothing else were in its window */

struct mym_pages_info mym_pages_info(void);
size_t mym_pages_verify(void);
void mym_pages_fork(enum mym_fork_step step);
void mym_pages_fork_child(void);

/* ---- idle memory (ledger.c) ---- */

/*
 * Granted while at most one part in `part` of what there is for this is granted to anybody, of
 * the quarantine to itself; false: no more. With part 0 always granted. What was granted is to be
 * returned.
 */
bool mym_idle_grant(enum mym_holder holder, uint32_t units, uint32_t part);
void mym_idle_return(enum mym_holder holder, uint32_t units);
void mym_idle_recount(enum mym_holder holder, uint32_t units); /* in a child of fork */
bool mym_idle_is_overdrawn(void); /* more is granted than there is for this */

uint32_t mym_idle_held(enum mym_holder holder); /* units */
uint32_t mym_idle_held_in_all(void);

/* So many units more, or less, are in slabs whose free pages were given back; how many. */
uint32_t mym_idle_add_hollow(int32_t units);
void mym_idle_settle(void); /* after such a change */

/* More may stay for the moment: mym_idle_age is to be called. */
bool mym_idle_is_swinging(void);

/* ---- what is done about it (idle.c) ---- */

/* Bytes that may stay whatever the program did before (ledger.h). */
size_t mym_idle_set_keep(size_t bytes); /* what it was */
void mym_idle_set_unmapped(bool is);    /* objects of 32 MiB and more are spans, too */

/* Give back what may not stay (purge.c). No lock of the heap is held. */
void mym_purge_excess(void);
/* The heap has grown: freed mappings go for it, in which nothing but a mapping can be. */
void mym_purge_growth(void);
void mym_idle_age(void); /* once a second, when there is a call at all */

/*
 * More than this is idle, with what pools and caches hold, or chunks are to be collapsed: a
 * helper thread is worth while.
 * mym_idle_tell calls whoever wants to know (set at start, NULL: nobody): no lock is held,
 * and so many dirty units are there beside what is held.
 */
#define MYM_IDLE_LITTLE 64u /* units: 4 MiB */
extern MYM_HIDDEN void (*mym_idle_when_much)(void);
void mym_idle_tell(uint32_t dirty);
void mym_idle_ask(void); /* the same, whatever is idle */
/* Both for so many units that became idle. */
void mym_idle_left(uint32_t units);
bool mym_idle_is_much(void);

/* There is a helper, or will be: what a fall leaves waits for it, however much. */
void mym_idle_set_helped(bool helped);

/* By the helper, each second: of what nobody took since the last time a quarter stays. */
void mym_idle_cool(void);

/* ---- huge pages (chunk.c) ---- */

enum mym_huge { MYM_HUGE_NEVER, MYM_HUGE_AUTO, MYM_HUGE_ALWAYS };
/* by_default: the kernel makes them where nothing was asked for. */
void mym_chunk_set_huge(enum mym_huge mode, bool by_default);

/* Whether an own mapping of so many bytes would be huge pages; then it is asked for, or not. */
bool mym_chunk_would_be_huge(size_t bytes);
void mym_chunk_advise(void *object, size_t bytes, bool huge);

/* The chunks that these units are in, of which a part may go, are small from now on. */
void mym_chunk_split(uint32_t first, uint32_t length);

/* ---- dense chunks, by the helper (idle.c, collapse.c) ---- */

void mym_collapse_tell(void);   /* the heap has grown; no lock is held */
bool mym_collapse_is_due(void); /* the helper has something to look at */
/* It begins with the first chunk, if there is reason. */
bool mym_collapse_take_up(void);
/* The last chunk is still to come; or was there, and it is to begin again. */
void mym_collapse_put_down(bool unfinished, bool again);
void mym_collapse(void);

/* ---- slabs (slab.c); the caller holds the lock of the pool that owns them ---- */

/* *fresh: rather of what is not resident; then: nothing of it is. */
uint32_t mym_slab_make(unsigned cls, unsigned arena, bool *fresh);

/* Such a one will be filled soon: its pages are faulted in with one call, under no lock. */
void mym_slab_populate(uint32_t slab);

/* Move up to `want` free places of the slab, lowest address first, to out. */
unsigned mym_slab_take(uint32_t slab, void **out, unsigned want);

/*
 * Pages of the slab without an object in use. mym_slab_hide takes their free places out
 * (their bits are cleared), so that the caller may drop its lock and purge the pages;
 * mym_slab_unhide puts the places back. `pieces` has a bit for as many pages as the slab has
 * units.
 */
uint64_t mym_slab_hide(uint32_t slab);
void mym_slab_purge(uint32_t slab, uint64_t pieces);
void mym_slab_unhide(uint32_t slab, uint64_t pieces);

/* Where the objects of the slab with this first unit start. */
MYM_INLINE uintptr_t mym_slab_start(uint32_t slab)
{
    return (uintptr_t)mym_unit_address(slab) +
           (uintptr_t)mym_heap.units[slab].lines * MYM_CACHELINE;
}

/*
 * The number of the object that starts at the address, in a slab whose objects start there;
 * c->objects or more when none does. ceil(2^40 / size) divides any offset in a slab exactly
 * (unit/classes.c); what lies before them is none.
 */
MYM_INLINE uint64_t mym_slab_index(const struct mym_class *c, uintptr_t start,
                                   const void *ptr)
{
    uint64_t offset = (uintptr_t)ptr - start;
    uint64_t index = offset * c->inverse >> 40;

    return MYM_LIKELY(index * c->size == offset) ? index : UINT64_MAX;
}

/*
 * Put back the objects from the front of the array that are of this slab; how many that
 * were. Up to one that is no object of the slab or already free: *misuse says so, and the
 * caller is to die of it (mym_fatal) when it holds no lock: a handler of SIGABRT may use
 * the heap.
 */
unsigned mym_slab_put(uint32_t slab, void *const *objects, unsigned count,
                      const char **misuse);

#endif
