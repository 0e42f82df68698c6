/*
 * weights.c - how many objects a sampled one stands for: 1 / (1 - e^(-bytes / every)), to more
 * digits than estimates of a program can show.
 */
#include "check.h"

#include "profile/profile.h"

static void as_the_process_has_it(void)
{
    static const struct {
        size_t bytes, every;
        double weight;
    } cases[] = {
        {16, 1, 1},
        {1, 1000000, 1000000.5000000833},
        {50, 1000000, 20000.500004166667},
        {200, 1000000, 5000.500016666667},
        {1000, 1000000, 1000.5000833333},
        {1000, 2000, 2.541494082536797},
        {1000, 1000, 1.5819767068693265},
        {5000, 1000, 1.0067836549063043},
        {20000, 1000, 1.0000000020611536},
        {1000000, 1000, 1},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        double weight = mym_sample_weight(cases[i].bytes, cases[i].every);

        CHECKF(weight > cases[i].weight * (1 - 1e-8) &&
                   weight < cases[i].weight * (1 + 1e-8),
               "%zu bytes each %zu: %.12f, not %.12f", cases[i].bytes, cases[i].every,
               weight, cases[i].weight);
    }
}

const struct test tests[] = {
    {"as_the_process_has_it", as_the_process_has_it},
    {NULL, NULL},
};
