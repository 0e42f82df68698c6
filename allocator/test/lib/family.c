/* family.c - which allocator answers, and the names that libc may lack. */
#include "family.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

struct family family;

#if defined TEST_MY || defined TEST_LINKED

#ifdef TEST_LINKED
/* Of another's object this ends the program. */
static void ask_of_ours(void *object)
{
    if (MyUsableSize(object) < 100)
        exit(2);
    free(object);
}
#endif

void family_init(void)
{
    family = (struct family){
        .free_sized = MyFreeSized,
        .free_aligned_sized = MyFreeAlignedSized,
        .good_size = MyGoodSize,
        .verify = MyVerify,
        .version = MyVersion,
        .frontend = MyFrontend,
    };
#ifdef TEST_LINKED
    ask_of_ours(malloc(100));
#endif
}

#else

/* A function pointer from dlsym, by the union that POSIX's cast stands for. */
#define FIND(field, name)                               \
    do {                                                \
        void *found_ = dlsym(RTLD_DEFAULT, name);       \
        memcpy(&family.field, &found_, sizeof(found_)); \
    } while (0)

/* The shared object that the process's malloc comes from. */
static const char *malloc_origin(void)
{
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, "malloc");

    return address && dladdr(address, &info) && info.dli_fname ? info.dli_fname : "?";
}

void family_init(void)
{
    const char *expect = getenv("TEST_EXPECT");
    const char *origin = malloc_origin();

    FIND(free_sized, "free_sized");
    FIND(free_aligned_sized, "free_aligned_sized");
    FIND(good_size, "malloc_good_size");
    FIND(verify, "MyVerify");
    FIND(version, "MyVersion");
    FIND(frontend, "MyFrontend");
    if (expect &&
        (!strcmp(expect, "mymalloc") != is_mymalloc() || !strstr(origin, expect))) {
        fprintf(stderr, "expected the malloc of %s, found %s\n", expect, origin);
        exit(2);
    }
}

#endif

bool is_mymalloc(void)
{
    return family.version && !strncmp(family.version(), "mymalloc ", 9);
}
