/*
 * fixed.c - what is written at start alone is read-only from then on, in the hardened build.
 *
 * Variables that are MYM_FIXED (base/secure.h) lie where the linker puts what the loader makes
 * read-only after relocation (PT_GNU_RELRO): whole pages, a mapping of their own already. The
 * loader has done so when the heap starts, or will; so they are opened then, and closed again by a
 * constructor. Where the linker was told not to (-z norelro) they stay as other variables are.
 *
 * Locking: none; the start has its own, and constructors run alone.
 */
#include "os/os.h"

#include "base/secure.h"

#include <elf.h>
#include <link.h>

#if MYM_SECURE_FIXED

extern const ElfW(Ehdr) __ehdr_start __attribute__((weak, visibility("hidden")));

struct pages {
    uintptr_t start, end;
};

/* As the loader computes them; none: start == end. */
static struct pages find_pages(void)
{
    uintptr_t base = (uintptr_t)&__ehdr_start, mask = ~(uintptr_t)(mym_os_page() - 1);
    const ElfW(Phdr) * header;
    struct pages pages = {0, 0};

    if (base == 0)
        return pages;
    header = (const ElfW(Phdr) *)(base + __ehdr_start.e_phoff); /* NOLINT */
    for (unsigned i = 0; i < __ehdr_start.e_phnum; i++) {
        if (header[i].p_type == PT_LOAD && header[i].p_offset == 0)
            base -= header[i].p_vaddr; /* not 0: a program at a fixed address */
        if (header[i].p_type == PT_GNU_RELRO) {
            pages.start = header[i].p_vaddr;
            pages.end = header[i].p_vaddr + header[i].p_memsz;
        }
    }
    pages.start = (base + pages.start) & mask;
    pages.end = (base + pages.end) & mask;
    return pages;
}

bool mym_os_fix(bool fixed)
{
    struct pages pages = find_pages();
    uintptr_t one = (uintptr_t)&mym_secret; /* where it is all of them are */

    if (one < pages.start || one >= pages.end)
        return true;
    return mym_os_let_write((void *)pages.start, /* NOLINT */
                            pages.end - pages.start, false, !fixed);
}

#else

bool mym_os_fix(bool fixed)
{
    (void)fixed;
    return true;
}

#endif
