/*
 * init.c - the first process of the emulated machine of ci/kernels: runs the tests that
 * /plan lists, says on the console how each ended, and turns the machine off.
 *
 * The plan is lines, of which an empty one runs the test that the ones before it name:
 *     name NAME | limit SECONDS | env NAME=VALUE | arg WORD
 * What it says are lines that begin with "@ "; what a test printed begins with "| ", and is
 * shown when the test did not pass or its limit is 0 (then it is there to be read).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_WORDS 64
#define OUTPUT     "/tmp/output"
#define UNLIMITED  3600

static struct {
    char name[128];
    unsigned limit;
    char *env[MOST_WORDS + 1], *arg[MOST_WORDS + 1];
    unsigned envs, args;
} test;

static void fail(const char *what)
{
    printf("@ broken %s: %s\n", what, strerror(errno));
    fflush(stdout);
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static void mount_one(const char *type, const char *where)
{
    mkdir(where, 0755);
    if (mount(type, where, type, 0, NULL) != 0 && errno != EBUSY)
        fail(where);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* In the child: a session of its own, so that all it starts can be ended together. */
static void become_test(const sigset_t *mask)
{
    int file = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);

    setsid();
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (file < 0 || dup2(file, 1) < 0 || dup2(file, 2) < 0 || chdir("/tmp") != 0)
        _exit(126);
    close(file);
    execve(test.arg[0], test.arg, test.env);
    fprintf(stderr, "%s: %s\n", test.arg[0], strerror(errno));
    _exit(127);
}

/* Its status; -1 when it did not end in time. Others' orphans are buried on the way. */
static int wait_for(pid_t child, const sigset_t *ended, unsigned seconds)
{
    double end = now() + seconds;
    int status, found = -1;
    pid_t got;

    while (found == -1 && now() < end) {
        struct timespec second = {1, 0};

        sigtimedwait(ended, NULL, &second);
        while ((got = waitpid(-1, &status, WNOHANG)) > 0)
            if (got == child)
                found = status;
    }
    kill(-child, SIGKILL);
    if (found == -1)
        waitpid(child, &status, 0);
    return found;
}

static void show_output(void)
{
    FILE *file = fopen(OUTPUT, "r");
    char line[1024];

    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        printf("| %s\n", line);
    }
    if (file)
        fclose(file);
}

static void run_test(const sigset_t *ended, const sigset_t *mask)
{
    double start = now();
    int status, passed;
    pid_t child;

    printf("@ start %s\n", test.name);
    fflush(stdout);
    child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        become_test(mask);
    status = wait_for(child, ended, test.limit ? test.limit : UNLIMITED);
    passed = status == 0;
    if (!passed || test.limit == 0)
        show_output();
    printf("@ end %s %s %d %.1f\n", test.name,
           status == -1          ? "timeout"
           : WIFSIGNALED(status) ? "signal"
                                 : "exit",
           status == -1          ? (int)test.limit
           : WIFSIGNALED(status) ? WTERMSIG(status)
                                 : WEXITSTATUS(status),
           now() - start);
    fflush(stdout);
}

static void add(char **list, unsigned *count, const char *word)
{
    if (*count == MOST_WORDS || !(list[*count] = strdup(word)))
        fail("plan: too many words");
    list[++*count] = NULL;
}

static void forget_test(void)
{
    while (test.envs > 0)
        free(test.env[--test.envs]);
    while (test.args > 0)
        free(test.arg[--test.args]);
    memset(&test, 0, sizeof test);
}

/* One line of the plan; true when the test is complete. */
static int read_line(char *line)
{
    char *value = strchr(line, ' ');

    line[strcspn(line, "\n")] = 0;
    if (!value)
        return test.args > 0;
    *value++ = 0;
    if (!strcmp(line, "name"))
        snprintf(test.name, sizeof test.name, "%s", value);
    else if (!strcmp(line, "limit"))
        test.limit = (unsigned)strtoul(value, NULL, 10);
    else if (!strcmp(line, "env"))
        add(test.env, &test.envs, value);
    else if (!strcmp(line, "arg"))
        add(test.arg, &test.args, value);
    else
        fail("plan: unknown word");
    return 0;
}

int main(void)
{
    struct rlimit no_core = {0, 0};
    struct utsname kernel;
    char line[4096], page[64];
    sigset_t ended, mask;
    FILE *plan;

    mount_one("devtmpfs", "/dev");
    if (!freopen("/dev/console", "w", stdout) || !freopen("/dev/null", "r", stdin))
        fail("/dev/console");
    mount_one("proc", "/proc");
    mount_one("sysfs", "/sys");
    mount_one("tmpfs", "/tmp");
    mount_one("tmpfs", "/dev/shm");
    mount_one("cgroup2", "/sys/fs/cgroup");
    setrlimit(RLIMIT_CORE, &no_core);
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, &mask);
    uname(&kernel);
    printf("@ kernel %s %lu %ld\n", kernel.release, getauxval(AT_PAGESZ),
           sysconf(_SC_NPROCESSORS_ONLN));
    snprintf(page, sizeof page, "TEST_PAGE=%lu", getauxval(AT_PAGESZ));

    plan = fopen("/plan", "r");
    if (!plan)
        fail("/plan");
    while (fgets(line, sizeof line, plan)) {
        if (!read_line(line))
            continue;
        add(test.env, &test.envs, page);
        run_test(&ended, &mask);
        forget_test();
    }
    printf("@ done\n");
    fflush(stdout);
    reboot(RB_POWER_OFF);
    fail("power off");
}
