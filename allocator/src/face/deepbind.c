/*
 * deepbind.c - libraries that are opened with RTLD_DEEPBIND have the process's malloc, too.
 *
 * Such a library looks into its own dependencies first, libc among them, and would call libc's
 * malloc in a process whose malloc is ours: what one gives the other would end the program, as
 * it does PHP, which opens its extensions so. The flag stays, for the library may need it for
 * its other names. Instead libc's own table of symbols says, before the first such library is
 * opened, that its malloc is where everybody else's is.
 *
 * Locking: the dynamic linker's, which dl_iterate_phdr takes.
 */
#include "base/check.h"
#include "face/object.h"
#include "face/override.h"
#include "os/os.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

#ifdef RTLD_DEEPBIND

/* Those by which objects come, are asked about, and go. */
static const struct {
    const char *name;
    void *function;
} family[] = {
    {"malloc", malloc},
    {"calloc", calloc},
    {"realloc", realloc},
    {"reallocarray", reallocarray},
    {"aligned_alloc", aligned_alloc},
    {"posix_memalign", posix_memalign},
    {"memalign", memalign},
    {"valloc", valloc},
    {"pvalloc", pvalloc},
    {"malloc_usable_size", malloc_usable_size},
    {"free", free},
    {"cfree", free},
};
enum { FAMILY = sizeof family / sizeof *family };

/*
 * All of them or none; false: the table may not be written to. run: it shares its segment, and
 * it may be a page, with code that other threads run (arm64).
 */
static bool point(uintptr_t base, ElfW(Sym) *const symbols[FAMILY], bool run)
{
    uintptr_t mask = ~(uintptr_t)(mym_os_page() - 1), start = UINTPTR_MAX, end = 0;

    for (int i = 0; i < FAMILY; i++)
        if (symbols[i] != NULL) {
            uintptr_t page = (uintptr_t)&symbols[i]->st_value & mask;

            start = page < start ? page : start;
            end = page + mym_os_page() > end ? page + mym_os_page() : end;
        }
    if (!mym_os_let_write((void *)start, end - start, run, true)) /* NOLINT */
        return false;
    /* Other threads read meanwhile: each is one word, and either of its values is right. */
    for (int i = 0; i < FAMILY; i++)
        if (symbols[i] != NULL)
            __atomic_store_n(&symbols[i]->st_value,
                             (uintptr_t)family[i].function - base, __ATOMIC_RELAXED);
    mym_os_let_write((void *)start, end - start, run, false); /* NOLINT */
    return true;
}

/* Of libc; called with the loader's lock held. */
static int redirect(struct dl_phdr_info *info, size_t size, void *unused)
{
    uintptr_t base = info->dlpi_addr;
    struct mym_object object;
    ElfW(Sym) * symbols[FAMILY];

    (void)size;
    (void)unused;
    if (!mym_object_read(info, &object) ||
        mym_object_symbol(&object, "__libc_start_main") == NULL)
        return 0;
    for (int i = 0; i < FAMILY; i++)
        symbols[i] = (ElfW(Sym) *)(uintptr_t)mym_object_symbol(&object, family[i].name);
    if (symbols[0] != NULL &&
        base + symbols[0]->st_value != (uintptr_t)family[0].function &&
        !point(base, symbols, mym_object_runs(info, symbols[0])))
        mym_warn("RTLD_DEEPBIND gives a library libc's malloc, as mprotect was refused",
                 "see docs/embedding.md");
    return 1;
}

/* Before glibc 2.34 a program may have none. */
static void *no_dlopen(const char *path, int mode)
{
    (void)path;
    (void)mode;
    return NULL;
}

/* Called by what is below: what comes after it. */
MYM_HIDDEN void *mym_dlopen(int mode);

__attribute__((used)) void *mym_dlopen(int mode)
{
    void *next;

    if (mode & RTLD_DEEPBIND)
        dl_iterate_phdr(redirect, NULL);
    next = dlsym(RTLD_NEXT, "dlopen");
    return next != NULL ? next : (void *)no_dlopen;
}

/* A jump, for dlopen asks by its return address whose RUNPATH and namespace are meant. */
/* clang-format off */
#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl dlopen\n"
    ".type dlopen, @function\n"
    "dlopen:\n"
    ".cfi_startproc\n"
    "pushq %rdi\n"
    ".cfi_adjust_cfa_offset 8\n"
    "pushq %rsi\n"
    ".cfi_adjust_cfa_offset 8\n"
    "subq $8, %rsp\n"
    ".cfi_adjust_cfa_offset 8\n"
    "movl %esi, %edi\n"
    "call mym_dlopen\n"
    "addq $8, %rsp\n"
    ".cfi_adjust_cfa_offset -8\n"
    "popq %rsi\n"
    ".cfi_adjust_cfa_offset -8\n"
    "popq %rdi\n"
    ".cfi_adjust_cfa_offset -8\n"
    "jmp *%rax\n"
    ".cfi_endproc\n"
    ".size dlopen, . - dlopen\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".p2align 4\n"
    ".globl dlopen\n"
    ".type dlopen, %function\n"
    "dlopen:\n"
    ".cfi_startproc\n"
    "stp x29, x30, [sp, #-32]!\n"
    ".cfi_adjust_cfa_offset 32\n"
    ".cfi_rel_offset x30, 8\n"
    "stp x0, x1, [sp, #16]\n"
    "mov w0, w1\n"
    "bl mym_dlopen\n"
    "mov x16, x0\n"
    "ldp x0, x1, [sp, #16]\n"
    "ldp x29, x30, [sp], #32\n"
    ".cfi_adjust_cfa_offset -32\n"
    ".cfi_restore x30\n"
    "br x16\n"
    ".cfi_endproc\n"
    ".size dlopen, . - dlopen\n");
#endif
/* clang-format on */

#endif
