/*
 * tell.c - what was found, on standard error: safe in a signal handler.
 *
 * A frame is its address and, where the loader can be asked without a lock (glibc 2.35),
 * the file and what addr2line wants of it:  #0 0x55d5c0a011f6 /usr/bin/program+0x11f6
 */
#include "profile/guarded.h"

#include "base/check.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 35)
#define HAS_FIND_OBJECT 1
extern __typeof__(_dl_find_object) _dl_find_object MYM_MAYBE;
#endif
#endif

/* One line; the guard's lock is held. */
static struct {
    char text[4096 + 128]; /* a path, and what else there is */
    size_t used;
} line;

static void add_text(const char *text)
{
    size_t length = strlen(text), room = sizeof line.text - 1 - line.used;

    if (length > room)
        length = room;
    memcpy(line.text + line.used, text, length);
    line.used += length;
}

static void add_number(uintptr_t value, unsigned base)
{
    char digits[20 + 1] = "";

    add_text(base == 16 ? "0x" : "");
    add_text(mym_digits(digits + 20, value, base));
}

static void end_line(void)
{
    line.text[line.used++] = '\n'; /* add_text() leaves room for it */
    mym_say(line.text, line.used);
    line.used = 0;
}

static void add_bytes(uintptr_t bytes)
{
    add_number(bytes, 10);
    add_text(bytes == 1 ? " byte" : " bytes");
}

void mym_tell(const char *what, uintptr_t ptr, uintptr_t start, size_t size)
{
    add_text("mymalloc: ");
    add_text(what);
    add_text(": ");
    add_number(ptr, 16);
    end_line();
    if (size == 0)
        return;
    add_text("  ");
    if (ptr < start) {
        add_bytes(start - ptr);
        add_text(" before");
    } else if (ptr >= start + size) {
        add_bytes(ptr - (start + size));
        add_text(" behind the end of");
    } else {
        add_text("at byte ");
        add_number(ptr - start, 10);
        add_text(" of");
    }
    add_text(" an object of ");
    add_bytes(size);
    add_text(" at ");
    add_number(start, 16);
    end_line();
}

static void add_place(uintptr_t pc)
{
#ifdef HAS_FIND_OBJECT
    struct dl_find_object found;
    const char *name;

    if (_dl_find_object == NULL ||
        _dl_find_object((void *)pc, &found) != 0) /* NOLINT */
        return;
    name = found.dlfo_link_map->l_name;
    if (name == NULL || name[0] == '\0') /* the program itself */
        name = (const char *)getauxval(AT_EXECFN);
    add_text(" ");
    add_text(name != NULL ? name : "?");
    add_text("+");
    add_number(pc - found.dlfo_link_map->l_addr, 16);
#else
    (void)pc;
#endif
}

/* What called returns behind the call: the byte before is part of it. */
void mym_tell_stack(const char *whose, unsigned depth, void *const *pc)
{
    if (depth == 0)
        return;
    add_text("  ");
    add_text(whose);
    end_line();
    for (unsigned i = 0; i < depth; i++) {
        uintptr_t at = (uintptr_t)pc[i] - 1;

        add_text("    #");
        add_number(i, 10);
        add_text(" ");
        add_number(at, 16);
        add_place(at);
        end_line();
    }
}
