/*
 * print.c - malloc_stats_print: all that mallctl can read, as text or as JSON.
 *
 * JSON has the shape of jemalloc's, so that what reads that finds what is there. No lock is
 * held while the program's function is called: it may allocate.
 */
#include "face/figures.h"
#include "face/names.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct out {
    void (*write)(void *context, const char *text);
    void *context;
    const char *options;
    bool json;
    bool inner; /* text: in a line of an array */
    bool comma; /* JSON: before the next member */
    unsigned depth;
};

void malloc_stats_print(void (*write)(void *context, const char *text), void *context,
                        const char *options);

static void to_standard_error(void *unused, const char *text)
{
    (void)unused;
    mym_say(text, strlen(text));
}

/* snprintf formats integers without allocating; stdio streams might not. */
__attribute__((format(printf, 2, 3))) static void print(struct out *out,
                                                        const char *format, ...)
{
    char text[160];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    out->write(out->context, text);
}

/* Of what has members. All arenas are a part of their own. */
static bool is_shown(const struct out *out, const char *part)
{
    if (strncmp(part, "bins.", 5) == 0)
        return strchr(out->options, 'b') == NULL;
    if (strncmp(part, "lextent.", 8) == 0)
        return out->json && strchr(out->options, 'l') == NULL;
    return strncmp(part, "arenas.#", 8) != 0;
}

/* What stands before a value, or before what has members. */
static void say_key(struct out *out, const char *key, size_t length)
{
    if (out->json)
        print(out, "%s\"%.*s\":", out->comma ? "," : "", (int)length, key);
    else if (out->inner)
        print(out, " %.*s", (int)length, key);
    else
        print(out, "%*s%.*s:", (int)(2 * out->depth), "", (int)length, key);
    out->comma = false;
}

static void open_members(struct out *out, char bracket)
{
    if (out->json)
        print(out, "%c", bracket);
    else if (!out->inner)
        print(out, "\n");
    out->comma = false;
    out->depth++;
}

static void close_members(struct out *out, char bracket)
{
    if (out->json)
        print(out, "%c", bracket);
    out->comma = true;
    out->depth--;
}

static void say_value(struct out *out, const struct mym_name *name, const size_t *at)
{
    uint64_t value = name->read(at);
    const char *quote = out->json ? "\"" : "";

    if (!out->json)
        out->write(out->context, " ");
    if (name->type == MYM_TEXT)
        print(out, "%s%s%s", quote, (const char *)(uintptr_t)value, quote); /* NOLINT */
    else if (name->type == MYM_BOOL)
        print(out, "%s", value != 0 ? "true" : "false");
    else
        print(out, "%lld", (long long)value);
    if (!out->json && !out->inner)
        print(out, "\n");
    out->comma = true;
}

/* Names from first to end, which are alike up to a component, with so many numbers. */
static void walk(struct out *out, unsigned first, unsigned end, size_t component,
                 size_t *at, unsigned numbers);

/* One object for each number: a line of text. */
static void walk_array(struct out *out, unsigned first, unsigned end, size_t component,
                       size_t *at, unsigned numbers)
{
    size_t count = mym_numbers_of(mym_names[first].name + component);

    open_members(out, '[');
    for (size_t i = 0; i < count; i++) {
        at[numbers] = i;
        if (out->json)
            print(out, i > 0 ? ",{" : "{");
        else
            print(out, "%*s%zu:", (int)(2 * out->depth), "", i);
        out->comma = false;
        out->inner = !out->json;
        walk(out, first, end,
             component + strcspn(mym_names[first].name + component, ".") + 3, at,
             numbers + 1);
        out->inner = false;
        print(out, out->json ? "}" : "\n");
    }
    close_members(out, ']');
}

static void walk(struct out *out, unsigned first, unsigned end, size_t component,
                 size_t *at, unsigned numbers)
{
    for (unsigned i = first, next; i < end; i = next) {
        const char *name = mym_names[i].name, *key = name + component;
        size_t length = strcspn(key, ".");

        for (next = i + 1; next < end && strncmp(mym_names[next].name, name,
                                                 component + length + 1) == 0;)
            next++;
        if (key[length] == '\0' ? mym_names[i].read == NULL : !is_shown(out, key))
            continue;
        say_key(out, key, length);
        if (key[length] == '\0') {
            say_value(out, &mym_names[i], at);
        } else if (key[length + 1] == '#') {
            walk_array(out, i, next, component, at, numbers);
        } else {
            open_members(out, '{');
            walk(out, i, next, component + length + 1, at, numbers);
            close_members(out, '}');
        }
    }
}

/* The names that begin with this, to the last of them. */
static unsigned first_with(const char *start, unsigned *end)
{
    size_t length = strlen(start);
    unsigned first = 0;

    while (strncmp(mym_names[first].name, start, length) != 0)
        first++;
    for (*end = first;
         *end < mym_name_count && strncmp(mym_names[*end].name, start, length) == 0;)
        ++*end;
    return first;
}

static void print_part(struct out *out, const char *start, const char *key)
{
    size_t at[MYM_NUMBERS] = {MYM_ALL_ARENAS};
    unsigned end, first = first_with(start, &end);

    say_key(out, key, strlen(key));
    open_members(out, '{');
    walk(out, first, end, strlen(start), at, strchr(start, '#') != NULL);
    close_members(out, '}');
}

__attribute__((visibility("default"))) void
malloc_stats_print(void (*write)(void *context, const char *text), void *context,
                   const char *options)
{
    struct out out = {write != NULL ? write : to_standard_error,
                      context,
                      options != NULL ? options : "",
                      false,
                      false,
                      false,
                      0};
    static const size_t none[MYM_NUMBERS];

    mym_figures_refresh(true);
    out.json = strchr(out.options, 'J') != NULL;
    if (out.json)
        print(&out, "{\"jemalloc\":{");
    say_key(&out, "version", 7);
    say_value(&out, mym_names, none);
    if (strchr(out.options, 'g') == NULL) {
        print_part(&out, "config.", "config");
        print_part(&out, "opt.", "opt");
        print_part(&out, "arenas.", "arenas");
        print_part(&out, "prof.", "prof");
    }
    print_part(&out, "stats.", "stats");
    if (strchr(out.options, 'm') == NULL) {
        say_key(&out, "stats.arenas", 12);
        open_members(&out, '{');
        print_part(&out, "stats.arenas.#.", "merged");
        close_members(&out, '}');
    }
    if (out.json)
        print(&out, "}}\n");
}
