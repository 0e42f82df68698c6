/*
 * images.c - the code of files that may be closed (dlclose), so that what it took is said to
 * be its own after it is gone, and never another's that is at its place.
 *
 * An image is the code of one file as it was mapped once: addresses, file, build id, taken from
 * memory when a sample first finds the code in a stack. That a frame runs there holds it, so it is
 * looked at without a lock of the loader's, for whom a thread in a constructor may wait:
 * _dl_find_object has none. The file's header is read in each sample again, for nothing that
 * the loader tells without a lock says that another library has the place.
 *
 * Addresses in a profile are where the code was. Two images of which one came to the place of
 * the other cannot both have them: the later one is moved to a place of its own, as if it
 * had been loaded there, in all stacks. So a stack is still told from others by its
 * addresses alone, and whoever reads the profile need not know of it:
 *
 *   0x00007f...  the program, libraries, and images that nobody's place was taken by
 *   APART on     images that were loaded where another one was
 *   NOWHERE on   code of which nothing is known, and whose addresses an image has
 *
 * Code that stays (frames.c) is none of this, and costs some instructions a frame.
 *
 * Locking: the table's lock guards all. An image is never changed once others can find it, and
 * the list is read without the lock, by who writes.
 */
#include "profile/profile.h"

#include "heap/meta.h"
#include "os/os.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

/* Beyond what a process can have mapped. */
#define APART   ((uintptr_t)1 << 60)
#define NOWHERE ((uintptr_t)1 << 62)

struct image {
    struct image *older;
    struct mym_map map; /* where it was */
    uintptr_t moved;    /* by so much the profile's addresses are more */
    char path[];
};

static struct image *newest;

static bool overlap(const struct mym_map *one, const struct mym_map *other)
{
    return one->start < other->end && other->start < one->end;
}

/* ---- when a sample is taken ---- */

#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 35)
#define HAS_FIND_OBJECT 1
#endif
#endif

#ifdef HAS_FIND_OBJECT

#define HEADER 4096u /* bytes from its start that are mapped: the smallest page */

extern __typeof__(_dl_find_object) _dl_find_object MYM_MAYBE;

static unsigned count;
static uintptr_t next_apart = APART;
static const struct image nowhere = {.moved = NOWHERE};

static bool has(const struct mym_map *map, uintptr_t at)
{
    return at - map->start < map->end - map->start;
}

/* The program headers, where they are behind the file's header as linkers have them, or NULL. */
static const ElfW(Phdr) * parts_of(const ElfW(Ehdr) * header)
{
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_phentsize != sizeof(ElfW(Phdr)) || header->e_phoff > HEADER ||
        header->e_phnum > (HEADER - header->e_phoff) / sizeof(ElfW(Phdr)))
        return NULL;
    return (const ElfW(Phdr) *)((const char *)header + header->e_phoff);
}

/* A segment of code that has the address. */
static void look_at_code(struct mym_map *map, const ElfW(Phdr) * part, uintptr_t base,
                         uintptr_t at)
{
    uintptr_t rest = mym_os_page() - 1, start = base + part->p_vaddr;

    if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0 ||
        at - start >= part->p_memsz)
        return;
    map->start = start & ~rest;
    map->end = (start + part->p_memsz + rest) & ~rest;
    map->offset = part->p_offset & ~(uint64_t)rest;
}

static void look_at_notes(struct mym_map *map, const ElfW(Phdr) * part, uintptr_t base,
                          const struct dl_find_object *object)
{
    uintptr_t start = base + part->p_vaddr, first = (uintptr_t)object->dlfo_map_start;

    if (part->p_type == PT_NOTE && map->build_id[0] == '\0' && start >= first &&
        start + part->p_filesz <= (uintptr_t)object->dlfo_map_end)
        mym_build_id_find((const char *)start, part->p_filesz, /* NOLINT */
                          map->build_id);
}

/* Where the header is not as it should be the whole object is code. */
static void describe(struct mym_map *map, const struct dl_find_object *object,
                     uintptr_t at)
{
    const struct link_map *loaded = object->dlfo_link_map;
    const ElfW(Ehdr) *header = object->dlfo_map_start;
    const ElfW(Phdr) *parts = parts_of(header);

    *map = (struct mym_map){.start = (uintptr_t)object->dlfo_map_start,
                            .end = (uintptr_t)object->dlfo_map_end,
                            .path = loaded->l_name,
                            .path_length = strlen(loaded->l_name),
                            .is_image = true};
    for (unsigned i = 0; parts != NULL && i < header->e_phnum; i++) {
        look_at_code(map, &parts[i], loaded->l_addr, at);
        look_at_notes(map, &parts[i], loaded->l_addr, object);
    }
}

static bool is_same(const struct mym_map *one, const struct mym_map *other)
{
    return one->start == other->start && one->end == other->end &&
           one->offset == other->offset && one->path_length == other->path_length &&
           memcmp(one->path, other->path, one->path_length) == 0 &&
           strcmp(one->build_id, other->build_id) == 0;
}

/* To a place of its own, if another one has the addresses already. */
static uintptr_t move(const struct mym_map *map)
{
    const struct image *other = newest;
    uintptr_t place = next_apart;

    while (other != NULL && (other->moved != 0 || !overlap(&other->map, map)))
        other = other->older;
    if (other == NULL)
        return 0;
    next_apart += (map->end - map->start + MYM_UNIT) & ~(uintptr_t)(MYM_UNIT - 1);
    return place + map->start % MYM_UNIT - map->start;
}

static const struct image *add(const struct mym_map *map)
{
    struct image *image =
        count == MYM_IMAGES_MOST
            ? NULL
            : mym_meta_take(sizeof *image + map->path_length, _Alignof(struct image));

    if (image == NULL)
        return &nowhere;
    image->map = *map;
    image->map.path = image->path;
    memcpy(image->path, map->path, map->path_length);
    image->moved = move(map);
    image->older = newest;
    count++;
    __atomic_store_n(&newest, image, __ATOMIC_RELEASE); /* mym_images_join */
    return image;
}

/* Of no object: compiled at run time, perhaps where an image was. */
static const struct image *find_stray(uintptr_t at)
{
    const struct image *image = newest;

    while (image != NULL && (image->moved != 0 || !has(&image->map, at)))
        image = image->older;
    return image == NULL ? NULL : &nowhere;
}

/* NULL: it stays where it is, in the profile and for good. */
static const struct image *find(uintptr_t at)
{
    struct dl_find_object object;
    const struct image *image = newest;
    struct mym_map map;

    if (_dl_find_object == NULL)
        return NULL;
    if (_dl_find_object((void *)at, &object) != 0) /* NOLINT */
        return find_stray(at);
    /* The program and what the kernel brings have no path. */
    if (mym_frames_stay(object.dlfo_link_map) ||
        strchr(object.dlfo_link_map->l_name, '/') == NULL)
        return NULL;
    describe(&map, &object, at);
    while (image != NULL && !is_same(&image->map, &map))
        image = image->older;
    return image != NULL ? image : add(&map);
}

void mym_images_place(void **pc, unsigned depth)
{
    const struct image *image = NULL;

    for (unsigned i = 0; i < depth; i++) {
        uintptr_t at = (uintptr_t)pc[i] - 1;

        if (mym_frames_remember((uintptr_t)pc[i]))
            continue;
        if (image == NULL || !has(&image->map, at))
            image = find(at);
        if (image != NULL)
            pc[i] = (char *)pc[i] + image->moved;
    }
}

#else

void mym_images_place(void **pc, unsigned depth)
{
    (void)pc;
    (void)depth;
}

#endif

/* ---- when the profile is written ---- */

/* The same file's code at the same place, which has its whole path; NULL: it is gone. */
static const struct mym_map *line_of(const struct mym_maps *maps,
                                     const struct mym_map *image)
{
    for (unsigned i = 0; i < maps->count; i++) {
        const struct mym_map *map = &maps->map[i];

        if (!map->is_image && overlap(map, image) &&
            map->start - map->offset == image->start - image->offset &&
            image->build_id[0] != '\0' && strcmp(map->build_id, image->build_id) == 0)
            return map;
    }
    return NULL;
}

/* Who has its place now took nothing, or would have been moved. */
static void remove_others(struct mym_maps *maps, const struct mym_map *image)
{
    unsigned stay = 0;

    for (unsigned i = 0; i < maps->count; i++)
        if (!overlap(&maps->map[i], image))
            maps->map[stay++] = maps->map[i];
    maps->count = stay;
}

static void insert(struct mym_maps *maps, const struct mym_map *map)
{
    unsigned at = maps->count;

    for (; at > 0 && maps->map[at - 1].start > map->start; at--)
        maps->map[at] = maps->map[at - 1];
    maps->map[at] = *map;
    maps->count++;
}

static void join(struct mym_maps *maps, const struct image *image)
{
    const struct mym_map *line = line_of(maps, &image->map);
    struct mym_map map = image->map;

    if (line != NULL && image->moved == 0)
        return;
    if (line != NULL) {
        map.path = line->path;
        map.path_length = line->path_length;
    }
    if (image->moved == 0)
        remove_others(maps, &map);
    map.start += image->moved;
    map.end += image->moved;
    insert(maps, &map);
}

void mym_images_join(struct mym_maps *maps)
{
    const struct image *image = __atomic_load_n(&newest, __ATOMIC_ACQUIRE); /* add */

    for (; maps->map != NULL && image != NULL; image = image->older)
        join(maps, image);
}
