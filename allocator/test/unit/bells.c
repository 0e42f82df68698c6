/*
 * bells.c - caches that are to be emptied: of CPUs where nobody is, of a child of fork, which has
 * those of threads that it does not have, and of a thread that ends.
 */
#include "check.h"
#include "family.h"

#include "alloc/alloc.h"
#include "cache/cache.h"
#include "heap/runs.h"
#include "pool/pool.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int cpu[2];

/* Ids are CPUs, and there are two. Whoever was on one of them may run nowhere else. */
static bool has_two(void)
{
    static bool has;

    free(malloc(1));
    has = has || (mym_mode == MYM_MODE_CPU_ID && find_two_cpus(cpu));
    return has;
}

static size_t cached(size_t size)
{
    size_t objects[MYM_CLASSES] = {0}, spans = mym_cache_count(objects);

    return size > MYM_CLASS_MAX ? spans : objects[mym_class_of(size)];
}

static void take_and_free(unsigned count, size_t size)
{
    void *objects[200];

    CHECK(count <= 200);
    for (unsigned i = 0; i < count; i++)
        CHECK((objects[i] = malloc(opaque(size))));
    for (unsigned i = 0; i < count; i++)
        free(objects[i]);
}

/* In the first one's cache, on the second. */
static void leave_there(unsigned count, size_t size)
{
    run_on(cpu[0]);
    take_and_free(count, size);
    run_on(cpu[1]);
}

static uint32_t id_of(int which)
{
    return (uint32_t)cpu[which];
}

/* ---- bells ---- */

static bool moves;    /* while it drains */
static bool moves_on; /* while it does what somebody asked for */

void __real_mym_cache_empty(struct mym_cache *own, mym_class_set some);
void __wrap_mym_cache_empty(struct mym_cache *own, mym_class_set some);

void __wrap_mym_cache_empty(struct mym_cache *own, mym_class_set some)
{
    if (moves_on)
        run_on(cpu[1]);
    moves_on = false;
    __real_mym_cache_empty(own, some);
}

/* Who empties what he has come to may be moved before: then it is another one that he empties. */
static void who_is_moved_on_rings_again(void)
{
    if (!has_two())
        return;
    leave_there(100, 4000);
    malloc_trim(0);
    run_on(cpu[0]);
    moves_on = true;
    free(malloc(opaque(100)));
    CHECK(!moves_on && cached(4000) > 0);
    run_on(cpu[0]);
    free(malloc(opaque(100)));
    CHECKF(cached(4000) == 0, "%zu objects", cached(4000));
}

void __real_mym_thread_collect(void);
void __wrap_mym_thread_collect(void);

void __wrap_mym_thread_collect(void)
{
    if (moves)
        run_on(cpu[0]);
    moves = false;
    __real_mym_thread_collect();
}

/* Who drains may be moved after it has emptied what was its own then. */
static void who_is_moved_rings_there(void)
{
    if (!has_two())
        return;
    leave_there(100, 4000);
    moves = true;
    malloc_trim(0);
    CHECK(!moves);
    free(malloc(opaque(100)));
    CHECKF(cached(4000) == 0, "%zu objects", cached(4000));
}

static void leave_a_span_there(void)
{
    malloc_trim(0);
    run_on(cpu[0]);
    malloc_trim(0);
    mym_idle_set_keep((size_t)64 << 20);
    for (unsigned i = 0; i < 10 && cached((size_t)1 << 20) == 0; i++)
        take_and_free(1, (size_t)1 << 20);
    CHECK(cached((size_t)1 << 20) > 0);
    mym_pages_hear_growth(); /* for which they would go in any case */
    run_on(cpu[1]);
}

static void spans_go_when_asked(void)
{
    if (!has_two())
        return;
    leave_a_span_there();
    malloc_trim(0);
    run_on(cpu[0]);
    free(malloc(opaque(100)));
    CHECKF(cached((size_t)1 << 20) == 0, "%zu bytes", cached((size_t)1 << 20));
}

/* The helper's round goes for each of them once, though it may not run where that would help. */
static void bells_are_followed_once(void)
{
    if (!has_two())
        return;
    malloc_trim(0);
    leave_there(100, 4000);
    leave_there(100, 2000);
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    mym_cache_ring(id_of(0), mym_class_bit(mym_class_of(4000)));
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    CHECK(mym_cache_round_is_due());
    mym_cache_round();
    CHECK(!mym_cache_round_is_due());
    malloc_trim(0); /* asks for more */
    CHECK(mym_cache_round_is_due());
    mym_cache_round();
    malloc_trim(0); /* for what was asked before */
    CHECK(!mym_cache_round_is_due());
    run_on(cpu[0]);
    free(malloc(opaque(100)));
    CHECKF(cached(4000) + cached(2000) == 0, "%zu and %zu objects", cached(4000),
           cached(2000));
    leave_there(100, 4000);
    malloc_trim(0);
    CHECK(mym_cache_round_is_due());
}

/* ---- growth ---- */

static void age(struct mym_pool *pool, void *unused)
{
    (void)unused;
    mym_pool_upkeep(pool, false, false);
}

static void add_loaded(struct mym_pool *pool, void *sum)
{
    if (mym_pool_class(pool) == mym_class_of(4000))
        *(uint32_t *)sum += pool->loaded_count;
}

/* One who has taken and freed many, on one CPU, exchanges a magazine as the heap has grown. */
static void grow_beside(bool quiet)
{
    if (has_two())
        run_on(cpu[0]);
    malloc_trim(0);
    mym_idle_set_keep((size_t)64 << 20);
    take_and_free(100, 4000);
    CHECK(cached(4000) > 0);
    if (quiet)
        mym_pools_each(age, NULL);
    atomic_store(&mym_pages.grew, true);
    take_and_free(1, 2000);
}

/* At once, not within a second: of what no pool was asked for since the last look. */
static void growth_empties_quiet_ones(void)
{
    grow_beside(true);
    CHECKF(cached(4000) == 0, "%zu objects", cached(4000));
    grow_beside(false);
    CHECK(cached(4000) > 0);
}

static void near_a_limit_all_go(void)
{
    uint64_t near = mym_pages.near;
    uint32_t loaded = 0;

    free(malloc(1));
    mym_pages.near = 0;
    grow_beside(false);
    mym_pages.near = near;
    mym_pools_each(add_loaded, &loaded);
    CHECKF(cached(4000) == 0 && loaded == 0, "%zu objects, %u magazines", cached(4000),
           loaded);
}

/* ---- children ---- */

static void (*meanwhile)(void); /* as a cache is collected */

void __real_mym_pool_unload(struct mym_pool *pool, unsigned id,
                            struct mym_magazine *magazine, unsigned used);
void __wrap_mym_pool_unload(struct mym_pool *pool, unsigned id,
                            struct mym_magazine *magazine, unsigned used);

void __wrap_mym_pool_unload(struct mym_pool *pool, unsigned id,
                            struct mym_magazine *magazine, unsigned used)
{
    void (*call)(void) = meanwhile;

    if (call != NULL && mym_cache_at(id_of(0))->whose == MYM_COLLECTED) {
        meanwhile = NULL;
        call();
    }
    __real_mym_pool_unload(pool, id, magazine, used);
}

static bool opens_there(void)
{
    bool opens;

    run_on(cpu[0]);
    free(malloc(opaque(100)));
    opens = mym_cache_is_open(id_of(0));
    run_on(cpu[1]);
    return opens;
}

static bool opens_in_its_child(void)
{
    int status = 0;
    pid_t child;

    mym_fork_bare();
    child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    mym_fork_bare_done(child == 0);
    if (child == 0)
        _exit(opens_there() && family.verify() == 0);
    CHECK(waitpid(child, &status, 0) == child);
    return status != 0;
}

/* The child of another thread does not have who collects. */
static void *fork_beside(void *unused)
{
    (void)unused;
    run_on(cpu[1]);
    CHECK(opens_in_its_child());
    return NULL;
}

/* A handler's fork, whose child goes on collecting when that is over; and another thread's. */
static void come_there(void)
{
    pthread_t thread;

    CHECK(!opens_there());
    CHECK(!opens_in_its_child());
    CHECK(pthread_create(&thread, NULL, fork_beside, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(!opens_there());
}

static void collect(size_t unused)
{
    (void)unused;
    run_on(cpu[1]);
    CHECK(cached(4000) > 0);
    meanwhile = come_there;
    malloc_trim(0);
    CHECK(meanwhile == NULL);
    CHECKF(cached(4000) == 0, "%zu objects", cached(4000));
    CHECK(opens_there());
    CHECK(family.verify() == 0);
}

/* Nobody comes to a cache that a child collects, and everybody may when that is done. */
static void what_is_collected_stays_closed(void)
{
    if (!has_two())
        return;
    leave_there(100, 4000);
    run_in_child(collect, 0);
}

static void come_before(size_t unused)
{
    (void)unused;
    CHECK(opens_there());
    meanwhile = come_there;
    malloc_trim(0);
    CHECK(meanwhile != NULL && mym_cache_round_is_due());
}

/* What somebody has come to is its own, which nobody empties from elsewhere. */
static void what_is_in_use_is_not_collected(void)
{
    if (!has_two())
        return;
    leave_there(100, 4000);
    run_in_child(come_before, 0);
}

/* ---- vfork ---- */

static void find_no_span(size_t unused)
{
    (void)unused;
    CHECK(cached((size_t)1 << 20) > 0);
    malloc_trim(0);
    CHECKF(cached((size_t)1 << 20) == 0, "%zu bytes", cached((size_t)1 << 20));
    CHECK(family.verify() == 0);
}

static void spans_are_collected(void)
{
    if (!has_two())
        return;
    leave_a_span_there();
    run_in_child(find_no_span, 0);
}

static void check_opens(size_t expected)
{
    uint32_t id = 0;
    bool opens;

    free(malloc(opaque(100)));
    while (mym_cache_made(id) == NULL)
        id++;
    mym_mutex_lock(&mym_front_lock, MYM_RANK_FRONT);
    opens = mym_cache_try_open(id);
    mym_mutex_unlock(&mym_front_lock, MYM_RANK_FRONT);
    CHECK(opens == expected && mym_cache_is_open(id) == expected);
}

static void *check_others_fork(void *unused)
{
    check_opens(false);
    run_in_child(check_opens, true);
    return unused;
}

/* No cache opens while such a child runs, nor ever in what that one forks; else in each other child. */
static void none_opens_beside_a_child_of_vfork(void)
{
    pthread_t thread;

    free(malloc(opaque(100)));
    if (mym_mode < MYM_MODE_CPU_ID)
        return;
    mym_cache_vfork(true);
    check_opens(false);
    run_in_child(check_opens, false);
    CHECK(!pthread_create(&thread, NULL, check_others_fork, NULL));
    CHECK(!pthread_join(thread, NULL));
    mym_cache_vfork(false);
    check_opens(true);
}

/* ---- threads ---- */

static pthread_barrier_t rested, over;

static void *fill_and_rest(void *unused)
{
    take_and_free(100, 4000);
    pthread_barrier_wait(&rested);
    pthread_barrier_wait(&over);
    return unused;
}

static void *tell_cache(void *cache)
{
    free(malloc(opaque(100)));
    *(struct mym_cache **)cache = mym_thread_own;
    return NULL;
}

static void share_none(size_t unused)
{
    struct mym_cache *other = NULL;
    pthread_t thread;

    (void)unused;
    malloc_trim(0);
    CHECKF(cached(4000) == 0, "%zu objects", cached(4000));
    CHECK(mym_idle_held(MYM_HOLDS_SPANS) == 0);
    CHECK(!pthread_create(&thread, NULL, tell_cache, &other));
    CHECK(!pthread_join(thread, NULL));
    CHECK(other != NULL && other != mym_thread_own);
    CHECK(family.verify() == 0);
}

/*
 * The thread that forks goes on with its own in the child, where that of another is collected, and
 * what that one was granted and had not taken yet is nobody's.
 */
static void a_child_keeps_its_own(void)
{
    pthread_t thread;

    free(malloc(opaque(100)));
    if (mym_mode != MYM_MODE_TLS || is_under(QEMU, "thread after such a fork"))
        return;
    pthread_barrier_init(&rested, NULL, 2);
    pthread_barrier_init(&over, NULL, 2);
    CHECK(!pthread_create(&thread, NULL, fill_and_rest, NULL));
    pthread_barrier_wait(&rested);
    CHECK(cached(4000) > 0);
    mym_idle_set_keep((size_t)64 << 20);
    CHECK(mym_idle_grant(MYM_HOLDS_SPANS, 10, 1));
    run_in_child(share_none, 0);
    mym_idle_return(MYM_HOLDS_SPANS, 10);
    pthread_barrier_wait(&over);
    CHECK(!pthread_join(thread, NULL));
    pthread_barrier_destroy(&rested);
    pthread_barrier_destroy(&over);
}

static void *free_and_end(void *unused)
{
    take_and_free(100, 4000);
    take_and_free(1, (size_t)1 << 20);
    CHECK(cached(4000) > 0 && cached((size_t)1 << 20) == (size_t)1 << 20);
    return unused;
}

/* Once it is known that such are written all over, one of them is kept in place of all others. */
static void *free_a_long_one_and_end(void *unused)
{
    for (unsigned i = 0; i < 10; i++)
        take_and_free(1, (size_t)8 << 20);
    CHECK(cached((size_t)8 << 20) == (size_t)8 << 20);
    return unused;
}

static void who_ends_leaves_nothing(void)
{
    pthread_t thread;

    free(malloc(opaque(100)));
    if (mym_mode != MYM_MODE_TLS)
        return;
    malloc_trim(0);
    mym_idle_set_keep((size_t)64 << 20);
    for (unsigned turn = 0; turn < 2; turn++) {
        CHECK(!pthread_create(&thread, NULL,
                              turn ? free_a_long_one_and_end : free_and_end, NULL));
        CHECK(!pthread_join(thread, NULL));
        CHECKF(cached(4000) + cached((size_t)1 << 20) == 0, "%zu objects, %zu bytes",
               cached(4000), cached((size_t)1 << 20));
        CHECK(mym_idle_held(MYM_HOLDS_SPANS) == 0 && family.verify() == 0);
    }
}

const struct test tests[] = {
    {"who_is_moved_rings_there", who_is_moved_rings_there},
    {"who_is_moved_on_rings_again", who_is_moved_on_rings_again},
    {"spans_go_when_asked", spans_go_when_asked},
    {"bells_are_followed_once", bells_are_followed_once},
    {"growth_empties_quiet_ones", growth_empties_quiet_ones},
    {"near_a_limit_all_go", near_a_limit_all_go},
    {"what_is_collected_stays_closed", what_is_collected_stays_closed},
    {"spans_are_collected", spans_are_collected},
    {"what_is_in_use_is_not_collected", what_is_in_use_is_not_collected},
    {"none_opens_beside_a_child_of_vfork", none_opens_beside_a_child_of_vfork},
    {"a_child_keeps_its_own", a_child_keeps_its_own},
    {"who_ends_leaves_nothing", who_ends_leaves_nothing},
    {NULL, NULL},
};
