/*
 * doctor.c - the facts that decide how mymalloc works here, one per line.
 *
 * Read from inside a process under the preload, because that is what a program gets: the
 * environment, the limits and the front end are those of a program started like this.
 */
#include "doctor.h"

#include "library.h"
#include "program.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif

extern const unsigned int __rseq_size __attribute__((weak));  /* glibc >= 2.35 */
const char *gnu_get_libc_version(void) __attribute__((weak)); /* not in musl */

#define UNLIMITED (1ull << 60)

static int faults;

static void say(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%-16s ", name);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

static void complain(const char *text, const char *what)
{
    say("conflict", "%s%s", text, what);
    faults++;
}

/* The first line of a file, or NULL. */
static const char *line_of(const char *path)
{
    static char line[512];
    FILE *file = fopen(path, "re");
    bool got = file && fgets(line, sizeof line, file);

    if (file)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return got ? line : NULL;
}

static void say_file(const char *name, const char *path)
{
    const char *line = line_of(path);
    say(name, "%s", line ? line : "not shown by this kernel");
}

static void say_bytes(const char *name, unsigned long long bytes)
{
    if (bytes >= UNLIMITED)
        say(name, "no limit");
    else
        say(name, "%.1f MiB", (double)bytes / (1 << 20));
}

static void front_end(void)
{
    Dl_info info;
    void *resolved = dlsym(RTLD_DEFAULT, "malloc");
    const char *(*version)(void);
    const char *(*which)(const char **);

    *(void **)&version = dlsym(RTLD_DEFAULT, "MyVersion");
    *(void **)&which = dlsym(RTLD_DEFAULT, "MyFrontend");
    bool taken = version && which && resolved && dladdr(resolved, &info) &&
                 strstr(info.dli_fname, "mymalloc");
    say("malloc", "%s", resolved && dladdr(resolved, &info) ? info.dli_fname : "?");
    if (!taken) {
        complain("the preload did not take: ", "malloc is not mymalloc's");
        return;
    }
    const char *why = "";
    const char *name = which(&why);
    say("version", "%s", version());
    say("front end", "%s: %s", name, why);
}

static void kernel(void)
{
    struct utsname system;
    cpu_set_t cpus;

    if (uname(&system) == 0)
        say("kernel", "%s %s", system.release, system.machine);
    say("glibc", "%s", &gnu_get_libc_version ? gnu_get_libc_version() : "none");
    if (!&__rseq_size)
        say("rseq", "the C library does not know it");
    else
        say("rseq", "%s; kernel offers %lu bytes",
            __rseq_size ? "registered by glibc" : "not registered by glibc",
            getauxval(AT_RSEQ_FEATURE_SIZE));
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        say("CPUs", "%d usable of %ld configured", CPU_COUNT(&cpus),
            sysconf(_SC_NPROCESSORS_CONF));
    say_file("huge pages", "/sys/kernel/mm/transparent_hugepage/enabled");
    say_file("overcommit", "/proc/sys/vm/overcommit_memory");
    say_file("max mappings", "/proc/sys/vm/max_map_count");
}

/* The smallest memory limit of this cgroup and those above it, version 2 or 1. */
static unsigned long long cgroup_limit(void)
{
    unsigned long long limit = ULLONG_MAX;
    char line[PATH_MAX], path[PATH_MAX + 64];
    FILE *file = fopen("/proc/self/cgroup", "re");

    while (file && fgets(line, sizeof line, file)) {
        bool two = strncmp(line, "0::", 3) == 0;
        char *group = strrchr(line, ':');
        if (!group || (!two && !strstr(line, ":memory:")))
            continue;
        group[strcspn(group, "\n")] = '\0';
        for (char *cut = group + strlen(group); cut; cut = strrchr(group, '/')) {
            *cut = '\0';
            snprintf(path, sizeof path, "/sys/fs/cgroup/%s%s/memory.%s",
                     two ? "" : "memory", group + 1, two ? "max" : "limit_in_bytes");
            const char *text = line_of(path);
            unsigned long long value = text ? strtoull(text, NULL, 10) : 0;
            if (value && value < limit)
                limit = value;
        }
    }
    if (file)
        fclose(file);
    return limit;
}

static void limits(void)
{
    struct rlimit space;

    if (getrlimit(RLIMIT_AS, &space) == 0)
        say_bytes("address space", space.rlim_cur);
    say_bytes("cgroup memory", cgroup_limit());
}

static void conflicts(void)
{
    const char *tunables = getenv("GLIBC_TUNABLES");
    const char *preload = getenv("LD_PRELOAD");
    const char *system_wide = line_of("/etc/ld.so.preload");
    static const char *const rivals[] = {"jemalloc", "mimalloc", "tcmalloc", "asan",
                                         "tsan"};

    if (tunables && strstr(tunables, "glibc.pthread.rseq=0"))
        complain("GLIBC_TUNABLES turns rseq off: ",
                 "the thread-local front end serves");
    for (size_t i = 0; i < sizeof rivals / sizeof *rivals; i++)
        if (preload && strstr(preload, rivals[i]))
            complain("LD_PRELOAD also names ", rivals[i]);
    if (system_wide && *system_wide)
        complain("/etc/ld.so.preload comes first: ", system_wide);
    if (!faults)
        say("conflicts", "none");
}

int doctor_inside(void)
{
    front_end();
    kernel();
    limits();
    conflicts();
    return faults != 0;
}

/* Run mymalloc-run --inside under the library; its status, or 1. */
static int look_around(const char *library)
{
    int status = 0;
    const char *others = getenv("LD_PRELOAD");
    char value[2 * PATH_MAX], self[PATH_MAX];

    if (!self_path(self, sizeof self))
        return 1;
    snprintf(value, sizeof value, "%s%s%s", library, others && *others ? ":" : "",
             others ? others : "");
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_PRELOAD", value, 1);
        execl(self, "mymalloc-run", "--inside", (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        perror("mymalloc-run");
        return 1;
    }
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "mymalloc-run: a program under %s ends with signal %d\n",
                library, WTERMSIG(status));
        return 1;
    }
    if (WEXITSTATUS(status) == UNWRITTEN)
        _exit(1); /* it has said so */
    return WEXITSTATUS(status);
}

/* What root may start with the preload, or its owner, and others not. */
static bool gains_rights_for_others(const char *binary)
{
    struct stat status;

    return (stat(binary, &status) == 0 && (status.st_mode & (S_ISUID | S_ISGID))) ||
           getxattr(binary, "security.capability", NULL, 0) > 0;
}

static int look_at(const char *name, const char *library)
{
    struct program program;
    char other[PATH_MAX];
    int error = program_find(name, &program);

    if (error) {
        fprintf(stderr, "mymalloc-run: %s: %s\n", name, strerror(error));
        return error == ENOENT ? 127 : 126;
    }
    say("program", "%s", program_shown(program.path));
    if (strcmp(program.path, program.binary) != 0)
        say("run by", "%s", program_shown(program.binary));
    if (program.elf && !program.foreign)
        say("loader", "%s", program.loader[0] ? program.loader : "none: it is static");
    const char *reason = program_refuses(&program, library);
    if (reason) {
        complain("the preload cannot take: the program ", reason);
        return 1;
    }
    say("preload", "takes");
    if (gains_rights_for_others(program.binary))
        say("rights",
            "it gains some when others start it: for them the preload is ignored");
    if (program.elf && program_links_malloc(&program, library, other, sizeof other))
        complain("it is linked with a library that has a malloc of its own: ", other);
    return faults != 0;
}

int doctor(const char *library, const char *name)
{
    int status = look_around(library);
    int found = name ? look_at(name, library) : 0;

    return found ? found : status;
}
