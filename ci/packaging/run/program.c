/*
 * program.c - find a program, read its ELF headers, ask its loader.
 */
#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define INTERPRETER_DEPTH 4 /* nested #! lines the kernel follows */

struct image {
    const char *bytes;
    size_t size;
};

/* A range of the file, or NULL when the file is too short for what its headers claim. */
static const void *at(const struct image *image, ElfW(Off) offset, size_t size)
{
    if (offset > image->size || size > image->size - offset)
        return NULL;
    return image->bytes + offset;
}

static bool defines_malloc(const struct image *image, const ElfW(Ehdr) * header)
{
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
        for (size_t j = 0; symbols && names && j < table->sh_size / sizeof *symbols;
             j++) {
            const ElfW(Sym) *symbol = &symbols[j];
            if (symbol->st_shndx != SHN_UNDEF && symbol->st_name < strings->sh_size &&
                ELF64_ST_BIND(symbol->st_info) != STB_LOCAL &&
                strncmp(names + symbol->st_name, "malloc",
                        strings->sh_size - symbol->st_name) == 0)
                return true;
        }
    }
    return false;
}

static void read_elf(const struct image *image, struct program *program)
{
    const ElfW(Ehdr) *own = (const void *)(uintptr_t)getauxval(AT_SYSINFO_EHDR);
    const ElfW(Ehdr) *header = at(image, 0, sizeof *header);

    program->elf = header && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0;
    if (!program->elf)
        return;
    program->other_machine =
        own && (header->e_machine != own->e_machine ||
                header->e_ident[EI_CLASS] != own->e_ident[EI_CLASS]);
    if (program->other_machine)
        return;
    const ElfW(Phdr) *segments =
        at(image, header->e_phoff, (size_t)header->e_phnum * sizeof *segments);
    for (unsigned i = 0; segments && i < header->e_phnum; i++) {
        const char *name = segments[i].p_type == PT_INTERP
                               ? at(image, segments[i].p_offset, segments[i].p_filesz)
                               : NULL;
        if (name)
            snprintf(program->loader, sizeof program->loader, "%.*s",
                     (int)segments[i].p_filesz, name);
    }
    program->own_malloc = defines_malloc(image, header);
}

/* Take the interpreter of a #! line as the next binary; false when there is none. */
static bool follow_script(const struct image *image, struct program *program)
{
    char line[256];
    size_t length = image->size < sizeof line - 1 ? image->size : sizeof line - 1;

    memcpy(line, image->bytes, length);
    line[length] = '\0';
    if (strncmp(line, "#!", 2) != 0)
        return false;
    char *rest = NULL;
    const char *name = strtok_r(line + 2, " \t\n", &rest);
    if (!name)
        return false;
    snprintf(program->binary, sizeof program->binary, "%s", name);
    return true;
}

/* Returns true when the file was a script and another file is to be examined. */
static bool examine(struct program *program)
{
    struct stat status;
    bool again = false;
    int file = open(program->binary, O_RDONLY | O_CLOEXEC);

    program->readable = file >= 0 && fstat(file, &status) == 0 && status.st_size > 0;
    if (program->readable) {
        struct image image = {.size = (size_t)status.st_size};
        void *map = mmap(NULL, image.size, PROT_READ, MAP_PRIVATE, file, 0);
        program->readable = map != MAP_FAILED;
        if (program->readable) {
            image.bytes = map;
            again = follow_script(&image, program);
            if (!again)
                read_elf(&image, program);
            munmap(map, image.size);
        }
    }
    if (file >= 0)
        close(file);
    return again;
}

static int find_in_path(const char *name, char *out, size_t size)
{
    const char *path = getenv("PATH");
    int result = ENOENT;
    struct stat status;

    if (strchr(name, '/')) {
        snprintf(out, size, "%s", name);
        if (stat(out, &status) != 0)
            return errno;
        return S_ISDIR(status.st_mode) ? EISDIR : access(out, X_OK) == 0 ? 0 : errno;
    }
    char *copy = strdup(path ? path : "/usr/local/bin:/usr/bin:/bin");
    if (!copy)
        return ENOMEM;
    for (char *rest = copy, *folder; result && (folder = strsep(&rest, ":"));) {
        snprintf(out, size, "%s/%s", *folder ? folder : ".", name);
        if (stat(out, &status) == 0 && S_ISREG(status.st_mode))
            result = access(out, X_OK) == 0 ? 0 : EACCES;
    }
    free(copy);
    return result;
}

int program_find(const char *name, struct program *program)
{
    memset(program, 0, sizeof *program);
    int error = find_in_path(name, program->path, sizeof program->path);
    if (error)
        return error;
    memcpy(program->binary, program->path, sizeof program->binary);
    for (int depth = 0; depth < INTERPRETER_DEPTH && examine(program); depth++)
        ;
    return 0;
}

/* The kernel tells the loader to ignore LD_PRELOAD when the program gains rights. */
static const char *gains_rights(const char *binary)
{
    struct stat status;

    if (stat(binary, &status) != 0)
        return NULL;
    if ((status.st_mode & S_ISUID) && status.st_uid != geteuid())
        return "is setuid, and the loader ignores LD_PRELOAD for it";
    if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
        status.st_gid != getegid())
        return "is setgid, and the loader ignores LD_PRELOAD for it";
    if (geteuid() != 0 && getxattr(binary, "security.capability", NULL, 0) > 0)
        return "has file capabilities, and the loader ignores LD_PRELOAD for it";
    return NULL;
}

/* Would the program's loader map the library? "--list" exists in glibc's and musl's. */
static bool loader_takes(const struct program *program, const char *library)
{
    int ends[2];
    char line[PATH_MAX + 128];
    bool found = false;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return true; /* cannot ask: let the program run */
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_PRELOAD", library, 1);
        dup2(ends[1], STDOUT_FILENO);
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0)
            dup2(null, STDERR_FILENO);
        execl(program->loader, program->loader, "--list", program->binary,
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *listing = fdopen(ends[0], "r");
    while (listing && fgets(line, sizeof line, listing))
        found = found || strstr(line, library) != NULL;
    if (listing)
        fclose(listing);
    if (child > 0)
        waitpid(child, NULL, 0);
    return found;
}

const char *program_refuses(const struct program *program, const char *library)
{
    if (!program->readable)
        return "cannot be read, so whether a preload takes is not known";
    if (!program->elf)
        return NULL; /* run by /bin/sh */
    if (program->other_machine)
        return "is for another machine than the library";
    if (!program->loader[0])
        return "is statically linked, and nothing can be preloaded into it";
    const char *reason = gains_rights(program->binary);
    if (reason)
        return reason;
    if (program->own_malloc)
        return "has a malloc of its own, which comes before any preloaded one";
    if (!loader_takes(program, library))
        return "has a loader that does not take the library (another libc?)";
    return NULL;
}
