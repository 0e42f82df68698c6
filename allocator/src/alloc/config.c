/*
 * config.c - MYMALLOC_* variables: one table says what there is, reads and explains it.
 */
#include "alloc/config.h"

#include "base/check.h"
#include "heap/meta.h"
#include "os/os.h"
#include "os/out.h"
#include "pool/topology.h"
#include "profile/profile.h"

#include <signal.h> /* numbers only */
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define SIGNAL_FIRST   35 /* glibc uses up to 33, musl up to 34 */
#define SIGNAL_LAST    64
#define KEEP_DEFAULT   ((size_t)60 << 20)
#define PREFIX         "MYMALLOC_"
#define PREFIX_LENGTH  (sizeof PREFIX - 1)
#define NAME_LONGEST   24 /* without the prefix; anything longer is not one of ours */
#define STATS_SELDOM   86400u /* seconds */
#define MISSPELT_EDITS 2      /* KEPT, FRONT_END; not RESULTS, which is the suite's */

/* A number with an optional K, M or G, up to `end`; false when it is anything else. */
static bool parse_bytes_to(const char *text, char end, size_t *bytes)
{
    size_t value = 0;
    unsigned shift = 0;

    if (*text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(value, (size_t)10, &value) ||
            __builtin_add_overflow(value, (size_t)(*text - '0'), &value))
            return false;
    switch (*text) {
    case 'K':
    case 'k':
        shift = 10;
        break;
    case 'M':
    case 'm':
        shift = 20;
        break;
    case 'G':
    case 'g':
        shift = 30;
        break;
    default:
        break;
    }
    if (shift != 0)
        text++;
    if ((*text != '\0' && *text != end) || value > SIZE_MAX >> shift)
        return false;
    *bytes = value << shift;
    return true;
}

static bool parse_bytes(const char *text, size_t *bytes)
{
    return parse_bytes_to(text, '\0', bytes);
}

/* Where the value is in a list of words that NULL ends; false: nowhere. */
static bool is_one_of(const char *value, const char *const *words, unsigned *place)
{
    for (*place = 0; words[*place] != NULL; ++*place)
        if (strcmp(value, words[*place]) == 0)
            return true;
    return false;
}

/*
 * Readers of a value return where it is not understood, up to a comma or the end; NULL: it is,
 * and only then is anything kept.
 */
static const char *read_front_end(struct mym_config *config, const char *value)
{
    static const char *const names[] = {"rseq", "mm_cid", "cpu_id", "tls", NULL};
    unsigned place;

    if (!is_one_of(value, names, &place))
        return value;
    config->front_end = names[place];
    return NULL;
}

static const char *read_arenas(struct mym_config *config, const char *value)
{
    size_t together;

    if (strcmp(value, "all") == 0)
        together = MYM_TOGETHER_ALL;
    else if (strcmp(value, "cpu") == 0)
        together = 1;
    else if (strcmp(value, "llc") == 0)
        together = MYM_TOGETHER_LLC;
    else if (!parse_bytes(value, &together) || together == 0 || together > MYM_MAX_CPUS)
        return value;
    config->together = (unsigned)together;
    return NULL;
}

static const char *read_keep(struct mym_config *config, const char *value)
{
    return parse_bytes(value, &config->keep) ? NULL : value;
}

static const char *read_limit(struct mym_config *config, const char *value)
{
    size_t limit;

    if (!parse_bytes(value, &limit) || limit == 0)
        return value;
    config->limit = limit;
    return NULL;
}

static const char *read_cgroup(struct mym_config *config, const char *value)
{
    static const char *const names[] = {"start", "watch", "off", NULL};
    unsigned place;

    if (!is_one_of(value, names, &place))
        return value;
    config->cgroup = place;
    return NULL;
}

static const char *read_huge(struct mym_config *config, const char *value)
{
    static const char *const names[] = {"never", "auto", "always", NULL};
    unsigned place;

    if (!is_one_of(value, names, &place))
        return value;
    config->huge = (enum mym_huge)place;
    return NULL;
}

static bool is_option(const char *text, const char *option)
{
    size_t length = strlen(option);

    return strncmp(text, option, length) == 0 &&
           (text[length] == '\0' || text[length] == ',');
}

/* A number of bytes between samples, up to the next comma. */
static bool parse_every(const char *text, size_t *every)
{
    return parse_bytes_to(text, ',', every) && *every > 0 && *every <= MYM_PROFILE_MOST;
}

/* The user's own, and those of real time that no C library needs for itself. */
static bool read_signal(const char *value, int *signal)
{
    size_t number = 0;

    if (is_option(value, "USR1"))
        number = SIGUSR1;
    else if (is_option(value, "USR2"))
        number = SIGUSR2;
    else if (!parse_bytes_to(value, ',', &number) || number < SIGNAL_FIRST ||
             number > SIGNAL_LAST)
        return false;
    *signal = (int)number;
    return true;
}

/* Put there by the process that PATH is of (hand_on), for those that it starts. */
static bool parse_owner(const char *text, int *owner)
{
    size_t number;

    if (!parse_bytes_to(text, ',', &number) || number == 0 || number > INT32_MAX)
        return false;
    *owner = (int)number;
    return true;
}

/*
 * PATH[,every=BYTES][,stacks=FRAMES][,signal=NAME][,form=proto|text][,of=PROCESS]; absolute,
 * for a program may change its folder.
 */
static const char *read_profile(struct mym_config *config, const char *value)
{
    struct mym_profile_config profile = {.path = value,
                                         .length = strcspn(value, ","),
                                         .every = MYM_PROFILE_EVERY,
                                         .depth = MYM_STACK_DEPTH};

    if (value[0] != '/' || profile.length >= MYM_REPORT_PATH)
        return value;
    for (const char *at = strchr(value, ','); at != NULL; at = strchr(at, ',')) {
        at++;
        if (strncmp(at, "every=", 6) == 0) {
            if (!parse_every(at + 6, &profile.every))
                return at;
        } else if (strncmp(at, "stacks=", 7) == 0) {
            if (!parse_bytes_to(at + 7, ',', &profile.depth) || profile.depth == 0 ||
                profile.depth > MYM_STACK_DEPTH)
                return at;
        } else if (strncmp(at, "signal=", 7) == 0) {
            if (!read_signal(at + 7, &profile.signal))
                return at;
        } else if (is_option(at, "form=text") || is_option(at, "form=proto")) {
            profile.text = at[5] == 't';
        } else if (strncmp(at, "of=", 3) == 0) {
            if (!parse_owner(at + 3, &profile.owner))
                return at;
        } else {
            return at;
        }
    }
    config->profile = profile;
    return NULL;
}

/* PATH[,form=json|prometheus][,every=SECONDS][,of=PROCESS] */
static const char *read_stats(struct mym_config *config, const char *value)
{
    struct mym_stats_config stats = {value, strcspn(value, ","), 0, 0,
                                     MYM_METRICS_JSON};

    if (value[0] != '/' || stats.length >= MYM_REPORT_PATH)
        return value;
    for (const char *at = strchr(value, ','); at != NULL; at = strchr(at, ',')) {
        at++;
        if (strncmp(at, "every=", 6) == 0) {
            if (!parse_bytes_to(at + 6, ',', &stats.every) || stats.every == 0 ||
                stats.every > STATS_SELDOM)
                return at;
        } else if (is_option(at, "form=json") || is_option(at, "form=prometheus")) {
            stats.form = at[5] == 'p' ? MYM_METRICS_PROMETHEUS : MYM_METRICS_JSON;
        } else if (strncmp(at, "of=", 3) == 0) {
            if (!parse_owner(at + 3, &stats.owner))
                return at;
        } else {
            return at;
        }
    }
    config->stats = stats;
    return NULL;
}

/* What is not understood changes nothing: there may be a right one before it. */
static const char *read_either(bool *is, const char *value, const char *yes,
                               const char *no)
{
    if (strcmp(value, yes) != 0 && strcmp(value, no) != 0)
        return value;
    *is = strcmp(value, yes) == 0;
    return NULL;
}

static const char *read_names(struct mym_config *config, const char *value)
{
    return read_either(&config->names, value, "on", "off");
}

/* every=BYTES[,on-error=abort|continue] */
static const char *read_guard(struct mym_config *config, const char *value)
{
    size_t every;
    const char *at = strchr(value, ',');
    bool go_on = at != NULL && strcmp(at, ",on-error=continue") == 0;

    if (strncmp(value, "every=", 6) != 0 || !parse_every(value + 6, &every))
        return value;
    if (at != NULL && !go_on && strcmp(at, ",on-error=abort") != 0)
        return at + 1;
    config->guard.every = every;
    config->guard.go_on = go_on;
    return NULL;
}

static const char *read_background(struct mym_config *config, const char *value)
{
    return read_either(&config->background, value, "on", "off");
}

static const char *read_verbose(struct mym_config *config, const char *value)
{
    return read_either(&config->verbose, value, "1", "0");
}

static const char *read_help(struct mym_config *config, const char *value);

static const struct variable {
    const char *name;
    const char *(*read)(struct mym_config *config, const char *value);
    const char *accepts, *meaning;
} variables[] = {
    {"MYMALLOC_FRONTEND", read_front_end, "rseq, mm_cid, cpu_id or tls",
     "caches per CPU (rseq, mm_cid, cpu_id) or per thread (tls); default: the best "
     "there is"},
    {"MYMALLOC_ARENAS", read_arenas, "all, llc, cpu or a number of CPUs",
     "CPUs that share an arena; default: all"},
    {"MYMALLOC_KEEP", read_keep, "bytes, with K, M or G",
     "free memory that may stay resident; for some seconds also what a program goes up "
     "and down by, in all three times as much or a quarter of its peak; default: 60M"},
    {"MYMALLOC_LIMIT", read_limit, "bytes above 0, with K, M or G",
     "memory that the heap may use before requests fail; default: no limit"},
    {"MYMALLOC_CGROUP", read_cgroup, "start, watch or off",
     "when the memory limit of the cgroup is read: once at start (default), again each "
     "second (opens files later, which a sandbox may forbid), or never"},
    {"MYMALLOC_HUGE", read_huge, "auto, never or always",
     "huge pages for what will be written all over, for nothing, or for everything; "
     "default: auto"},
    {"MYMALLOC_PROFILE", read_profile,
     "/PATH[,every=BYTES][,stacks=1-64][,signal=USR1|USR2|35-64][,form=proto|text]",
     "write a heap profile to this file when the process ends, and at the signal one "
     "more, to PATH.s1 and so on; every: bytes between samples, 512K by default, 1 for "
     "all; stacks: frames that are kept, 64 by default; form: for pprof, or the text "
     "of before it"},
    {"MYMALLOC_STATS", read_stats, "/PATH[,form=json|prometheus][,every=SECONDS]",
     "write statistics to this file when the process ends, and each so many seconds, "
     "86400 at most, in which it uses the heap's slow paths"},
    {"MYMALLOC_NAMES", read_names, "on or off",
     "mappings say in /proc/PID/smaps what they are for (prctl, which a sandbox may "
     "forbid); default: off"},
    {"MYMALLOC_GUARD", read_guard, "every=BYTES[,on-error=abort|continue]",
     "put an object against pages that cannot be touched, one for each so many bytes, "
     "and tell the stacks of overflows and uses after free; then abort (default), or "
     "go on"},
    {"MYMALLOC_BACKGROUND", read_background, "on or off",
     "a helper thread, while there is idle memory, gives it back down to 4 MiB; "
     "default: off"},
    {"MYMALLOC_VERBOSE", read_verbose, "0 or 1",
     "say at start which front end runs and why"},
    {"MYMALLOC_HELP", read_help, "0 or 1", "print this list"},
};
#define VARIABLES (sizeof variables / sizeof *variables)

static void print(const char *text)
{
    mym_say(text, strlen(text));
}

static const char *read_help(struct mym_config *config, const char *value)
{
    (void)config;
    if (strcmp(value, "1") != 0)
        return strcmp(value, "0") == 0 ? NULL : value;
    for (unsigned i = 0; i < VARIABLES; i++) {
        print(variables[i].name);
        print("  (");
        print(variables[i].accepts);
        print(")\n    ");
        print(variables[i].meaning);
        print("\n");
    }
    return NULL;
}

/* How many letters to insert, drop or replace until a is b, upper or lower case. */
static unsigned edits(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned row[NAME_LONGEST + 1]; /* from the first i of a to each beginning of b */

    for (unsigned j = 0; j <= b_length; j++)
        row[j] = j;
    for (unsigned i = 0; i < a_length; i++) {
        unsigned diagonal = row[0];

        row[0] = i + 1;
        for (unsigned j = 0; j < b_length; j++) {
            unsigned best = diagonal + ((a[i] & ~32) != (b[j] & ~32));

            diagonal = row[j + 1];
            best = diagonal + 1 < best ? diagonal + 1 : best;
            row[j + 1] = row[j] + 1 < best ? row[j] + 1 : best;
        }
    }
    return row[b_length];
}

/* The variable that a name is, or misspells; NULL when it may well be someone else's. */
static const struct variable *nearest(const char *name, size_t length)
{
    const struct variable *found = NULL;
    unsigned fewest = MISSPELT_EDITS + 1;

    for (unsigned i = 0; i < VARIABLES && length <= NAME_LONGEST; i++) {
        const char *known = variables[i].name + PREFIX_LENGTH;
        MYM_ASSERT(strlen(known) <= NAME_LONGEST);
        unsigned count = edits(name, length, known, strlen(known));

        if (count < fewest) {
            fewest = count;
            found = &variables[i];
        }
    }
    return found;
}

static void refuse(const char *entry, const char *wrong, const char *accepts)
{
    size_t length = strcspn(wrong, ",");
    char part[40];

    if (wrong == strchr(entry, '=') + 1) {
        MYM_WARN_ALL(entry,
                     ": ignored, the value is not understood; accepted: ", accepts);
        return;
    }
    length = length < sizeof part ? length : sizeof part - 1;
    memcpy(part, wrong, length);
    part[length] = '\0';
    MYM_WARN_ALL(entry, ": ignored, '", part,
                 "' is not understood; accepted: ", accepts);
}

/* One "MYMALLOC_NAME=VALUE" of the environment. */
static void read_entry(struct mym_config *config, const char *entry)
{
    const char *end = strchr(entry, '=');
    size_t length = end == NULL ? 0 : (size_t)(end - entry);
    const struct variable *variable =
        length <= PREFIX_LENGTH
            ? NULL
            : nearest(entry + PREFIX_LENGTH, length - PREFIX_LENGTH);
    const char *wrong = NULL;

    if (variable == NULL)
        return;
    if (strncmp(entry, variable->name, length) != 0 || variable->name[length] != '\0') {
        MYM_WARN_ALL(entry, ": ignored, there is no such variable; the nearest is ",
                     variable->name);
        return;
    }
    if (end[1] != '\0')
        wrong = variable->read(config, end + 1);
    if (wrong != NULL)
        refuse(entry, wrong, variable->accepts);
}

/* Programs that the process starts are told whose file it is. The string has no room. */
static void hand_on(char **entry)
{
    static const char mark[] = ",of=";
    size_t length = strlen(*entry);
    char *marked = mym_meta_take(length + sizeof mark + 10, 1);

    if (marked == NULL)
        return;
    memcpy(marked, *entry, length);
    mym_report_append(marked + length, mark, (unsigned)mym_os_process());
    *entry = marked;
}

/* Its value names a file that is this process's. */
static bool is_claim(const struct mym_config *config, const char *entry)
{
    const char *value = strchr(entry, '=') + 1;

    return (config->profile.path == value && config->profile.owner == 0) ||
           (config->stats.path == value && config->stats.owner == 0);
}

/*
 * A program that has more rights than who started it obeys no variable. Nor may what it starts in
 * turn, once it has taken those rights for good and they do not show: so all go, as what the
 * loader obeys does.
 */
static void forget(void)
{
    char **kept = environ;

    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        if (strncmp(*entry, PREFIX, PREFIX_LENGTH) != 0)
            *kept++ = *entry;
    if (kept != NULL)
        *kept = NULL;
}

void mym_config_read(struct mym_config *config)
{
    *config = (struct mym_config){.together = MYM_TOGETHER_ALL,
                                  .keep = KEEP_DEFAULT,
                                  .huge = MYM_HUGE_AUTO,
                                  .limit = SIZE_MAX};
    if (getauxval(AT_SECURE) != 0) {
        forget();
        return;
    }
    /* Not by getenv: the program can replace it, and some shells do. */
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        if (strncmp(*entry, PREFIX, PREFIX_LENGTH) == 0) {
            read_entry(config, *entry);
            if (is_claim(config, *entry))
                hand_on(entry);
        }
}
