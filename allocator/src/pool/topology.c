/*
 * topology.c - which CPUs share an arena, from what the kernel says under /sys.
 *
 * Read once at start, no lock held. What cannot be read makes the answer coarser, never
 * wrong: an arena serves whatever CPU comes to it.
 */
#include "pool/topology.h"

#include "base/check.h"
#include "os/os.h"

#include <string.h>

#define UNKNOWN 0xff

_Static_assert(MYM_MAX_ARENAS < UNKNOWN, "a group fits a byte");

static void add_text(char *path, size_t room, const char *text)
{
    size_t used = strlen(path), length = strlen(text);

    if (length > room - 1 - used)
        length = room - 1 - used;
    memcpy(path + used, text, length);
    path[used + length] = '\0';
}

/* root + before + number + after, read; false: there is no such file. */
static bool read_numbered(const char *root, const char *before, unsigned number,
                          const char *after, char *out, size_t room)
{
    char path[256] = "", digits[10 + 1] = "";

    add_text(path, sizeof path, root);
    add_text(path, sizeof path, before);
    add_text(path, sizeof path, mym_digits(digits + 10, number, 10));
    add_text(path, sizeof path, after);
    return mym_os_read_file(path, out, room) > 0;
}

static unsigned number_at(const char **at)
{
    unsigned value = 0;

    for (; **at >= '0' && **at <= '9'; ++*at)
        value = value < MYM_MAX_CPUS ? value * 10 + (unsigned)(**at - '0') : value;
    return value;
}

/* The next range of a list such as "0-3,8-11"; false: there is none. */
static bool next_range(const char **at, unsigned *first, unsigned *last)
{
    if (**at == ',')
        ++*at;
    if (**at < '0' || **at > '9')
        return false;
    *first = *last = number_at(at);
    if (**at == '-') {
        ++*at;
        *last = number_at(at);
    }
    if (*last >= MYM_MAX_CPUS)
        *last = MYM_MAX_CPUS - 1;
    return true;
}

static void assign(uint8_t *group, const char *list, unsigned number)
{
    unsigned first, last;

    while (next_range(&list, &first, &last))
        for (unsigned cpu = first; cpu <= last; cpu++)
            group[cpu] = (uint8_t)(number % MYM_MAX_ARENAS);
}

/* CPUs there may ever be: one more than the highest number. */
static unsigned count_cpus(const char *root)
{
    char list[1024];
    const char *at = list;
    unsigned first, last, count = 0;

    if (!mym_os_read_file(root, list, sizeof list))
        return MYM_MAX_CPUS;
    while (next_range(&at, &first, &last))
        count = last + 1 > count ? last + 1 : count;
    return count > 0 ? count : MYM_MAX_CPUS;
}

static bool read_cache(const char *root, unsigned cpu, char *list, size_t room)
{
    return read_numbered(root, "/cpu/cpu", cpu, "/cache/index3/shared_cpu_list", list,
                         room) ||
           read_numbered(root, "/cpu/cpu", cpu, "/cache/index2/shared_cpu_list", list,
                         room);
}

/* Groups of CPUs with a last-level cache in common; 0: the kernel does not tell. */
static unsigned by_cache(const char *root, uint8_t *group, unsigned cpus)
{
    char list[1024];
    unsigned groups = 0;

    for (unsigned cpu = 0; cpu < cpus; cpu++)
        if (group[cpu] == UNKNOWN && read_cache(root, cpu, list, sizeof list))
            assign(group, list, groups++);
        else if (cpu == 0 && group[cpu] == UNKNOWN)
            return 0;
    return groups;
}

static unsigned by_node(const char *root, uint8_t *group)
{
    char list[1024];
    unsigned groups = 0;

    for (unsigned node = 0; node < MYM_MAX_ARENAS; node++)
        if (read_numbered(root, "/node/node", node, "/cpulist", list, sizeof list))
            assign(group, list, groups++);
    return groups;
}

unsigned mym_topology_read(const char *root, unsigned together, uint8_t *group)
{
    char possible[256] = "";
    unsigned cpus, groups;

    add_text(possible, sizeof possible, root);
    add_text(possible, sizeof possible, "/cpu/possible");
    cpus = count_cpus(possible);
    memset(group, UNKNOWN, MYM_MAX_CPUS);
    if (together == MYM_TOGETHER_LLC) {
        groups = by_cache(root, group, cpus);
        if (groups == 0)
            groups = by_node(root, group);
    } else {
        for (unsigned cpu = 0; cpu < cpus; cpu++)
            group[cpu] = (uint8_t)(cpu / together % MYM_MAX_ARENAS);
        groups = (cpus + together - 1) / together;
    }
    for (unsigned cpu = 0; cpu < MYM_MAX_CPUS; cpu++)
        if (group[cpu] == UNKNOWN) /* there is none with this number, or nobody knows */
            group[cpu] = cpu < cpus ? 0 : group[cpu % cpus];
    return groups == 0 ? 1 : groups < MYM_MAX_ARENAS ? groups : MYM_MAX_ARENAS;
}
