/*
 * cache.h - the front end: per CPU, for each class, a magazine to pop from and push to.
 *
 *   front:   | caches | open[0] open[1] ... |
 *   caches:  | cache of id 0 | cache of id 1 | ...     2 KiB each, mapped as ids come
 *
 * Where the cache of an id lies is told by the id alone, so that no load is waited for (but
 * those of the id); whether it may be used by open[id]. What is not open falls to the slow
 * path: ids not seen yet, hot-plugged CPUs, a cache that is to be emptied, threads of a
 * process without rseq and the time before start-up is complete.
 *
 * A cache has two slots per class: the current magazine, and the previous one, which
 * stops a program that goes up and down around a magazine's end from going to the pool.
 *
 * A slot is written only by pop, push and swap on its own CPU. Nobody empties the cache of
 * another: he sets its open[id] to 0, as one rings a bell, and the next slow path there
 * opens it again and empties it by swaps (open.c, where a child of fork collects those of
 * threads that it does not have is the exception). Before, a drainer closed the cache,
 * had every sequence restarted by membarrier(2) and had the slots for himself: a system
 * call that a sandbox forbids.
 */
#ifndef MYM_CACHE_CACHE_H
#define MYM_CACHE_CACHE_H

#include "base/check.h"
#include "base/secure.h"
#include "heap/heap.h"
#include "pool/magazine.h"

#define MYM_SLOTS (2 * MYM_CLASSES) /* class: current; MYM_CLASSES + class: previous */

/*
 * The hardened build's quarantine of short objects: free pushes to the previous one, malloc pops
 * from the current one. The two change places when malloc has used up the others and so many
 * were freed, or when as many were freed as the magazine holds; then it is shuffled. What is
 * left of the others waits with what is freed next. There is no instruction more for it in
 * malloc and free.
 */
#define MYM_WAIT_LAST    32u /* the class of MYM_SMALL_MAX */
#define MYM_WAIT_OBJECTS 16u

MYM_INLINE bool mym_class_waits(size_t cls)
{
    return MYM_SECURE_QUARANTINE && cls <= MYM_WAIT_LAST;
}

/* The slot that is pushed to. */
MYM_INLINE size_t mym_push_slot(size_t cls)
{
    return mym_class_waits(cls) ? MYM_CLASSES + cls : cls;
}

/* That of the other magazine. */
MYM_INLINE size_t mym_other_slot(size_t cls)
{
    return mym_class_waits(cls) ? cls : MYM_CLASSES + cls;
}

/* Behind the slots, a word for each size of span above MYM_CLASS_MAX (spans.c). */
#define MYM_SPAN_FIRST   (MYM_CLASS_MAX / MYM_UNIT + 1) /* units */
#define MYM_SPAN_CLASSES (32u - MYM_SPAN_FIRST + 1) /* mym_span_class(SPAN_MAX) + 1 */
#define MYM_SPAN_IDLE    0x8000u
#define MYM_SPAN_CLOSED  ((uintptr_t)0)      /* nothing held, no room */
#define MYM_SPAN_SHUT    ((uintptr_t)0xffff) /* the closed cache's; so is all of idle */
/* Behind the words, one that is always closed: of lengths that have no class. */
#define MYM_SPAN_NO_WORD (MYM_SLOTS + MYM_SPAN_CLASSES)
/* And one, of another form (spans.c), for the longer ones of any one length. */
#define MYM_SPAN_LONG  (MYM_SPAN_CLASSES + 1)
#define MYM_SPAN_WORDS (MYM_SPAN_LONG + 1)

/* Size classes, of which a drain may want some only: a bit for each. */
__extension__ typedef unsigned __int128 mym_class_set __attribute__((aligned(8)));
_Static_assert(MYM_CLASSES <= sizeof(mym_class_set) * 8, "every class has a bit");

#define MYM_EVERY_CLASS (~(mym_class_set)0)
#define MYM_SPANS       0u /* in place of class 0, which has no objects: spans */

MYM_INLINE mym_class_set mym_class_bit(unsigned cls)
{
    return (mym_class_set)1 << cls;
}

struct mym_cache {
    /* By mym_slot_of and mym_slot_set, where there is no sequence. */
    void **slot[MYM_SLOTS + MYM_SPAN_WORDS];
    uint32_t missed;     /* the span asked for in vain last, see spans.c; a hint */
    uint32_t open;       /* span words; a hint, see mym_span_take */
    uint32_t exchanges;  /* with pools; a hint: written by whoever runs here */
    mym_class_set asked; /* what is to be emptied; under mym_front_lock, like */
    bool tried;          /* the helper went round to do that, and may have failed */
    uint8_t whose;       /* of an id, in a child: enum mym_whose */
    /* of a thread; under mym_front_lock: */
    uint32_t user;          /* 1 + the process that its thread is of, see thread.c */
    struct mym_cache *next; /* in mym_thread_caches */
    struct mym_cache *next_idle; /* of those without a thread */
};

/* The id of a thread that no rseq area tells one: its cache stays closed. */
#define MYM_NO_ID MYM_MAX_CPUS

struct mym_front {
    struct mym_cache closed; /* of whoever has none: slots without room or objects */
    /* Sizes of class c are above ends[c], and up to ends[c + 1], what its objects have. */
    size_t ends[MYM_CLASSES + 1];
    uint8_t class_of[MYM_SMALL_MAX + 1]; /* by size: next to what is read after it */
    /*
     * A load waits for an older store whose address has the same low 12 bits (4K aliasing).
     * Programs store to an object's first word, at a multiple of 16; so caches lies at none.
     */
    uint64_t apart[5] __attribute__((aligned(MYM_CACHELINE)));
    char *caches;                   /* mym_heap.caches */
    uint8_t open[MYM_MAX_CPUS + 1]; /* enum mym_open; with MYM_NO_ID */
};

_Static_assert(offsetof(struct mym_front, caches) % 16 == 8, "see apart");

_Static_assert(sizeof(struct mym_cache) <= (size_t)1 << MYM_CACHE_SHIFT,
               "a cache has its place");

/* Of what is even the sequences know that it is not open. */
enum mym_open { MYM_SHUT, MYM_OPEN, MYM_OPENING };

extern MYM_HIDDEN struct mym_front mym_front;

/* The object freed is the one that was freed last: told, then abort. No lock is held. */
_Noreturn void mym_cache_twice(const void *object);

#if defined(__x86_64__)
#include "cache/rseq_x86_64.h"
#elif defined(__aarch64__)
#include "cache/rseq_aarch64.h"
#else
#error "mymalloc knows the restartable sequences of x86-64 and aarch64"
#endif

enum mym_mode { MYM_MODE_STARTING, MYM_MODE_TLS, MYM_MODE_CPU_ID, MYM_MODE_MM_CID };
/* Guards the opening, draining and recycling of caches. */
extern MYM_HIDDEN struct mym_mutex mym_front_lock;

/* No id at or above it has a cache, and all below are mapped; set under mym_front_lock. */
extern MYM_HIDDEN unsigned mym_caches_top;

/* A child of fork has the caches of ids where no thread of it may ever run: see open.c. */
enum mym_whose { MYM_ITS, MYM_LEFT, MYM_COLLECTED };

MYM_INLINE struct mym_cache *mym_cache_at(uint32_t id)
{
    return (struct mym_cache *)(mym_front.caches + ((size_t)id << MYM_CACHE_SHIFT));
}

/* NULL: the id, below mym_caches_top, has none yet. A slot of one holds no NULL. */
MYM_INLINE struct mym_cache *mym_cache_made(unsigned id)
{
    return mym_cache_at(id)->slot[0] == NULL ? NULL : mym_cache_at(id);
}

MYM_INLINE bool mym_cache_is_open(uint32_t id)
{
    return __atomic_load_n(&mym_front.open[id], __ATOMIC_ACQUIRE) & MYM_OPEN;
}

MYM_INLINE void mym_cache_shut(uint32_t id)
{
    __atomic_store_n(&mym_front.open[id], MYM_SHUT, __ATOMIC_RELEASE);
}

MYM_INLINE struct mym_cache *mym_cache_of(uint32_t id)
{
    return mym_cache_is_open(id) ? mym_cache_at(id) : &mym_front.closed;
}

extern MYM_HIDDEN enum mym_mode mym_mode;
extern MYM_HIDDEN const char *mym_mode_reason;
extern MYM_HIDDEN const char *const mym_mode_names[]; /* by enum mym_mode */
const char *mym_mode_name(void);

/* mode.c: before the heap serves its first object, sequences meet an area of nobody's. */
void mym_mode_init(void);
/* Choose the front end. wish: "rseq", "cpu_id", "mm_cid", "tls", or NULL for the best. */
void mym_mode_start(const char *wish);
/* The CPU that runs, as the thread's area has it; `otherwise` where nobody tells. */
unsigned mym_mode_cpu(unsigned otherwise);

/* With the page heap, before it serves its first object: every id is closed. */
void mym_cache_init(void);

/* ---- slots.c ---- */

/* There is no magazine in its slots; it reads 0 so far. */
void mym_cache_make(struct mym_cache *cache);

/* Empty slots of a thread's cache that the caller holds; NULL: of this CPU's. */
void mym_cache_empty(struct mym_cache *own, mym_class_set some);
/* All that a cache holds which nobody else can reach, spans too. */
void mym_cache_flush(struct mym_cache *cache);

/* Ask for a cache that holds any of it to be emptied by who next runs there. */
void mym_cache_ring(unsigned id, mym_class_set some) MYM_REQUIRES(mym_front_lock);
/* Nobody has come by since. */
bool mym_cache_is_rung(unsigned id) MYM_REQUIRES(mym_front_lock);

/* ---- open.c ---- */

/* Open the cache of an id, and empty it if that was asked for; false: no memory, or not now. */
bool mym_cache_open(uint32_t id);

/* Open the cache of this CPU or thread if there is none yet; false: not possible. */
bool mym_cache_open_here(void);

/* In a child of fork: all other ids are left. Then what their caches hold goes to the pools. */
void mym_cache_leave_others(void);
void mym_cache_collect_left(void);

/* ---- closed.c ---- */

/* Before a thread makes a child that shares all memory, and when that is no more. */
void mym_cache_vfork(bool begins);
/* Before fork, and in its child. */
void mym_cache_vfork_fork(void);
void mym_cache_vfork_fork_child(void);
/* Who calls is another process, with this one's memory. */
bool mym_cache_is_vforked(void);
bool mym_cache_may_open(void);
/* Open what has been made, unless no cache may be open. */
bool mym_cache_try_open(uint32_t id) MYM_REQUIRES(mym_front_lock);

/* ---- cache.c ---- */

/* The cold halves; they never fail to make progress. NULL: no memory. */
void *mym_cache_pop_slow(unsigned cls);
void mym_cache_push_slow(unsigned cls, void *object);

/* ---- drain.c ---- */

/*
 * What the running thread's cache holds goes back to pools and page heap now, what those
 * of other CPUs hold when a thread next misses there.
 */
void mym_cache_drain(void);

/* Objects and slabs that nobody needed lately go back; looks whether it is time to. */
void mym_cache_upkeep(void);

/* The same by the helper thread, once a second; quiet caches and unused pages go too. */
void mym_cache_cool(void);

/* Exchanges of a cache between two looks at the clock, less one: a mask. */
uint32_t mym_upkeep_pace(void);

/* Called by upkeep once a second, no lock held; set at start, NULL: nothing. */
extern MYM_HIDDEN void (*mym_cache_each_second)(void);

/* ---- round.c: by the helper ---- */

/* Some cache was asked to be emptied, and nobody has come by or tried to. */
bool mym_cache_round_is_due(void);
/* Go to the CPUs of such caches, as far as the thread may run there, and empty them. */
void mym_cache_round(void);

/* ---- visit.c ---- */

/* Objects of each class that lie in caches are added to `objects`; bytes of spans. About. */
size_t mym_cache_count(size_t objects[MYM_CLASSES]);

/* Of each magazine in a cache: its objects. While nobody takes or frees any. */
void mym_cache_each_object(void (*visit)(void *const *objects, size_t count,
                                         void *context),
                           void *context);
size_t mym_cache_verify(void);
void mym_cache_fork(enum mym_fork_step step);
void mym_cache_fork_child(void);

/* ---- spans.c: free large objects ---- */

/* Of each span of a class: exact up to a MiB, then eight sizes per doubling, at most an eighth
   is lost. */
MYM_INLINE uint32_t mym_span_units(unsigned cls)
{
    unsigned place = cls + (unsigned)MYM_SPAN_FIRST;
    unsigned shift = (place > 16) + (place > 24);

    return (place - shift * 8) << shift;
}

/*
 * The index of the word of the class that has room for so many units, or MYM_SPAN_NO_WORD. What
 * malloc takes has the length of its class, so it is found by that, too.
 */
extern MYM_HIDDEN uint8_t mym_span_word[MYM_SPAN_MAX / MYM_UNIT + 1];
_Static_assert(MYM_SPAN_NO_WORD <= UINT8_MAX, "an entry of the table");
_Static_assert(MYM_SPAN_ROOM == 0x100 && MYM_SPAN_HELD == 1 && MYM_UNIT == 0x10000 &&
                   sizeof(struct mym_unit) == 1 << 5 &&
                   offsetof(struct mym_unit, below) == 0,
               "mym_rseq_take and mym_rseq_put have them as figures");

/* For a size above MYM_CLASS_MAX and up to MYM_SPAN_MAX. */
MYM_INLINE size_t mym_span_word_for(size_t size)
{
    return mym_span_word[(size + MYM_UNIT - 1) >> MYM_UNIT_SHIFT];
}

MYM_INLINE unsigned mym_span_class(size_t size)
{
    return (unsigned)mym_span_word_for(size) - MYM_SLOTS;
}

MYM_INLINE uintptr_t mym_span_word_of(const struct mym_cache *cache, size_t index)
{
    return (uintptr_t)__atomic_load_n(&cache->slot[index], __ATOMIC_RELAXED);
}

/*
 * A span for a size that has a class, from this CPU's cache; NULL: none there. A word that
 * holds one and may hold no more is what most have: what is below is known, nothing is
 * waited for.
 */
MYM_INLINE void *mym_span_quick_pop(size_t size)
{
    size_t index = mym_span_word_for(size);
    uintptr_t word = mym_rseq_lone(index);

    if (MYM_UNLIKELY(word == 0) && (word = mym_rseq_take(index)) == 0)
        return NULL;
    mym_span_mark(mym_span_record(word), false);
    return (void *)(word & ~(MYM_UNIT - 1)); /* NOLINT */
}

/* Whether this CPU's cache keeps it, one of malloc's that is in use. */
MYM_INLINE bool mym_span_quick_push(struct mym_unit *unit, void *span)
{
    size_t index;

    if (unit->length > MYM_SPAN_MAX / MYM_UNIT)
        return false;
    index = mym_span_word[unit->length];
    /* Before others can take it: afterwards the record is theirs. */
    mym_span_mark(unit, true);
    unit->below = MYM_SPAN_ROOM;
    if (MYM_LIKELY(
            mym_rseq_swap(index, MYM_SPAN_ROOM, mym_span_onto(MYM_SPAN_ROOM, span))))
        return true;
    if (mym_rseq_put(index, span, &unit->below))
        return true;
    mym_span_mark(unit, false);
    return false;
}

/* The same as mym_span_quick_pop where the cache is the thread's. */
void *mym_span_pop(unsigned cls);
/* KEPT, or not: there is no room here, or the cache is not open yet. */
enum mym_push { MYM_PUSH_REFUSED, MYM_PUSH_KEPT, MYM_PUSH_SHUT };
enum mym_push mym_span_push(unsigned cls, void *span);

void mym_spans_init(void); /* with mym_cache_init */

/* The same as pop of whatever cache, by who takes one from the page heap if there is none: that is remembered. */
void *mym_span_take(unsigned cls);
/* The same two for one without a class, from this CPU's cache alone. */
void *mym_span_take_long(uint32_t units);
enum mym_push mym_span_push_long(void *span);
/* The spans of this CPU's, or thread's, cache go to the page heap. */
void mym_spans_close_here(void);
/* The same for a cache that the caller has for himself; NULL: for this CPU's. */
void mym_spans_close(struct mym_cache *own);
size_t mym_spans_in(const struct mym_cache *cache);        /* bytes, about */
uint32_t mym_spans_open_in(const struct mym_cache *cache); /* units of open words */

/* A slot that may be read by others meanwhile: statistics, and fork, which copies it. */
MYM_INLINE void **mym_slot_of(const struct mym_cache *cache, size_t index)
{
    return __atomic_load_n(&cache->slot[index], __ATOMIC_ACQUIRE);
}

/* release: what the slot's magazine holds is written before, also for a child of fork */
MYM_INLINE void mym_slot_set(struct mym_cache *cache, size_t index, void **top)
{
    __atomic_store_n(&cache->slot[index], top, __ATOMIC_RELEASE);
}

/* ---- thread.c: the same cache, one per thread, where there is no rseq ---- */

/*
 * The thread's cache; NULL: it has none yet or no more, it is inside of it, or the front
 * end is per CPU. Inside: a signal handler that calls the allocator finds no cache and
 * goes to the pools, as threads do that have none.
 */
extern MYM_HIDDEN __thread struct mym_cache *mym_thread_own
    __attribute__((tls_model("initial-exec")));

MYM_INLINE struct mym_cache *mym_thread_hold(void)
{
    struct mym_cache *own = mym_thread_own;

    if (own != NULL)
        mym_thread_own = NULL;
    __asm__ volatile("" ::: "memory"); /* against the thread's own handlers */
    return own;
}

MYM_INLINE void mym_thread_leave(struct mym_cache *own)
{
    __asm__ volatile("" ::: "memory");
    mym_thread_own = own;
}

/* The operations in C: the fast paths only know the caches of CPUs. */
MYM_INLINE void *mym_thread_pop(unsigned cls)
{
    struct mym_cache *own = mym_thread_hold();
    void **top, *object;

    if (own == NULL)
        return NULL;
    top = mym_slot_of(own, cls);
    object = top[-1];
    if (mym_is_wall(object))
        object = NULL;
    else
        mym_slot_set(own, cls, top - 1);
    mym_thread_leave(own);
    return object;
}

MYM_INLINE bool mym_thread_push(unsigned cls, void *object)
{
    struct mym_cache *own = mym_thread_hold();
    size_t index = mym_push_slot(cls);
    void **top;
    bool room;

    if (own == NULL)
        return false;
    top = mym_slot_of(own, index);
    room = *top != MYM_CEILING;
    if (mym_is_on_top(top, object))
        mym_cache_twice(object);
    if (room) {
        *top = object;
        mym_slot_set(own, index, top + 1);
    }
    mym_thread_leave(own);
    return room;
}

/* All that threads ever had, chained by `next`; under mym_front_lock. */
extern MYM_HIDDEN struct mym_cache *mym_thread_caches;

bool mym_thread_init(void);

/* The thread's cache, opened if need be, its own until mym_thread_leave. NULL: see above,
   or no memory. */
struct mym_cache *mym_thread_enter(void);

/* What the caches of threads hold that a child of fork does not have goes to the pools. */
void mym_thread_collect(void);
size_t mym_thread_verify(void);
void mym_thread_fork_child(void);

/* ---- area.c: an rseq area of our own, where the C library has none ---- */

/* A thread's own area, from its thread pointer. Its id is MYM_NO_ID unless it is registered. */
intptr_t mym_area_offset(void);

/* From now on threads register their own areas, this one now. False: not possible. */
bool mym_area_start(void);

/* The running thread has no id: whether it has one now. */
bool mym_area_register(void);

#endif
