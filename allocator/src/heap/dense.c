/*
 * dense.c - which objects are written all over: those of at most a page, and larger ones of a
 * size of which those seen before were.
 *
 * Two moments tell. When an object ends, a few of its pages are looked at. But what fills a heap
 * at first, and stays, never ends. So a thread that takes an object looks at the one of about that
 * size that it took before: it is written by now, or will be later, which the end tells.
 *
 * Locking: none. What is known of a size is a hint, written by anybody. What is alive belongs to
 * the program, so its words are compared by the kernel, whatever becomes of them meanwhile, and
 * with no lock held: who resolves page faults himself (userfaultfd) may take his time.
 */
#include "heap/heap.h"

#include "os/os.h"

#define SCORE_MOST 4

/* Of fewer bytes one huge page more may be a large part of the heap. */
#define MANY (4 * (uint64_t)MYM_CHUNK)

/* Behind objects in their last units: as a slab may lose at its end; as other allocators lose. */
#define ALL        (1u << 16)
#define TAILS_FEW  (ALL / 16)
#define TAILS_MOST (ALL / 6)

/* Others take theirs before this thread has written its own. Of more, some are not looked at. */
#define THREADS 8u

#define SIZES 40u

/* Sizes up to twice as large. */
static struct size {
    _Atomic int8_t score; /* how often such objects were dense, less how often not */
    _Atomic uint32_t
        tails; /* the share behind them in their last units, about the mean */
    _Atomic uint64_t taken; /* bytes, ever */
    struct last {
        _Atomic uintptr_t object, thread;
        _Atomic size_t bytes;
    } last[THREADS];
} sizes[SIZES];

#define GET(hint)        atomic_load_explicit(&(hint), memory_order_relaxed)
#define SET(hint, value) atomic_store_explicit(&(hint), value, memory_order_relaxed)

/* Of a large one its span's: who sees it end knows no other. */
static struct size *size_of(size_t bytes)
{
    size_t whole = bytes > MYM_CLASS_MAX ? mym_round_up(bytes, MYM_UNIT) : bytes;
    unsigned log = 63 - (unsigned)__builtin_clzll(whole | 1);

    return &sizes[log < SIZES ? log : SIZES - 1];
}

/* What was never seen is taken for what is half as large: arrays grow by doubling. */
enum mym_dense mym_is_dense(size_t bytes)
{
    struct size *size = size_of(bytes);
    uint32_t tails;
    int score;

    if (bytes <= MYM_PAGE_CLASS)
        return MYM_SMALL;
    tails = GET(size->tails);
    score = GET(size->score);
    if (score == 0)
        score = GET(size_of(bytes / 2)->score);
    if (score <= 0 || tails > TAILS_MOST)
        return MYM_SPARSE;
    if (GET(size->taken) < MANY)
        return tails > TAILS_FEW ? MYM_SPARSE : MYM_SMALL;
    return tails > TAILS_FEW ? MYM_TAILED : MYM_DENSE;
}

bool mym_is_always_dense(size_t bytes)
{
    return GET(size_of(bytes)->score) == SCORE_MOST;
}

bool mym_is_seldom_dense(size_t bytes)
{
    return GET(size_of(bytes)->score) < 0;
}

static void learn(size_t bytes, bool dense, int least)
{
    struct size *size = size_of(bytes);
    int score = GET(size->score) + (dense ? 1 : -2);

    SET(size->score, (int8_t)(score > SCORE_MOST ? SCORE_MOST
                              : score < least    ? least
                                                 : score));
}

static uint32_t draw(void)
{
    static _Atomic uint32_t random;
    uint32_t drawn = GET(random) * 1664525 + 1013904223;

    SET(random, drawn);
    return drawn;
}

/*
 * What is known is looked at now and then, one in so many: each page may be a cache miss and,
 * where objects are not written all over, a fault. In life such a page costs 16 system calls as
 * well; but of slabs nobody looks at the end, so nothing else would tell that they changed.
 */
#define SELDOM       128u
#define SELDOM_ENDED 1024u /* of what is not written all over */

static bool is_drawn(uint32_t drawn, uint32_t one_in)
{
    return drawn < UINT32_MAX / one_in;
}

#define SAMPLES 4u   /* pages of an object, one in each quarter */
#define STRIDE  256u /* bytes between the words of a page that are looked at */

/*
 * Of the pages that are its own alone; of none such, the one that has STRIDE bytes of it. Of
 * MYM_PAGE whatever the kernel's are: of a longer one the part before the object may be nobody's.
 */
static const char *sample_of(const void *object, size_t bytes, unsigned i,
                             uint32_t drawn)
{
    uintptr_t start = (uintptr_t)object, from = mym_round_up(start, MYM_PAGE);
    size_t pages = start + bytes > from ? (start + bytes - from) / MYM_PAGE : 0;
    size_t page = pages * i / SAMPLES, quarter = pages * (i + 1) / SAMPLES - page;

    if (pages == 0)
        from = (start + STRIDE) & ~(uintptr_t)(MYM_PAGE - 1);
    if (quarter > 1)
        page += (drawn >> 8) * (i + 1) % quarter;
    return (const char *)(from + page * MYM_PAGE); /* NOLINT */
}

/* Who writes a word of each page begins at the object: there first, then all over the page. */
static bool all_are(bool (*written)(const char *page, size_t first), const void *object,
                    size_t bytes, uint32_t drawn)
{
    size_t first = (uintptr_t)object % MYM_PAGE;
    unsigned i = 0;

    while (i < SAMPLES && written(sample_of(object, bytes, i, drawn), first))
        i++;
    return i == SAMPLES;
}

/* ---- an object ends ---- */

/*
 * The object was a program's: its pages may be anything, even protected against reading. So the
 * kernel looks first: what is neither another than 0 nor another than 1 cannot be read.
 */
static bool is_written(const char *page, size_t first)
{
    const uint32_t *word = (const uint32_t *)(page + first);

    if (mym_os_differs(word, 0))
        return true;
    if (!mym_os_differs(word, 1))
        return false;
    if (word[1] != 0)
        return true;
    for (size_t at = 0; at < MYM_PAGE; at += STRIDE)
        if (*(const uint64_t *)(page + at) != 0)
            return true;
    return false;
}

MYM_SLOW void mym_dense_look(const void *object, size_t bytes, size_t there,
                             uint32_t drawn)
{
    learn(bytes, all_are(is_written, object, there, drawn), -SCORE_MOST);
}

/* Whoever asked for it may have asked for less, and it may have begun some lines elsewhere. */
void mym_dense_forget(const void *object, size_t bytes)
{
    uintptr_t page = (uintptr_t)object / MYM_PAGE;

    for (struct size *size = size_of(bytes / 2); size <= size_of(bytes); size++)
        for (unsigned i = 0; i < THREADS; i++)
            if (GET(size->last[i].object) / MYM_PAGE == page)
                SET(size->last[i].object, 0);
}

uint32_t mym_dense_ends(const void *object, size_t bytes)
{
    int score = GET(size_of(bytes)->score);
    uint32_t drawn = draw();

    mym_dense_forget(object, bytes);
    return (score != SCORE_MOST || is_drawn(drawn, SELDOM)) &&
                   (score != -SCORE_MOST || is_drawn(drawn, SELDOM_ENDED))
               ? drawn
               : 0;
}

/* What of a span is the object's, whatever was asked for: no length is rounded up by more. */
static size_t surely(size_t span)
{
    size_t rounded = span / 8 > MYM_UNIT ? span / 8 : MYM_UNIT;

    return span > 2 * rounded ? span - rounded : span;
}

void mym_dense_freed(const void *object, size_t bytes)
{
    uint32_t drawn = mym_dense_ends(object, bytes);

    if (drawn != 0)
        mym_dense_look(object, bytes, surely(bytes), drawn);
}

void mym_dense_ended(const void *object, size_t bytes)
{
    if (MYM_SECURE_ZERO_ON_FREE) /* it reads 0 since it was freed */
        mym_dense_forget(object, bytes);
    else
        mym_dense_freed(object, bytes);
}

/* ---- an object begins ---- */

/* Of a double the upper half says more, of an integer the lower one. */
static bool is_written_in_life(const char *page, size_t first)
{
    if (mym_os_differs((const uint32_t *)(page + first), 0))
        return true;
    for (size_t at = 0; at < MYM_PAGE; at += STRIDE)
        if (mym_os_differs((const uint32_t *)(page + at + at / STRIDE % 2 * 4), 0))
            return true;
    return false;
}

/* It may still be written: not so sparse that ends are seldom looked at. */
#define LIVING_LEAST (1 - SCORE_MOST)

static MYM_SLOW void look_at_living(const void *object, size_t bytes, uint32_t drawn)
{
    learn(bytes, all_are(is_written_in_life, object, bytes, drawn), LIVING_LEAST);
}

/* Of the thread that runs. */
static struct last *last_of(struct size *size)
{
    uint64_t thread = (uintptr_t)__builtin_thread_pointer() * MYM_GOLDEN;

    return &size->last[(unsigned)(thread >> 32) % THREADS];
}

static void look_at_last_of(struct size *size)
{
    struct last *last = last_of(size);
    uintptr_t object = GET(last->object);
    int score = GET(size->score);
    uint32_t drawn = draw();

    if (object == 0 || GET(last->thread) != (uintptr_t)__builtin_thread_pointer())
        return;
    SET(last->object, 0);
    if (score > LIVING_LEAST || (score == LIVING_LEAST && is_drawn(drawn, SELDOM)))
        look_at_living((const void *)object, GET(last->bytes), drawn); /* NOLINT */
}

void mym_dense_look_back(size_t bytes)
{
    look_at_last_of(size_of(bytes));
    if (GET(size_of(bytes)->score) == 0) /* as in mym_is_dense */
        look_at_last_of(size_of(bytes / 2));
}

void mym_dense_taken(const void *object, size_t bytes, size_t whole)
{
    struct size *size = size_of(bytes);
    struct last *last = last_of(size);
    uint32_t tails = GET(size->tails);

    SET(last->object, (uintptr_t)object);
    SET(last->thread, (uintptr_t)__builtin_thread_pointer());
    SET(last->bytes, bytes);
    SET(size->taken, GET(size->taken) + whole);
    SET(size->tails,
        tails - tails / 16 + (uint32_t)(whole % bytes * (ALL / 16) / whole));
}
