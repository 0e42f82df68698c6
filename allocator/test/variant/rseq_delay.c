/*
 * rseq_delay.c - the other half of delay.py: how long its loops last (STRESS_DELAY turns),
 * and how many sequences were hit, which must not be none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern unsigned rseq_delay;
extern unsigned long rseq_hits; /* about: counted without an atomic */

unsigned rseq_delay = 1; /* the loop counts before it looks: 0 would be 2^64 turns */
unsigned long rseq_hits;

__attribute__((constructor(102))) static void read_delay(void)
{
    const char *text = getenv("STRESS_DELAY");

    if (text && atoi(text) > 0)
        rseq_delay = (unsigned)atoi(text);
}

__attribute__((destructor)) static void tell_hits(void)
{
    printf("%lu sequences were hit and abandoned\n", rseq_hits);
    fflush(stdout);
    if (rseq_hits < 100)
        _exit(4);
}
