/* control.c - see control.h. */
#include "control.h"
#include "check.h"

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

int (*control)(const char *, void *, size_t *, void *, size_t);
int (*to_mib)(const char *, size_t *, size_t *);
int (*by_mib)(const size_t *, size_t, void *, size_t *, void *, size_t);
void (*print)(void (*)(void *, const char *), void *, const char *);
void *(*take)(size_t, int);
void (*put)(void *, int);

void find(const char *name, void *slot)
{
    void *found = dlsym(RTLD_DEFAULT, name);

    CHECKF(found, "%s is missing", name);
    memcpy(slot, &found, sizeof found);
}

bool is_ours(void)
{
    return dlsym(RTLD_DEFAULT, "MyVersion") != NULL;
}

void find_all(void)
{
    find("mallctl", &control);
    find("mallctlnametomib", &to_mib);
    find("mallctlbymib", &by_mib);
    find("malloc_stats_print", &print);
    find("mallocx", &take);
    find("dallocx", &put);
}

size_t size_at(const char *name)
{
    size_t value = 0, length = sizeof value;
    int error = control(name, &value, &length, NULL, 0);

    CHECKF(error == 0 && length == sizeof value, "%s: error %d", name, error);
    return value;
}

unsigned unsigned_at(const char *name)
{
    unsigned value = 0;
    size_t length = sizeof value;
    int error = control(name, &value, &length, NULL, 0);

    CHECKF(error == 0 && length == sizeof value, "%s: error %d", name, error);
    return value;
}

void refresh(void)
{
    uint64_t epoch = 1;

    CHECK(control("epoch", NULL, NULL, &epoch, sizeof epoch) == 0);
}
