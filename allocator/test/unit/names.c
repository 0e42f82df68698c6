/*
 * names.c - what /proc/self/smaps says of the allocator's mappings with MYMALLOC_NAMES=on, and
 * that it says nothing without (TEST_NAMES unset).
 *
 * Where the kernel has no names (CONFIG_ANON_VMA_NAME) a filter sends the calls to a handler
 * of SIGSYS, from before the library's own start on, and what was asked for stands for smaps.
 */
#include "check.h"
#include "family.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static bool recorded;

/* ---- the calls, where the kernel does not know them ---- */

static struct {
    uintptr_t start, length;
    char name[80];
} calls[4096];
static unsigned made;

static void record(int signal, siginfo_t *info, void *context)
{
    ucontext_t *at = context;
#ifdef __x86_64__
    long long *regs = at->uc_mcontext.gregs, *result = &regs[REG_RAX];
    uintptr_t start = (uintptr_t)regs[REG_RDX], length = (uintptr_t)regs[REG_R10];
    const char *name = (const char *)(uintptr_t)regs[REG_R8];
#else
    unsigned long long *regs = at->uc_mcontext.regs, *result = &regs[0];
    uintptr_t start = (uintptr_t)regs[2], length = (uintptr_t)regs[3];
    const char *name = (const char *)(uintptr_t)regs[4];
#endif

    (void)signal;
    (void)info;
    *result = 0;
    if (made == sizeof calls / sizeof *calls)
        abort();
    calls[made].start = start;
    calls[made].length = length;
    snprintf(calls[made++].name, sizeof calls->name, "[anon:%s]", name);
}

static void catch_calls(void)
{
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_VMA, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};

    if (sigaction(SIGSYS, &action, NULL) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        abort();
}

/* Before the allocator's constructor, which names what is there. */
static void begin(void)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    recorded = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, page, 4096, "test") != 0;
    munmap(page, 4096);
    if (recorded)
        catch_calls();
}

__attribute__((section(".preinit_array"),
               used)) static void (*const first)(void) = begin;

/* ---- the questions ---- */

/* The name of the mapping that an address is in, "" if it has none. */
static const char *name_at(const void *address)
{
    static char name[512];
    char line[512];
    FILE *file;

    name[0] = '\0';
    if (recorded) {
        for (unsigned i = 0; i < made; i++)
            if ((uintptr_t)address - calls[i].start < calls[i].length)
                strcpy(name, calls[i].name);
        return name;
    }
    file = fopen("/proc/self/smaps", "r");
    CHECK(file);
    while (fgets(line, sizeof line, file)) {
        unsigned long start, end;
        int at = 0;

        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &start, &end, &at) == 2 &&
            at > 0 && (uintptr_t)address - start < end - start) {
            strcpy(name, line + at);
            name[strcspn(name, "\n")] = '\0';
        }
    }
    fclose(file);
    return name;
}

/* Mappings of a name. */
static int count(const char *name)
{
    char line[512];
    FILE *file;
    int found = 0;

    if (recorded) {
        for (unsigned i = 0; i < made; i++)
            found += strstr(calls[i].name, name) != NULL;
        return found;
    }
    file = fopen("/proc/self/smaps", "r");
    CHECK(file);
    while (fgets(line, sizeof line, file))
        found += strstr(line, name) != NULL;
    fclose(file);
    return found;
}

static bool is_wanted(void)
{
    return getenv("TEST_NAMES") != NULL;
}

static void is_named(const void *address, const char *name)
{
    const char *got = name_at(address);

    CHECKF(strcmp(got, is_wanted() ? name : "") == 0, "%p is in '%s'", address, got);
}

static void objects(void)
{
    char *small = malloc(100), *large = malloc(1 << 20),
         *huge = malloc((size_t)40 << 20);

    CHECK(small && large && huge);
    is_named(small, "[anon:mymalloc: heap]");
    is_named(large, "[anon:mymalloc: heap]");
    is_named(huge, "[anon:mymalloc: huge object]");
    huge = realloc(huge, (size_t)900 << 20);
    CHECK(huge);
    if (!recorded) { /* mremap keeps the name */
        is_named(huge, "[anon:mymalloc: huge object]");
        is_named(huge + ((size_t)900 << 20) - 1, "[anon:mymalloc: huge object]");
    }
    free(huge);
    free(large);
    free(small);
}

/* What the heap grows by is of one mapping with what it had. */
static void growth(void)
{
    static void *objects[4000];

    for (unsigned i = 0; i < 4000; i++) {
        CHECK((objects[i] = malloc(100000)) != NULL);
        *(char *)objects[i] = 1;
    }
    is_named(objects[0], "[anon:mymalloc: heap]");
    is_named(objects[3999], "[anon:mymalloc: heap]");
    /* Which chunks are huge pages divides it, nothing else. */
    CHECKF(recorded || count("[anon:mymalloc: heap]") <= 200, "%d mappings",
           count("[anon:mymalloc: heap]"));
    for (unsigned i = 0; i < 4000; i++)
        free(objects[i]);
    malloc_trim(0); /* unmaps what is mapped again here */
    for (unsigned i = 0; i < 4000; i++)
        CHECK((objects[i] = malloc(100000)) != NULL);
    is_named(objects[0], "[anon:mymalloc: heap]");
    is_named(objects[3999], "[anon:mymalloc: heap]");
    for (unsigned i = 0; i < 4000; i++)
        free(objects[i]);
}

static void tables_and_records(void)
{
    CHECKF((count("[anon:mymalloc: tables]") >= 3) == is_wanted(),
           "%d mappings of tables", count("[anon:mymalloc: tables]"));
    CHECKF((count("[anon:mymalloc: records]") >= 1) == is_wanted(),
           "%d mappings of records", count("[anon:mymalloc: records]"));
    CHECK(is_wanted() || count("mymalloc: ") == 0);
}

const struct test tests[] = {
    {"objects", objects},
    {"growth", growth},
    {"tables_and_records", tables_and_records},
    {NULL, NULL},
};
