/*
 * init.c - the first process of the emulated machine of ci/kernels: runs the tests that
 * /plan lists, says on the console how each ended, and turns the machine off.
 *
 * The plan is lines, of which an empty one runs the test that the ones before it name:
 *     name NAME | limit SECONDS | env NAME=VALUE | arg WORD | shake CPUs
 * While a test is shaken, CPUs are taken away and come back, and the set of those that it may
 * use changes.
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
    int shaken;
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

/* ---- CPUs that come and go ---- */

#define SHAKEN "/sys/fs/cgroup/shaken"

/* A CPU that cannot be taken away, or a set that the kernel refuses, stays as it is. */
static int set(const char *file, const char *value)
{
    int fd = open(file, O_WRONLY), good;

    if (fd < 0)
        return 0;
    good = write(fd, value, strlen(value)) > 0;
    close(fd);
    return good;
}

static long shake_cpu(long cpu)
{
    char file[80];
    struct timespec pause = {0, 20000000};
    long taken;

    snprintf(file, sizeof file, "/sys/devices/system/cpu/cpu%ld/online", cpu);
    taken = set(file, "0");
    nanosleep(&pause, NULL);
    set(file, "1");
    return taken;
}

/* Ends with the test; says once a second what it did, to be read in the console's log. */
static void shake(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF), taken = 0, sets = 0;
    char all[48], half[48];

    snprintf(all, sizeof all, "0-%ld", cpus - 1);
    snprintf(half, sizeof half, "%ld-%ld", cpus / 2, cpus - 1);
    for (unsigned round = 0;; round++) {
        taken += shake_cpu(1 + (long)(round * 7U) % (cpus > 1 ? cpus - 1 : 1));
        sets += set(SHAKEN "/cpuset.cpus", round % 2 == 0 ? half : all);
        if (round % 64 == 63) {
            printf("@ shaken %s: %ld CPUs taken away, %ld sets\n", test.name, taken,
                   sets);
            fflush(stdout);
        }
    }
}

static pid_t start_shaking(void)
{
    pid_t child;

    set("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset");
    mkdir(SHAKEN, 0755);
    fflush(stdout);
    child = fork();
    if (child == 0)
        shake();
    return child;
}

static void stop_shaking(pid_t child)
{
    char file[80];

    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (long cpu = 1; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++) {
        snprintf(file, sizeof file, "/sys/devices/system/cpu/cpu%ld/online", cpu);
        set(file, "1");
    }
}

/* In the child: a session of its own, so that all it starts can be ended together. */
static void become_test(const sigset_t *mask)
{
    int file = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);

    setsid();
    if (test.shaken && !set(SHAKEN "/cgroup.procs", "0"))
        fprintf(stderr, "not in a cpuset: %s\n", strerror(errno));
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
    pid_t child, shaker = test.shaken ? start_shaking() : 0;

    printf("@ start %s\n", test.name);
    fflush(stdout);
    child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        become_test(mask);
    status = wait_for(child, ended, test.limit ? test.limit : UNLIMITED);
    if (shaker > 0)
        stop_shaking(shaker);
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
    else if (!strcmp(line, "shake"))
        test.shaken = 1;
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
    /* The machine is smaller than what the tests ask for without touching it. */
    set("/proc/sys/vm/overcommit_memory", "1");
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
