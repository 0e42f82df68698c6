/*
 * layout.h - the heap explains itself: to mymalloc-stats, which reads a running process
 * from outside, and to a debugger, of a process or a core file. Nothing is kept or counted
 * for them, no symbols or debug information are needed, no code of ours runs.
 *
 * An ELF note "mymalloc", found through the program headers of whatever file contains the
 * allocator, leads to the facts: where the variables are, and how the structures are laid
 * out that a reader needs. Which they are is up to readers; a reader that misses one says so.
 */
#ifndef MYM_ALLOC_LAYOUT_H
#define MYM_ALLOC_LAYOUT_H

#include "base/config.h"

/*
 * "mym_pages": where it is, and its bytes; "pages.mapped": where it is in struct
 * mym_pages, and its bytes; "sizeof pages"; else a number. NULL ends them.
 */
struct mym_fact {
    const char *name;
    uintptr_t value;
    size_t bytes;
};
extern MYM_HIDDEN const struct mym_fact mym_layout[];

#define MYM_LAYOUT_NOTE 1 /* type of the note: the facts' address, from itself on */

/*
 * To be in a file that every program takes from the archive. The owner's name and the
 * number are each padded to a multiple of 4 bytes. The pointer is for an archive that was
 * compiled with -flto: from assembly no linker learns that the facts' file is to be taken too.
 */
#define MYM_PUT_LAYOUT_NOTE                                                           \
    __attribute__((used)) static const struct mym_fact *const the_facts = mym_layout; \
    __asm__(".pushsection .note.mymalloc,\"a\",%note\n"                               \
            ".balign 4\n"                                                             \
            ".long 9, 8, 1\n" /* name, content, type */                               \
            ".asciz \"mymalloc\"\n"                                                   \
            ".balign 4\n"                                                             \
            ".quad mym_layout - .\n"                                                  \
            ".popsection\n")

#endif
