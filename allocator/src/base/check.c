/*
 * check.c - the last words. Nothing here allocates, locks or uses stdio.
 */
#include "base/check.h"

#include "base/syscall.h"

#include <errno.h> /* error numbers only */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Bytes of a text, which may be the user's, that tell which it is. */
#define LONGEST 200

struct line {
    char text[512];
    size_t used;
};

static bool is_inside_character(char byte)
{
    return (byte & 0xc0) == 0x80; /* of UTF-8 */
}

/* No more than room for the line's end is left, and nothing that ends it or that a terminal obeys. */
static void add_text(struct line *line, const char *text)
{
    for (size_t i = 0; text[i] != '\0' && line->used < sizeof line->text - 1; i++) {
        if (i >= LONGEST + 3 || (i >= LONGEST && !is_inside_character(text[i]))) {
            add_text(line, "...");
            return;
        }
        line->text[line->used++] =
            (unsigned char)text[i] < ' ' || text[i] == 127 ? '?' : text[i];
    }
}

char *mym_digits(char *end, uint64_t value, unsigned base)
{
    do
        *--end = "0123456789abcdef"[value % base];
    while ((value /= base) != 0);
    return end;
}

static void add_pointer(struct line *line, const void *ptr)
{
    char digits[16 + 1] = "";

    add_text(line, "0x");
    add_text(line, mym_digits(digits + 16, (uintptr_t)ptr, 16));
}

/*
 * A pipe that nobody reads, or RLIMIT_FSIZE, would end a program that never wrote itself: the
 * kernel sends the thread that writes a signal. It is held back and taken away.
 */
long mym_write(int file, const char *bytes, size_t length)
{
    const uint64_t pipe = (uint64_t)1 << (SIGPIPE - 1);
    const uint64_t limit = (uint64_t)1 << (SIGXFSZ - 1), both = pipe | limit;
    const struct timespec at_once = {0, 0};
    uint64_t before = 0, sent;
    long wrote;

    mym_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&both, (long)&before,
                sizeof before, 0, 0);
    do
        wrote = mym_syscall(SYS_write, file, (long)bytes, (long)length, 0, 0, 0);
    while (wrote == -EINTR);
    sent = (wrote == -EPIPE ? pipe : wrote == -EFBIG ? limit : 0) & ~before;
    if (sent != 0)
        mym_syscall(SYS_rt_sigtimedwait, (long)&sent, 0, (long)&at_once, sizeof sent, 0,
                    0);
    mym_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof before, 0, 0);
    return wrote;
}

void mym_say(const char *text, size_t length)
{
    int file = 2;

    if (mym_write(file, text, length) != -EBADF)
        return;
    /* The helper's files are not the program's; else nobody is left to tell. */
    file = (int)mym_syscall(SYS_openat, AT_FDCWD, (long)"/proc/self/fd/2",
                            O_WRONLY | O_APPEND | O_CLOEXEC, 0, 0, 0);
    if (file >= 0) {
        mym_write(file, text, length);
        mym_syscall(SYS_close, file, 0, 0, 0, 0, 0);
    }
}

static void write_line(struct line *line)
{
    line->text[line->used++] = '\n'; /* add_text() always leaves room for it */
    mym_say(line->text, line->used);
}

void mym_fatal(const char *what, const void *ptr)
{
    struct line line = {.used = 0};

    add_text(&line, "mymalloc: ");
    add_text(&line, what);
    add_text(&line, ": ");
    add_pointer(&line, ptr);
    write_line(&line);
    abort();
}

void mym_give_up(void)
{
    abort();
}

void mym_warn_all(const char *const *texts)
{
    struct line line = {.used = 0};

    add_text(&line, "mymalloc: ");
    for (; *texts != NULL; texts++)
        add_text(&line, *texts);
    write_line(&line);
}

void mym_warn(const char *what, const char *detail)
{
    MYM_WARN_ALL(what, ": ", detail);
}

size_t mym_expect(const char *who, bool fact, const char *what)
{
    if (!fact)
        mym_warn(who, what);
    return !fact;
}
