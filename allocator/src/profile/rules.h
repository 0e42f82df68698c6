/*
 * rules.h - how a frame's caller is found: rules, and the tables that they are read from.
 *
 * Of a frame three things are wanted: where its caller's begins (the CFA), the return
 * address below that, and the caller's rbp, by which the next frame may be found. For
 * nearly all code the tables say it by numbers that fit in one word, the rule:
 *
 *   CFA = (rsp or rbp) + 8 * cfa,   return address at CFA - 8,   rbp kept, or at CFA - 8 * rbp
 *
 *           27         11 10       1       0
 *          [ cfa          | rbp      | from rbp ]
 *
 * Where cfa is 0 it is one of those below, or that of a function that aligns its stack, from rbp:
 *
 *   CFA is kept at rbp - 8 * rbp's number, which is not 0; the caller's rbp at rbp
 */
#ifndef MYM_PROFILE_RULES_H
#define MYM_PROFILE_RULES_H

#include "base/config.h"

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 35)
#define MYM_HAS_RULES 1
#endif
#endif

#define MYM_RULE_BITS 28
#define MYM_RULE_NONE 0u /* the tables cannot say it so */
#define MYM_RULE_LAST 1u /* nobody called this function, or the tables lack it */
/* A signal's handler returns here: what it interrupted lies above, as the kernel put it. */
#define MYM_RULE_SIGNAL 2u
#define MYM_RULE_CFA    11
#define MYM_RULE_RBP    ((1u << (MYM_RULE_CFA - 1)) - 1)

/* ---- views.c: unwind tables of files, mapped once more ---- */

#define MYM_VIEWS 64u /* tables of further objects are read where they are */

struct mym_view {
    uintptr_t header; /* .eh_frame_hdr, as the program has it */
    uintptr_t start, end;
    uintptr_t shift; /* from the program's mapping to this one */
};

/* Once, before any is asked for: views of the tables at so many headers, as far as possible. */
void mym_views_make(const uintptr_t *headers, unsigned many);
/* That of a header, or NULL. It is to be read now: give back when that is done. */
const struct mym_view *mym_view_of(uintptr_t header);
void mym_views_give_back(void);

/* ---- rules.c ---- */

/* By the tables at this .eh_frame_hdr; both it and the address as if moved by the view's shift. */
uint32_t mym_rule_read(const struct mym_view *view, const uint8_t *header,
                       uintptr_t pc);

#endif
