/*
 * registered.c - tables that a program registers as it runs, as those do that compile code: the
 * C library's unwinder takes memory to sort them, in the midst of a sample, under a lock of its
 * own. Ends by an alarm where a sample of that waits for the lock. Without libgcc_s, whose they
 * are, it is not loaded.
 */
#include "check.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __x86_64__

/* take_below(then): sub $8, %rsp; call *%rdi; add $8, %rsp; ret */
static const uint8_t code[] = {0x48, 0x83, 0xec, 0x08, 0xff, 0xd7,
                               0x48, 0x83, 0xc4, 0x08, 0xc3};

/* Its .eh_frame: a CIE, an FDE, the end. Addresses are relative: both lie in one page. */
#define TABLES 64 /* behind the code */
static const uint8_t tables[] = {
    20,   0,  0,    0,    0,    0, 0,    0,    1,    'z',  'R',         0,  1,
    0x78, 16, 1,    0x1b, 0x0c, 7, 8,    0x90, 1,    0,    0,           20, 0,
    0,    0,  28,   0,    0,    0, 0xa0, 0xff, 0xff, 0xff, sizeof code, 0,  0,
    0,    0,  0x44, 0x0e, 16,   0, 0,    0,    0,    0,    0,           0,  0};

static void *taken;

static __attribute__((noinline)) void take(void)
{
    taken = malloc(opaque(100));
    CHECK(taken);
}

static void a_sample_below_such_code(void)
{
    void *unwinder = dlopen("libgcc_s.so.1", RTLD_NOW);
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    union {
        void *symbol;
        void (*call)(const void *tables);
    } add, drop;
    union {
        uint8_t *page;
        void (*call)(void (*then)(void));
    } take_below = {page};

    if (unwinder == NULL || page == MAP_FAILED) /* SELinux, say */
        return;
    add.symbol = dlsym(unwinder, "__register_frame");
    drop.symbol = dlsym(unwinder, "__deregister_frame");
    CHECK(add.symbol && drop.symbol);
    memcpy(page, code, sizeof code);
    memcpy(page + TABLES, tables, sizeof tables);
    alarm(60);
    add.call(page + TABLES);
    take_below.call(take);
    free(taken);
    drop.call(page + TABLES);
    alarm(0);
}

#ifdef OTHER
/* That of LLVM waits for the loader's lock. */
void *_Unwind_FindEnclosingFunction(void *pc);
void *_Unwind_FindEnclosingFunction(void *pc)
{
    (void)pc;
    abort();
}
#endif

#if defined(UNLINKED) && __GLIBC_PREREQ(2, 35)
static void handler(int unused)
{
    (void)unused;
    free(malloc(opaque(100)));
}

/* In a handler, too. */
static void a_program_without_libgcc_stays_so(void)
{
    CHECK(signal(SIGUSR1, handler) != SIG_ERR);
    raise(SIGUSR1);
    free(malloc(opaque(100)));
    CHECK(dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_NOLOAD) == NULL);
}

#define WITHOUT \
    {"a_program_without_libgcc_stays_so", a_program_without_libgcc_stays_so},
#else
#define WITHOUT
#endif

const struct test tests[] = {
    WITHOUT /* the first */
    {"a_sample_below_such_code", a_sample_below_such_code},
    {NULL, NULL},
};

#else

const struct test tests[] = {{NULL, NULL}};

#endif
