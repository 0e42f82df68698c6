/*
 * ledger.h - how much idle memory may stay resident: a rule, and the numbers it needs.
 *
 *   allowance = keep + min(swing, high - use, max(2 * keep, high / 4 - keep))
 *   helped    = keep + high - use
 *
 * `keep` stays whatever happens. A program that was seen to come back for what it had given
 * up may keep what it swings by as well: no more than brings it back to its recent peak,
 * and all in all no more than three times `keep` or, in a large heap, a quarter of the peak.
 * Where a helper gives back what is left, all that brings it back to its peak may wait for that.
 *
 *   high  ----.        .--- use: back again, swing = high - low
 *              \      /
 *   low         `----'
 *
 * Nothing here takes a lock or looks at a clock: events come in, in units of the heap.
 */
#ifndef MYM_HEAP_LEDGER_H
#define MYM_HEAP_LEDGER_H

#include "base/config.h"

#include <stdatomic.h>

/* low <= use <= high */
struct mym_ledger {
    uint32_t keep;
    bool helped;   /* a helper thread gives back what nobody takes again */
    uint32_t use;  /* units that hold objects */
    uint32_t high; /* the most lately */
    uint32_t low;  /* the least since */
    uint32_t seen; /* `swing`, of this second alone */
    /* Of what was given up between the two, what was taken again. Read by others too. */
    _Atomic uint32_t swing;
};

/* So many units are in use from now on. */
void mym_ledger_see(struct mym_ledger *ledger, uint32_t use);

/* A second has passed: what was not seen again in it is a little less so. */
void mym_ledger_age(struct mym_ledger *ledger);

/* Units of idle memory that may stay. */
uint32_t mym_ledger_allowance(const struct mym_ledger *ledger);

#endif
