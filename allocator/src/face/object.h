/*
 * object.h - what the dynamic linker knows of a loaded program or library, read from its
 * own tables: dladdr, dlopen and dlsym wait for a dlopen that goes on, which may wait for
 * the thread that asks.
 */
#ifndef MYM_FACE_OBJECT_H
#define MYM_FACE_OBJECT_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>

struct mym_object {
    const ElfW(Dyn) * dynamic;
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *hash; /* DT_GNU_HASH; NULL: it has none */
};

/* From a callback of dl_iterate_phdr. False: it has no dynamic section. */
bool mym_object_read(const struct dl_phdr_info *info, struct mym_object *object);

/* The segment that the address is in, or NULL. */
const ElfW(Phdr) *
    mym_object_segment(const struct dl_phdr_info *info, const void *address);

/* Whether the address is in it. */
bool mym_object_has(const struct dl_phdr_info *info, const void *address);

/* Whether it is in a segment of code. */
bool mym_object_runs(const struct dl_phdr_info *info, const void *address);

/* Whether it is linked with a library whose file name begins so. */
bool mym_object_needs(const struct mym_object *object, const char *prefix);

/* Of the function of this name that it defines, or NULL. */
const ElfW(Sym) * mym_object_symbol(const struct mym_object *object, const char *name);

/* Each function that it defines. */
void mym_object_each(const struct mym_object *object,
                     void (*visit)(const char *name, const ElfW(Sym) * symbol,
                                   void *context),
                     void *context);

/* That function, or NULL. */
void *mym_object_function(const struct dl_phdr_info *info,
                          const struct mym_object *object, const char *name);

#endif
