/*
 * purge.c - pages are given back by one thread at a time, and who finds another one at it leaves
 * his to that: whatever that one is about, it looks again afterwards. What of huge chunks is
 * given back, and what the kernel would not take.
 */
#include "check.h"
#include "spans.h"

#include "alloc/alloc.h"
#include "heap/runs.h"
#include "heap/window.h"
#include "os/os.h"
#include "pool/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNITS 64u

static _Atomic bool held, may_go_on;
static bool at_fork;

static void await(_Atomic bool *what)
{
    for (int naps = 0; !*what && naps < 60000; naps++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    CHECK(*what);
}

/* The pages of a slab that few objects pin are at the kernel. */
void __real_mym_slab_purge(uint32_t slab, uint64_t pieces);
void __wrap_mym_slab_purge(uint32_t slab, uint64_t pieces);
void __wrap_mym_slab_purge(uint32_t slab, uint64_t pieces)
{
    __real_mym_slab_purge(slab, pieces);
    held = true;
    await(&may_go_on);
}

/* A fork has the lock of purges, and that of the page heap not yet. */
void __real_mym_reaps_fork(enum mym_fork_step step);
void __wrap_mym_reaps_fork(enum mym_fork_step step);
void __wrap_mym_reaps_fork(enum mym_fork_step step)
{
    if (at_fork && step == MYM_FORK_TAKE) {
        held = true;
        await(&may_go_on);
    }
    __real_mym_reaps_fork(step);
}

/* Where the kernel takes nothing back. */
static const char *refused;

bool __real_mym_os_purge(void *addr, size_t bytes);
bool __wrap_mym_os_purge(void *addr, size_t bytes);
bool __wrap_mym_os_purge(void *addr, size_t bytes)
{
    if (refused != NULL && (size_t)(refused - (char *)addr) < bytes)
        return false;
    return __real_mym_os_purge(addr, bytes);
}

static uint32_t take_span(void)
{
    uint32_t span = take_units(UNITS);

    memset(mym_unit_address(span), 1, UNITS * MYM_UNIT);
    return span;
}

static void check_nothing_stays(void)
{
    CHECKF(mym_pages_info().dirty == 0, "%zu bytes", mym_pages_info().dirty);
}

/* ---- beside a slab that is purged ---- */

#define OBJECTS 63u /* of a slab */

static void *make_sparse(void *pool)
{
    static void *objects[OBJECTS];

    for (unsigned i = 0; i < OBJECTS; i++)
        CHECK((objects[i] = mym_pool_take(pool)));
    for (unsigned i = 1; i < OBJECTS; i++)
        mym_pool_put(pool, objects[i]);
    return NULL;
}

static void beside_a_slab(void)
{
    unsigned cls = mym_class_of(MYM_UNIT / OBJECTS);
    uint32_t span;
    pthread_t other;

    CHECK(mym_start() && mym_classes[cls].objects == OBJECTS);
    if (mym_os_page() == MYM_UNIT) /* the slab is one page, which is not free */
        return;
    mym_idle_set_keep(0);
    span = take_span();
    CHECK(!pthread_create(&other, NULL, make_sparse, mym_pool_of(0, cls)));
    await(&held);
    mym_pages_put(span);
    may_go_on = true;
    CHECK(!pthread_join(other, NULL));
    check_nothing_stays();
}

/* ---- beside a fork ---- */

static void *put_at_fork(void *span)
{
    await(&held);
    mym_pages_put(mym_unit_of(span));
    may_go_on = true;
    return NULL;
}

static void beside_a_fork(void)
{
    pthread_t other;
    int status;
    pid_t child;

    mym_start();
    mym_idle_set_keep(0);
    held = may_go_on = false;
    CHECK(!pthread_create(&other, NULL, put_at_fork, mym_unit_address(take_span())));
    at_fork = true;
    /* By a thread that asks the kernel for a mapping, and is not in the child. */
    mym_pages.claimed = UNITS;
    child = fork();
    if (child == 0)
        _exit(mym_pages.claimed != 0);
    at_fork = false;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK(mym_pages.claimed == UNITS);
    mym_pages.claimed = 0;
    CHECK(!pthread_join(other, NULL));
    check_nothing_stays();
}

/* ---- of huge chunks ---- */

/* As few of them as can be lose their huge page: one that goes, goes whole. */
static void whole_chunks_go_where_they_are_huge(void)
{
    size_t huge, dirty;
    uint32_t span;

    mym_chunk_set_huge(MYM_HUGE_ALWAYS, false);
    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_pages_purge(0);
    span = take_units(5 * MYM_CHUNK_UNITS);
    huge = mym_pages_info().huge;
    CHECK(huge >= 4 * MYM_CHUNK_UNITS * MYM_UNIT);
    mym_pages_put(span);
    dirty = mym_pages_info().dirty;
    CHECK(mym_pages_purge(dirty - 16 * MYM_UNIT) == MYM_CHUNK_UNITS * MYM_UNIT);
    CHECKF(mym_pages_info().huge == huge, "%zu bytes, %zu before",
           mym_pages_info().huge, huge);
    mym_pages_purge(0);
}

/* All but a unit of a chunk went: it is clean in part, so it is small from now on. */
static void a_unit_of_a_chunk_is_refused(void)
{
    uint32_t span;

    mym_chunk_set_huge(MYM_HUGE_ALWAYS, false);
    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_pages_purge(0);
    span = take_units(3 * MYM_CHUNK_UNITS);
    refused = mym_unit_address(span + 3 * MYM_CHUNK_UNITS / 2);
    mym_pages_put(span);
    mym_pages_purge(MYM_UNIT); /* it may stay: nobody asks for it again */
    CHECKF(mym_pages_info().dirty == MYM_UNIT, "%zu bytes", mym_pages_info().dirty);
    CHECK(mym_pages_verify() == 0);
    refused = NULL;
    mym_pages_purge(0);
    check_nothing_stays();
}

/* ---- what else goes with it ---- */

#define BITMAPS 512u /* units: of pages of 64 KiB four are theirs alone */

static size_t resident_in(const void *table)
{
    return mym_os_resident((char *)(uintptr_t)table, mym_os_page(), mym_os_page());
}

/* Both bitmaps of a window: where its objects start, and which were freed. */
static void bitmaps_go_with_windows(void)
{
    uint32_t each = (uint32_t)(mym_os_page() / sizeof *mym_heap.bits);
    uint32_t window, unit;

    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_pages_purge(0);
    window = mym_window_make(BITMAPS, NULL);
    CHECK(window);
    unit = (window + each) / each * each; /* all of that page is the window's */
    for (uint32_t i = window; i < window + BITMAPS; i++) {
        mym_window_mark((uintptr_t)mym_unit_address(i));
        CHECK(mym_window_set_freed(&mym_heap.units[window],
                                   (uintptr_t)mym_unit_address(i)));
    }
    mym_window_put(window);
    CHECK(resident_in(mym_heap.bits[unit]) && resident_in(mym_heap.freed[unit]));
    mym_pages_purge(0);
    CHECK(!resident_in(mym_heap.bits[unit]) && !resident_in(mym_heap.freed[unit]));
}

/* A freed mapping: its end, or all of it where what is mapped counts. */
static void a_mapping_goes_in_part_or_whole(void)
{
    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_pages_purge(0);
    for (int scarce = 0; scarce < 2; scarce++) {
        struct mym_idle idle = {mym_os_map(UNITS * MYM_UNIT), UNITS * MYM_UNIT, UNITS,
                                false};

        CHECK(idle.addr);
        mym_pages_lock();
        CHECK(mym_pages_put_first(idle));
        mym_pages.scarce = scarce;
        mym_pages_unlock();
        mym_pages_purge(UNITS / 4 * MYM_UNIT);
        CHECKF(mym_pages.idle == (scarce ? 0 : UNITS / 4), "%u units", mym_pages.idle);
        CHECK(mym_pages.idle_count == (scarce ? 0 : 1));
        mym_pages_purge(0);
        CHECK(mym_pages.idle_count == 0);
    }
    mym_pages.scarce = false;
}

/* ---- of loose spans ---- */

#define LOOSE 8u /* units of one, and so many are a list */

/* So many as one list, of a size that is not written all over; the span on top. */
static uint32_t make_loose(void)
{
    uint32_t spans[LOOSE];

    mym_idle_set_keep(1024 * MYM_UNIT);
    mym_pages_purge(0);
    for (unsigned i = 0; i < LOOSE; i++) {
        spans[i] = take_units(LOOSE);
        mym_dense_ended(mym_unit_address(spans[i]), LOOSE * MYM_UNIT);
    }
    CHECK(mym_is_seldom_dense(LOOSE * MYM_UNIT));
    for (unsigned i = 0; i < LOOSE; i++) {
        mym_span_mark(&mym_heap.units[spans[i]], true);
        mym_pages_put_loose((uintptr_t)mym_unit_address(spans[i]) + MYM_SPAN_HELD);
    }
    CHECK(mym_pages.loose_count == LOOSE && mym_pages.spared == 0);
    return spans[LOOSE - 1];
}

/* But for their first pages they are not there: no chunk of theirs is to be filled again. */
static void thin_spans_are_in_small_pages(void)
{
    uint32_t span, left = mym_units_for(LOOSE * mym_os_page());

    mym_chunk_set_huge(MYM_HUGE_ALWAYS, false);
    span = make_loose();
    CHECK(mym_chunk_is_huge(span));
    mym_pages_purge(left * MYM_UNIT);
    CHECKF(mym_pages.loose_count == LOOSE && mym_pages.spared == LOOSE * LOOSE - left,
           "%u spans are loose, %u units are spared", mym_pages.loose_count,
           mym_pages.spared);
    CHECK(!mym_chunk_is_huge(span) && mym_pages_verify() == 0);
    mym_pages_purge(0);
    check_nothing_stays();
}

/* Of one the kernel would not take the pages: none counts as thin. */
static void a_list_is_thin_as_a_whole(void)
{
    mym_chunk_set_huge(MYM_HUGE_NEVER, false);
    refused = (char *)mym_unit_address(make_loose()) + mym_os_page();
    mym_pages_purge(LOOSE * MYM_UNIT);
    CHECK(mym_pages.spared == 0 && mym_pages_verify() == 0);
    refused = NULL;
    mym_pages_purge(0);
    check_nothing_stays();
}

const struct test tests[] = {
    {"whole_chunks_go_where_they_are_huge", whole_chunks_go_where_they_are_huge},
    {"a_unit_of_a_chunk_is_refused", a_unit_of_a_chunk_is_refused},
    {"bitmaps_go_with_windows", bitmaps_go_with_windows},
    {"a_mapping_goes_in_part_or_whole", a_mapping_goes_in_part_or_whole},
    {"thin_spans_are_in_small_pages", thin_spans_are_in_small_pages},
    {"a_list_is_thin_as_a_whole", a_list_is_thin_as_a_whole},
    {"beside_a_slab", beside_a_slab},
    {"beside_a_fork", beside_a_fork},
    {NULL, NULL},
};
