/*
 * api.c - MyProfileStart, MyProfileStop, MyProfileWrite: what they refuse, and a profile that
 * is started and stopped while threads allocate.
 */
#include "check.h"
#include "mymalloc/arena.h" /* before malloc is a macro */

#include "family.h"
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The sums of the text's first line: in use, and taken. */
struct sums {
    long objects, bytes, taken_objects, taken_bytes;
};

static struct sums read_sums(void)
{
    int file = memfd_create("profile", 0);
    char line[256] = "";
    struct sums sums;

    CHECK(file >= 0);
    CHECK(MyProfileWrite(file, MY_PROFILE_TEXT) == 0);
    CHECK(pread(file, line, sizeof line - 1, 0) > 0);
    CHECKF(sscanf(line, "heap profile: %ld: %ld [%ld: %ld] @ heapprofile",
                  &sums.objects, &sums.bytes, &sums.taken_objects,
                  &sums.taken_bytes) == 4,
           "the first line is %s", line);
    close(file);
    return sums;
}

static void bad_requests(void)
{
    int full = open("/dev/full", O_WRONLY), read_only = open("/dev/null", O_RDONLY);

    errno = 0;
    CHECK(MyProfileStop() == -1 && errno == EBUSY);
    CHECK(MyProfileStart((size_t)2 << 40) == -1 && errno == EINVAL);
    CHECK(MyProfileStart(0) == 0);
    CHECK(MyProfileStart(0) == -1 && errno == EBUSY);
    CHECK(MyProfileStart(4096) == -1 && errno == EBUSY);
    CHECK(MyProfileWrite(full, MY_PROFILE_PROTO) == -1 && errno == ENOSPC);
    CHECK(MyProfileWrite(full, MY_PROFILE_TEXT) == -1 && errno == ENOSPC);
    CHECK(MyProfileWrite(read_only, MY_PROFILE_PROTO) == -1 && errno == EBADF);
    CHECK(MyProfileWrite(full, 2) == -1 && errno == EINVAL);
    CHECK(MyProfileStop() == 0);
    CHECK(MyProfileStop() == -1 && errno == EBUSY);
    close(full);
    close(read_only);
}

/* More than there is room for their list at first. */
static void make_mappings(void)
{
    enum { MAPPINGS = 3000 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *place =
        mmap(NULL, 2 * MAPPINGS * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(place != MAP_FAILED);
    for (unsigned i = 0; i < MAPPINGS; i++)
        CHECK(mprotect(place + 2 * i * page, page, PROT_NONE) == 0);
}

/* Neither a mapping nor an open file. */
static void a_written_profile_leaves_nothing(void)
{
    int file = memfd_create("profile", 0), next;
    size_t kib;

    CHECK(MyProfileStart(1) == 0);
    for (int i = 0; i < 100; i++)
        free(malloc(opaque(100)));
    CHECK(MyProfileStop() == 0);
    make_mappings();
    kib = status_kib("VmSize");
    close(next = dup(file));
    for (int i = 0; i < 10; i++)
        CHECK(MyProfileWrite(file, i % 2 ? MY_PROFILE_TEXT : MY_PROFILE_PROTO) == 0);
    CHECKF(is_slow() || status_kib("VmSize") == kib, "%zu KiB, not %zu",
           status_kib("VmSize"), kib);
    CHECK(dup(file) == next);
    close(file);
    close(next);
}

/* Nor is anything kept of samples that ended, however many. */
static void ended_samples_leave_nothing(void)
{
    size_t kib = 0;

    CHECK(MyProfileStart(1) == 0);
    for (int i = 0; i < 20000; i++) {
        void *object = malloc(opaque(100));

        free(realloc(object, opaque(400)));
        if (i == 1000)
            kib = status_kib("VmSize");
    }
    CHECK(MyProfileStop() == 0);
    CHECKF(is_slow() || status_kib("VmSize") == kib, "%zu KiB, not %zu",
           status_kib("VmSize"), kib);
}

/* What is freed after the end is known; what is taken after it is not. */
static void known_beyond_the_end(void)
{
    struct sums before = read_sums(), after;
    void *small[100], *span, *mapping, *later;

    CHECK(MyProfileStart(1) == 0);
    for (int i = 0; i < 100; i++)
        small[i] = malloc(opaque(100));
    span = malloc(opaque(1 << 20));
    mapping = malloc(opaque((size_t)40 << 20));
    CHECK(MyProfileStop() == 0);
    after = read_sums();
    CHECKF(after.objects - before.objects == 102, "%ld",
           after.objects - before.objects);
    CHECK(after.bytes - before.bytes == 100 * 112 + (1 << 20) + (40 << 20));
    CHECK(after.taken_bytes - before.taken_bytes == after.bytes - before.bytes);
    later = malloc(opaque(100));
    for (int i = 0; i < 100; i++)
        free(small[i]);
    free(span);
    free(mapping);
    free(later);
    after = read_sums();
    CHECKF(after.objects == before.objects && after.bytes == before.bytes,
           "%ld objects, %ld bytes", after.objects - before.objects,
           after.bytes - before.bytes);
}

/* One that stays, since there is no room, is known as before. */
static void resized_samples(void)
{
    struct sums before = read_sums(), known, after;
    void *object, *other;

    CHECK(MyProfileStart(1) == 0);
    object = malloc(opaque(1 << 20));
    other = malloc(opaque(1 << 20));
    known = read_sums();
    CHECK(realloc(object, opaque(((size_t)1 << 47) - ((size_t)1 << 40))) == NULL);
    CHECK(realloc(other, opaque((1 << 20) - 1)) == other);
    after = read_sums();
    CHECK(after.bytes == known.bytes && after.taken_bytes == known.taken_bytes);
    CHECK(MyProfileStop() == 0);
    object = realloc(object, opaque(3 << 20));
    CHECK(object);
    free(other);
    after = read_sums();
    CHECKF(after.bytes == before.bytes && after.taken_bytes == known.taken_bytes,
           "%ld and %ld bytes", after.bytes - before.bytes,
           after.taken_bytes - known.taken_bytes);
    free(object);
}

/* In slabs of their own: all that can be asked or done is as with others. */
static void sampled_objects_are_objects(void)
{
    char *object, *fresh;

    CHECK(MyProfileStart(1) == 0);
    for (size_t size = 1; size < 200000; size += size / 4 + 1) {
        object = malloc(size);
        CHECK(object && malloc_usable_size(object) == family.good_size(size));
        memset(object, 7, size);
        fresh = realloc(object, size * 3);
        CHECK(fresh && fresh[0] == 7 && fresh[size - 1] == 7);
        family.free_sized(fresh, size * 3);
        object = aligned_alloc(64, size);
        CHECK(object && (uintptr_t)object % 64 == 0);
        family.free_aligned_sized(object, 64, size);
        object = calloc(1, size);
        CHECK(object && object[0] == 0 && object[size - 1] == 0);
        free(object);
    }
    CHECK(MyProfileStop() == 0);
}

/* What an arena holds is in use, whatever of it is in objects. */
static void arenas_count_as_their_spans(void)
{
    struct sums before;
    struct MyArenaInfo info;
    MyArena *arena;
    void *large, *other;

    CHECK(MyProfileStart(1) == 0);
    before = read_sums();
    arena = MyArenaCreate(0);
    CHECK(arena);
    for (int i = 0; i < 20000; i++)
        CHECK(MyArenaAlloc(arena, (size_t)i % 500));
    large = MyArenaAlloc(arena, 200000);
    other = MyArenaRealloc(arena, MyArenaAlloc(arena, 300000), 3000000);
    CHECK(large && other && MyArenaAllocAligned(arena, 1 << 18, 100000));
    MyArenaFree(arena, large);
    free(other);
    MyArenaStats(arena, &info);
    CHECK(info.spans > 4);
    CHECKF(read_sums().bytes - before.bytes == (long)info.held, "%ld, not %zu",
           read_sums().bytes - before.bytes, info.held);
    MyArenaReset(arena);
    MyArenaStats(arena, &info);
    CHECK(read_sums().bytes - before.bytes == (long)info.held);
    CHECK(MyProfileStop() == 0); /* what ends afterwards is known */
    MyArenaDestroy(arena);
    CHECK(read_sums().bytes == before.bytes && read_sums().objects == before.objects);
}

/* Of a metric, in Prometheus' text. */
static long read_metric(const char *name)
{
    static char text[1 << 16];
    int file = memfd_create("metrics", 0);
    const char *at;

    CHECK(file >= 0);
    CHECK(MyStatsWrite(file, MY_STATS_PROMETHEUS) == 0);
    CHECK(pread(file, text, sizeof text - 1, 0) > 0);
    close(file);
    at = strstr(text, name);
    CHECKF(at, "no %s", name);
    return atol(at + strlen(name));
}

/* They share what free memory there is with the others, whatever the classes were. */
static void samples_leave_no_slabs(void)
{
    static const char held[] = "mymalloc_idle_bytes{holder=\"slabs\"} ";
    long before, after;

    CHECK(MyProfileStart(1) == 0);
    before = read_metric(held);
    for (size_t size = 16; size <= 65536; size += size / 8) {
        void *object = malloc(size);

        CHECK(object);
        memset(object, 7, size);
        free(object);
    }
    after = read_metric(held);
    CHECK(MyProfileStop() == 0);
    CHECKF(after <= before, "%ld bytes, then %ld", before, after);
}

/* Which of the next objects is the first to be sampled. */
static int first_sampled(void)
{
    long before = read_sums().objects;
    int i = 0;

    do
        CHECK(malloc(16384));
    while (read_sums().objects == before && i++ < 500);
    return i;
}

static void *take_one(void *unused)
{
    CHECK(malloc(16384));
    return unused;
}

/*
 * So do threads of which each begins where the one before was, a moment later: half of them
 * are sampled, by lot, not all or none of a clock's tick.
 */
static void threads_draw_for_themselves(void)
{
    int turns = 0;
    bool last = false;

    CHECK(MyProfileStart(23637) == 0); /* 16 KiB / ln 2 */
    for (int i = 0; i < 400; i++) {
        long before = read_sums().objects;
        pthread_t thread;
        bool sampled;

        CHECK(!pthread_create(&thread, NULL, take_one, NULL));
        pthread_join(thread, NULL);
        sampled = read_sums().objects != before;
        turns += sampled != last;
        last = sampled;
    }
    CHECK(MyProfileStop() == 0);
    CHECKF(turns > 120, "200 turns expected, %d seen",
           turns); /* 8 standard deviations */
}

/* Processes that are alike, as servers fork them, sample each for itself. */
static void children_draw_for_themselves(void)
{
    int first = -1, differ = 0;

    CHECK(MyProfileStart(262144) == 0);
    first_sampled(); /* this thread counts down */
    for (int i = 0; i < 12; i++) {
        pid_t child = fork();
        int status;

        CHECK(child >= 0);
        if (child == 0)
            _exit(first_sampled() % 256);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
        differ += first >= 0 && WEXITSTATUS(status) != first;
        first = WEXITSTATUS(status);
    }
    CHECK(MyProfileStop() == 0);
    CHECKF(differ > 0, "each sampled object %d first", first);
}

/* Of what the process itself is asked for: empty where its first thread has left. */
static ssize_t read_own_maps(void)
{
    char text[16];
    int file = open("/proc/self/maps", O_RDONLY);
    ssize_t got = read(file, text, sizeof text);

    CHECK(file >= 0 && got >= 0);
    close(file);
    return got;
}

static void *write_alone(void *unused)
{
    static char text[1 << 16];
    int file = memfd_create("profile", 0);
    const char *maps;

    (void)unused;
    for (int naps = 0; read_own_maps() > 0 && naps < 60000; naps++)
        usleep(1000);
    CHECK(file >= 0 && read_own_maps() == 0);
    CHECK(MyProfileWrite(file, MY_PROFILE_TEXT) == 0);
    CHECK(pread(file, text, sizeof text - 1, 0) > 0);
    maps = strstr(text, "MAPPED_LIBRARIES:\n");
    CHECKF(maps && strstr(maps, " r-xp "), "no mappings:\n%s", text);
    _exit(0);
}

static void the_first_thread_may_have_left(void)
{
    pid_t child = fork();
    pthread_t thread;
    int status;

    CHECK(child >= 0);
    if (child == 0) {
        CHECK(!pthread_create(&thread, NULL, write_alone, NULL));
        pthread_exit(NULL);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
}

static atomic_int running;

static void *allocate(void *unused)
{
    uint64_t state = (uintptr_t)&state;
    static __thread struct {
        void *object;
        size_t size;
    } place[200];

    while (running) {
        unsigned i = next_random(&state) % 200;
        size_t size = next_random(&state) % (i == 0 ? 3000000 : 2000) + 1;

        if (place[i].object && i % 2)
            family.free_sized(place[i].object, place[i].size);
        else
            free(place[i].object);
        place[i].object = malloc(size);
        place[i].size = size;
        CHECK(place[i].object);
        memset(place[i].object, (int)i, size < 64 ? size : 64);
    }
    for (int i = 0; i < 200; i++)
        free(place[i].object);
    return unused;
}

static void on_and_off_beside_threads(void)
{
    struct sums before = read_sums(), after;
    pthread_t thread[4];

    running = 1;
    for (int i = 0; i < 4; i++)
        CHECK(!pthread_create(&thread[i], NULL, allocate, NULL));
    for (int i = 0; i < (is_slow() ? 30 : 150); i++) {
        CHECK(MyProfileStart((size_t)1 << i % 20) == 0);
        usleep(1000);
        if (i % 10 == 0)
            read_sums();
        CHECK(MyProfileStop() == 0);
    }
    running = 0;
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    after = read_sums();
    CHECK(after.taken_objects > before.taken_objects);
    /* A thread's own memory, of the C library, may have been sampled. */
    CHECKF(after.bytes - before.bytes < 100000, "%ld bytes",
           after.bytes - before.bytes);
}

const struct test tests[] = {
    {"bad_requests", bad_requests},
    {"a_written_profile_leaves_nothing", a_written_profile_leaves_nothing},
    {"ended_samples_leave_nothing", ended_samples_leave_nothing},
    {"known_beyond_the_end", known_beyond_the_end},
    {"resized_samples", resized_samples},
    {"sampled_objects_are_objects", sampled_objects_are_objects},
    {"arenas_count_as_their_spans", arenas_count_as_their_spans},
    {"samples_leave_no_slabs", samples_leave_no_slabs},
    {"threads_draw_for_themselves", threads_draw_for_themselves},
    {"children_draw_for_themselves", children_draw_for_themselves},
    {"the_first_thread_may_have_left", the_first_thread_may_have_left},
    {"on_and_off_beside_threads", on_and_off_beside_threads},
    {NULL, NULL},
};
