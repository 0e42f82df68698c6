/*
 * clock.c - the time, from the kernel's vDSO (vdso(7)): as libc reads it, so that a sandbox
 * that was made for a program on libc's malloc has nothing new to allow.
 *
 * The coarse clocks alone, of 1 to 4 ms: for a finer one the vDSO makes the system call where
 * the kernel found the processor's counter unstable.
 *
 * libc's own function can be interposed by a library that allocates in it; so the symbol is
 * looked up here, once. Where there is none (valgrind hides it), there is the system call.
 *
 * Locking: none; the pointer is written at start.
 */
#include "os/os.h"

#include "base/secure.h"
#include "base/syscall.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#if defined(__x86_64__)
#define NAME "__vdso_clock_gettime"
#else
#define NAME "__kernel_clock_gettime"
#endif

typedef int clock_function(clockid_t clock, struct timespec *now);

MYM_FIXED static clock_function *from_vdso;

/* What of the image's dynamic section is needed; its addresses are those of the file. */
struct symbols {
    const ElfW(Sym) * first;
    const char *names;
};

static struct symbols find_symbols(uintptr_t base, const ElfW(Dyn) * entry)
{
    struct symbols symbols = {NULL, NULL};

    for (; entry != NULL && entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_SYMTAB)
            symbols.first = (void *)(base + entry->d_un.d_ptr); /* NOLINT */
        if (entry->d_tag == DT_STRTAB)
            symbols.names = (void *)(base + entry->d_un.d_ptr); /* NOLINT */
    }
    return symbols;
}

/* How many symbols there are no entry tells; linkers put the names behind them. */
static uintptr_t find_in(uintptr_t image, const char *name)
{
    const ElfW(Ehdr) *header = (void *)image;                      /* NOLINT */
    const ElfW(Phdr) *segment = (void *)(image + header->e_phoff); /* NOLINT */
    const ElfW(Dyn) *dynamic = NULL;
    struct symbols symbols;
    uintptr_t base = image;

    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (segment[i].p_type == PT_LOAD && segment[i].p_offset == 0)
            base -= segment[i].p_vaddr;
        if (segment[i].p_type == PT_DYNAMIC)
            dynamic = (void *)(image + segment[i].p_offset); /* NOLINT */
    }
    symbols = find_symbols(base, dynamic);
    if (symbols.first == NULL)
        return 0;
    for (; (uintptr_t)(symbols.first + 1) <= (uintptr_t)symbols.names; symbols.first++)
        if (symbols.first->st_shndx != SHN_UNDEF &&
            strcmp(symbols.names + symbols.first->st_name, name) == 0)
            return base + symbols.first->st_value;
    return 0;
}

void mym_os_find_clock(void)
{
    uintptr_t image = getauxval(AT_SYSINFO_EHDR);

    if (image != 0)
        from_vdso = (clock_function *)find_in(image, NAME); /* NOLINT */
}

static struct timespec read_clock(clockid_t clock)
{
    struct timespec now = {0, 0};

    if (from_vdso == NULL || from_vdso(clock, &now) != 0)
        mym_syscall(SYS_clock_gettime, clock, (long)&now, 0, 0, 0, 0);
    return now;
}

uint64_t mym_os_coarse_ms(void)
{
    struct timespec now = read_clock(CLOCK_MONOTONIC_COARSE);

    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t mym_os_wall_ns(void)
{
    struct timespec now = read_clock(CLOCK_REALTIME_COARSE);

    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
