/*
 * each.c - the file of statistics as the clock goes: written when it is time to and not before,
 * whole each time, with nothing left open; why there is none is told once.
 */
#include "check.h"

#include "alloc/alloc.h"
#include "alloc/metrics.h"
#include "os/os.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVERY 10 /* seconds */

/* In the place of the one of os/clock.c. */
static uint64_t now_ms = 1000000;

uint64_t __wrap_mym_os_coarse_ms(void);
uint64_t __wrap_mym_os_coarse_ms(void)
{
    return now_ms;
}

static char folder[] = "/tmp/mymalloc-stats-XXXXXX", path[64];

static void start(void)
{
    struct mym_stats_config config = {.path = path, .every = EVERY};

    CHECK(mym_start() && mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/file", folder);
    config.length = strlen(path);
    mym_stats_start(&config);
}

/* Whether it is written now; what was there is gone before. */
static bool writes(uint64_t after_ms)
{
    struct stat file;

    unlink(path);
    now_ms += after_ms;
    mym_stats_each_second();
    return stat(path, &file) == 0 && file.st_size > 1000;
}

static void when_it_is_time(void)
{
    int next;

    start();
    CHECK(writes(0));
    close(next = dup(STDOUT_FILENO));
    for (int i = 0; i < 3; i++) {
        CHECK(!writes(0) && !writes(EVERY * 1000 - 1));
        CHECK(writes(1));
    }
    CHECK(dup(STDOUT_FILENO) == next && close(next) == 0);
    CHECK(unlink(path) == 0 && rmdir(folder) == 0);
}

static void told_once(void)
{
    int said[2], was = dup(STDERR_FILENO);
    char text[1024];
    ssize_t length;

    start();
    CHECK(unlink(path) == 0 && rmdir(folder) == 0 && pipe(said) == 0);
    CHECK(dup2(said[1], STDERR_FILENO) >= 0);
    for (int i = 0; i < 3; i++)
        CHECK(!writes(EVERY * 1000));
    CHECK(dup2(was, STDERR_FILENO) >= 0);
    length = read(said[0], text, sizeof text - 1);
    CHECK(length > 0);
    text[length] = '\0';
    CHECKF(strchr(text, '\n') == text + length - 1 && strstr(text, "no such folder"),
           "%s", text);
}

const struct test tests[] = {
    {"when_it_is_time", when_it_is_time},
    {"told_once", told_once},
    {NULL, NULL},
};
