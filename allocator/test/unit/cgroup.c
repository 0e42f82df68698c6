/* cgroup.c - the limit of a memory cgroup, from trees of files as kernels make them. */
#include "check.h"

#include "os/os.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static char mount[64];

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    CHECKF(file, "%s", path);
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0);
}

/* A fresh mount with /proc/self/cgroup's text beside it. */
static void set_up(const char *groups)
{
    char path[80];

    strcpy(mount, "/tmp/cgroup-test-XXXXXX");
    CHECK(mkdtemp(mount));
    snprintf(path, sizeof path, "%s/groups", mount);
    write_file(path, groups);
}

static void put_limit(const char *group, const char *leaf, const char *limit)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s%s", mount, group);

    CHECK(length > 0 && (size_t)length < sizeof path);
    for (char *slash = path + strlen(mount); *slash; slash++)
        if (slash > path + strlen(mount) && *slash == '/') {
            *slash = '\0';
            mkdir(path, 0700);
            *slash = '/';
        }
    mkdir(path, 0700);
    CHECK(snprintf(path + length, sizeof path - (size_t)length, "/%s", leaf) > 0);
    write_file(path, limit);
}

static size_t limit(void)
{
    char groups[80];
    char command[100];
    size_t found;

    snprintf(groups, sizeof groups, "%s/groups", mount);
    found = mym_os_memory_limit(groups, mount);
    snprintf(command, sizeof command, "rm -rf '%s'", mount);
    CHECK(system(command) == 0);
    return found;
}

static void version_2(void)
{
    set_up("0::/app/worker\n");
    put_limit("/app/worker", "memory.max", "max\n");
    CHECK(limit() == SIZE_MAX);

    set_up("0::/app/worker\n");
    put_limit("/app/worker", "memory.max", "104857600\n");
    CHECK(limit() == 100 * MIB);

    set_up("0::/\n"); /* as a container sees itself */
    put_limit("", "memory.max", "52428800\n");
    CHECK(limit() == 50 * MIB);
}

/* A file of the group, where it is; in a container, whose path is the host's, the root's. */
static void files_of_the_group(void)
{
    char groups[80], path[PATH_MAX], expected[PATH_MAX], command[100];

    set_up("0::/app/worker\n");
    put_limit("/app/worker", "memory.events", "high 0\n");
    snprintf(groups, sizeof groups, "%s/groups", mount);
    CHECK(mym_os_group_file(groups, mount, "/memory.events", path, sizeof path));
    snprintf(expected, sizeof expected, "%s/app/worker/memory.events", mount);
    CHECKF(strcmp(path, expected) == 0, "%s", path);
    CHECK(mym_os_group_file(groups, mount, "/memory.pressure", path, sizeof path));
    snprintf(expected, sizeof expected, "%s/memory.pressure", mount);
    CHECKF(strcmp(path, expected) == 0, "%s", path);
    CHECK(!mym_os_group_file(groups, mount, "/memory.events", path, 20));
    write_file(groups, "4:memory:/x\n0::/y\n"); /* version 1 has the memory */
    CHECK(!mym_os_group_file(groups, mount, "/memory.events", path, sizeof path));
    CHECK(!mym_os_group_file("/nowhere", mount, "/memory.events", path, sizeof path));
    snprintf(command, sizeof command, "rm -rf '%s'", mount);
    CHECK(system(command) == 0);
}

/* What a trigger tells is urgent data, as a socket's is. */
static void pressure_wakes(void)
{
    int pair[2];
    struct mym_os_pressure none = {-1, -1}, some;

    CHECK(!mym_os_wait_pressure(&none, 20));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    some = (struct mym_os_pressure){pair[0], -1};
    CHECK(!mym_os_wait_pressure(&some, 20));
    if (send(pair[1], "!", 1, MSG_OOB) != 1)
        return; /* before Linux 5.15 */
    CHECK(mym_os_wait_pressure(&some, 60000));
    close(pair[0]);
    close(pair[1]);
}

/* Both would be ready for ever: a trigger with an error, as a pipe without a reader, and what cannot be read. */
static void files_of_a_removed_group_are_closed(void)
{
    int ends[2];
    struct mym_os_pressure gone;

    CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
    gone = (struct mym_os_pressure){ends[1], -1};
    CHECK(!mym_os_wait_pressure(&gone, 20));
    CHECK(gone.trigger == -1 && fcntl(ends[1], F_GETFD) == -1);
    CHECK(pipe(ends) == 0);
    gone = (struct mym_os_pressure){-1, ends[0]};
    CHECK(!mym_os_wait_pressure(&gone, 20));
    CHECK(gone.events == -1 && fcntl(ends[0], F_GETFD) == -1);
    CHECK(!mym_os_wait_pressure(&gone, 20));
    close(ends[1]);
}

/* The files are the thread's alone, and its own are not the program's. */
static void *watch(void *seen)
{
    struct mym_os_pressure pressure;
    bool may_watch = access("/proc/pressure/memory", W_OK) == 0;

    mym_os_watch_pressure(&pressure);
    CHECK(fcntl(0, F_GETFD) == -1 || pressure.trigger == 0 || pressure.events == 0);
    CHECK(!may_watch || pressure.trigger >= 0);
    *(int *)seen = pressure.trigger;
    for (int tells = 0; mym_os_wait_pressure(&pressure, 20); tells++)
        CHECK(tells < 100); /* memory may be short just then */
    return NULL;
}

static void files_are_the_helpers_own(void)
{
    int before = open("/dev/null", O_RDONLY), trigger, after;
    pthread_t thread;

    CHECK(before >= 0);
    CHECK(pthread_create(&thread, NULL, watch, &trigger) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(fcntl(before, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0);
    after = open("/dev/null", O_RDONLY);
    CHECK(after == before + 1);
    close(after);
    close(before);
}

/* The least of all groups above counts. */
static void parents_count(void)
{
    set_up("0::/a/b/c\n");
    put_limit("/a", "memory.max", "20971520\n");
    put_limit("/a/b", "memory.max", "max\n");
    put_limit("/a/b/c", "memory.max", "31457280\n");
    CHECK(limit() == 20 * MIB);
}

/* Above memory.high the kernel takes from the group, and where it finds nothing has its threads wait. */
static void high_counts(void)
{
    set_up("0::/app/worker\n");
    put_limit("/app/worker", "memory.max", "max\n");
    put_limit("/app/worker", "memory.high", "104857600\n");
    CHECK(limit() == 100 * MIB);

    set_up("0::/app/worker\n");
    put_limit("/app", "memory.high", "31457280\n");
    put_limit("/app/worker", "memory.max", "52428800\n");
    put_limit("/app/worker", "memory.high", "max\n");
    CHECK(limit() == 30 * MIB);

    set_up("0::/app\n");
    put_limit("/app", "memory.max", "20971520\n");
    put_limit("/app", "memory.high", "41943040\n");
    CHECK(limit() == 20 * MIB);
}

/* Version 1 has a line for each controller, in any order, the unified one last. */
static void version_1(void)
{
    set_up("9:name=systemd:/\n8:pids:/\n4:memory:/pods/x\n3:cpuset:/\n0::/\n");
    put_limit("/memory/pods/x", "memory.limit_in_bytes", "73400320\n");
    put_limit("/memory", "memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(limit() == 70 * MIB);

    set_up("5:cpu,memory,pids:/x\n0::/y\n");
    put_limit("/memory/x", "memory.limit_in_bytes", "83886080\n");
    put_limit("/y", "memory.max", "10485760\n");
    CHECK(limit() == 80 * MIB);
}

/* A hybrid without version 1's memory controller: the line "0::" is not the first. */
static void hybrid(void)
{
    set_up("3:net_cls:/\n1:name=systemd-memory:/z\n0::/user/app\n");
    put_limit("/user/app", "memory.max", "41943040\n");
    CHECK(limit() == 40 * MIB);
}

/* The path is that of the host; the container sees its own group as the root. */
static void foreign_paths(void)
{
    set_up("4:memory:/docker/0123456789abcdef\n");
    put_limit("/memory", "memory.limit_in_bytes", "31457280\n");
    CHECK(limit() == 30 * MIB);

    set_up("0::/../sibling (deleted)\n");
    put_limit("", "memory.max", "62914560\n");
    CHECK(limit() == 60 * MIB);
}

/* Longer than any buffer but PATH_MAX. */
static void long_paths(void)
{
    static char groups[PATH_MAX + 300], group[PATH_MAX];
    size_t length = 0;

    while (length < 3700) {
        group[length++] = '/';
        memset(group + length, 'a' + (int)(length / 200 % 26), 199);
        length += 199;
    }
    group[length] = '\0';
    memset(groups, 'n', 280); /* a first line that is long as well */
    memcpy(groups, "7:name=", 7);
    sprintf(groups + 280, ":/\n0::%s\n", group);
    set_up(groups);
    put_limit(group, "memory.max", "11534336\n");
    CHECK(limit() == 11 * MIB);
}

static void nothing_known(void)
{
    set_up("");
    CHECK(limit() == SIZE_MAX);
    set_up("garbage\n0:\n:::\n");
    CHECK(limit() == SIZE_MAX);
    set_up("0::/x\n");
    put_limit("/x", "memory.max", "99999999999999999999999\n");
    CHECK(limit() == SIZE_MAX);
    CHECK(mym_os_memory_limit("/nonexistent", "/nonexistent") == SIZE_MAX);
}

const struct test tests[] = {
    {"version_2", version_2},
    {"parents_count", parents_count},
    {"high_counts", high_counts},
    {"version_1", version_1},
    {"hybrid", hybrid},
    {"foreign_paths", foreign_paths},
    {"long_paths", long_paths},
    {"nothing_known", nothing_known},
    {"files_of_the_group", files_of_the_group},
    {"pressure_wakes", pressure_wakes},
    {"files_of_a_removed_group_are_closed", files_of_a_removed_group_are_closed},
    {"files_are_the_helpers_own", files_are_the_helpers_own},
    {NULL, NULL},
};
