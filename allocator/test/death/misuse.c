/*
 * misuse.c - a catalogue of classic misuse of the heap, and what became of each case.
 *
 * Each case runs in a child, which goes on with its work afterwards as a program would:
 * it looks at its other objects, allocates, frees. The case is
 *
 *   dies       the child was ended by a signal: an abort with a message, or a fault
 *   contained  it was not, and nothing was harmed: no byte of another object changed, no
 *              memory was given to two, malloc returned nothing that is not the heap's,
 *              calloc returned zeros, and nothing of what was freed, or another's, was read
 *   missed     all else
 *
 * The first two count as caught. The kinds are in classic.c, unusual.c, hostile.c, doors.c and attacks.c; misuses.c
 * lists the cases, and for each build what is not always caught (where an object lies may decide
 * it); nothing else may be missed.
 */
#include "misuse.h"
#include "check.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(const struct misuse *m)
{
    const struct kind *const all[] = {classic_kinds, unusual_kinds, hostile_kinds,
                                      door_kinds, attack_kinds};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (const struct kind *kind = all[i]; kind->name != NULL; kind++)
            if (!strcmp(kind->name, m->kind)) {
                kind->run(m);
                return;
            }
    CHECKF(0, "no kind is called %s", m->kind);
}

enum outcome { MISSED, CONTAINED, DIED };

/* A child that runs for ever is no answer: that counts as missed. */
static enum outcome outcome_of(const struct misuse *m)
{
    const struct rlimit no_core = {0, 0}, short_time = {20, 20};
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        setrlimit(RLIMIT_CPU, &short_time);
        if (!getenv("TEST_LOUD"))
            CHECK(freopen("/dev/null", "w", stderr));
        stay_on_one_cpu(); /* where a second free is seen at once (docs/safety.md) */
        run(m);
        exit(harm);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL ? MISSED
                                                                          : DIED;
    return WEXITSTATUS(status) == 0 ? CONTAINED : MISSED;
}

static bool is_listed(const char *const *list, const char *name)
{
    for (; *list; list++)
        if (!strcmp(*list, name))
            return true;
    return false;
}

/* TEST_BUILD: default or secure are held to their lists, libc tells only. */
static void all_cases(void)
{
    static const char *const words[] = {"MISSED", "contained", "dies"};
    const char *build = getenv("TEST_BUILD"), *only = getenv("TEST_MISUSE");
    const struct expected *expected = NULL;
    unsigned caught = 0, ran = 0, wrong = 0, promised = (unsigned)misuses;

    for (size_t i = 0; i < expectations; i++)
        if (build && !strcmp(build, expectation[i].build))
            expected = &expectation[i];
    CHECKF(expected || (build && !strcmp(build, "libc")),
           "TEST_BUILD is %s, not default, secure or libc", build ? build : "not set");
    for (size_t i = 0; i < misuses; i++) {
        char name[64];
        enum outcome is;

        snprintf(name, sizeof name, "%s.%s", misuse[i].kind, misuse[i].name);
        if (only && !strstr(name, only))
            continue;
        fflush(stdout);
        is = outcome_of(&misuse[i]);
        printf("%-9s %s\n", words[is], name);
        ran++;
        caught += is != MISSED;
        if (expected && is_listed(expected->missed, name)) {
            promised--;
        } else if (expected && is == MISSED) {
            printf("FAILED %s: is not in the list of what %s misses\n", name, build);
            wrong++;
        }
    }
    printf("%u of %u caught\n", caught, ran);
    CHECKF(!wrong, "%u cases are missed that were caught", wrong);
    if (expected && !only)
        CHECKF(ran >= 100 && promised * 100 >= expected->percent * ran,
               "%u of %u are caught always, fewer than %u %%", promised, ran,
               expected->percent);
}

const struct test tests[] = {{"all_cases", all_cases}, {NULL, NULL}};
