/*
 * frames.c - a stack by unwind tables, each return address looked up in them once.
 *
 * Of a frame three things are wanted: where its caller's begins (the CFA), the return
 * address below that, and the caller's rbp, by which the next frame may be found. For
 * nearly all code the tables (.eh_frame of the x86-64 psABI, the instructions of DWARF 5,
 * 6.4.2) say it by numbers that fit in one word, the rule:
 *
 *   CFA = (rsp or rbp) + 8 * cfa,   return address at CFA - 8,   rbp kept, or at CFA - 8 * rbp
 *
 *   entry   63                28 27         11 10       1       0
 *          [ address >> INDEX   | cfa          | rbp      | from rbp ]
 *
 * Invariant: an entry is a function of its place and of code that is never unloaded. The
 * rest of the address is its place, so a match is no guess; it is read and written at once,
 * so there is no lock and a handler may come between any two steps; and it never grows
 * stale, for only the objects that the program started with are remembered. The tables of
 * what dlopen() brought are read each time.
 *
 * What a rule cannot say (a handler's frame, a realigned stack, code without tables) is
 * for the C library's unwinder, which then walks the whole stack.
 */
#include "profile/profile.h"

#include "heap/heap.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 35)
#define HAS_RULES 1
#endif
#endif

#ifdef HAS_RULES

#define INDEX      11
#define ADDRESS    47 /* bits of a program's address */
#define RULE_BITS  28
#define RULE_NONE  0u /* the tables cannot say it so */
#define RULE_LAST  1u /* nobody called this function */
#define RULE_CFA   11
#define RBP_MOST   ((1u << (RULE_CFA - 1)) - 1)
#define CFA_MOST   ((1u << (RULE_BITS - RULE_CFA)) - 1)
#define SAVED_MOST 4u /* rows that a table saves within each other */

_Static_assert(ADDRESS - INDEX + RULE_BITS <= 64, "an entry is one word");

/* The registers' numbers in the tables. */
#define RBP    6u
#define RSP    7u
#define RETURN 16u

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

void mym_frames_start(void)
{
    if (!is_malloc())
        __atomic_store_n(&last_at_start, NULL, __ATOMIC_RELAXED);
}

/* Those up to the last one stay, so the way to it is safe. */
static bool stays_loaded(const struct link_map *object)
{
    const struct link_map *last = __atomic_load_n(&last_at_start, __ATOMIC_RELAXED);
    const struct link_map *map = last == NULL ? NULL : _r_debug.r_map;

    while (map != NULL && map != object)
        map = map == last ? NULL : map->l_next;
    return map != NULL;
}

/* ---- reading tables ---- */

struct reader {
    const uint8_t *at, *end; /* at > end: it was too short */
};

static uint64_t read_bytes(struct reader *in, unsigned count)
{
    uint64_t value = 0;

    if (in->at + count <= in->end)
        memcpy(&value, in->at, count);
    in->at += count;
    return value;
}

static int32_t read_int32(struct reader *in)
{
    return (int32_t)(uint32_t)read_bytes(in, 4);
}

static uint64_t read_leb(struct reader *in, bool is_signed)
{
    uint64_t value = 0, byte;
    unsigned shift = 0;

    do {
        byte = read_bytes(in, 1);
        value |= shift < 64 ? (byte & 0x7f) << shift : 0;
        shift += 7;
    } while (byte & 0x80);
    if (is_signed && shift < 64 && byte & 0x40)
        value |= ~(uint64_t)0 << shift;
    return value;
}

/* The FDE's address by the sorted table behind .eh_frame_hdr, or NULL. */
static const uint8_t *find_fde(const uint8_t *header, uintptr_t pc)
{
    struct place {
        int32_t code, fde; /* from the header on */
    };
    static const uint8_t usual[4] = {1, 0x1b, 0x03, 0x3b};
    const struct place *table = (const void *)(header + 12);
    int64_t wanted = (int64_t)(pc - (uintptr_t)header);
    uint32_t count, low = 0, high;

    if (header == NULL || memcmp(header, usual, sizeof usual) != 0)
        return NULL;
    memcpy(&count, header + 8, sizeof count);
    for (high = count; low < high;) {
        uint32_t middle = low + (high - low) / 2;

        if (table[middle].code <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : header + table[low - 1].fde;
}

/* Behind the length, up to its end; at > end: not of the usual form. */
static struct reader open_entry(const uint8_t *entry)
{
    struct reader in = {entry, entry + 4};
    uint32_t length = (uint32_t)read_bytes(&in, 4);

    if (length >= 0xfffffff0u)
        return (struct reader){entry + 1, entry};
    in.end += length;
    return in;
}

/* Leaves the CIE at its instructions; false: not what compilers make for such a function. */
static bool read_cie(struct reader *cie)
{
    const uint8_t *letters;
    uint64_t length, version;
    bool relative = false;

    read_bytes(cie, 4);
    version = read_bytes(cie, 1);
    letters = cie->at;
    while (read_bytes(cie, 1) != 0)
        ;
    if ((version != 1 && version != 3) || letters[0] != 'z' ||
        read_leb(cie, false) != 1 || read_leb(cie, true) != (uint64_t)-8 ||
        read_bytes(cie, 1) != RETURN)
        return false;
    length = read_leb(cie, false);
    const uint8_t *instructions = cie->at + length;
    for (letters++; *letters != 0; letters++) {
        uint64_t form = *letters == 'P' || *letters == 'L' || *letters == 'R'
                            ? read_bytes(cie, 1)
                            : 0;

        if (*letters == 'R')
            relative = form == 0x1b;
        else if (*letters == 'P')
            read_bytes(cie, (form & 7) == 3 ? 4 : 8);
        else if (*letters != 'L')
            return false; /* S: a handler's frame */
    }
    cie->at = instructions;
    return relative;
}

/* ---- what their instructions say ---- */

/* Where a register is: kept, saved so far below the CFA, or what no rule says. */
enum where { KEPT, SAVED, LOST, ELSEWHERE };

struct place_of {
    enum where where;
    int64_t below;
};

struct row {
    uint64_t base; /* register, or NOWHERE */
    int64_t cfa;
    struct place_of rbp, back;
};

#define NOWHERE UINT64_MAX

struct table {
    struct row row, first; /* first: as the CIE leaves it */
    struct row saved[SAVED_MOST];
    unsigned depth;
};

static void put(struct row *row, uint64_t reg, enum where where, int64_t below)
{
    if (reg == RBP)
        row->rbp = (struct place_of){where, below};
    else if (reg == RETURN)
        row->back = (struct place_of){where, below};
    else if (reg == RSP)
        row->back.where = ELSEWHERE; /* it is the CFA, by all rules that we know */
}

static void restore(struct table *table, uint64_t reg)
{
    if (reg == RBP)
        table->row.rbp = table->first.rbp;
    else if (reg == RETURN)
        table->row.back = table->first.back;
}

static void skip_block(struct reader *in)
{
    in->at += read_leb(in, false) & INT32_MAX;
}

enum {
    NOP = 0x00,
    OFFSET_EXTENDED = 0x05,
    RESTORE_EXTENDED = 0x06,
    UNDEFINED = 0x07,
    SAME_VALUE = 0x08,
    IN_REGISTER = 0x09,
    REMEMBER_STATE = 0x0a,
    RESTORE_STATE = 0x0b,
    DEF_CFA = 0x0c,
    DEF_CFA_REGISTER = 0x0d,
    DEF_CFA_OFFSET = 0x0e,
    DEF_CFA_EXPRESSION = 0x0f,
    EXPRESSION = 0x10,
    OFFSET_EXTENDED_SF = 0x11,
    VAL_EXPRESSION = 0x16,
    GNU_ARGS_SIZE = 0x2e,
};

/* One that changes where a register is; false: it is none that we know. */
static bool step_register(struct table *table, unsigned op, struct reader *in)
{
    uint64_t reg = read_leb(in, false);

    if (op == OFFSET_EXTENDED || op == OFFSET_EXTENDED_SF)
        put(&table->row, reg, SAVED,
            8 * (int64_t)read_leb(in, op == OFFSET_EXTENDED_SF));
    else if (op == RESTORE_EXTENDED)
        restore(table, reg);
    else if (op == UNDEFINED)
        put(&table->row, reg, LOST, 0);
    else if (op == SAME_VALUE)
        put(&table->row, reg, KEPT, 0);
    else if (op == IN_REGISTER) {
        read_leb(in, false);
        put(&table->row, reg, ELSEWHERE, 0);
    } else if (op == EXPRESSION || op == VAL_EXPRESSION) {
        skip_block(in);
        put(&table->row, reg, ELSEWHERE, 0);
    } else
        return false;
    return true;
}

static bool step(struct table *table, unsigned op, struct reader *in)
{
    struct row *row = &table->row;

    if (op == NOP)
        return true;
    if (op == DEF_CFA || op == DEF_CFA_REGISTER)
        row->base = read_leb(in, false);
    if (op == DEF_CFA || op == DEF_CFA_OFFSET)
        row->cfa = (int64_t)read_leb(in, false);
    if (op >= DEF_CFA && op <= DEF_CFA_OFFSET)
        return true;
    if (op == DEF_CFA_EXPRESSION) {
        row->base = NOWHERE;
        skip_block(in);
    } else if (op == REMEMBER_STATE && table->depth < SAVED_MOST)
        table->saved[table->depth++] = *row;
    else if (op == RESTORE_STATE && table->depth > 0)
        *row = table->saved[--table->depth];
    else if (op == GNU_ARGS_SIZE)
        read_leb(in, false);
    else
        return step_register(table, op, in);
    return true;
}

/* Up to the row that has the address `ahead` bytes behind the start; false: not understood. */
static bool run(struct table *table, struct reader in, uint64_t ahead)
{
    uint64_t at = 0;

    while (in.at < in.end) {
        unsigned op = (unsigned)read_bytes(&in, 1), low = op & 0x3f;

        if (op >> 6 == 1)
            at += low;
        else if (op >> 6 == 2)
            put(&table->row, low, SAVED, 8 * (int64_t)read_leb(&in, false));
        else if (op >> 6 == 3)
            restore(table, low);
        else if (op >= 2 && op <= 4) /* advance_loc 1, 2 and 4 */
            at += read_bytes(&in, 1u << (op - 2));
        else if (!step(table, op, &in))
            return false;
        if (at > ahead)
            return true;
    }
    return in.at == in.end;
}

static uint32_t rule_of_row(const struct row *row)
{
    int64_t rbp = row->rbp.where == SAVED ? row->rbp.below : 0;

    if (row->back.where == LOST)
        return RULE_LAST;
    if (row->back.where != SAVED || row->back.below != 8 ||
        (row->base != RSP && row->base != RBP) || row->rbp.where > SAVED)
        return RULE_NONE;
    if (row->cfa <= 0 || row->cfa > 8 * (int64_t)CFA_MOST || row->cfa % 8 != 0 ||
        rbp < 0 || rbp > 8 * (int64_t)RBP_MOST || (row->rbp.where == SAVED && rbp == 0))
        return RULE_NONE;
    return (uint32_t)(row->cfa / 8) << RULE_CFA | (uint32_t)(rbp / 8) << 1 |
           (row->base == RBP);
}

/* The address is in the call, not behind it: that may be another function. */
static uint32_t read_rule(const struct dl_find_object *object, uintptr_t pc)
{
    struct table table = {.row = {.base = NOWHERE}};
    const uint8_t *entry = find_fde(object->dlfo_eh_frame, pc);
    struct reader fde, cie;
    uintptr_t start;

    if (entry == NULL)
        return RULE_NONE;
    fde = open_entry(entry);
    cie = open_entry(entry + 4 - read_bytes(&fde, 4));
    if (fde.at > fde.end || cie.at > cie.end || !read_cie(&cie))
        return RULE_NONE;
    start = (uintptr_t)fde.at;
    start += (uintptr_t)(intptr_t)read_int32(&fde);
    if (pc - start >= read_bytes(&fde, 4))
        return RULE_NONE;
    skip_block(&fde); /* of the exceptions' handlers */
    if (!run(&table, cie, UINT64_MAX))
        return RULE_NONE;
    table.first = table.row;
    return run(&table, fde, pc - start) ? rule_of_row(&table.row) : RULE_NONE;
}

static MYM_SLOW uint32_t find_rule(uintptr_t pc)
{
    struct dl_find_object object;
    uint32_t rule;

    if (pc >> ADDRESS != 0 ||
        _dl_find_object((void *)(pc - 1), &object) != 0) /* NOLINT */
        return RULE_NONE;
    rule = read_rule(&object, pc - 1);
    if (rule != RULE_NONE && stays_loaded(object.dlfo_link_map))
        __atomic_store_n(&entries[(pc ^ pc >> INDEX) & ((1 << INDEX) - 1)],
                         (uint64_t)(pc >> INDEX) << RULE_BITS | rule, __ATOMIC_RELAXED);
    return rule;
}

/* About 10 instructions for an address that was looked up before. */
MYM_INLINE uint32_t rule_of(uintptr_t pc)
{
    uint64_t entry = __atomic_load_n(&entries[(pc ^ pc >> INDEX) & ((1 << INDEX) - 1)],
                                     __ATOMIC_RELAXED);

    return MYM_LIKELY(entry >> RULE_BITS == pc >> INDEX)
               ? (uint32_t)entry & ((1u << RULE_BITS) - 1)
               : find_rule(pc);
}

/* ---- the walk ---- */

/* What lies there is no object of ours. */
__attribute__((no_sanitize("address"), no_sanitize("thread"))) static uintptr_t
load(uintptr_t address)
{
    return *(const uintptr_t *)address; /* NOLINT */
}

MYM_SLOW unsigned mym_frames_walk(void **pc, unsigned room)
{
    uintptr_t at, sp, bp, cfa;
    unsigned depth = 0;

    if (_dl_find_object == NULL)
        return 0;
    /* As if this place had been called, too. rbp may be one of the results. */
    __asm__ volatile("mov %%rbp, %2\n\tmov %%rsp, %1\n\tlea 0(%%rip), %0"
                     : "=&r"(at), "=&r"(sp), "=&r"(bp));
    while (depth < room) {
        uint32_t rule = rule_of(at);

        if (rule == RULE_LAST)
            return depth;
        cfa = (rule & 1 ? bp : sp) + 8 * (uintptr_t)(rule >> RULE_CFA);
        if (rule == RULE_NONE || cfa <= sp || cfa % 8 != 0)
            return 0;
        if ((rule >> 1 & RBP_MOST) != 0)
            bp = load(cfa - 8 * (rule >> 1 & RBP_MOST));
        at = load(cfa - 8);
        sp = cfa;
        if (at == 0)
            return depth;
        pc[depth++] = (void *)at; /* NOLINT */
    }
    return depth;
}

#else

void mym_frames_note_start(void)
{
}

void mym_frames_start(void)
{
}

unsigned mym_frames_walk(void **pc, unsigned room)
{
    (void)pc;
    (void)room;
    return 0;
}

#endif
