/*
 * step.c - a debugger stops the program after each instruction, also in the midst of each
 * restartable sequence: malloc and free come to their end all the same.
 *
 * Software watchpoints of gdb and its `record` do that to whole programs.
 */
#include "check.h"
#include "family.h"

#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define OBJECTS 8
/*
 * Nothing is found in a cache then, for it is a sequence that finds it: 39,147 were seen, 78,500
 * of the hardened build, with assertions 336,200.
 */
#define MOST_STEPS 1000000

static void use_the_heap(void)
{
    char *objects[OBJECTS], *large;

    for (size_t i = 0; i < OBJECTS; i++) {
        objects[i] = malloc(i * 90 + 1);
        CHECK(objects[i]);
        memset(objects[i], (int)i, i * 90 + 1);
    }
    for (size_t i = 0; i < OBJECTS; i++) {
        objects[i] = realloc(objects[i], i * 200 + 1);
        CHECK(objects[i] && objects[i][i * 90] == (char)i);
    }
    for (size_t i = 0; i < OBJECTS; i++)
        free(objects[i]);
    for (int i = 0; i < 2; i++) {
        large = malloc(300000);
        CHECK(large);
        free(large);
    }
}

static void every_step_is_a_stop(void)
{
    long steps = 0;
    int status;
    pid_t child;

    use_the_heap(); /* all that it needs is there */
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        use_the_heap();
        _exit(7);
    }
    CHECK(waitpid(child, &status, 0) == child);
    while (WIFSTOPPED(status) && steps++ < MOST_STEPS) {
        CHECK(!ptrace(PTRACE_SINGLESTEP, child, NULL, NULL));
        CHECK(waitpid(child, &status, 0) == child);
    }
    if (WIFSTOPPED(status))
        kill(child, SIGKILL);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

const struct test tests[] = {
    {"every_step_is_a_stop", every_step_is_a_stop},
    {NULL, NULL},
};
