/*
 * cxx.c - the C++ library that a caller is linked with: its functions found.
 *
 * By the objects' own tables, for a dlopen may wait for this thread.
 *
 * Locking: none but the loader's, which dl_iterate_phdr takes.
 */
#include "face/cxx.h"
#include "face/object.h"
#include "face/override.h"

#include <string.h>

/* How well an object's function serves the caller: the best of all is taken. */
enum { NOT, SOME_LIBRARY, OWN_LIBRARY, OWN_OBJECT };

struct search {
    const void *caller;
    const char *function;
    const void *ours; /* not to be found */
    bool met;         /* an object that has it: who stands in front of all */
    int rank;
    void *found;
    struct mym_object own; /* the caller's */
};

/* Both are called for each loaded object. */
static int note_caller(struct dl_phdr_info *info, size_t size, void *context)
{
    struct search *search = context;

    (void)size;
    return mym_object_has(info, search->caller) && mym_object_read(info, &search->own);
}

/* What the file name of a C++ library begins with; NULL: it is none. */
static const char *library_of(const struct dl_phdr_info *info)
{
    static const char *const names[] = {"libstdc++.so", "libc++"}; /* and libc++abi */
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *base = slash == NULL ? info->dlpi_name : slash + 1;

    for (int i = 0; i < 2; i++)
        if (strncmp(base, names[i], strlen(names[i])) == 0)
            return names[i];
    return NULL;
}

static int look(struct dl_phdr_info *info, size_t size, void *context)
{
    struct search *search = context;
    const char *library = library_of(info);
    struct mym_object object;
    void *function;
    int rank = NOT;

    (void)size;
    if (!mym_object_read(info, &object) ||
        (function = mym_object_function(info, &object, search->function)) == NULL)
        return 0;
    /* Who stands in front of us and calls us wraps us (a recorder): that would not end. */
    if (object.dynamic == search->own.dynamic && (search->met || library != NULL))
        rank = OWN_OBJECT;
    else if (library != NULL)
        rank = mym_object_needs(&search->own, library) ? OWN_LIBRARY : SOME_LIBRARY;
    search->met = true;
    if (function != search->ours && rank > search->rank) {
        search->found = function;
        search->rank = rank;
    }
    return 0;
}

/*
 * The operator of the caller's own object, where a C++ library is linked into it; else of
 * that which it is linked with; where that does not tell (it is C that was left by a jump),
 * of any. */
MYM_COLD void *mym_cxx_find(const void *caller, const char *function, const void *ours)
{
    struct search search = {.caller = caller, .function = function, .ours = ours};

    dl_iterate_phdr(note_caller, &search);
    dl_iterate_phdr(look, &search);
    return search.found;
}

bool mym_cxx_may_handle(const void *caller)
{
    void (*(*get)(void))(void) =
        (void (*(*)(void))(void))mym_cxx_find(caller, "_ZSt15get_new_handlerv", NULL);

    return get == NULL || get() != NULL;
}

MYM_COLD void *mym_cxx_catch(const char *form, void *(*otherwise)(size_t),
                             const void *caller, size_t size, const void *nothrow)
{
    void *(*library)(size_t, const void *) =
        (__typeof__(library))mym_cxx_find(caller, form, NULL);

    return library != NULL ? library(size, nothrow) : otherwise(size);
}

MYM_COLD void *mym_cxx_catch_aligned(const char *form,
                                     void *(*otherwise)(size_t, size_t),
                                     const void *caller, size_t size, size_t alignment,
                                     const void *nothrow)
{
    void *(*library)(size_t, size_t, const void *) =
        (__typeof__(library))mym_cxx_find(caller, form, NULL);

    return library != NULL ? library(size, alignment, nothrow)
                           : otherwise(size, alignment);
}
