/*
 * refuse.c - a workload while calls for memory fail.
 */
#include "refuse.h"

#include "check.h"
#include "family.h"
#include "gate.h"

#include <stdio.h>
#include <sys/mman.h>

static const struct refused *now;
static unsigned *calls_in_run; /* shared with the children */

bool refuse_can(void)
{
    static int installed = -1;

    if (installed < 0)
        installed = gate_install();
    if (!installed)
        printf("SKIP: seccomp filters are not allowed here\n");
    return installed;
}

static void every_kth(size_t k)
{
    size_t used = mallinfo2().uordblks;
    unsigned calls;

    gate_refuse((unsigned)k, 0);
    now->play(test_seed() + k, now->steps_every);
    calls = gate_allow();
    printf("every %2zu: %u calls, %u refused, %lu requests without memory\n", k, calls,
           gate_refused(), *now->failures);
    CHECK(gate_refused() > 0 && (k > 1 || !now->all_fail || *now->failures > 0));
    now->recover(used);
}

void refuse_every_kth(const struct refused *what, const size_t *k)
{
    now = what;
    for (; *k != 0 && refuse_can(); k++)
        run_in_child(every_kth, *k);
}

static void only_nth(size_t n)
{
    size_t used = mallinfo2().uordblks;

    gate_refuse(0, (unsigned)n);
    now->play(test_seed(), now->steps_once);
    *calls_in_run = gate_allow();
    CHECK(n == 0 || n > *calls_in_run || gate_refused() == 1);
    now->recover(used);
}

void refuse_each_once(const struct refused *what)
{
    unsigned calls, thinned = is_slow() ? 4 : what->thinned;

    if (!refuse_can())
        return;
    now = what;
    calls_in_run =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(calls_in_run != MAP_FAILED);
    run_in_child(only_nth, 0);
    calls = *calls_in_run;
    CHECK(calls > 5);
    for (unsigned n = 1; n <= calls; n += 1 + n / thinned)
        run_in_child(only_nth, n);
    printf("%u calls in a run, refused one at a time\n", calls);
}
