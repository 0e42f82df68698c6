/*
 * frames.c - a stack by unwind tables, each return address looked up in them once.
 *
 * A rule (rules.h) is remembered with the address that it is for:
 *
 *   entry   63                28 27       0
 *          [ address >> INDEX   | rule     ]
 *
 * Invariant: an entry is a function of its place and of code that is never unloaded. The
 * rest of the address is its place, so a match is no guess; it is read and written at once,
 * so there is no lock and a handler may come between any two steps; and it never grows
 * stale, for only the objects that the program started with are remembered. The tables of
 * what dlopen() brought are read each time.
 *
 * A frame that no rule describes ends the walk; where libgcc's unwinder is there and knows
 * better, it walks the whole stack then (unwind.c).
 */
#include "profile/profile.h"
#include "profile/rules.h"

#include "heap/heap.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#ifdef MYM_HAS_RULES

#define INDEX   11
#define ADDRESS 47 /* bits of a program's address */

_Static_assert(ADDRESS - INDEX + MYM_RULE_BITS <= 64, "an entry is one word");

extern __typeof__(_dl_find_object) _dl_find_object MYM_MAYBE;
extern struct r_debug _r_debug MYM_MAYBE;
extern __typeof__(dlsym) dlsym MYM_MAYBE;

static uint64_t entries[1 << INDEX];
/* Of the loader's list: the last object that was there at the start. NULL: not known. */
static const struct link_map *last_at_start;

/*
 * At the first request. The loader asks for memory before it adds to its list: where we serve
 * it, nothing that was loaded later is in it yet.
 */
void mym_frames_note_start(void)
{
    if (&_r_debug == NULL || _r_debug.r_map == NULL)
        return;
    last_at_start = _r_debug.r_map;
    while (last_at_start->l_next != NULL)
        last_at_start = last_at_start->l_next;
}

/* Does malloc, whoever that is, serve from here? Then the loader's requests came here, too. */
static bool is_malloc(void)
{
    union {
        void *symbol;
        void *(*take)(size_t);
        void (*give)(void *);
    } take, give;
    void *object;
    bool ours;

    if (dlsym == NULL || (take.symbol = dlsym(RTLD_DEFAULT, "malloc")) == NULL ||
        (give.symbol = dlsym(RTLD_DEFAULT, "free")) == NULL)
        return false;
    object = take.take(1);
    ours = mym_in_heap(object);
    give.give(object);
    return ours;
}

/* Of the objects that stay; the way to the last one is safe. */
static void make_views(void)
{
    uintptr_t headers[MYM_VIEWS];
    unsigned count = 0;
    struct dl_find_object object;
    const struct link_map *last = last_at_start,
                          *map = last == NULL ? NULL : _r_debug.r_map;

    for (; map != NULL && count < MYM_VIEWS; map = map == last ? NULL : map->l_next)
        if (_dl_find_object(map->l_ld, &object) == 0 && object.dlfo_eh_frame != NULL)
            headers[count++] = (uintptr_t)object.dlfo_eh_frame;
    mym_views_make(headers, count);
}

bool mym_frames_start(void)
{
    static bool made;

    if (!is_malloc())
        __atomic_store_n(&last_at_start, NULL, __ATOMIC_RELAXED);
    if (_dl_find_object != NULL && !__atomic_exchange_n(&made, true, __ATOMIC_RELAXED))
        make_views();
    return _dl_find_object != NULL;
}

bool mym_frames_is_libgcc(void *code)
{
    static const char wanted[] = "/libgcc_s.so.1";
    struct dl_find_object object;
    const char *name = "";
    size_t length;

    if (_dl_find_object != NULL && _dl_find_object(code, &object) == 0)
        name = object.dlfo_link_map->l_name;
    length = strlen(name);
    return length >= sizeof wanted - 1 &&
           strcmp(name + length - (sizeof wanted - 1), wanted) == 0;
}

/* Those up to the last one stay, so the way to it is safe. */
bool mym_frames_stay(const struct link_map *object)
{
    const struct link_map *last = __atomic_load_n(&last_at_start, __ATOMIC_RELAXED);
    const struct link_map *map = last == NULL ? NULL : _r_debug.r_map;

    while (map != NULL && map != object)
        map = map == last ? NULL : map->l_next;
    return map != NULL;
}

static MYM_SLOW uint32_t find_rule(uintptr_t pc)
{
    struct dl_find_object object;
    const struct mym_view *view;
    const uint8_t *header;
    uintptr_t
        shift; /* all in the tables is relative: the code is as if moved with them */
    uint32_t rule;

    if (pc >> ADDRESS != 0 ||
        _dl_find_object((void *)(pc - 1), &object) != 0) /* NOLINT */
        return MYM_RULE_NONE;
    header = object.dlfo_eh_frame;
    view = mym_view_of((uintptr_t)header);
    shift = view == NULL ? 0 : view->shift;
    rule = mym_rule_read(view, header + shift, pc - 1 + shift);
    if (rule != MYM_RULE_NONE && mym_frames_stay(object.dlfo_link_map))
        __atomic_store_n(&entries[(pc ^ pc >> INDEX) & ((1 << INDEX) - 1)],
                         (uint64_t)(pc >> INDEX) << MYM_RULE_BITS | rule,
                         __ATOMIC_RELAXED);
    return rule;
}

MYM_INLINE uint64_t entry_for(uintptr_t pc)
{
    return __atomic_load_n(&entries[(pc ^ pc >> INDEX) & ((1 << INDEX) - 1)],
                           __ATOMIC_RELAXED);
}

bool mym_frames_remember(uintptr_t pc)
{
    return entry_for(pc) >> MYM_RULE_BITS == pc >> INDEX;
}

/* About 10 instructions for an address that was looked up before. */
MYM_INLINE uint32_t rule_of(uintptr_t pc)
{
    uint64_t entry = entry_for(pc);

    return MYM_LIKELY(entry >> MYM_RULE_BITS == pc >> INDEX)
               ? (uint32_t)entry & ((1u << MYM_RULE_BITS) - 1)
               : find_rule(pc);
}

/* ---- the walk ---- */

/* What lies there is no object of ours. */
__attribute__((no_sanitize("address"), no_sanitize("thread"))) static uintptr_t
load(uintptr_t address)
{
    return *(const uintptr_t *)address; /* NOLINT */
}

struct frame {
    uintptr_t at; /* what it will go on with */
    uintptr_t sp, bp;
};

/* What the kernel saved; as if it had been called, like the others. */
static void leave_signal(struct frame *frame)
{
    uintptr_t saved = frame->sp + offsetof(ucontext_t, uc_mcontext.gregs);

    frame->at = load(saved + sizeof(greg_t) * REG_RIP) + 1;
    frame->sp = load(saved + sizeof(greg_t) * REG_RSP);
    frame->bp = load(saved + sizeof(greg_t) * REG_RBP);
}

/* False: there is none, or no rule describes it. */
MYM_INLINE bool leave(struct frame *frame, uint32_t rule)
{
    uintptr_t cfa =
        (rule & 1 ? frame->bp : frame->sp) + 8 * (uintptr_t)(rule >> MYM_RULE_CFA);
    uintptr_t below = rule >> 1 & MYM_RULE_RBP;

    if (MYM_UNLIKELY(rule >> MYM_RULE_CFA == 0)) {
        if (rule == MYM_RULE_SIGNAL)
            leave_signal(frame);
        if (rule <= MYM_RULE_SIGNAL)
            return rule == MYM_RULE_SIGNAL;
        cfa = load(frame->bp - 8 * below);
        frame->bp = load(frame->bp);
        below = 0;
    }
    if (cfa <= frame->sp || cfa % 8 != 0)
        return false;
    if (below != 0)
        frame->bp = load(cfa - 8 * below);
    frame->at = load(cfa - 8);
    frame->sp = cfa;
    return true;
}

MYM_INLINE unsigned walk(void **pc, unsigned room, uintptr_t *end)
{
    struct frame frame;
    uint32_t rule = MYM_RULE_LAST;
    unsigned depth = 0;

    /* As if this place had been called, too. rbp may be one of the results. */
    __asm__ volatile("mov %%rbp, %2\n\tmov %%rsp, %1\n\tlea 0(%%rip), %0"
                     : "=&r"(frame.at), "=&r"(frame.sp), "=&r"(frame.bp));
    while (depth < room && leave(&frame, rule = rule_of(frame.at)) && frame.at != 0)
        pc[depth++] = (void *)frame.at; /* NOLINT */
    *end = depth == room || rule == MYM_RULE_LAST ? 0 : frame.at;
    return depth;
}

MYM_SLOW unsigned mym_frames_walk(void **pc, unsigned room, uintptr_t *end)
{
    unsigned depth = 0;

    *end = 0;
    if (_dl_find_object != NULL)
        depth = walk(pc, room, end);
    mym_views_give_back();
    return depth;
}

#else

void mym_frames_note_start(void)
{
}

bool mym_frames_start(void)
{
    return false;
}

unsigned mym_frames_walk(void **pc, unsigned room, uintptr_t *end)
{
    (void)pc;
    (void)room;
    *end = 0;
    return 0;
}

bool mym_frames_is_libgcc(void *code)
{
    (void)code;
    return false;
}

bool mym_frames_remember(uintptr_t pc)
{
    (void)pc;
    return false;
}

bool mym_frames_stay(const struct link_map *object)
{
    (void)object;
    return false;
}

#endif
