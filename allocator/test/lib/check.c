/* check.c - what the cases of a test program share. */
#include "check.h"

#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "family.h"

static const char *current; /* case; NULL before the first */
static uint64_t seed;

void check_failed(const char *file, int line, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    int length = snprintf(text, sizeof(text), "%s:%d: in %s (TEST_SEED=%llu): ", file,
                          line, current, (unsigned long long)seed);

    va_start(arguments, format);
    length +=
        vsnprintf(text + length, sizeof(text) - (size_t)length - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof(text) - 2)
        length = (int)sizeof(text) - 2;
    text[length++] = '\n';
    /* write, not stdio: the heap may be the thing that is broken. */
    if (write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(3);
    abort();
}

uint64_t test_seed(void)
{
    return seed;
}

double env_number(const char *name, double fallback)
{
    const char *text = getenv(name);
    char *end;
    double value;

    if (!text || !*text)
        return fallback;
    value = strtod(text, &end);
    if (*end || value < 0) {
        fprintf(stderr, "%s=%s: a number >= 0 is wanted\n", name, text);
        exit(2);
    }
    return value;
}

int is_slow(void)
{
    return getenv("TEST_SLOW") != NULL;
}

bool runs_under(const char *emulator)
{
    const char *under = getenv("TEST_UNDER");

    return under != NULL && strcmp(under, emulator) == 0;
}

bool is_under(const char *emulator, const char *lacking)
{
    bool is = runs_under(emulator);

    if (is)
        printf("SKIP: %s has no %s\n", emulator, lacking);
    return is;
}

void run_in_child(void (*run)(size_t), size_t argument)
{
    int status = 0;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (!child) {
        alarm(is_slow() ? 500 : 100);
        run(argument);
        fflush(stdout);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECKF(status == 0, "with argument %zu the child ended with 0x%x", argument,
           (unsigned)status);
}

void run_on(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((unsigned)cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
}

void stay_on_one_cpu(void)
{
    run_on(sched_getcpu());
}

bool find_two_cpus(int cpu[2])
{
    cpu_set_t may;
    int found = 0;

    CHECK(sched_getaffinity(0, sizeof may, &may) == 0);
    for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
        if (CPU_ISSET((unsigned)i, &may))
            cpu[found++] = i;
    return found == 2;
}

size_t resident_bytes(void)
{
    size_t kib = 0;
    char line[128];
    FILE *file = fopen("/proc/self/smaps_rollup", "r");

    CHECK(file);
    while (fgets(line, sizeof line, file) && sscanf(line, "Rss: %zu", &kib) != 1)
        ;
    fclose(file);
    CHECK(kib > 0);
    return kib << 10;
}

static uint64_t choose_seed(void)
{
    const char *text = getenv("TEST_SEED");
    struct timespec now;

    if (text)
        return strtoull(text, NULL, 0);
    clock_gettime(CLOCK_REALTIME_COARSE, &now); /* never a system call: fault.sandbox */
    return (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20 ^ (uint64_t)getpid() << 8;
}

void check_begin(const char *name)
{
    const char *why = "";

    if (!current) {
        family_init();
        seed = choose_seed();
        setvbuf(stdout, NULL, _IOLBF, 0);
        if (is_mymalloc()) {
            const char *frontend = family.frontend(&why);

            printf("%s, front end %s (%s)\n", family.version(), frontend, why);
        } else { /* as much of stdio either way: the process's size is compared */
            printf("%s, front end %s (%s)\n", "libc", "none",
                   "its malloc was not replaced");
        }
    }
    current = name;
}
