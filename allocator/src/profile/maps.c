/*
 * maps.c - which file's code is mapped where now, and the files' build ids.
 *
 * From /proc/self/maps and the files, not from the loader's list: that has a lock, and
 * what it names may be unmapped while it is read.
 */
#include "profile/profile.h"

#include "os/os.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#define ROOM_FIRST ((size_t)256 << 10)
#define ROOM_MOST  ((size_t)256 << 20)

/* False: not read, or there is nothing in it. */
static bool read_file(struct mym_maps *maps, const char *path)
{
    for (maps->text_room = ROOM_FIRST; maps->text_room <= ROOM_MOST;
         maps->text_room *= 4) {
        int file = mym_os_open(path);
        size_t got = 1;

        maps->text = file < 0 ? NULL : mym_os_map(maps->text_room);
        for (maps->length = 0;
             maps->text != NULL && got > 0 && maps->length < maps->text_room;
             maps->length += got)
            got = mym_os_read(file, maps->text + maps->length,
                              maps->text_room - maps->length);
        if (file >= 0)
            mym_os_close(file);
        if (maps->text == NULL)
            return false;
        if (got == 0 && maps->length > 0)
            return true;
        mym_os_unmap(maps->text, maps->text_room);
        maps->text = NULL;
        if (maps->length == 0)
            return false;
    }
    maps->length = 0; /* of no text */
    return false;
}

/* That of the process is its first thread's, and empty once that has left by pthread_exit. */
bool mym_maps_read_text(struct mym_maps *maps)
{
    return read_file(maps, "/proc/self/maps") ||
           read_file(maps, "/proc/thread-self/maps");
}

static uint64_t hexadecimal(const char **at)
{
    uint64_t value = 0;

    for (;; ++*at) {
        if (**at >= '0' && **at <= '9')
            value = value << 4 | (unsigned)(**at - '0');
        else if (**at >= 'a' && **at <= 'f')
            value = value << 4 | (unsigned)(**at - 'a' + 10);
        else
            return value;
    }
}

/* The build id among the notes of a file. */
bool mym_build_id_find(const char *notes, size_t length, char *out)
{
    ElfW(Nhdr) note;

    for (size_t at = 0; at + sizeof note <= length;) {
        size_t name = at + sizeof note, id;

        memcpy(&note, notes + at, sizeof note);
        id = name + ((note.n_namesz + 3u) & ~3u);
        at = id + ((note.n_descsz + 3u) & ~3u);
        if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 || at > length ||
            note.n_descsz > MYM_BUILD_ID_MOST || memcmp(notes + name, "GNU", 4) != 0)
            continue;
        for (size_t i = 0; i < note.n_descsz; i++) {
            *out++ = "0123456789abcdef"[(unsigned char)notes[id + i] >> 4];
            *out++ = "0123456789abcdef"[notes[id + i] & 15];
        }
        *out = '\0';
        return true;
    }
    return false;
}

/* Bytes of the file that is looked at: from its start they are in `head` already, mostly. */
static size_t read_part(struct mym_maps *maps, int file, size_t head, void *to,
                        size_t bytes, uint64_t offset)
{
    if (offset > head || bytes > head - offset)
        return mym_os_read_at(file, to, bytes, offset);
    memcpy(to, maps->head + offset, bytes);
    return bytes;
}

static void read_build_id(struct mym_maps *maps, char *out)
{
    ElfW(Ehdr) header;
    ElfW(Phdr) part;
    int file = mym_os_open(maps->name);
    size_t head;

    out[0] = '\0';
    if (file < 0)
        return;
    head = mym_os_read_at(file, maps->head, sizeof maps->head, 0);
    if (read_part(maps, file, head, &header, sizeof header, 0) == sizeof header &&
        memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
        header.e_phentsize == sizeof part)
        for (unsigned i = 0; i < header.e_phnum && out[0] == '\0'; i++) {
            size_t length = 0;

            if (read_part(maps, file, head, &part, sizeof part,
                          header.e_phoff + i * sizeof part) != sizeof part)
                break;
            if (part.p_type == PT_NOTE)
                length =
                    read_part(maps, file, head, maps->notes,
                              part.p_filesz < sizeof maps->notes ? part.p_filesz
                                                                 : sizeof maps->notes,
                              part.p_offset);
            mym_build_id_find(maps->notes, length, out);
        }
    mym_os_close(file);
}

/* "start-end rwxp offset device inode   path" */
bool mym_maps_next(const struct mym_maps *maps, const char **at, struct mym_line *line)
{
    const char *text = *at, *end;

    end = memchr(text, '\n', (size_t)(maps->text + maps->length - text));
    if (end == NULL)
        return false;
    *at = end + 1;
    line->start = hexadecimal(&text);
    text++;
    line->end = hexadecimal(&text);
    line->rights = ++text;
    text += 5;
    line->offset = hexadecimal(&text);
    line->file = ++text;
    text = memchr(text, ' ', (size_t)(end - text)); /* behind the device */
    text = memchr(text + 1, ' ', (size_t)(end - text - 1));
    line->file_length = (size_t)(text - line->file);
    line->path = memchr(text, '/', (size_t)(end - text));
    line->path_length = line->path == NULL ? 0 : (size_t)(end - line->path);
    return true;
}

/* In the list a line's end in it is \012. */
const char *mym_maps_path(struct mym_maps *maps, const struct mym_line *line)
{
    char *from, *to;

    if (line->path == NULL || line->path_length >= sizeof maps->name)
        return NULL;
    memcpy(maps->name, line->path, line->path_length);
    maps->name[line->path_length] = '\0';
    for (from = to = maps->name; *from != '\0'; from++, to++)
        if (strncmp(from, "\\012", 4) == 0) {
            *to = '\n';
            from += 3;
        } else {
            *to = *from;
        }
    *to = '\0';
    return maps->name;
}

/* False: it is no code of a file. */
static bool keep_line(struct mym_maps *maps, const struct mym_line *line)
{
    struct mym_map *map = &maps->map[maps->count];

    if (line->rights[2] != 'x' || mym_maps_path(maps, line) == NULL)
        return false;
    map->start = line->start;
    map->end = line->end;
    map->offset = line->offset;
    map->path = line->path;
    map->path_length = line->path_length;
    read_build_id(maps, map->build_id);
    return true;
}

void mym_maps_read(struct mym_maps *maps)
{
    struct mym_line line;
    const char *at;
    size_t lines = 0;
    bool is_read = mym_maps_read_text(maps);

    for (size_t i = 0; i < maps->length; i++)
        lines += maps->text[i] == '\n';
    maps->map_room = (lines + 1 + MYM_IMAGES_MOST) * sizeof *maps->map;
    maps->map = mym_os_map(maps->map_room);
    if (!is_read || maps->map == NULL)
        return;
    for (at = maps->text; mym_maps_next(maps, &at, &line);)
        maps->count += keep_line(maps, &line);
}

void mym_maps_drop(struct mym_maps *maps)
{
    if (maps->text != NULL)
        mym_os_unmap(maps->text, maps->text_room);
    if (maps->map != NULL)
        mym_os_unmap(maps->map, maps->map_room);
}
