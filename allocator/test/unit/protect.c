/* protect.c - what a program did to the pages of an object ends with the object. */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#if __has_include(<linux/userfaultfd.h>)
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#endif

#define MIB ((size_t)1 << 20)

static size_t whole_pages(size_t bytes)
{
    return bytes & ~((size_t)getauxval(AT_PAGESZ) - 1);
}

static char *page_inside(char *object, size_t size)
{
    return (char *)whole_pages((size_t)object + size / 2);
}

/* free does not read where the program forbade it: a guard page in a stack, say. */
static void free_does_not_read(void)
{
    static const size_t sizes[] = {100000, 300000, 5 * MIB, 40 * MIB};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        for (unsigned round = 0; round < (sizes[i] < MIB ? 10u : 3u); round++) {
            char *object = malloc(sizes[i]);
            size_t half = whole_pages(sizes[i] / 2);
            char *page;

            CHECK(object);
            memset(object, 1, sizes[i]);
            page = page_inside(object, half);
            CHECK(!mprotect(page, half, PROT_NONE));
            free(object);
            /* Spans are given out again as they are: only a mapping is as good as new. */
            if (sizes[i] < 32 * MIB)
                mprotect(page, half, PROT_READ | PROT_WRITE);
        }
}

struct pages {
    char *at;
    size_t bytes;
};

/* The whole pages of an object that are nearest to this part of it. */
static struct pages pages_of(char *object, size_t size, size_t from, size_t bytes)
{
    size_t page = getauxval(AT_PAGESZ);
    char *at = (char *)whole_pages((size_t)object + from + page - 1);
    size_t most = whole_pages((size_t)(object + size - at));

    if (most == 0)
        return (struct pages){at - page, page};
    return (struct pages){at, bytes < most ? bytes : most};
}

static bool is_filled(struct pages pages, char with)
{
    return *pages.at == with && !memcmp(pages.at, pages.at + 1, pages.bytes - 1);
}

static void read_only(char *at, size_t bytes)
{
    CHECK(!mprotect(at, bytes, PROT_READ));
}

static void lost_in_a_child(char *at, size_t bytes)
{
    CHECK(!madvise(at, bytes, MADV_WIPEONFORK));
}

/* A child of fork sees these pages as they were, and what it writes is its own. */
static bool reaches_a_child(struct pages pages)
{
    int status;
    pid_t child;

    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        bool same = is_filled(pages, 7);

        memset(pages.at, 8, pages.bytes);
        _exit(!same);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return status == 0 && is_filled(pages, 7);
}

/* A mapping of its own is given out as if it were new, whichever pages were something else. */
static void mappings_are_as_new(void)
{
    static void (*const spoil[])(char *, size_t) = {read_only, lost_in_a_child};
    size_t size = 34 * MIB, page = getauxval(AT_PAGESZ);
    struct {
        size_t from, bytes;
    } const parts[] = {{0, page},
                       {size / 2, page},
                       {size / 2, 2 * MIB},
                       {size - page, page},
                       {0, size}};

    for (unsigned i = 0; i < sizeof(spoil) / sizeof(*spoil); i++)
        for (unsigned part = 0; part < sizeof(parts) / sizeof(*parts); part++) {
            struct pages pages;
            char *object;

            if (spoil[i] != read_only && parts[part].bytes == size)
                continue; /* mappings_are_inherited */
            object = malloc(size);
            CHECK(object);
            memset(object, 1, size);
            pages = pages_of(object, size, parts[part].from, parts[part].bytes);
            spoil[i](pages.at, pages.bytes);
            free(object);
            object = malloc(size);
            CHECK(object);
            memset(object, 7, size); /* dies where an old protection is left */
            pages = pages_of(object, size, parts[part].from, parts[part].bytes);
            CHECKF(reaches_a_child(pages), "spoilt by %u, part %u", i, part);
            free(object);
        }
}

/* Whoever takes the next one of that size may look at this one (dense.c), whatever it is by then. */
static void living_ones_may_be_out_of_reach(void)
{
    static const size_t sizes[] = {20000, 300000, 3 * MIB, 34 * MIB};
    uintptr_t page = getauxval(AT_PAGESZ);

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        unsigned count = sizes[i] < MIB ? 60 : 4;
        char *object[60];

        for (unsigned k = 0; k < 2 * count; k++) {
            uintptr_t from, to;

            if (k < count)
                CHECK(object[k] = malloc(sizes[i]));
            from = ((uintptr_t)object[k % count] + page - 1) & ~(page - 1);
            to = ((uintptr_t)object[k % count] + sizes[i]) & ~(page - 1);
            if (from < to) /* NOLINTNEXTLINE: pages of the object alone */
                CHECK(!mprotect((void *)from, to - from,
                                k < count ? PROT_NONE : PROT_READ | PROT_WRITE));
        }
        for (unsigned k = 0; k < count; k++)
            free(object[k]);
    }
}

/* Locked memory counts against a limit: it is unlocked with the object. */
static void mappings_are_not_locked(void)
{
    struct rlimit limit;
    size_t size = 34 * MIB, before = status_kib("VmLck");

    CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
    for (unsigned round = 0; round < 6; round++) {
        bool part = round % 2 != 0;
        char *object = malloc(size);

        CHECK(object);
        memset(object, 1, size);
        if (mlock(part ? page_inside(object, size) : object, part ? 1 : size) != 0) {
            printf("SKIP: mlock is refused\n");
            free(object);
            return;
        }
        free(object);
    }
    CHECKF(status_kib("VmLck") == before, "%zu KiB are locked, before %zu",
           status_kib("VmLck"), before);
}

/* A file that was mapped over an object keeps its bytes: the next object is not in it. */
static void mappings_are_no_files(void)
{
    size_t size = 36 * MIB, at[] = {0, 20 * MIB};
    FILE *file = tmpfile();
    char byte = 0;

    CHECK(file && ftruncate(fileno(file), MIB) == 0);
    for (unsigned i = 0; i < 2; i++)
        for (unsigned round = 0; round < 2; round++) {
            char *object = aligned_alloc(4096, size);

            CHECK(object && pwrite(fileno(file), "x", 1, 0) == 1);
            memset(object, 1, size); /* else it is not kept */
            CHECK(mmap((char *)whole_pages((size_t)object + at[i]), MIB,
                       PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED, fileno(file),
                       0) != MAP_FAILED);
            free(object);
            CHECK((object = malloc(size)));
            memset(object, 1, size);
            CHECK(pread(fileno(file), &byte, 1, 0) == 1 && byte == 'x');
            free(object);
        }
    fclose(file);
}

/* Of a mapping that was kept from children the next owner's child has all. */
static void mappings_are_inherited(void)
{
    static const int advice[] = {MADV_DONTFORK, MADV_WIPEONFORK};
    size_t size = 36 * MIB;

    for (unsigned i = 0; i < 4; i++) {
        char *object = aligned_alloc(4096, size);
        int status = 0;
        pid_t child;

        CHECK(object);
        memset(object, 1, size);
        madvise(object, size, advice[i % 2]);
        free(object);
        CHECK((object = malloc(size)));
        memset(object, 2, size);
        child = fork();
        if (child == 0) /* of DONTFORK: SIGSEGV */
            _exit(object[size / 2] != 2);
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECKF(status == 0, "advice %d: status 0x%x", advice[i % 2], status);
        free(object);
    }
}

/* Nor does any other advice outlast its object: one left out of core files, say. */
static void mappings_have_no_advice(void)
{
    static const struct {
        int advice;
        const char *flag;
    } advices[] = {{MADV_DONTDUMP, "dd"}, {MADV_RANDOM, "rr"}, {MADV_SEQUENTIAL, "sr"}};
    size_t size = 36 * MIB;

    for (unsigned i = 0; i < 2 * sizeof advices / sizeof *advices; i++) {
        char *object = aligned_alloc(4096, size);

        CHECK(object);
        memset(object, 1, size);
        CHECK(!madvise(object, size, advices[i / 2].advice));
        free(object);
        CHECK((object = malloc(size)));
        memset(object, 2, size);
        CHECKF(!has_vm_flag(object + size / 2, advices[i / 2].flag), "%s",
               advices[i / 2].flag);
        free(object);
    }
}

#ifdef UFFDIO_API

static _Atomic unsigned faults; /* of registered pages */
static _Atomic bool stopped;

/* Who is told of faults answers them, so that nobody waits for ever. */
static void *answer_faults(void *file)
{
    struct pollfd faulted = {*(int *)file, POLLIN, 0};
    struct uffd_msg message;

    while (!stopped)
        if (poll(&faulted, 1, 50) > 0 &&
            read(faulted.fd, &message, sizeof message) == sizeof message &&
            message.event == UFFD_EVENT_PAGEFAULT) {
            struct uffdio_zeropage page = {
                .range = {whole_pages(message.arg.pagefault.address),
                          getauxval(AT_PAGESZ)}};

            faults++;
            ioctl(faulted.fd, UFFDIO_ZEROPAGE, &page);
        }
    return NULL;
}

static int register_faults(void *start, size_t bytes)
{
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register pages = {.range = {(uintptr_t)start, bytes},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    int file = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

    if (file < 0)
        return -1;
    CHECKF(!ioctl(file, UFFDIO_API, &api) && !ioctl(file, UFFDIO_REGISTER, &pages),
           "errno %d", errno);
    return file;
}

/*
 * Who asked to be told of an object's faults is told nothing when it has ended: by then he
 * may be the one who frees it, and nobody would answer.
 */
static void mappings_tell_nobody_of_faults(void)
{
    size_t size = 36 * MIB;

    for (unsigned round = 0; round < 4; round++) {
        char *object = aligned_alloc(4096, size);
        pthread_t answers;
        int file;

        CHECK(object);
        memset(object, 1, round % 2 ? size : 1); /* of the others most is not there */
        file = register_faults(object, whole_pages(size));
        if (file < 0) {
            printf("SKIP: userfaultfd is refused\n");
            free(object);
            return;
        }
        faults = 0;
        stopped = false;
        CHECK(!pthread_create(&answers, NULL, answer_faults, &file));
        free(object);
        CHECK((object = malloc(size)));
        memset(object, 2, size);
        stopped = true;
        CHECK(!pthread_join(answers, NULL));
        CHECKF(faults == 0, "%u faults of a new object", faults);
        close(file);
        free(object);
    }
}

#else

static void mappings_tell_nobody_of_faults(void)
{
    printf("SKIP: the kernel's headers are not there\n");
}

#endif

const struct test tests[] = {
    {"free_does_not_read", free_does_not_read},
    {"living_ones_may_be_out_of_reach", living_ones_may_be_out_of_reach},
    {"mappings_are_as_new", mappings_are_as_new},
    {"mappings_are_not_locked", mappings_are_not_locked},
    {"mappings_are_no_files", mappings_are_no_files},
    {"mappings_are_inherited", mappings_are_inherited},
    {"mappings_have_no_advice", mappings_have_no_advice},
    {"mappings_tell_nobody_of_faults", mappings_tell_nobody_of_faults},
    {NULL, NULL},
};
