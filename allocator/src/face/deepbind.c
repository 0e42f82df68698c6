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
#include "os/os.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

static const char *const names[] = {"malloc",        "calloc",         "realloc",
                                    "aligned_alloc", "posix_memalign", "memalign"};
enum { NAMES = sizeof names / sizeof *names };
static void *libc[NAMES]; /* where libc has them; written at start */

/* What of an object's dynamic section is looked at. */
struct dynamic {
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Rela) * rela[2]; /* of data, of calls */
    size_t bytes[2];
};

/* Addresses are relocated already, but where the section cannot be written to. */
static uintptr_t address(const struct dl_phdr_info *object, ElfW(Addr) value)
{
    return value < object->dlpi_addr ? value + object->dlpi_addr : value;
}

static struct dynamic read_dynamic(const struct dl_phdr_info *object,
                                   const ElfW(Dyn) * entry)
{
    struct dynamic found = {.symbols = NULL};

    for (; entry->d_tag != DT_NULL; entry++) {
        uintptr_t value = address(object, entry->d_un.d_ptr);

        if (entry->d_tag == DT_SYMTAB)
            found.symbols = (const void *)value;
        else if (entry->d_tag == DT_STRTAB)
            found.strings = (const void *)value;
        else if (entry->d_tag == DT_RELA)
            found.rela[0] = (const void *)value;
        else if (entry->d_tag == DT_JMPREL)
            found.rela[1] = (const void *)value;
        else if (entry->d_tag == DT_RELASZ)
            found.bytes[0] = entry->d_un.d_val;
        else if (entry->d_tag == DT_PLTRELSZ)
            found.bytes[1] = entry->d_un.d_val;
    }
    return found;
}

/* A word of the object that was to be set to a function of the family is set to libc's. */
static bool calls_libc(const struct dl_phdr_info *object, const struct dynamic *d)
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
    (void)size;
    (void)unused;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        struct dynamic d;

        if (part->p_type != PT_DYNAMIC)
            continue;
        d = read_dynamic(object, (const void *)(object->dlpi_addr + part->p_vaddr));
        if (d.symbols != NULL && d.strings != NULL && calls_libc(object, &d))
            mym_warn("a library calls libc's malloc, as RTLD_DEEPBIND has it, see "
                     "docs/embedding.md",
                     object->dlpi_name);
    }
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
