/*
 * rules.c - what the unwind tables of a file say of an address: .eh_frame of the x86-64 psABI,
 * the instructions of DWARF 5, 6.4.2.
 *
 * They are read where they are, nothing is remembered here. What compilers do not make, or no
 * rule can say, is MYM_RULE_NONE. Of expressions two are understood: gcc's for a function that
 * aligns its stack, and glibc's for the code that a signal's handler returns to.
 */
#include "profile/rules.h"

#include <stddef.h>
#include <string.h>

#ifdef MYM_HAS_RULES

#include <ucontext.h>

#define CFA_MOST   ((1u << (MYM_RULE_BITS - MYM_RULE_CFA)) - 1)
#define SAVED_MOST 4u /* rows that a table saves within each other */

/* The registers' numbers in the tables. */
#define RBP    6u
#define RSP    7u
#define RETURN 16u

/* Behind the address that a handler returns to lies a ucontext_t. */
#define SIGNAL_AT(reg) ((int64_t)(offsetof(ucontext_t, uc_mcontext.gregs) + 8u * (reg)))

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

/*
 * These bytes are read next; false: they are not all in the view. To be read a page of a file
 * is mapped with 15 around it; to be written it is copied, alone.
 */
static bool touch(const struct mym_view *view, const uint8_t *at, size_t bytes)
{
    uintptr_t last = (uintptr_t)at + bytes - 1;

    if (view == NULL)
        return true;
    if ((uintptr_t)at < view->start || last < (uintptr_t)at || last >= view->end)
        return false;
    __asm__ volatile("lock orb $0, %0" : "+m"(*(uint8_t *)(uintptr_t)at)); /* NOLINT */
    __asm__ volatile("lock orb $0, %0" : "+m"(*(uint8_t *)last));          /* NOLINT */
    return true;
}

/* The FDE's address by the sorted table behind .eh_frame_hdr, or NULL. */
static const uint8_t *find_fde(const struct mym_view *view, const uint8_t *header,
                               uintptr_t pc)
{
    struct place {
        int32_t code, fde; /* from the header on */
    };
    static const uint8_t usual[4] = {1, 0x1b, 0x03, 0x3b};
    const struct place *table = (const void *)(header + 12);
    int64_t wanted = (int64_t)(pc - (uintptr_t)header);
    uint32_t count, low = 0, high;

    if (header == NULL || !touch(view, header, 12) ||
        memcmp(header, usual, sizeof usual) != 0)
        return NULL;
    memcpy(&count, header + 8, sizeof count);
    for (high = count; low < high;) {
        uint32_t middle = low + (high - low) / 2;

        if (!touch(view, (const uint8_t *)&table[middle], sizeof *table))
            return NULL;
        if (table[middle].code <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : header + table[low - 1].fde;
}

/* Behind the length, up to its end; at > end: not of the usual form. */
static struct reader open_entry(const struct mym_view *view, const uint8_t *entry)
{
    struct reader in = {entry, entry + 4};
    uint32_t length = touch(view, entry, 4) ? (uint32_t)read_bytes(&in, 4) : UINT32_MAX;

    if (length >= 0xfffffff0u || !touch(view, entry, 4 + length))
        return (struct reader){entry + 1, entry};
    in.end += length;
    return in;
}

/* Leaves the CIE at its instructions; false: not what compilers make for such a function. */
static bool read_cie(struct reader *cie, bool *is_signal)
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
        else if (*letters == 'S')
            *is_signal = true;
        else if (*letters != 'L')
            return false;
    }
    cie->at = instructions;
    return relative;
}

/* ---- what their instructions say ---- */

/* Where a register is: kept, saved below the CFA or above what rsp or rbp is, or what no rule says. */
enum where { KEPT, SAVED, LOST, ELSEWHERE, BY_RSP, BY_RBP };

struct place_of {
    enum where where;
    int64_t bytes; /* so far */
};

struct row {
    uint64_t base; /* register, or NOWHERE */
    int64_t cfa;
    struct place_of kept; /* the CFA, where it has no base */
    struct place_of rbp, back;
};

#define NOWHERE UINT64_MAX

struct table {
    struct row row, first; /* first: as the CIE leaves it */
    struct row saved[SAVED_MOST];
    unsigned depth;
    bool is_signal;
};

static void put(struct row *row, uint64_t reg, enum where where, int64_t bytes)
{
    if (reg == RBP)
        row->rbp = (struct place_of){where, bytes};
    else if (reg == RETURN)
        row->back = (struct place_of){where, bytes};
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

/* Of expressions. */
enum { OP_DEREF = 0x06, OP_BREG = 0x70 };

static void skip_block(struct reader *in)
{
    in->at += read_leb(in, false) & INT32_MAX;
}

/* One register and a number; if `loads`, what lies there is the value. Of others ELSEWHERE. */
static struct place_of read_expression(struct reader *in, bool loads)
{
    struct place_of place = {ELSEWHERE, 0};
    struct reader block = *in;
    uint64_t op;

    skip_block(in);
    if (in->at > in->end)
        return place;
    block.end = in->at;
    read_leb(&block, false);
    op = read_bytes(&block, 1);
    place.bytes = (int64_t)read_leb(&block, true);
    if ((!loads || read_bytes(&block, 1) == OP_DEREF) && block.at == block.end)
        place.where = op == OP_BREG + RSP   ? BY_RSP
                      : op == OP_BREG + RBP ? BY_RBP
                                            : ELSEWHERE;
    return place;
}

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
    } else if (op == EXPRESSION) {
        struct place_of place = read_expression(in, false);

        put(&table->row, reg, place.where, place.bytes);
    } else if (op == VAL_EXPRESSION) {
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
        row->kept = read_expression(in, true);
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

static bool is_at(struct place_of place, enum where where, int64_t bytes)
{
    return place.where == where && place.bytes == bytes;
}

static uint32_t rule_of_signal(const struct row *row)
{
    return row->base == NOWHERE && is_at(row->kept, BY_RSP, SIGNAL_AT(REG_RSP)) &&
                   is_at(row->rbp, BY_RSP, SIGNAL_AT(REG_RBP)) &&
                   is_at(row->back, BY_RSP, SIGNAL_AT(REG_RIP))
               ? MYM_RULE_SIGNAL
               : MYM_RULE_NONE;
}

/* The CFA is kept in the frame. */
static uint32_t rule_of_aligned(const struct row *row)
{
    int64_t below = -row->kept.bytes;

    return row->kept.where == BY_RBP && is_at(row->rbp, BY_RBP, 0) &&
                   is_at(row->back, SAVED, 8) && below > 0 && below % 8 == 0 &&
                   below <= 8 * (int64_t)MYM_RULE_RBP
               ? (uint32_t)(below / 8) << 1 | 1
               : MYM_RULE_NONE;
}

static uint32_t rule_of_row(const struct row *row)
{
    int64_t rbp = row->rbp.where == SAVED ? row->rbp.bytes : 0;

    if (row->back.where == LOST)
        return MYM_RULE_LAST;
    if (row->base == NOWHERE)
        return rule_of_aligned(row);
    if (!is_at(row->back, SAVED, 8) || (row->base != RSP && row->base != RBP) ||
        row->rbp.where > SAVED)
        return MYM_RULE_NONE;
    if (row->cfa <= 0 || row->cfa > 8 * (int64_t)CFA_MOST || row->cfa % 8 != 0 ||
        rbp < 0 || rbp > 8 * (int64_t)MYM_RULE_RBP ||
        (row->rbp.where == SAVED && rbp == 0))
        return MYM_RULE_NONE;
    return (uint32_t)(row->cfa / 8) << MYM_RULE_CFA | (uint32_t)(rbp / 8) << 1 |
           (row->base == RBP);
}

/* The address is in the call, not behind it: that may be another function. */
uint32_t mym_rule_read(const struct mym_view *view, const uint8_t *header, uintptr_t pc)
{
    struct table table = {.row = {.base = NOWHERE}};
    const uint8_t *entry = find_fde(view, header, pc);
    struct reader fde, cie;
    uintptr_t start;

    if (entry == NULL)
        return MYM_RULE_NONE;
    fde = open_entry(view, entry);
    cie = open_entry(view, entry + 4 - read_bytes(&fde, 4));
    if (fde.at > fde.end || cie.at > cie.end || !read_cie(&cie, &table.is_signal))
        return MYM_RULE_NONE;
    start = (uintptr_t)fde.at;
    start += (uintptr_t)(intptr_t)read_int32(&fde);
    if (pc - start >= read_bytes(&fde, 4)) /* libgcc's unwinder ends there, too */
        return MYM_RULE_LAST;
    skip_block(&fde); /* of the exceptions' handlers */
    if (!run(&table, cie, UINT64_MAX))
        return MYM_RULE_NONE;
    table.first = table.row;
    if (!run(&table, fde, pc - start))
        return MYM_RULE_NONE;
    return table.is_signal ? rule_of_signal(&table.row) : rule_of_row(&table.row);
}

#endif
