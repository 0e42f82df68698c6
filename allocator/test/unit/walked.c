/*
 * walked.c - a signal handler walks the stack wherever malloc and free are just then, as
 * those of profilers do: whoever called them is on it.
 *
 * The thread runs in single steps. Each interrupts the restartable sequence that it is in,
 * so that the thread is at the sequence's abort entry when the handler looks.
 */
#include "check.h"
#include "family.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unwind.h>

/*
 * Those of clang 14 are wrong in a function that lowers its stack before it branches to two ends, as
 * upkeep's does, which comes by each second: libgcc ends by SIGSEGV there.
 */
#ifdef __clang__
#define IS_CLANG 1
#else
#define IS_CLANG 0
#endif

#define TRAP      0x100 /* the flag by which the processor traps after each instruction */
#define SIGNATURE 0x53053053 /* the kernel wants it before each abort entry */

static volatile int stepping, calling;
static volatile unsigned steps, entries, lost, lost_at_entries;
static uintptr_t first_lost;
/* C++'s, where the process has them of us. */
static void *(*make)(size_t);
static void (*unmake)(void *);

/* As large as a cache has places for, a slab, a span; and one that is mapped for itself. */
static __attribute__((noinline)) void use_the_heap(void)
{
    static const size_t sizes[] = {24, 3000, 70000, 300000, 40 << 20};
    void *object;

    calling = 1;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        free(malloc(opaque(sizes[i])));
        free(realloc(malloc(opaque(100)), opaque(sizes[i])));
    }
    free(calloc(opaque(10), opaque(10)));
    object = NULL;
    if (posix_memalign(&object, 64, opaque(100)) == 0)
        free(object);
    if (make != NULL && unmake != NULL)
        unmake(make(opaque(100)));
    calling = 0;
}

static _Unwind_Reason_Code look(struct _Unwind_Context *frame, void *found)
{
    if (_Unwind_GetRegionStart(frame) != (uintptr_t)use_the_heap)
        return _URC_NO_REASON;
    *(bool *)found = true;
    return _URC_END_OF_STACK;
}

static bool is_at_entry(uintptr_t pc)
{
    uint32_t before;

    memcpy(&before, (const char *)pc - sizeof before, sizeof before); /* NOLINT */
    return before == SIGNATURE;
}

static void step(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t pc = (uintptr_t)registers[REG_RIP];
    bool found = false;

    (void)number;
    (void)info;
    if (stepping && calling) {
        bool at_entry = is_at_entry(pc);

        steps++;
        entries += at_entry;
        _Unwind_Backtrace(look, &found);
        if (!found && lost++ == 0)
            first_lost = pc;
        lost_at_entries += !found && at_entry;
    }
    if (stepping)
        registers[REG_EFL] |= TRAP;
    else
        registers[REG_EFL] &= ~(greg_t)TRAP;
}

static void find_operators(void)
{
    union {
        void *symbol;
        void *(*make)(size_t);
        void (*unmake)(void *);
    } found;

    found.symbol = dlsym(RTLD_DEFAULT, "_Znwm");
    make = found.make;
    found.symbol = dlsym(RTLD_DEFAULT, "_ZdlPv");
    unmake = found.unmake;
}

static void who_calls_is_on_the_stack(void)
{
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
    const char *mode = family.frontend ? family.frontend(NULL) : "";
    bool found = false;

    if (IS_CLANG) {
        printf("SKIP: the library was built by clang\n");
        return;
    }
    find_operators();
    use_the_heap(); /* all names are found, all that it needs is there */
    _Unwind_Backtrace(look, &found);
    CHECK(!sigaction(SIGTRAP, &action, NULL));
    stepping = 1;
    raise(SIGTRAP);
    use_the_heap();
    stepping = 0; /* one more trap, and it ends */
    printf("%u steps, %u at abort entries; the caller was not found from %u, %u\n",
           steps, entries, lost, lost_at_entries);
    CHECKF(lost == 0, "first lost at %p", (void *)first_lost); /* NOLINT */
    if (strncmp(mode, "rseq", 4) == 0)
        CHECK(entries >= 20);
}

const struct test tests[] = {
    {"who_calls_is_on_the_stack", who_calls_is_on_the_stack},
    {NULL, NULL},
};
