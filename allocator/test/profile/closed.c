/*
 * closed.c - memory taken by libraries that are closed before the profile is written, for
 * closed.py to look whose it is said to be. Each library takes objects of a size of its own.
 */
#include "check.h"
#include "family.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ONE = 3000, OTHER = 5000, LOADS = 1200 };

static const char *one, *other;

static void *take(size_t size)
{
    void *object = malloc(size);

    __asm__ volatile("" : "+r"(object));
    return object;
}

struct library {
    void *handle;
    union {
        void *symbol;
        void *(*take)(void *(*)(size_t), size_t);
    } call;
};

static struct library open_library(const char *path)
{
    struct library library = {.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};

    CHECKF(library.handle != NULL, "%s", dlerror());
    library.call.symbol = dlsym(library.handle, "closed_take");
    CHECK(library.call.symbol != NULL);
    return library;
}

/* Where it was. */
static const void *use(const char *path, size_t size)
{
    struct library library = open_library(path);

    free(library.call.take(take, size));
    CHECK(dlclose(library.handle) == 0);
    return library.call.symbol;
}

static void gone(void)
{
    use(one, ONE);
}

/* The loader takes the same place where it can. */
static void replaced(void)
{
    bool same = false;

    for (unsigned i = 0; i < 16; i++)
        same |= use(one, ONE) == use(other, OTHER);
    printf("%s", same ? "same " : "");
}

/* Who has its place now takes nothing. */
static void covered(void)
{
    for (unsigned i = 0; i < 16; i++) {
        const void *place = use(one, ONE);
        struct library library = open_library(other);

        if (library.call.symbol == place) {
            printf("same ");
            return;
        }
        CHECK(dlclose(library.handle) == 0);
    }
}

static void both_loaded(void)
{
    open_library(one).call.take(take, ONE);
    open_library(other).call.take(take, OTHER);
}

/* Each time somewhere else: where it was is closed to it. */
static void everywhere(void)
{
    for (unsigned i = 0; i < LOADS; i++) {
        uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
        void *place = (void *)((uintptr_t)use(one, ONE) & ~(page - 1)); /* NOLINT */

        CHECK(mmap(place, page, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
                   -1, 0) == place);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} ways[] = {{"gone", gone},
            {"replaced", replaced},
            {"covered", covered},
            {"both_loaded", both_loaded},
            {"everywhere", everywhere}};

/* closed WAY ONE OTHER */
int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    check_begin(argv[1]);
    one = argv[2];
    other = argv[3];
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
        if (strcmp(ways[i].name, argv[1]) == 0)
            ways[i].run();
    return 0;
}
