/*
 * guarded.c - cells of guarded objects, see guarded.h.
 *
 *     |guard|  cell 0   |  cell 1   |        cells 2 and 3        | ...
 *           | page|guard| page|guard| page  page  page   guard(s) |
 *
 * An object has whole cells, as many as leave a page behind its own. Cells are taken in
 * turn, round and round, past those in use: so what was freed longest ago is forgotten
 * first, and nobody keeps a list.
 */
#include "profile/guarded.h"

#include "base/check.h"
#include "cache/cache.h"
#include "os/mutex.h"
#include "os/os.h"

#include <string.h>

#define PATTERN    0xA5u /* of what an object leaves of its pages */
#define LEFT_EVERY 4u    /* so many objects, one lies at its first page's start */

struct stack {
    unsigned depth;
    void *pc[MYM_GUARD_DEPTH];
};

struct cell {
    uint16_t first; /* the cell that tells of the object that has or had this one */
    /* Of the object that starts here: */
    enum { CELL_NONE, CELL_LIVE, CELL_ENDED } state;
    uint16_t cells; /* state != CELL_NONE */
    uint32_t size;
    uintptr_t start;
    struct stack taken, freed;
};

struct mym_guarded mym_guarded;

static struct {
    struct mym_mutex lock;
    struct cell *cell; /* MYM_GUARD_CELLS */
    /* By page: touched for good, to go on. No object is put there, nor next to it. */
    bool opened[2 * MYM_GUARD_CELLS + 1];
    size_t page;   /* bytes of one */
    unsigned next; /* the cell that is looked at first */
    bool go_on;
    bool forked; /* in a child of fork: it asks for no handler */
} guard;

#define LOCK()   mym_mutex_lock(&guard.lock, MYM_RANK_GUARD)
#define UNLOCK() mym_mutex_unlock(&guard.lock, MYM_RANK_GUARD)

static mym_on_fault on_fault;

bool mym_guarded_start(bool go_on)
{
    size_t page = mym_os_page(), bytes = (2 * MYM_GUARD_CELLS + 1) * page;
    void *start = mym_os_reserve(bytes);

    guard.cell = mym_os_map(MYM_GUARD_CELLS * sizeof *guard.cell);
    if (start == NULL || guard.cell == NULL)
        return false;
    guard.page = page;
    guard.go_on = go_on;
    mym_guarded.start = (uintptr_t)start;
    __atomic_store_n(&mym_guarded.bytes, bytes, __ATOMIC_RELEASE);
    return mym_fault_start(on_fault);
}

/* ---- cells ---- */

static uintptr_t address_of(unsigned index)
{
    return mym_guarded.start + (1 + 2 * (size_t)index) * guard.page;
}

static unsigned page_of(uintptr_t ptr)
{
    return (unsigned)((ptr - mym_guarded.start) / guard.page);
}

/* The cell of an address; MYM_GUARD_CELLS: the page before the first. */
static unsigned index_of(uintptr_t ptr)
{
    unsigned page = page_of(ptr);

    return page == 0 ? MYM_GUARD_CELLS : (page - 1) / 2;
}

/* What is known of the object that has or had the cell, or NULL. */
static struct cell *object_of(unsigned index)
{
    unsigned first;

    if (index >= MYM_GUARD_CELLS)
        return NULL;
    first = guard.cell[index].first;
    return guard.cell[first].state != CELL_NONE && index >= first &&
                   index - first < guard.cell[first].cells
               ? &guard.cell[first]
               : NULL;
}

static bool can_be_taken(unsigned index)
{
    const struct cell *object = object_of(index);
    const bool *opened = &guard.opened[2 * index]; /* its page between two guards */

    return (object == NULL || object->state == CELL_ENDED) && !opened[0] &&
           !opened[1] && !opened[2];
}

/* The first of so many cells one behind the other; MYM_GUARD_CELLS: there are none. */
static unsigned find_cells(unsigned cells)
{
    unsigned run = 0;

    for (unsigned seen = 0, i = guard.next; seen < MYM_GUARD_CELLS + cells;
         seen++, i++) {
        if (i == MYM_GUARD_CELLS)
            i = run = 0;
        run = can_be_taken(i) ? run + 1 : 0;
        if (run == cells)
            return i + 1 - cells;
    }
    return MYM_GUARD_CELLS;
}

static size_t pages_of(const struct cell *object)
{
    uintptr_t first = object->start & ~(guard.page - 1);

    return mym_round_up(object->start + object->size - first, guard.page);
}

static void remember(struct stack *stack, const struct mym_trace *trace)
{
    stack->depth = trace->depth < MYM_GUARD_DEPTH ? trace->depth : MYM_GUARD_DEPTH;
    memcpy(stack->pc, trace->pc, stack->depth * sizeof *stack->pc);
}

/* ---- objects ---- */

static struct cell *make_object(unsigned first, unsigned cells)
{
    for (unsigned i = first; i < first + cells; i++) {
        guard.cell[i].first = (uint16_t)first;
        guard.cell[i].state = CELL_NONE;
    }
    guard.next = first + cells;
    guard.cell[first].state = CELL_LIVE;
    guard.cell[first].cells = (uint16_t)cells;
    return &guard.cell[first];
}

/* The parts of the object's pages before and behind it. */
struct rest {
    unsigned char *at;
    size_t bytes;
};

static void find_rests(const struct cell *object, struct rest rest[2])
{
    uintptr_t first = object->start & ~(guard.page - 1);
    uintptr_t end = object->start + object->size;

    rest[0] = (struct rest){(unsigned char *)first, object->start - first}; /* NOLINT */
    rest[1] = (struct rest){(unsigned char *)end,                           /* NOLINT */
                            first + pages_of(object) - end};
}

static bool is_whole(const struct rest *rest)
{
    return rest->bytes == 0 || (rest->at[0] == PATTERN &&
                                memcmp(rest->at, rest->at + 1, rest->bytes - 1) == 0);
}

/*
 * The first byte that somebody wrote there, the nearest to the object if before it; or 0. What the
 * program has forbidden itself is allowed again first: a fault here would wait for the lock.
 */
static uintptr_t find_damage(const struct cell *object)
{
    void *first = (void *)(object->start & ~(guard.page - 1)); /* NOLINT */
    struct rest rest[2];

    find_rests(object, rest);
    if (!mym_os_protect(first, pages_of(object), true) ||
        (is_whole(&rest[0]) && is_whole(&rest[1])))
        return 0;
    for (size_t i = 0; i < rest[1].bytes; i++)
        if (rest[1].at[i] != PATTERN)
            return (uintptr_t)&rest[1].at[i];
    for (size_t i = rest[0].bytes; i-- > 0;)
        if (rest[0].at[i] != PATTERN)
            return (uintptr_t)&rest[0].at[i];
    return 0;
}

static void *place_object(unsigned first, unsigned cells, size_t bytes, size_t size,
                          size_t alignment)
{
    struct cell *object = make_object(first, cells);
    bool left = ++mym_guarded.taken % LEFT_EVERY == 0;
    struct rest rest[2];

    mym_guarded.open += bytes;
    mym_guarded.objects++;
    mym_guarded.live += size;
    object->size = (uint32_t)size;
    object->start =
        address_of(first) + (left ? 0 : bytes - mym_round_up(size, alignment));
    object->freed.depth = 0;
    find_rests(object, rest);
    memset(rest[0].at, PATTERN, rest[0].bytes);
    memset(rest[1].at, PATTERN, rest[1].bytes);
    return (void *)object->start; /* NOLINT */
}

void *mym_guarded_take(size_t alignment, size_t size, const struct mym_trace *trace)
{
    size_t wanted = size + (size == 0), bytes = mym_round_up(wanted, mym_os_page());
    unsigned cells = (unsigned)(bytes / mym_os_page() / 2 + 1), first;
    void *object = NULL;

    if (alignment < MYM_ALIGNMENT)
        alignment = MYM_ALIGNMENT;
    if (size > MYM_GUARD_MOST || alignment > mym_os_page())
        return NULL;
    LOCK();
    if (!guard.forked && !mym_cache_is_vforked()) /* whose actions are its own */
        mym_fault_come_first();
    first = mym_guarded.open + bytes <= MYM_GUARD_BYTES ? find_cells(cells)
                                                        : MYM_GUARD_CELLS;
    if (first < MYM_GUARD_CELLS &&
        mym_os_protect((void *)address_of(first), bytes, true)) { /* NOLINT */
        object = place_object(first, cells, bytes, wanted, alignment);
        remember(&guard.cell[first].taken, trace);
    }
    UNLOCK();
    return object;
}

static struct cell *object_at(const void *ptr)
{
    struct cell *object = object_of(index_of((uintptr_t)ptr));

    return object != NULL && object->start == (uintptr_t)ptr ? object : NULL;
}

size_t mym_guarded_bytes(const void *ptr)
{
    const struct cell *object;
    size_t bytes;

    if (!mym_guarded_has(ptr))
        return 0;
    LOCK();
    object = object_at(ptr);
    bytes = object != NULL && object->state == CELL_LIVE ? object->size : 0;
    UNLOCK();
    return bytes;
}

/* ---- reports ---- */

static void report(const char *what, uintptr_t ptr, const struct cell *object)
{
    if (object == NULL) {
        mym_tell(what, ptr, 0, 0);
        return;
    }
    mym_tell(what, ptr, object->start, object->size);
    mym_tell_stack("taken by", object->taken.depth, object->taken.pc);
    mym_tell_stack("freed by", object->freed.depth, object->freed.pc);
}

static const char *what_is_wrong(const void *ptr, const struct cell *object)
{
    if (object == NULL)
        return MYM_NEVER;
    if ((uintptr_t)ptr != object->start)
        return MYM_INSIDE;
    return object->state == CELL_ENDED ? MYM_TWICE : NULL;
}

/* Its pages go; where the kernel refuses (too many mappings) they stay open for good. */
static void end_object(struct cell *object, const struct mym_trace *trace)
{
    void *first = (void *)(object->start & ~(guard.page - 1)); /* NOLINT */
    size_t bytes = pages_of(object);

    remember(&object->freed, trace);
    object->state = CELL_ENDED;
    mym_guarded.objects--;
    mym_guarded.live -= object->size;
    if (mym_os_close_pages(first, bytes))
        mym_guarded.open -= bytes;
    else
        memset(&guard.opened[page_of((uintptr_t)first)], true, bytes / guard.page);
}

static void told(const char *whose, const struct mym_trace *trace)
{
    mym_tell_stack(whose, trace->depth, trace->pc);
}

void mym_guarded_put(void *ptr)
{
    struct mym_trace trace;
    struct cell *object;
    const char *wrong;
    uintptr_t damage = 0;

    mym_trace_begin(&trace, true);
    LOCK();
    object = object_of(index_of((uintptr_t)ptr));
    wrong = what_is_wrong(ptr, object);
    if (wrong != NULL) {
        report(wrong, (uintptr_t)ptr, object);
        told("freed now by", &trace);
    } else {
        damage = find_damage(object);
        if (damage != 0) {
            report(damage < object->start ? "underflow, a write, seen at the free"
                                          : "overflow, a write, seen at the free",
                   damage, object);
            told("freed now by", &trace);
        }
        end_object(object, &trace);
    }
    UNLOCK();
    mym_trace_end();
    if ((wrong != NULL || damage != 0) && !guard.go_on)
        mym_give_up();
}

MYM_COLD void mym_guarded_blame(const void *ptr)
{
    struct mym_trace trace;
    const struct cell *object;

    if (!mym_guarded_has(ptr))
        return;
    mym_trace_begin(&trace, true);
    LOCK();
    object = object_of(index_of((uintptr_t)ptr));
    report(object_at(ptr) != NULL ? "use after free" : what_is_wrong(ptr, object),
           (uintptr_t)ptr, object);
    told("used by", &trace);
    UNLOCK();
    mym_trace_end();
    mym_give_up();
}

/* ---- faults ---- */

/* How far an address is from an object's bytes. */
static size_t distance(const struct cell *object, uintptr_t ptr)
{
    uintptr_t end = object->start + object->size;

    return ptr < object->start ? object->start - ptr : ptr < end ? 0 : ptr + 1 - end;
}

/* Whose guard or page it is: of the objects on both sides, the nearer one. */
static struct cell *culprit_of(uintptr_t ptr)
{
    unsigned index = index_of(ptr);
    struct cell *before = object_of(index), *behind;

    behind = object_of(index == MYM_GUARD_CELLS ? 0 : index + 1);
    if (before == NULL || behind == NULL)
        return before != NULL ? before : behind;
    return distance(before, ptr) <= distance(behind, ptr) ? before : behind;
}

static const char *name_fault(const struct cell *object, uintptr_t ptr,
                              enum mym_access access)
{
    static const char *const names[][3] = {
        {"overflow, an access", "overflow, a read", "overflow, a write"},
        {"underflow, an access", "underflow, a read", "underflow, a write"},
        {"use after free, an access", "use after free, a read",
         "use after free, a write"},
        {"access to freed memory, whose object is forgotten",
         "read of freed memory, whose object is forgotten",
         "write to freed memory, whose object is forgotten"},
    };

    if (object == NULL)
        return names[3][access];
    return names[object->state == CELL_ENDED ? 2 : ptr < object->start][access];
}

/* It lies in an object's own pages. */
static bool is_open(const struct cell *object, uintptr_t ptr)
{
    return object != NULL && object->state == CELL_LIVE &&
           ptr - (object->start & ~(guard.page - 1)) < pages_of(object);
}

/*
 * To go on the page is opened, for good: one step with it open would need a debugger. What
 * was freed reads as zero.
 */
static bool open_fault(uintptr_t ptr)
{
    uintptr_t page = ptr & ~(guard.page - 1);
    bool *opened = &guard.opened[page_of(ptr)];

    if (is_open(culprit_of(ptr), ptr)) /* taken meanwhile */
        return true;
    if (!mym_os_protect((void *)page, guard.page, true)) /* NOLINT */
        return false;
    mym_guarded.open += *opened ? 0 : guard.page; /* another thread was as fast */
    *opened = true;
    return true;
}

static bool on_fault(const void *ptr, enum mym_access access, uintptr_t pc)
{
    struct mym_trace trace;
    struct cell *object;
    bool jumped = (uintptr_t)ptr == pc; /* where no code is */
    bool goes_on;

    if (!mym_guarded_has(ptr))
        return false;
    LOCK();
    object = culprit_of((uintptr_t)ptr);
    if (is_open(object, (uintptr_t)ptr)) { /* it is the program that protects it */
        UNLOCK();
        return false;
    }
    report(name_fault(object, (uintptr_t)ptr, access), (uintptr_t)ptr, object);
    UNLOCK();
    /* Last, should it not survive a stack that was written to. */
    mym_trace_interrupted(&trace, pc, !jumped);
    LOCK();
    told("accessed by", &trace);
    goes_on = guard.go_on && !jumped && open_fault((uintptr_t)ptr);
    UNLOCK();
    mym_trace_end();
    if (!goes_on)
        mym_give_up();
    return true;
}

/* ---- looking, fork ---- */

/* What can be touched: the pages of live objects, and those that were opened. */
size_t mym_guarded_verify(void)
{
    size_t bad = 0, open = 0, live = 0, objects = 0, last = 0;

    if (mym_guarded.bytes == 0)
        return 0;
    LOCK();
    for (unsigned i = 0; i < MYM_GUARD_CELLS; i++) {
        const struct cell *object = object_of(i);

        if (object == NULL || object->first != i)
            continue;
        bad += i < last; /* within the one before */
        bad += object->start - address_of(i) >= 2 * object->cells * guard.page;
        if (object->state != CELL_LIVE)
            continue;
        last = i + object->cells;
        open += pages_of(object);
        live += object->size;
        objects++;
        bad += memchr(&guard.opened[page_of(object->start)], true,
                      pages_of(object) / guard.page) != NULL;
    }
    for (unsigned i = 0; i < sizeof guard.opened; i++)
        open += guard.opened[i] ? guard.page : 0;
    bad += open != mym_guarded.open || live != mym_guarded.live ||
           objects != mym_guarded.objects;
    UNLOCK();
    if (bad != 0)
        mym_warn("guarded samples", "cells overlap, or do not add up");
    return bad;
}

void mym_guarded_fork(enum mym_fork_step step)
{
    mym_mutex_fork(&guard.lock, step);
}

void mym_guarded_fork_child(void)
{
    if (!guard.forked && MYM_RACY(mym_guarded.bytes) != 0)
        mym_fault_come_first();
    guard.forked = true;
}
