/*
 * image.h - an ELF file, mapped read-only, and what its headers say.
 *
 * Every offset in a file is what the file claims: each read is checked against its size.
 */
#ifndef MYMALLOC_RUN_IMAGE_H
#define MYMALLOC_RUN_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

struct image {
    const char *bytes;
    size_t size;
};

/* False when it cannot be read or is no file of bytes. One that is empty has size 0. */
bool image_open(const char *path, struct image *image);
void image_close(struct image *image);

bool image_is_elf(const struct image *image);

/*
 * Of an ELF file: NULL when it is for the machine of this program, else the name of its
 * own. The functions below answer for this machine's files only.
 */
const char *image_foreign(const struct image *image);

/* It can be started: neither a library, nor an object file, nor cut short. */
bool image_is_program(const struct image *image);

/* Copy the name of the program's loader; false when it has none: it is static. */
bool image_loader(const struct image *image, char *out, size_t size);

/* Does it define malloc for others, or for itself? */
bool image_defines_malloc(const struct image *image);

#endif
