/*
 * views.c - tables are read the same through a view, and what was read there does not stay; a
 * file that is not the program's any more has none.
 */
#include "check.h"
#include "proc.h"

#include "profile/profile.h"
#include "profile/rules.h"

#include <string.h>

#ifdef MYM_HAS_RULES

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

static struct dl_find_object object_of(void *code)
{
    struct dl_find_object object;

    CHECK(_dl_find_object(code, &object) == 0);
    CHECK(object.dlfo_eh_frame != NULL);
    return object;
}

static struct dl_find_object c_library(void)
{
    return object_of(dlsym(RTLD_DEFAULT, "fopen"));
}

/* Of the mapping that begins there, what the kernel says by this name, in KiB. */
static size_t figure(uintptr_t start, const char *name)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    char line[512];
    unsigned long from, to;
    size_t value = 0;
    bool here = false;

    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = from == start;
        else if (here && strncmp(line, name, strlen(name)) == 0)
            value = strtoul(line + strlen(name), NULL, 10);
    fclose(file);
    return value;
}

static void rules_are_the_same(void)
{
    struct dl_find_object object = c_library();
    const uint8_t *header = object.dlfo_eh_frame;
    uintptr_t place = (uintptr_t)header;
    uintptr_t from = (uintptr_t)object.dlfo_map_start,
              to = (uintptr_t)object.dlfo_map_end;
    const struct mym_view *view;
    unsigned known = 0;

    mym_views_make(&place, 1);
    CHECK((view = mym_view_of(place)) != NULL);
    for (uintptr_t pc = from; pc < to; pc += 61) {
        uint32_t rule = mym_rule_read(NULL, header, pc);

        CHECK(mym_rule_read(view, header + view->shift, pc + view->shift) == rule);
        known += rule > MYM_RULE_LAST;
    }
    CHECKF(known > 10000, "%u rules", known);
}

static void pages_do_not_stay(void)
{
    struct dl_find_object object = c_library();
    const uint8_t *header = object.dlfo_eh_frame;
    uintptr_t place = (uintptr_t)header, pc = (uintptr_t)object.dlfo_map_start;
    const struct mym_view *view;
    unsigned given_back = 0, soon = 0;

    mym_views_make(&place, 1);
    CHECK((view = mym_view_of(place)) != NULL);
    CHECK(figure(view->start, "Rss:") == 0);
    for (unsigned i = 0; i < 1200; i++, pc += 4099) {
        view = mym_view_of(place);
        mym_rule_read(view, header + view->shift, pc + view->shift);
        CHECK(figure(view->start, "Anonymous:") > 0); /* copied, not 16 pages mapped */
        mym_views_give_back();
        given_back += figure(view->start, "Rss:") == 0;
        if (i < 64) /* small programs look no more often */
            soon = given_back;
    }
    CHECKF(soon == 1 && given_back >= 2, "%u times, %u soon", given_back, soon);
}

/* It is loaded from a copy of its own, which `change` then does something to. */
static void expect_view(const char *change, bool is)
{
    char path[64] = "/tmp/mymalloc-views-XXXXXX", command[1024];
    int file = mkstemp(path);
    void *handle;
    uintptr_t header;

    CHECK(file >= 0);
    close(file);
    snprintf(command, sizeof command, "cp %s %s", getenv("STACKS_ONE"), path);
    CHECK(system(command) == 0);
    CHECKF((handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)) != NULL, "%s", dlerror());
    header = (uintptr_t)object_of(dlsym(handle, "library_frame")).dlfo_eh_frame;
    snprintf(command, sizeof command, change, path, path, path, path);
    CHECK(system(command) == 0);
    mym_views_make(&header, 1);
    CHECK((mym_view_of(header) != NULL) == is);
    unlink(path);
    unlink(strcat(path, " (deleted)"));
}

static void only_of_the_same_file(void)
{
    expect_view("true", true);
    expect_view("cp %s %s.new && mv %s.new %s",
                false); /* the same bytes, another file */
    expect_view("rm %s", false);
    /* What the kernel calls it now. */
    expect_view("cp %s '%s (deleted)' && rm %s", false);
}

/* A program that unpacks itself in place has other tables there than the file. */
static void none_of_what_can_be_written(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t header = (uintptr_t)c_library().dlfo_eh_frame;
    void *at = (void *)(header & ~(page - 1));

    CHECK(mprotect(at, page, PROT_READ | PROT_WRITE) == 0);
    mym_views_make(&header, 1);
    CHECK(mym_view_of(header) == NULL);
    CHECK(mprotect(at, page, PROT_READ) == 0);
}

/* The views alone, and no open file. */
static void nothing_else_stays(void)
{
    uintptr_t header = (uintptr_t)c_library().dlfo_eh_frame;
    const struct mym_view *view;
    size_t before = status_kib("VmSize");
    int file = dup(STDOUT_FILENO);

    close(file);
    mym_views_make(&header, 1);
    CHECK((view = mym_view_of(header)) != NULL);
    CHECK(is_slow() ||
          status_kib("VmSize") == before + (view->end - view->start) / 1024);
    CHECK(dup(STDOUT_FILENO) == file && close(file) == 0);
}

/* Longer than any that is in use, by the linker's option: the file counts as one that has none. */
static void a_long_build_id_is_none(void)
{
    static struct mym_maps maps;
    unsigned seen = 0;

    CHECKF(dlopen(getenv("STACKS_ONE"), RTLD_NOW | RTLD_LOCAL) != NULL, "%s",
           dlerror());
    mym_maps_read(&maps);
    for (unsigned i = 0; i < maps.count; i++) {
        const struct mym_map *map = &maps.map[i];
        bool is_one = memmem(map->path, map->path_length, "stackslib200", 12) != NULL;

        CHECKF(!is_one || map->build_id[0] == '\0', "%.99s", map->build_id);
        seen += is_one;
    }
    CHECK(seen == 1);
    mym_maps_drop(&maps);
}

const struct test tests[] = {
    {"a_long_build_id_is_none", a_long_build_id_is_none},
    {"rules_are_the_same", rules_are_the_same},
    {"nothing_else_stays", nothing_else_stays},
    {"pages_do_not_stay", pages_do_not_stay},
    {"only_of_the_same_file", only_of_the_same_file},
    {"none_of_what_can_be_written", none_of_what_can_be_written}, /* the last */
    {NULL, NULL},
};

#else

const struct test tests[] = {{NULL, NULL}};

#endif
