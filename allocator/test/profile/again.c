/*
 * again.c - sampled objects that are taken and freed in turn lie where the one before lay, and
 * not in memory that was never touched.
 */
#include "check.h"
#include "family.h"

#include "heap/runs.h"

static void in_turn(void)
{
    static const size_t sizes[] = {16, 100, 1000, 8000, 30000, 60000, 100000};

    CHECK(MyProfileStart(1) == 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t clean = mym_runs(MYM_CLEAN)->units, mapped = mym_pages.mapped;

        for (unsigned again = 0; again < 100; again++)
            free(malloc(opaque(sizes[i])));
        clean += mym_pages.mapped - mapped;
        CHECKF(clean - mym_runs(MYM_CLEAN)->units <= 24, "%zu bytes: %u units",
               sizes[i], clean - mym_runs(MYM_CLEAN)->units);
    }
    CHECK(MyProfileStop() == 0);
}

const struct test tests[] = {
    {"in_turn", in_turn},
    {NULL, NULL},
};
