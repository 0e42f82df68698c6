/*
 * options.c - a workload's options: defaults, variants, reading them from text.
 */
#include "arenas.h"
#include "harness.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct workload *workload_find(const char *name)
{
    size_t count;
    const struct workload *const *list = workload_list(&count);

    for (size_t i = 0; i < count; i++)
        if (!strcmp(list[i]->name, name))
            return list[i];
    return NULL;
}

/* The position of `word` in "one two three", or -1. */
static int find_word(const char *words, const char *word, size_t length)
{
    for (int at = 0; *words; at++) {
        size_t span = strcspn(words, " ");
        if (span == length && !strncmp(words, word, length))
            return at;
        words += span + (words[span] == ' ');
    }
    return -1;
}

static const char *kind_name(enum option_kind kind)
{
    switch (kind) {
    case OPTION_BYTES:
        return "a number of bytes (K, M, G allowed)";
    case OPTION_SECONDS:
        return "a number of seconds";
    default:
        return "a whole number";
    }
}

/* NaN unless the whole text is a number of that kind. */
static double read_number(enum option_kind kind, const char *text)
{
    char *end;

    if (*text < '0' || *text > '9')
        return NAN;
    double value = strtod(text, &end);
    if (kind == OPTION_BYTES && *end && strchr("KMG", *end)) {
        value *= *end == 'K' ? 0x1p10 : *end == 'M' ? 0x1p20 : 0x1p30;
        end++;
    }
    if (*end || !isfinite(value) || (kind != OPTION_SECONDS && value != floor(value)))
        return NAN;
    return value;
}

void workload_show(const struct option_spec *option, double value, char *text,
                   size_t size)
{
    static const char *const unit[] = {"", "K", "M", "G"};
    const char *word = option->choices;
    unsigned power = 0;

    switch (option->kind) {
    case OPTION_CHOICE:
        for (int skip = (int)value; skip > 0; skip--)
            word += strcspn(word, " ") + 1;
        snprintf(text, size, "%.*s", (int)strcspn(word, " "), word);
        return;
    case OPTION_BYTES:
        while (power < 3 && value >= 1024 && fmod(value, 1024) == 0) {
            value /= 1024;
            power++;
        }
        snprintf(text, size, "%.0f%s", value, unit[power]);
        return;
    default:
        snprintf(text, size, "%.15g", value);
    }
}

static bool set_option(const struct option_spec *option, double *slot, const char *text,
                       char *why, size_t why_size)
{
    if (option->kind == OPTION_CHOICE) {
        int at = find_word(option->choices, text, strlen(text));
        if (at >= 0)
            *slot = at;
        else
            snprintf(why, why_size, "%s '%s': must be one of: %s", option->name, text,
                     option->choices);
        return at >= 0;
    }
    double value = read_number(option->kind, text);
    if (!isnan(value) && value >= option->min && value <= option->max) {
        *slot = value;
        return true;
    }
    char low[32], high[32];
    workload_show(option, option->min, low, sizeof(low));
    workload_show(option, option->max, high, sizeof(high));
    snprintf(why, why_size, "%s '%s': must be %s from %s to %s", option->name, text,
             kind_name(option->kind), low, high);
    return false;
}

bool workload_set(const struct workload *w, struct settings *set, const char *name,
                  const char *text, char *why, size_t why_size)
{
    for (size_t i = 0; i < w->option_count; i++)
        if (!strcmp(w->options[i].name, name))
            return set_option(&w->options[i], &set->value[i], text, why, why_size);
    snprintf(why, why_size, "%s has no option '%s'", w->name, name);
    return false;
}

/* "name=value name=value" */
static bool set_all(const struct workload *w, struct settings *set, const char *text,
                    char *why, size_t why_size)
{
    char copy[256], *rest = copy, *word;

    snprintf(copy, sizeof(copy), "%s", text);
    while ((word = strsep(&rest, " "))) {
        char *value = strchr(word, '=');
        if (!value)
            continue;
        *value++ = 0;
        if (!workload_set(w, set, word, value, why, why_size))
            return false;
    }
    return true;
}

bool workload_defaults(const struct workload *w, const char *name, struct settings *set)
{
    char why[256];

    memset(set, 0, sizeof(*set));
    for (size_t i = 0; i < w->option_count; i++)
        if (!set_option(&w->options[i], &set->value[i], w->options[i].initial, why,
                        sizeof(why)))
            return false;
    for (size_t i = 0; i < w->variant_count; i++)
        if (!name || !strcmp(w->variants[i].name, name))
            return set_all(w, set, w->variants[i].settings, why, sizeof(why));
    return false;
}

/* The value of an option, or a fallback where the workload has no such option. */
static double value_of(const struct workload *w, const struct settings *set,
                       const char *name, double fallback)
{
    for (size_t i = 0; i < w->option_count; i++)
        if (!strcmp(w->options[i].name, name))
            return set->value[i];
    return fallback;
}

bool workload_consistent(const struct workload *w, const struct settings *set,
                         char *why, size_t why_size)
{
    if (value_of(w, set, "min-size", 0) > value_of(w, set, "max-size", INFINITY)) {
        snprintf(why, why_size, "min-size must not be above max-size");
        return false;
    }
    if (value_of(w, set, "remote", 0) > 0 && value_of(w, set, "threads", 2) < 2) {
        snprintf(why, why_size, "remote needs threads 2 or more");
        return false;
    }
    if (value_of(w, set, "calls", CALLS_MALLOC) == CALLS_NEW &&
        (!operator_new || !operator_delete)) {
        snprintf(
            why, why_size,
            "calls 'new': this program is C and its allocator brings no operator new; "
            "preload one that does, or libstdc++.so.6");
        return false;
    }
    if (value_of(w, set, "drop", DROP_EACH) == DROP_MONOTONIC && !arenas_monotonic()) {
        snprintf(why, why_size,
                 "drop 'monotonic': this program is C and has no std::pmr; "
                 "mymalloc-bench has; here: each, arena");
        return false;
    }
    return true;
}

void workload_scale(const struct workload *w, struct settings *set, double work,
                    double time)
{
    for (size_t i = 0; i < w->option_count; i++) {
        const struct option_spec *option = &w->options[i];
        bool is_time = option->kind == OPTION_SECONDS;
        double value = set->value[i] * (is_time ? time : work);
        double least = is_time ? option->min
                               : fmax(option->min, fmin(option->work, set->value[i]));
        if (option->work && value > 0)
            set->value[i] =
                fmin(fmax(is_time ? value : round(value), least), option->max);
    }
}
