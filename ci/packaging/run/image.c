/*
 * image.c - read ELF headers, segments and symbols of a mapped file.
 */
#include "image.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __x86_64__
#define OWN_MACHINE EM_X86_64
#else
#define OWN_MACHINE EM_AARCH64
#endif

static const struct {
    unsigned machine, cls;
    const char *name;
} machines[] = {
    {EM_X86_64, ELFCLASS64, "x86-64"},  {EM_X86_64, ELFCLASS32, "x32"},
    {EM_386, ELFCLASS32, "32-bit x86"}, {EM_AARCH64, ELFCLASS64, "arm64"},
    {EM_ARM, ELFCLASS32, "32-bit arm"}, {EM_RISCV, ELFCLASS64, "riscv64"},
    {EM_PPC64, ELFCLASS64, "ppc64"},    {EM_S390, ELFCLASS64, "s390x"},
};

/* A range of the file, or NULL when the file is too short for what its headers claim. */
static const void *at(const struct image *image, ElfW(Off) offset, size_t size)
{
    if (offset > image->size || size > image->size - offset)
        return NULL;
    return image->bytes + offset;
}

bool image_open(const char *path, struct image *image)
{
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe nobody writes */
    void *map = MAP_FAILED;
    bool found = file >= 0 && fstat(file, &status) == 0 && S_ISREG(status.st_mode);

    if (found && status.st_size > 0)
        map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (file >= 0)
        close(file);
    if (found && status.st_size == 0)
        *image = (struct image){.bytes = NULL, .size = 0};
    else if (map != MAP_FAILED)
        *image = (struct image){.bytes = map, .size = (size_t)status.st_size};
    else
        return false;
    return true;
}

void image_close(struct image *image)
{
    if (image->size > 0)
        munmap((void *)(uintptr_t)image->bytes, image->size);
}

bool image_is_elf(const struct image *image)
{
    return image->size >= sizeof(ElfW(Ehdr)) &&
           memcmp(image->bytes, ELFMAG, SELFMAG) == 0;
}

const char *image_foreign(const struct image *image)
{
    const unsigned char *bytes = (const unsigned char *)image->bytes;
    size_t place = offsetof(Elf64_Ehdr, e_machine); /* the same in both classes */
    bool big = bytes[EI_DATA] == ELFDATA2MSB;
    unsigned machine = bytes[place + big] | (unsigned)bytes[place + !big] << 8;

    if (machine == OWN_MACHINE && bytes[EI_CLASS] == ELFCLASS64 && !big)
        return NULL;
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        if (machines[i].machine == machine && machines[i].cls == bytes[EI_CLASS])
            return machines[i].name;
    return "another machine";
}

bool image_is_program(const struct image *image)
{
    const ElfW(Ehdr) *header = at(image, 0, sizeof *header);
    const ElfW(Phdr) *segments =
        at(image, header->e_phoff, (size_t)header->e_phnum * sizeof *segments);

    if ((header->e_type != ET_EXEC && header->e_type != ET_DYN) ||
        header->e_entry == 0 || header->e_phnum == 0 || !segments)
        return false;
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD &&
            !at(image, segments[i].p_offset, segments[i].p_filesz))
            return false;
    return true;
}

bool image_loader(const struct image *image, char *out, size_t size)
{
    const ElfW(Ehdr) *header = at(image, 0, sizeof *header);
    const ElfW(Phdr) *segments =
        at(image, header->e_phoff, (size_t)header->e_phnum * sizeof *segments);

    for (unsigned i = 0; segments && i < header->e_phnum; i++) {
        const char *name = segments[i].p_type == PT_INTERP
                               ? at(image, segments[i].p_offset, segments[i].p_filesz)
                               : NULL;
        if (name && segments[i].p_filesz < size) {
            snprintf(out, size, "%.*s", (int)segments[i].p_filesz, name);
            return true;
        }
    }
    return false;
}

static bool is_malloc(const ElfW(Sym) * symbol, const char *names, size_t size)
{
    return symbol->st_shndx != SHN_UNDEF && symbol->st_name < size &&
           ELF64_ST_BIND(symbol->st_info) != STB_LOCAL &&
           strncmp(names + symbol->st_name, "malloc", size - symbol->st_name) == 0;
}

bool image_defines_malloc(const struct image *image)
{
    const ElfW(Ehdr) *header = at(image, 0, sizeof *header);
    const ElfW(Shdr) *sections =
        at(image, header->e_shoff, (size_t)header->e_shnum * sizeof *sections);

    for (unsigned i = 0; sections && i < header->e_shnum; i++) {
        const ElfW(Shdr) *table = &sections[i];
        if ((table->sh_type != SHT_SYMTAB && table->sh_type != SHT_DYNSYM) ||
            table->sh_link >= header->e_shnum)
            continue;
        const ElfW(Shdr) *strings = &sections[table->sh_link];
        const ElfW(Sym) *symbols = at(image, table->sh_offset, table->sh_size);
        const char *names = at(image, strings->sh_offset, strings->sh_size);
        size_t count = symbols && names ? table->sh_size / sizeof *symbols : 0;
        for (size_t j = 0; j < count; j++)
            if (is_malloc(&symbols[j], names, strings->sh_size))
                return true;
    }
    return false;
}
