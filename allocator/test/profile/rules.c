/*
 * rules.c - unwind tables that are made here, and the rules that are read from them: what
 * compilers seldom or never make is as much a part of the format.
 */
#include "check.h"

#include "profile/rules.h"

#include <string.h>

#ifdef MYM_HAS_RULES

#define NONE MYM_RULE_NONE
#define LAST MYM_RULE_LAST
#define RULE(cfa, rbp, base) \
    ((uint32_t)(cfa) / 8 << MYM_RULE_CFA | (uint32_t)(rbp) / 8 << 1 | (base))
#define RSP 0u
#define RBP 1u

#define RANGE 200 /* bytes of the function */

struct bytes {
    uint8_t byte[32];
    size_t count;
};
#define BYTES(...)                                      \
    {                                                   \
        {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}) \
    }

/* The header, a table of three functions, the same CIE and entry for each; then their code. */
static _Alignas(8) uint8_t tables[4096];
static uint8_t *const code = tables + 2048;
static uint8_t *at;

static void add(const void *from, size_t count)
{
    memcpy(at, from, count);
    at += count;
}

static void add_int(int64_t value)
{
    int32_t narrow = (int32_t)value;

    add(&narrow, sizeof narrow);
}

/* Behind its length, which is made a multiple of 4 by the instruction that does nothing. */
static void end_entry(uint8_t *entry, bool padded)
{
    int32_t length;

    while (padded && (at - entry) % 4 != 0)
        *at++ = 0;
    length = (int32_t)(at - entry - 4);
    memcpy(entry, &length, sizeof length);
}

static void make_tables(const struct bytes *cie, const struct bytes *fde, bool padded)
{
    static const uint8_t head[] = {1, 0x1b, 0x03, 0x3b};
    uint8_t *entry = tables + 256, *of_cie = entry;

    memset(tables, 0, sizeof tables);
    at = entry;
    add_int(0);
    add_int(0);
    add(cie->byte, cie->count);
    end_entry(of_cie, true);
    for (int i = 0; i < 3; i++) {
        entry = at;
        add_int(0);
        add_int(at - of_cie);
        add_int(code + i * RANGE - at);
        add_int(i == 2 ? RANGE / 2 : RANGE);
        add((uint8_t[]){2, 0x2d, 0x2d}, 3); /* of handlers */
        if (i == 1)
            add(fde->byte, fde->count);
        end_entry(entry, padded);
        memcpy(tables + 12 + i * 8, &(int32_t){(int32_t)(code + i * RANGE - tables)},
               4);
        memcpy(tables + 16 + i * 8, &(int32_t){(int32_t)(entry - tables)}, 4);
    }
    memcpy(tables, head, sizeof head);
    memcpy(tables + 8, &(uint32_t){3}, 4);
}

static const struct bytes usual =
    BYTES(1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1);
static const struct bytes nothing = {{0}, 0};

/* In the second of the functions, so far behind its start. */
static uint32_t rule_at(int ahead)
{
    return mym_rule_read(NULL, tables, (uintptr_t)code + (intptr_t)RANGE + ahead);
}

#define ALIGNED(...) BYTES(0x0f, __VA_ARGS__, 0x10, 6, 2, 0x76, 0)

static void instructions(void)
{
    static const struct {
        const char *what;
        struct bytes fde;
        int ahead;
        uint32_t rule;
    } cases[] = {
        {"nothing", {{0}, 0}, 0, RULE(8, 0, RSP)},
        {"a row that begins later", BYTES(0x41, 0x0e, 16, 0x86, 2), 0, RULE(8, 0, RSP)},
        {"a row that begins here", BYTES(0x41, 0x0e, 16, 0x86, 2), 1,
         RULE(16, 16, RSP)},
        {"the last of several", BYTES(0x41, 0x0e, 16, 0x42, 0x0e, 24), 99,
         RULE(24, 0, RSP)},
        {"the one before the last", BYTES(0x41, 0x0e, 16, 0x42, 0x0e, 24), 2,
         RULE(16, 0, RSP)},
        {"advance by one byte", BYTES(2, 100, 0x0e, 16), 100, RULE(16, 0, RSP)},
        {"before that", BYTES(2, 100, 0x0e, 16), 99, RULE(8, 0, RSP)},
        {"advance by two", BYTES(3, 100, 0, 0x0e, 16), 100, RULE(16, 0, RSP)},
        {"beyond the function", BYTES(3, 0, 1, 0x0e, 16), 199, RULE(8, 0, RSP)},
        {"advance by four", BYTES(4, 100, 0, 0, 0, 0x0e, 16), 100, RULE(16, 0, RSP)},
        {"another base", BYTES(0x0e, 16, 0x0d, 6), 0, RULE(16, 0, RBP)},
        {"base and offset", BYTES(0x0c, 6, 32), 0, RULE(32, 0, RBP)},
        {"base of another register", BYTES(0x0d, 3), 0, NONE},
        {"an offset of two bytes", BYTES(0x0e, 0x80, 2), 0, RULE(256, 0, RSP)},
        {"one that is not negative", BYTES(0x0e, 0x78), 0, RULE(120, 0, RSP)},
        {"the largest frame", BYTES(0x0e, 0xf8, 0xff, 0x3f), 0, RULE(0xffff8, 0, RSP)},
        {"a larger one", BYTES(0x0e, 0x80, 0x80, 0x40), 0, NONE},
        {"a frame of no words", BYTES(0x0e, 12), 0, NONE},
        {"an empty frame", BYTES(0x0e, 0), 0, NONE},
        {"rbp far below", BYTES(0x86, 0xff, 7), 0, RULE(8, 8184, RSP)},
        {"rbp farther below", BYTES(0x86, 0x80, 8), 0, NONE},
        {"rbp at what is not negative", BYTES(0x86, 0x7e), 0, RULE(8, 1008, RSP)},
        {"the same by the long form", BYTES(5, 6, 0x7e), 0, RULE(8, 1008, RSP)},
        {"rbp at the CFA", BYTES(0x86, 0), 0, NONE},
        {"rbp by the long form", BYTES(5, 6, 2), 0, RULE(8, 16, RSP)},
        {"rbp by the signed form", BYTES(0x11, 6, 2), 0, RULE(8, 16, RSP)},
        {"rbp above the CFA", BYTES(0x11, 6, 0x7e), 0, NONE},
        {"rbp is kept again", BYTES(0x86, 2, 0xc6), 0, RULE(8, 0, RSP)},
        {"again, by the long form", BYTES(0x86, 2, 6, 6), 0, RULE(8, 0, RSP)},
        {"again, said so", BYTES(0x86, 2, 8, 6), 0, RULE(8, 0, RSP)},
        {"rbp is lost", BYTES(7, 6), 0, NONE},
        {"rbp in another register", BYTES(9, 6, 3), 0, NONE},
        {"rbp by an expression", BYTES(0x10, 6, 2, 0x0e, 99), 0, NONE},
        {"rbp is an expression", BYTES(0x16, 6, 2, 0x0e, 99), 0, NONE},
        {"rbp again after that", BYTES(0x16, 6, 2, 0x0e, 99, 0xc6), 0, RULE(8, 0, RSP)},
        {"other registers",
         BYTES(0x83, 3, 9, 3, 12, 0x10, 12, 1, 99, 7, 13, 0xcc, 8, 14), 0,
         RULE(8, 0, RSP)},
        {"rsp is saved", BYTES(0x87, 2), 0, NONE},
        {"the return address elsewhere", BYTES(0x90, 2), 0, NONE},
        {"it is there again", BYTES(0x90, 2, 0xd0), 0, RULE(8, 0, RSP)},
        {"it is in a register", BYTES(9, 16, 3), 0, NONE},
        {"nobody has called", BYTES(7, 16), 0, LAST},
        {"the CFA by an expression", BYTES(0x0f, 2, 0x0e, 99), 0, NONE},
        {"an aligned stack", ALIGNED(3, 0x76, 0x70, 6), 0, RULE(0, 16, RBP)},
        {"the largest", ALIGNED(4, 0x76, 0x88, 0x40, 6), 0, RULE(0, 8184, RBP)},
        {"a larger one", ALIGNED(4, 0x76, 0x80, 0x40, 6), 0, NONE},
        {"at rbp itself", ALIGNED(3, 0x76, 0, 6), 0, NONE},
        {"above rbp", ALIGNED(3, 0x76, 8, 6), 0, NONE},
        {"between words", ALIGNED(3, 0x76, 0x74, 6), 0, NONE},
        {"by rsp", ALIGNED(3, 0x77, 0x70, 6), 0, NONE},
        {"an address that is not loaded from", ALIGNED(2, 0x76, 0x70), 0, NONE},
        {"and then another step", ALIGNED(4, 0x76, 0x70, 6, 6), 0, NONE},
        {"the caller's rbp elsewhere",
         BYTES(0x0f, 3, 0x76, 0x70, 6, 0x10, 6, 2, 0x76, 8), 0, NONE},
        {"the caller's rbp below", BYTES(0x0f, 3, 0x76, 0x70, 6, 0x86, 2), 0, NONE},
        {"the return address not there",
         BYTES(0x0f, 3, 0x76, 0x70, 6, 0x10, 6, 2, 0x76, 0, 0x90, 2), 0, NONE},
        {"by a register after that", BYTES(0x0f, 2, 0x0e, 99, 0x0c, 7, 8), 0,
         RULE(8, 0, RSP)},
        {"a row is remembered", BYTES(0x0a, 0x0e, 16, 0x86, 2, 0x41, 0x0b), 0,
         RULE(16, 16, RSP)},
        {"and restored", BYTES(0x0a, 0x0e, 16, 0x86, 2, 0x41, 0x0b), 1,
         RULE(8, 0, RSP)},
        {"two are", BYTES(0x0a, 0x0e, 16, 0x0a, 0x0e, 24, 0x0b), 0, RULE(16, 0, RSP)},
        {"four are", BYTES(10, 14, 16, 10, 10, 10, 14, 24, 11, 11, 11), 0,
         RULE(16, 0, RSP)},
        {"five are", BYTES(10, 10, 10, 10, 10, 11, 11, 11, 11, 11), 0, NONE},
        {"none was", BYTES(0x0b), 0, NONE},
        {"bytes of arguments", BYTES(0x2e, 0x90, 1, 0x0e, 16), 0, RULE(16, 0, RSP)},
        {"as many as an instruction", BYTES(0x2e, 0x0b), 0, RULE(8, 0, RSP)},
        {"an address to go on from", BYTES(1, 0, 0, 0, 0, 0, 0, 0, 0), 0, NONE},
        {"unknown ones", BYTES(0x2d), 0, NONE},
        {"a signed offset", BYTES(0x13, 2), 0, NONE},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_tables(&usual, &cases[i].fde, true);
        CHECKF(rule_at(cases[i].ahead) == cases[i].rule, "%s: 0x%x, not 0x%x",
               cases[i].what, rule_at(cases[i].ahead), cases[i].rule);
    }
}

static void heads_of_entries(void)
{
    static const struct {
        const char *what;
        struct bytes cie;
        uint32_t rule;
    } cases[] = {
        {"version 3", BYTES(3, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1),
         RULE(8, 0, RSP)},
        {"version 4", BYTES(4, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1),
         NONE},
        {"with handlers",
         BYTES(1, 'z', 'P', 'L', 'R', 0, 1, 0x78, 16, 7, 0x9b, 1, 2, 3, 4, 0x1b, 0x1b,
               0x0c, 7, 8, 0x90, 1),
         RULE(8, 0, RSP)},
        {"with handlers at addresses",
         BYTES(1, 'z', 'P', 'R', 0, 1, 0x78, 16, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x1b,
               0x0c, 7, 8, 0x90, 1),
         RULE(8, 0, RSP)},
        {"with more than its letters say",
         BYTES(1, 'z', 'R', 0, 1, 0x78, 16, 2, 0x1b, 0x2d, 0x0c, 7, 8, 0x90, 1),
         RULE(8, 0, RSP)},
        {"a signal's frame",
         BYTES(1, 'z', 'R', 'S', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1), NONE},
        {"addresses are absolute",
         BYTES(1, 'z', 'R', 0, 1, 0x78, 16, 1, 0, 0x0c, 7, 8, 0x90, 1), NONE},
        {"or not told of", BYTES(1, 'z', 0, 1, 0x78, 16, 0, 0x0c, 7, 8, 0x90, 1), NONE},
        {"no size of what is added", BYTES(1, 'R', 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1),
         NONE},
        {"code in steps of 4",
         BYTES(1, 'z', 'R', 0, 4, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1), NONE},
        {"data in steps of 4",
         BYTES(1, 'z', 'R', 0, 1, 0x7c, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1), NONE},
        {"another return register",
         BYTES(1, 'z', 'R', 0, 1, 0x78, 15, 1, 0x1b, 0x0c, 7, 8, 0x90, 1), NONE},
        {"no return address", BYTES(1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8),
         NONE},
        {"unknown instructions", BYTES(1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x2d),
         NONE},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_tables(&cases[i].cie, &nothing, true);
        CHECKF(rule_at(0) == cases[i].rule, "%s: 0x%x, not 0x%x", cases[i].what,
               rule_at(0), cases[i].rule);
    }
}

/* What glibc says of the code that a handler returns to: by rsp, where the kernel put them. */
static void handlers(void)
{
    static const struct bytes cie = BYTES(1, 'z', 'R', 'S', 0, 1, 0x78, 16, 1, 0x1b);
    static const struct bytes said =
        BYTES(0x0f, 4, 0x77, 0xa0, 1, 6, 0x10, 6, 3, 0x77, 0xf8, 0, 0x10, 7, 3, 0x77,
              0xa0, 1, 0x10, 16, 3, 0x77, 0xa8, 1);
    static const uint8_t matters[] = {2, 3, 5, 9, 10, 21, 22};
    struct bytes other;

    make_tables(&cie, &said, true);
    CHECK(rule_at(0) == MYM_RULE_SIGNAL);
    make_tables(&usual, &said, true);
    CHECK(rule_at(0) == NONE);
    for (size_t i = 0; i < sizeof matters; i++) {
        other = said;
        other.byte[matters[i]] ^= 1;
        make_tables(&cie, &other, true);
        CHECKF(rule_at(0) == NONE, "byte %u: 0x%x", matters[i], rule_at(0));
    }
}

/* An entry that ends in the midst of an instruction. */
static void cut_short(void)
{
    static const struct bytes cut[] = {BYTES(0x0e), BYTES(3, 1), BYTES(0x0c, 7),
                                       BYTES(0x10, 3, 9, 1)};

    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        make_tables(&usual, &cut[i], false);
        CHECKF(rule_at(RANGE - 1) == NONE, "%zu: 0x%x", i, rule_at(RANGE - 1));
    }
}

static void functions_and_gaps(void)
{
    static const struct bytes push = BYTES(0x0e, 16);
    uint32_t other = RULE(8, 0, RSP), own = RULE(16, 0, RSP);

    make_tables(&usual, &push, true);
    for (int i = 0; i < RANGE; i++)
        CHECK(rule_at(i) == own);
    CHECK(rule_at(-1) == other && rule_at(-RANGE) == other);
    CHECK(rule_at(-RANGE - 1) == NONE);
    CHECK(rule_at(RANGE) == other && rule_at(RANGE + RANGE / 2 - 1) == other);
    CHECK(rule_at(RANGE + RANGE / 2) == LAST);
    CHECK(mym_rule_read(NULL, NULL, (uintptr_t)code) == NONE);
    for (int i = 0; i < 4; i++) {
        tables[i] ^= 0x40;
        CHECK(rule_at(0) == NONE);
        tables[i] ^= 0x40;
    }
    CHECK(rule_at(0) == own);
    memset(tables + 8, 0, 4); /* no functions */
    CHECK(rule_at(0) == NONE);
}

/* What is not all in the view is not read. */
static void ends_of_a_view(void)
{
    static const struct bytes push = BYTES(0x0e, 16);
    struct mym_view view = {.start = (uintptr_t)tables};
    uint32_t last;

    make_tables(&usual, &push, true);
    view.end = (uintptr_t)at;
    CHECK(mym_rule_read(&view, tables, (uintptr_t)code + RANGE) == RULE(16, 0, RSP));
    CHECK(mym_rule_read(&view, tables, (uintptr_t)code + 2 * RANGE) == RULE(8, 0, RSP));
    view.end--;
    CHECK(mym_rule_read(&view, tables, (uintptr_t)code + RANGE) == RULE(16, 0, RSP));
    CHECK(mym_rule_read(&view, tables, (uintptr_t)code + 2 * RANGE) == NONE);
    memcpy(&last, tables + 32, 4); /* of the third entry, the length is not in it */
    view.end = (uintptr_t)tables + last + 3;
    CHECK(mym_rule_read(&view, tables, (uintptr_t)code + 2 * RANGE) == NONE);
    view.end = (uintptr_t)tables + 31; /* nor is the third place */
    CHECK(mym_rule_read(&view, tables, (uintptr_t)code + 2 * RANGE) == NONE);
    view.start++;
    view.end = (uintptr_t)at;
    CHECK(mym_rule_read(&view, tables, (uintptr_t)code + RANGE) == NONE);
    /* A length without end. */
    memset(tables + last, 0xff, 4);
    CHECK(mym_rule_read(NULL, tables, (uintptr_t)code + 2 * RANGE) == NONE);
}

const struct test tests[] = {
    {"instructions", instructions},
    {"heads_of_entries", heads_of_entries},
    {"handlers", handlers},
    {"cut_short", cut_short},
    {"functions_and_gaps", functions_and_gaps},
    {"ends_of_a_view", ends_of_a_view},
    {NULL, NULL},
};

#else

const struct test tests[] = {{NULL, NULL}};

#endif
