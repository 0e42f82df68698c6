/*
 * known.c - a heap of which everything is known: taken and freed here, told on standard
 * output, for those who look at it from outside.
 *
 *   known [--depot] [--fork | --start] [--busy] [--write JSON PROMETHEUS] [--churn FILE] [--wait | --abort]
 *
 * prints "object NAME ADDRESS SIZE STATE" a line, SIZE as it was asked for, and what a walk
 * of the heap finds. --churn: takes and frees until the file is another one. --wait: "ready", then until standard input ends.
 */
#include "check.h"

#include "mymalloc/arena.h"
#include "mymalloc/mymalloc.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALLS = 1000, GONE = 5000, SPREAD = 3000, BATCH = 22 };

static void *smalls[SMALLS], *gone[GONE], *spread[SPREAD];

static void *take(size_t size)
{
    void *object = MyMalloc(size);

    CHECK(object);
    memset(object, 0x5a, size);
    return object;
}

/* What was told. */
static struct {
    const void *object;
    size_t size;
    const char *state;
} told[16];
static unsigned told_count;

static void tell(const char *name, const void *object, size_t size, const char *state)
{
    told[told_count].object = object;
    told[told_count].size = size;
    told[told_count++].state = state;
    printf("object %s %p %zu %s\n", name, object, size, state);
}

/* More than a cache holds: the rest is in the depot. */
static void fill_depot(void)
{
    for (int i = 0; i < SPREAD; i++)
        spread[i] = take(700);
    for (int i = 0; i < SPREAD; i++)
        MyFree(spread[i]);
    tell("given-back", spread[0], 700, "cached");
}

static void fill(bool depot)
{
    void *large, *cached, *mapping, *dropped, *aligned, *first, *hole, *whole;
    MyArena *arena = MyArenaCreate(0);

    for (int i = 0; i < GONE; i++)
        gone[i] = take(48);
    for (int i = 0; i < SMALLS; i++)
        smalls[i] = take(200);
    large = take((size_t)1 << 20);
    mapping = take((size_t)64 << 20);
    aligned = MyAlignedAlloc(4096, 5000);
    CHECK(arena && aligned);
    first = MyArenaAlloc(arena, 100);
    hole = MyArenaAlloc(arena, 300);
    whole = MyArenaAlloc(arena, 200000);
    CHECK(first && hole && whole);
    MyArenaFree(arena, hole);
    for (int i = 1; i < GONE; i++)
        MyFree(gone[i]);
    MyTrim(0); /* to the slabs, and whole slabs to the page heap */
    if (depot)
        fill_depot();
    MyFree(smalls[1]);
    dropped = take(300000);
    MyFree(dropped);
    MyFree(take((size_t)40 << 20)); /* waits in the hardened library */
    cached = take(300000);
    MyFree(cached); /* the last that was asked for in vain: kept */
    tell("small", smalls[0], 200, "live");
    tell("last", smalls[SMALLS - 1], 200, "live");
    tell("cached", smalls[1], 200, "cached");
    tell("stays", gone[0], 48, "live");
    tell("slot", gone[1], 48, "free");
    tell("page", gone[GONE - 1], 48, "gone");
    tell("large", large, (size_t)1 << 20, "live");
    tell("span", cached, 300000, "cached");
    tell("mapping", mapping, (size_t)64 << 20, "live");
    tell("aligned", aligned, 5000, "live");
    tell("in-arena", first, 100, "arena");
    tell("hole", hole, 300, "hole");
    tell("whole-in-arena", whole, 200000, "arena");
    tell("foreign", &arena, 8, "foreign");
}

/* Until the magazines of a class are as long as they get, and there is nearly one full. */
static void be_busy(void)
{
    for (int turn = 0; turn < 300; turn++) {
        for (int i = 0; i < BATCH; i++)
            spread[i] = take(10000);
        for (int i = 0; i < BATCH; i++)
            MyFree(spread[i]);
    }
}

/* ---- the same by MyHeapWalk ---- */

struct sums {
    size_t objects, bytes, stop_at;
    const void *seen[16]; /* of those that were told, by their place */
};

static int add(void *object, size_t bytes, void *argument)
{
    struct sums *sums = argument;

    sums->objects++;
    sums->bytes += bytes;
    CHECKF(bytes >= MyUsableSize(object), "%p, %zu", object, bytes);
    for (unsigned i = 0; i < told_count; i++)
        if (told[i].object == object) {
            CHECK(sums->seen[i] == NULL && bytes >= told[i].size);
            sums->seen[i] = object;
        }
    return sums->objects == sums->stop_at ? 7 : 0;
}

static void walk(void)
{
    struct sums sums = {0}, again = {.stop_at = 3};

    CHECK(MyHeapWalk(add, &sums) == 0);
    /* 999 of 200, 1 of 48, 1 MiB, the mapping, the aligned one, two of the arena */
    CHECKF(sums.objects == SMALLS - 1 + 6, "%zu", sums.objects);
    for (unsigned i = 0; i < told_count; i++)
        CHECKF((sums.seen[i] != NULL) == (strcmp(told[i].state, "live") == 0 ||
                                          strcmp(told[i].state, "arena") == 0),
               "%p, %s", told[i].object, told[i].state);
    CHECK(MyHeapWalk(add, &again) == 7 && again.objects == 3);
    printf("walk %zu %zu\n", sums.objects, sums.bytes);
}

static void write_to(const char *path, int form)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

    CHECK(file >= 0 && MyStatsWrite(file, form) == 0);
    CHECK(close(file) == 0);
}

/* Through slow paths, in which files are written. */
static void churn(const char *path)
{
    struct stat before, now;

    CHECK(stat(path, &before) == 0);
    while (stat(path, &now) != 0 || now.st_ino == before.st_ino) {
        for (int i = 1; i < GONE; i++)
            gone[i] = take(48);
        for (int i = 1; i < GONE; i++)
            MyFree(gone[i]);
    }
}

int main(int argc, char **argv)
{
    int cpu[2];

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (find_two_cpus(cpu)) /* not the first, whose stack in a depot is the first */
        run_on(cpu[1]);
    else
        stay_on_one_cpu();
    fill(argc > 1 && strcmp(argv[1], "--depot") == 0);
    walk();
    for (int i = 1; i < argc; i++) {
        if (i == 1 && strcmp(argv[i], "--depot") == 0) {
            continue;
        } else if (strcmp(argv[i], "--busy") == 0) {
            be_busy();
        } else if (strcmp(argv[i], "--write") == 0 && i + 2 < argc) {
            write_to(argv[++i], MY_STATS_JSON);
            write_to(argv[++i], MY_STATS_PROMETHEUS);
        } else if (strcmp(argv[i], "--fork") == 0) {
            pid_t child = fork();

            if (child == 0)
                exit(0);
            CHECK(child > 0 && waitpid(child, NULL, 0) == child);
        } else if (strcmp(argv[i], "--start") == 0) {
            pid_t child = fork();

            if (child == 0)
                execl(argv[0], argv[0], "--fork", NULL);
            CHECK(child > 0 && waitpid(child, NULL, 0) == child);
        } else if (strcmp(argv[i], "--churn") == 0 && i + 1 < argc) {
            churn(argv[++i]);
        } else if (strcmp(argv[i], "--wait") == 0) {
            puts("ready");
            while (getchar() != EOF)
                ;
        } else if (strcmp(argv[i], "--abort") == 0) {
            abort();
        } else {
            CHECKF(0, "%s", argv[i]);
        }
    }
    return 0;
}
