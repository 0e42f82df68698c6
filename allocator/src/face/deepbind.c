/*
 * deepbind.c - why a pointer may be libc's, for libmymalloc_preload.so.
 *
 * A library that is opened with RTLD_DEEPBIND looks into its own dependencies first, so it
 * calls libc's malloc in a process whose malloc is ours. What it hands out ends here as a
 * pointer that was never allocated, with nobody to blame. The dynamic linker tells nobody
 * how a library was opened, but the library's relocations tell whose malloc it calls.
 */
#include "alloc/alloc.h"
#include "base/check.h"
#include "face/object.h"
#include "os/os.h"

#include <dlfcn.h>
#include <string.h>

static const char *const names[] = {"malloc",        "calloc",         "realloc",
                                    "aligned_alloc", "posix_memalign", "memalign"};
enum { NAMES = sizeof names / sizeof *names };
static void *libc[NAMES]; /* where libc has them; written at start */

/* A word of the object that was to be set to a function of the family is set to libc's. */
static bool calls_libc(const struct dl_phdr_info *object, const struct mym_object *d)
{
    for (int table = 0; table < 2; table++)
        for (size_t i = 0; i < d->bytes[table] / sizeof(ElfW(Rela)); i++) {
            const ElfW(Rela) *r = &d->rela[table][i];
            const char *name = d->strings + d->symbols[ELF64_R_SYM(r->r_info)].st_name;

            for (int n = 0; n < NAMES; n++)
                if (strcmp(name, names[n]) == 0 && libc[n] != NULL &&
                    *(void **)(object->dlpi_addr + r->r_offset) == libc[n])
                    return true;
        }
    return false;
}

/* Of every loaded object; called with the loader's lock held. */
static int look(struct dl_phdr_info *object, size_t size, void *unused)
{
    struct mym_object d;

    (void)size;
    (void)unused;
    if (mym_object_read(object, &d) && calls_libc(object, &d))
        mym_warn("a library calls libc's malloc, as RTLD_DEEPBIND has it, see "
                 "docs/embedding.md",
                 object->dlpi_name);
    return 0;
}

static void explain(void)
{
    dl_iterate_phdr(look, NULL);
}

/* Looked up now: dlsym waits for a dlopen, which may wait for a thread that comes here. */
__attribute__((constructor)) static void offer(void)
{
    for (int n = 0; n < NAMES; n++)
        libc[n] = dlsym(RTLD_NEXT, names[n]);
    mym_os_fix(false);
    mym_explain_foreign = explain;
    mym_os_fix(true);
}
