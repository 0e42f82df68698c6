/*
 * deepbind.c - who asks for malloc where ours does not stand in front gets the process's, too.
 *
 * A library that is opened with RTLD_DEEPBIND looks into its own dependencies first, libc among
 * them, and would call libc's malloc in a process whose malloc is ours: what one gives the other
 * would end the program, as it does PHP, which opens its extensions so. The same has who asks a
 * library's handle (dlsym; Python's ctypes, Java's libraries by name): of libc, or of what is
 * linked with it, that is libc's free, and libc's malloc_trim gives back nothing of this heap.
 * Nor is ours behind RTLD_NEXT for a library that comes later (a profiler's agent).
 *
 * The flag and the order stay, for they may be needed for all other names. Instead libc's own
 * table of symbols says, before a library is opened, that its malloc is where ours is; for
 * RTLD_DEEPBIND where everybody else's is, and so does that of any other allocator that is loaded,
 * for the library may be linked with that.
 *
 * Locking: the dynamic linker's, which dl_iterate_phdr takes.
 */
#include "base/check.h"
#include "face/mimalloc.h"
#include "face/object.h"
#include "face/override.h"
#include "os/os.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

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

/* What else of ours libc has: looking for all of ours there is ten times as long. */
static const char *const others[] = {
    "malloc_trim",     "mallopt",        "mallinfo",         "mallinfo2",
    "malloc_stats",    "malloc_info",    "__libc_malloc",    "__libc_calloc",
    "__libc_free",     "__libc_realloc", "__libc_valloc",    "__libc_pvalloc",
    "__libc_memalign", "__libc_cfree",   "__posix_memalign",
};
enum { OTHERS = sizeof others / sizeof *others };

/* Of ours that call what comes after them: no other's name may lead here. */
static bool is_passed_on(const char *name)
{
    static const char *const names[] = {"dlopen",         "vfork",
                                        "__vfork",        "__register_atfork",
                                        "pthread_atfork", "_dl_deallocate_tls",
                                        "_Fork",          "clone",
                                        "__clone",        "syscall"};

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* This library. */
struct own {
    struct mym_object object;
    uintptr_t base;
    uintptr_t malloc; /* 0: this library has not been met */
    bool deep;        /* for RTLD_DEEPBIND */
    bool first;       /* its malloc is everybody's */
    bool refused;
};

/* An object with a malloc of its own, and the pages of its symbols that are to change. */
struct table {
    struct mym_object object;
    const struct own *own;
    uintptr_t base, start, end;
    bool write;
};

/* Looked at, or written: other threads read meanwhile; it is one word, right either way. */
static void point_one(struct table *table, const char *name, uintptr_t function)
{
    ElfW(Sym) *symbol = (ElfW(Sym) *)(uintptr_t)mym_object_symbol(&table->object, name);
    uintptr_t size = mym_os_page(), page = (uintptr_t)symbol & ~(size - 1);
    uintptr_t end = mym_round_up((uintptr_t)(symbol + 1), size);

    if (symbol == NULL)
        return;
    if (table->write)
        __atomic_store_n(&symbol->st_value, function - table->base, __ATOMIC_RELAXED);
    table->start = page < table->start ? page : table->start;
    table->end = end > table->end ? end : table->end;
}

static void point_own(const char *name, const ElfW(Sym) * symbol, void *context)
{
    struct table *table = context;

    if (!is_passed_on(name))
        point_one(table, name, table->own->base + symbol->st_value);
}

/* Where this library has it. */
static void point_to_own(struct table *table, const char *name)
{
    const ElfW(Sym) *symbol = mym_object_symbol(&table->own->object, name);

    if (symbol != NULL)
        point_one(table, name, table->own->base + symbol->st_value);
}

/*
 * libc's, for RTLD_DEEPBIND the family that everybody has. Else ours even where another's stands in
 * front: who does, and asks libc's handle for what he passes on to, would get himself. Of another
 * allocator all that is here.
 */
static void point_all(struct table *table, bool libc)
{
    for (int i = 0; i < FAMILY; i++)
        if (table->own->deep)
            point_one(table, family[i].name, (uintptr_t)family[i].function);
        else
            point_to_own(table, family[i].name);
    for (int i = 0; i < OTHERS && libc; i++)
        point_to_own(table, others[i]);
    if (!libc)
        mym_object_each(&table->own->object, point_own, table);
}

/*
 * All of them or none; false: the table may not be written to. run: it shares its segment, and
 * it may be a page, with code that other threads run (arm64).
 */
static bool point(struct table *table, bool libc, bool run)
{
    table->start = UINTPTR_MAX;
    table->end = 0;
    table->write = false;
    point_all(table, libc);
    if (!mym_os_let_write((void *)table->start, table->end - table->start,
                          run, /* NOLINT */
                          true))
        return false;
    table->write = true;
    point_all(table, libc);
    mym_os_let_write((void *)table->start, table->end - table->start, run, /* NOLINT */
                     false);
    return true;
}

static void note_own(struct own *own, const struct dl_phdr_info *info,
                     const struct mym_object *object)
{
    own->object = *object;
    own->base = info->dlpi_addr;
    own->first = mym_object_has(info, (const void *)family[0].function);
    own->malloc = (uintptr_t)mym_object_function(info, object, family[0].name);
}

/* Called with the loader's lock held; for this library before those that it stands in front of. */
static int redirect(struct dl_phdr_info *info, size_t size, void *context)
{
    struct own *own = context;
    struct table table = {.own = own, .base = info->dlpi_addr};
    const ElfW(Sym) * symbol;
    bool libc;

    (void)size;
    if (!mym_object_read(info, &table.object))
        return 0;
    if (mym_object_has(info, (const void *)redirect)) {
        note_own(own, info, &table.object);
        return 0;
    }
    symbol = mym_object_symbol(&table.object, family[0].name);
    libc = mym_object_symbol(&table.object, "__libc_start_main") != NULL;
    if (own->malloc == 0 || symbol == NULL || (!libc && !(own->deep && own->first)) ||
        table.base + symbol->st_value ==
            (own->deep ? (uintptr_t)family[0].function : own->malloc))
        return 0;
    if (!point(&table, libc, mym_object_runs(info, symbol)))
        own->refused = true;
    return 0;
}

/* Once is enough for libc; a library that is opened deeply may find another allocator. */
static MYM_COLD void point_libraries(bool deep)
{
    static _Atomic bool done;
    struct own own = {.deep = deep};

    if (deep)
        mym_mimalloc_find();
    else if (done)
        return;
    dl_iterate_phdr(redirect, &own);
    done = true;
    if (own.refused && deep)
        mym_warn(
            "RTLD_DEEPBIND gives a library another malloc, as mprotect was refused",
            "see docs/embedding.md");
}

/* Before glibc 2.34 a program may have none. */
static void *no_dlopen(const char *path, int mode)
{
    (void)path;
    (void)mode;
    return NULL;
}

/* Called by what is below: what comes after it. */
MYM_HIDDEN void *mym_dlopen(const char *path, int mode);

__attribute__((used)) void *mym_dlopen(const char *path, int mode)
{
    void *next;

    if (path != NULL) /* of all that is loaded already we are in front */
        point_libraries((mode & RTLD_DEEPBIND) != 0);
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
