/*
 * stress.c - many threads, every byte checked.
 *
 * Workers take, resize, hand over and free objects whose contents follow from address,
 * size and id, and whose every byte is owned by one object in a table outside the heap.
 * Actors (see --help) disturb them. Now and then all workers stop and the walker checks
 * every structure of the heap. At the end nothing may be left allocated.
 */
#include "actors.h"
#include "check.h"
#include "family.h"
#include "magazines.h"
#include "object.h"
#include "shadow.h"

#include <getopt.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOTS       400
#define MAILBOXES   512
#define MAX_WORKERS 1024

/* A worker's life outlasts its threads: each thread hands it to a successor. */
struct worker {
    int index;
    uint64_t random;
    struct object slots[SLOTS];
    bool has_before;
    pthread_t before; /* the thread that left last, which is still to be joined */
};

static struct worker workers[MAX_WORKERS];

/* A place where any thread may leave an object and take another's. */
static struct mailbox {
    atomic_flag busy;
    struct object object;
} mailboxes[MAILBOXES];

static struct {
    double seconds;
    size_t lifetime; /* operations of a thread before its successor; 0: for ever */
    int threads;
    bool fork, signal, migrate, trim, verify;
} options = {.seconds = 2, .threads = 8};

/* ---- stopping the world ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static atomic_bool closed;
static int waiting, running;

static void wait_at_gate(void)
{
    pthread_mutex_lock(&gate);
    waiting++;
    pthread_cond_broadcast(&gate_moved);
    while (closed)
        pthread_cond_wait(&gate_moved, &gate);
    waiting--;
    pthread_mutex_unlock(&gate);
}

static void worker_left(void)
{
    pthread_mutex_lock(&gate);
    running--;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
}

/* All workers stand still: the walker sees a heap that nobody changes. */
static void verify_at_rest(void)
{
    pthread_mutex_lock(&gate);
    closed = true;
    while (waiting < running)
        pthread_cond_wait(&gate_moved, &gate);
    if (family.verify)
        CHECK(family.verify() == 0);
    counts.verified++;
    closed = false;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
}

/* ---- workers ---- */

static void exchange(struct object *object, struct mailbox *box)
{
    struct object other;

    if (atomic_flag_test_and_set_explicit(&box->busy, memory_order_acquire))
        return;
    other = box->object;
    box->object = *object;
    *object = other;
    atomic_flag_clear_explicit(&box->busy, memory_order_release);
    counts.handed_over++;
}

static void step(struct worker *worker)
{
    uint64_t dice = next_random(&worker->random);
    struct object *object = &worker->slots[dice % SLOTS];

    dice >>= 32;
    if (dice % 8 == 0)
        exchange(object, &mailboxes[dice / 8 % MAILBOXES]);
    else if (!object->p)
        object_take(object, &worker->random);
    else if (dice % 8 == 1)
        object_resize(object, &worker->random);
    else if (dice % 8 == 2)
        object_check(object);
    else
        object_free(object, &worker->random);
}

static void *work(void *argument);

static void start(struct worker *worker)
{
    pthread_attr_t attributes;
    pthread_t thread;

    CHECK(pthread_attr_init(&attributes) == 0);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    CHECK(pthread_create(&thread, &attributes, work, worker) == 0);
    pthread_attr_destroy(&attributes);
    counts.threads++;
}

/*
 * A thread that ends gives back what its cache had after it has left. Its successor waits for that
 * when it leaves itself, so that most ends are beside a start.
 */
static void join_before(struct worker *worker)
{
    if (worker->has_before)
        CHECK(pthread_join(worker->before, NULL) == 0);
    worker->has_before = false;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    size_t done = 0;
    size_t end = options.lifetime ? options.lifetime / 2 +
                                        next_random(&worker->random) % options.lifetime
                                  : SIZE_MAX;

    worker_ids[worker->index] = (int)syscall(SYS_gettid);
    if (options.signal)
        storm_begin();
    while (!stress_over && done < end) {
        step(worker);
        if (++done % 64 == 0)
            counts.operations += 64;
        if (closed)
            wait_at_gate();
    }
    if (options.signal)
        storm_end();
    worker_ids[worker->index] = 0;
    join_before(worker);
    worker->before = pthread_self();
    worker->has_before = true;
    if (stress_over)
        worker_left();
    else
        start(worker);
    return NULL;
}

/* ---- the run ---- */

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* An actor that never acted would make the run prove nothing: it goes on until each has. */
static bool all_acted(void)
{
    return counts.operations && counts.handed_over && counts.verified &&
           (!options.signal || counts.signals) &&
           (!options.migrate || counts.migrations) && (!options.trim || counts.trims) &&
           (!options.fork || counts.forks) &&
           (!options.lifetime || counts.threads > (unsigned)options.threads);
}

static void run_workers(void)
{
    double end = now() + options.seconds;
    struct timespec pause = {0, 200 * 1000 * 1000};

    running = options.threads;
    for (int i = 0; i < options.threads; i++) {
        workers[i].index = i;
        workers[i].random = test_seed() + (uint64_t)i;
        start(&workers[i]);
    }
    while (now() < end || !all_acted()) {
        nanosleep(&pause, NULL);
        verify_at_rest();
    }
    stress_over = true;
    pthread_mutex_lock(&gate);
    while (running)
        pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < options.threads; i++)
        join_before(&workers[i]);
}

static void free_all(void)
{
    uint64_t random = test_seed();

    for (int i = 0; i < options.threads; i++)
        for (int j = 0; j < SLOTS; j++)
            if (workers[i].slots[j].p)
                object_free(&workers[i].slots[j], &random);
    for (int i = 0; i < MAILBOXES; i++)
        if (mailboxes[i].object.p)
            object_free(&mailboxes[i].object, &random);
}

static void report(void)
{
    printf("%llu operations, %llu handed over, %llu threads, %llu signals, %llu "
           "migrations, "
           "%llu trims, %llu walks, %llu forks; seed %llu\n",
           counts.operations, counts.handed_over, counts.threads, counts.signals,
           counts.migrations, counts.trims, counts.verified, counts.forks,
           (unsigned long long)test_seed());
}

/* All threads have ended, but for a helper, which may have one in hand. */
static void no_magazine_is_lost(void)
{
#ifdef TEST_MAGAZINES
    if (getenv("MYMALLOC_BACKGROUND") == NULL)
        check_magazines(0);
#endif
}

static void stress(void)
{
    struct {
        bool wanted;
        void *(*body)(void *);
        pthread_t thread;
    } actors[] = {{options.migrate, migrate_workers, 0},
                  {options.trim, trim_always, 0},
                  {options.verify, verify_beside, 0},
                  {options.fork, fork_always, 0}};
    const int count = sizeof(actors) / sizeof(*actors);
    size_t used_before;

    shadow_init();
    worker_count = options.threads;
    used_before = mallinfo2().uordblks;
    for (int i = 0; i < count; i++)
        if (actors[i].wanted)
            CHECK(pthread_create(&actors[i].thread, NULL, actors[i].body,
                                 (void *)(test_seed() + 77 + (unsigned)i)) == 0);
    run_workers();
    for (int i = 0; i < count; i++)
        if (actors[i].wanted)
            CHECK(pthread_join(actors[i].thread, NULL) == 0);
    free_all();
    malloc_trim(0);
    no_magazine_is_lost();
    if (is_mymalloc())
        CHECKF(mallinfo2().uordblks <= used_before + (256 << 10), "%zu bytes lost",
               mallinfo2().uordblks - used_before);
    report();
}

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= least && value <= most)) {
        fprintf(stderr, "stress: %s: a number from %g to %g is wanted\n", text, least,
                most);
        exit(2);
    }
    return value;
}

static const char help[] =
    "stress - many threads allocate, resize, hand over and free; every byte is "
    "checked\n"
    "\n"
    "  --threads N    workers (8)\n"
    "  --seconds S    least length of the run (2; MYMALLOC_SOAK_SECONDS overrides it)\n"
    "  --lifetime N   operations of a thread before a new one takes its place (none)\n"
    "  --max-size N   largest object in bytes (4194304)\n"
    "  --signal       10,000 signals a second to every worker, some migrate it\n"
    "  --migrate      bind workers to other CPUs all the time\n"
    "  --trim         malloc_trim all the time, which drains every CPU's cache\n"
    "  --verify       walk the heap beside the workers\n"
    "  --fork         fork all the time; the child uses the heap\n"
    "  --all          all five\n"
    "TEST_SEED repeats a run's draws.\n";

static void read_options(int argc, char **argv)
{
    enum {
        THREADS = 't',
        SECONDS,
        LIFETIME,
        MAX_SIZE,
        SIGNAL,
        MIGRATE,
        TRIM,
        VERIFY,
        FORK,
        ALL,
        HELP
    };
    static const struct option known[] = {
        {"threads", required_argument, NULL, THREADS},
        {"seconds", required_argument, NULL, SECONDS},
        {"lifetime", required_argument, NULL, LIFETIME},
        {"max-size", required_argument, NULL, MAX_SIZE},
        {"signal", no_argument, NULL, SIGNAL},
        {"migrate", no_argument, NULL, MIGRATE},
        {"trim", no_argument, NULL, TRIM},
        {"verify", no_argument, NULL, VERIFY},
        {"fork", no_argument, NULL, FORK},
        {"all", no_argument, NULL, ALL},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (option) {
        case THREADS:
            options.threads = (int)number(optarg, 1, MAX_WORKERS);
            break;
        case SECONDS:
            options.seconds = number(optarg, 0.1, 1e6);
            break;
        case LIFETIME:
            options.lifetime = (size_t)number(optarg, 1, 1e12);
            break;
        case MAX_SIZE:
            object_max_size = (size_t)number(optarg, 1, 1e12);
            break;
        case SIGNAL:
            options.signal = true;
            break;
        case MIGRATE:
            options.migrate = true;
            break;
        case TRIM:
            options.trim = true;
            break;
        case VERIFY:
            options.verify = true;
            break;
        case FORK:
            options.fork = true;
            break;
        case ALL:
            options.signal = options.migrate = options.trim = options.verify =
                options.fork = true;
            break;
        case HELP:
            fputs(help, stdout);
            exit(0);
        default:
            exit(2);
        }
    if (optind < argc) {
        fprintf(stderr, "stress: %s: only options are taken, see --help\n",
                argv[optind]);
        exit(2);
    }
    options.seconds = env_number("MYMALLOC_SOAK_SECONDS", options.seconds);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    check_begin("stress");
    stress();
    if (family.verify)
        CHECK(family.verify() == 0);
    return 0;
}
