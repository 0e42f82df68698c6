/*
 * pagesize.c - a library to preload: the kernel has pages of TEST_PAGE bytes, as far as the
 * allocator can tell.
 *
 * getauxval answers so, and a call for memory is refused or rounded as such a kernel would
 * do it: addresses that are no multiple are refused, lengths are rounded up, and what it maps
 * starts at a multiple. Calls from libc and the loader, whose pages are the real ones, pass.
 */
#include "gate.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static unsigned long page; /* 0: not yet read */

/* From the environment block itself: getenv may not work yet when this is first called. */
static unsigned long wanted_page(void)
{
    static const char name[] = "TEST_PAGE=";

    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        if (strncmp(*entry, name, sizeof(name) - 1) == 0)
            return strtoul(*entry + sizeof(name) - 1, NULL, 0);
    return 4096;
}

/* The allocator asks for nothing else but AT_SECURE; the rest is read from the kernel. */
unsigned long getauxval(unsigned long type)
{
    ElfW(auxv_t) entry;
    unsigned long value = 0;
    int file;

    if (page == 0)
        page = wanted_page();
    if (type == AT_PAGESZ)
        return page;
    file = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);
    while (file >= 0 && read(file, &entry, sizeof(entry)) == (ssize_t)sizeof(entry))
        if (entry.a_type == type)
            value = entry.a_un.a_val;
    if (file >= 0)
        close(file);
    return value;
}

/* ---- who calls ---- */

static struct code {
    const char *name;
    uintptr_t from, to;
} libc = {"/libc.so", 0, 0}, loader = {"/ld-linux", 0, 0};

static void note_code(struct code *code, const struct dl_phdr_info *object)
{
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
            code->from = object->dlpi_addr + part->p_vaddr;
            code->to = code->from + part->p_memsz;
        }
    }
}

static int note(struct dl_phdr_info *object, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (strstr(object->dlpi_name, libc.name) != NULL)
        note_code(&libc, object);
    else if (strstr(object->dlpi_name, loader.name) != NULL)
        note_code(&loader, object);
    return 0;
}

/* ---- what such a kernel does ---- */

static int is_multiple(long address)
{
    return ((unsigned long)address & (page - 1)) == 0;
}

static long round_up(long length)
{
    return (long)(((unsigned long)length + page - 1) & ~(page - 1));
}

static long unmap(long address, long length)
{
    const long arguments[6] = {address, length};

    return gate_call(SYS_munmap, arguments);
}

/* Some more, and what is too much at both ends is unmapped. */
static long map_at_multiple(const long arguments[6])
{
    long more[6] = {0,
                    arguments[1] + (long)page,
                    arguments[2],
                    arguments[3],
                    arguments[4],
                    arguments[5]};
    long got = gate_call(SYS_mmap, more), start = round_up(got);

    if ((unsigned long)got >= (unsigned long)-4095L)
        return got;
    if (start > got)
        unmap(got, start - got);
    if (got + (long)page > start)
        unmap(start + arguments[1], got + (long)page - start);
    return start;
}

static long map(const long arguments[6])
{
    long rounded[6];

    memcpy(rounded, arguments, sizeof(rounded));
    rounded[1] = round_up(arguments[1]);
    if ((arguments[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == 0)
        return map_at_multiple(rounded);
    return is_multiple(arguments[0]) ? gate_call(SYS_mmap, rounded) : -EINVAL;
}

/* To a place of its own, unless it fits where it is or the caller names one. */
static long remap(const long arguments[6])
{
    long in_place[6] = {arguments[0], round_up(arguments[1]), round_up(arguments[2]),
                        arguments[3] & ~MREMAP_MAYMOVE};
    long place[6] = {0, in_place[2], PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0};
    long got;

    if (!is_multiple(arguments[0]))
        return -EINVAL;
    if (arguments[3] & MREMAP_FIXED) {
        in_place[3] = arguments[3];
        in_place[4] = arguments[4];
        return is_multiple(arguments[4]) ? gate_call(SYS_mremap, in_place) : -EINVAL;
    }
    got = gate_call(SYS_mremap, in_place);
    if (got != -ENOMEM || !(arguments[3] & MREMAP_MAYMOVE))
        return got;
    in_place[4] = map_at_multiple(place);
    if ((unsigned long)in_place[4] >= (unsigned long)-4095L)
        return in_place[4];
    in_place[3] = MREMAP_MAYMOVE | MREMAP_FIXED;
    got = gate_call(SYS_mremap, in_place);
    if ((unsigned long)got >= (unsigned long)-4095L)
        unmap(in_place[4], in_place[2]);
    return got;
}

static long other_kernel(long number, const long arguments[6])
{
    long rounded[6];

    if (gate_caller() - loader.from < loader.to - loader.from)
        return gate_call(number, arguments);
    if (number == SYS_mmap)
        return map(arguments);
    if (number == SYS_mremap)
        return remap(arguments);
    if (!is_multiple(arguments[0])) /* munmap, madvise, mprotect */
        return -EINVAL;
    memcpy(rounded, arguments, sizeof(rounded));
    rounded[1] = round_up(arguments[1]);
    return gate_call(number, rounded);
}

__attribute__((constructor)) static void start(void)
{
    page = wanted_page();
    dl_iterate_phdr(note, NULL);
    if (libc.from == 0 || !gate_install_rule(other_kernel, libc.from, libc.to)) {
        printf("SKIP: no seccomp filter, or a libc that is not found\n");
        fflush(stdout);
        _exit(77);
    }
}
