/*
 * beside.c - mimalloc itself, where it is loaded beside this heap: its functions found. It may have
 * come by dlopen, and be gone again.
 *
 * Locking: none but the loader's, which dl_iterate_phdr takes.
 */
#include "face/mimalloc.h"
#include "face/object.h"

#include <string.h>

static struct mym_mimalloc functions;
/* The segment that its functions are in. */
static struct span {
    uintptr_t start, bytes;
} code;
static _Atomic bool found; /* set last */
/* Whose they are; and how many objects had been unloaded when that was seen last. */
static struct mym_object owner;
static unsigned long long unloaded;

/* In the order of the structure; the second name is that of 3.6. */
static const char *const names[][2] = {
    {"mi_free"},
    {"mi_usable_size"},
    {"mi_is_in_heap_region"},
    {"mi_collect"},
    {"mi_heap_malloc_aligned_at"},
    {"mi_heap_get_backing", "mi_heap_main"},
    {"mi_heap_get_default", "mi_heap_main"},
    {"mi_heap_collect"},
    {"mi_heap_delete"},
    {"mi_heap_destroy"},
};

_Static_assert(sizeof functions == sizeof names / 2, "a name for each function");

/* Not by dlsym, which would change what the program's dlerror says. */
static int look(struct dl_phdr_info *info, size_t size, void *unused)
{
    void *function[sizeof names / sizeof *names];
    const ElfW(Phdr) * part;
    struct mym_object object;

    (void)size;
    (void)unused;
    if (found) /* another thread was here: the loader's lock lets in one */
        return 1;
    /* Another copy of this library has its names, and would look for it here. */
    if (mym_object_has(info, (const void *)look) || !mym_object_read(info, &object) ||
        mym_object_function(info, &object, "MyVersion") != NULL)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        function[i] = mym_object_function(info, &object, names[i][0]);
        if (function[i] == NULL && names[i][1] != NULL)
            function[i] = mym_object_function(info, &object, names[i][1]);
        if (function[i] == NULL)
            return 0;
    }
    memcpy(&functions, function, sizeof functions);
    owner = object;
    unloaded = info->dlpi_subs;
    part = mym_object_segment(info, function[0]);
    code = part == NULL ? (struct span){0, 0}
                        : (struct span){info->dlpi_addr + part->p_vaddr, part->p_memsz};
    found = true;
    return 1;
}

/* Not found anew while it stays: by then its table may say that its functions are ours (deepbind.c). */
static int stays(struct dl_phdr_info *info, size_t size, void *unused)
{
    struct mym_object object;

    (void)size;
    (void)unused;
    if (info->dlpi_subs == unloaded)
        return 1;
    if (!mym_object_read(info, &object) || memcmp(&object, &owner, sizeof owner) != 0)
        return 0;
    unloaded = info->dlpi_subs;
    return 1;
}

MYM_COLD const struct mym_mimalloc *mym_mimalloc_find(void)
{
    if (found && !dl_iterate_phdr(stays, NULL))
        found = false;
    if (!found)
        dl_iterate_phdr(look, NULL);
    return found ? &functions : NULL;
}

bool mym_mimalloc_calls(const void *caller)
{
    return mym_mimalloc_find() != NULL && (uintptr_t)caller - code.start < code.bytes;
}
