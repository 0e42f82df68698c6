/*
 * views.c - unwind tables that are read without staying resident.
 *
 * Nothing but samples reads them, the kernel maps 16 pages around each place that is touched,
 * and all that is mapped counts as the program's: 3 to 5 % of one with large libraries. To give
 * back the program's own pages would be wrong where it has changed them (one that unpacks itself
 * in place). So the part of the file that has the tables is mapped once more when samples are
 * first wanted: to such a view nobody writes, and its pages can go as soon as they were read.
 *
 * It is of the file that the program has: /proc/self/maps says the same device, inode and offset
 * of both. A file that was replaced or is out of reach has no view; its tables are read where the
 * program has them, like those of what dlopen() brings. What the loader changes in a file's
 * pages (relocations) are addresses that frames.c does not read.
 *
 * Locking: none. They are made once, and found when all are.
 */
#include "profile/profile.h"
#include "profile/rules.h"

#include "os/os.h"

#include <string.h>

/*
 * Before pages are given back: 2 to 5 each, many of them the same. Few at first: programs that
 * have little memory have few rules to read.
 */
#define LOOKS_FIRST 32u
#define LOOKS_MOST  512u

static struct mym_view views[MYM_VIEWS];
static bool was_read[MYM_VIEWS];
static unsigned made, looks, allowed = LOOKS_FIRST;

struct work {
    struct mym_maps before, now;
    struct mym_line lines[MYM_VIEWS]; /* of `before`: what each view is to show */
    unsigned count;
};

static void add(struct work *work, const struct mym_line *line, uintptr_t header,
                uintptr_t place)
{
    views[work->count] = (struct mym_view){
        header, place, place + (line->end - line->start), place - line->start};
    work->lines[work->count++] = *line;
}

/* The whole mapping that has the header, unless the program can write there. */
static void map_again(struct work *work, const struct mym_line *line, uintptr_t header)
{
    size_t bytes = line->end - line->start;
    const char *path = mym_maps_path(&work->before, line);
    int file = path == NULL || line->rights[0] != 'r' || line->rights[1] == 'w'
                   ? -1
                   : mym_os_open(path);
    void *place;

    if (file < 0)
        return;
    place = mym_os_map_file(file, bytes, line->offset);
    mym_os_close(file);
    /* Writable later only: where all memory is locked each page would be copied at once. */
    if (place != NULL && !mym_os_let_write(place, bytes, false, true))
        mym_os_unmap(place, bytes);
    else if (place != NULL)
        add(work, line, header, (uintptr_t)place);
}

/* The view at this line is of the file that the program has. */
static bool is_same(const struct mym_view *view, const struct mym_line *line,
                    const struct mym_line *original)
{
    return view->end <= line->end &&
           view->start - line->start + line->offset == original->offset &&
           line->file_length == original->file_length &&
           memcmp(line->file, original->file, line->file_length) == 0;
}

/* Those that are stay, in front. */
static void check(struct work *work)
{
    bool same[MYM_VIEWS] = {false};
    struct mym_line line;
    const char *at = work->now.text;
    unsigned stay = 0;

    while (mym_maps_next(&work->now, &at, &line))
        for (unsigned i = 0; i < work->count; i++)
            if (views[i].start - line.start < line.end - line.start)
                same[i] = is_same(&views[i], &line, &work->lines[i]);
    for (unsigned i = 0; i < work->count; i++)
        if (same[i])
            views[stay++] = views[i];
        else
            mym_os_unmap((void *)views[i].start, /* NOLINT */
                         views[i].end - views[i].start);
    work->count = stay;
}

static void make(struct work *work, const uintptr_t *headers, unsigned many)
{
    struct mym_line line;
    const char *at = work->before.text;

    while (mym_maps_next(&work->before, &at, &line))
        for (unsigned i = 0; i < many; i++)
            if (headers[i] - line.start < line.end - line.start)
                map_again(work, &line, headers[i]);
    mym_maps_read_text(&work->now); /* of none no view is the same */
    check(work);
}

void mym_views_make(const uintptr_t *headers, unsigned many)
{
    struct work *work = mym_os_map(sizeof *work);

    if (work == NULL)
        return;
    if (mym_maps_read_text(&work->before))
        make(work, headers, many);
    __atomic_store_n(&made, work->count, __ATOMIC_RELEASE); /* mym_view_of */
    mym_maps_drop(&work->before);
    mym_maps_drop(&work->now);
    mym_os_unmap(work, sizeof *work);
}

const struct mym_view *mym_view_of(uintptr_t header)
{
    unsigned count = __atomic_load_n(&made, __ATOMIC_ACQUIRE); /* mym_views_make */

    for (unsigned i = 0; i < count; i++)
        if (views[i].header == header) {
            __atomic_store_n(&was_read[i], true, __ATOMIC_RELAXED);
            __atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED);
            return &views[i];
        }
    return NULL;
}

/* Another thread that reads there has its pages read again. */
void mym_views_give_back(void)
{
    unsigned count = __atomic_load_n(&made, __ATOMIC_ACQUIRE);
    unsigned most = __atomic_load_n(&allowed, __ATOMIC_RELAXED);

    if (__atomic_load_n(&looks, __ATOMIC_RELAXED) < most)
        return;
    __atomic_store_n(&looks, 0, __ATOMIC_RELAXED);
    if (most < LOOKS_MOST)
        __atomic_store_n(&allowed, 2 * most, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < count; i++)
        if (__atomic_load_n(&was_read[i], __ATOMIC_RELAXED)) {
            __atomic_store_n(&was_read[i], false, __ATOMIC_RELAXED);
            mym_os_purge((void *)views[i].start, /* NOLINT */
                         views[i].end - views[i].start);
        }
}
