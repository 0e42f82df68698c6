/* main.c - runs the cases of a table: all, or those named on the command line. */
#include "check.h"
#include "family.h"

#include <string.h>

static int is_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return 1;
    return argc < 2;
}

static int refuse(const char *name)
{
    fprintf(stderr, "no case %s; there are:", name);
    for (const struct test *test = tests; test->name; test++)
        fprintf(stderr, " %s", test->name);
    fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv)
{
    int ran = 0;

    for (const struct test *test = tests; test->name; test++) {
        if (!is_wanted(test->name, argc, argv))
            continue;
        check_begin(test->name);
        test->run();
        if (family.verify)
            CHECKF(family.verify() == 0, "MyVerify() after the case");
        printf("ok %s\n", test->name);
        ran++;
    }
    return ran < argc - 1 || !ran ? refuse(argv[argc - 1]) : 0;
}
