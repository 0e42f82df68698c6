/*
 * stacks.c - stacks by remembered rules are those of the C library's unwinder, in code of all
 * kinds; and a library that is loaded where another one was is read anew.
 */
#include "check.h"

#include "profile/profile.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__x86_64__) && defined(__GLIBC__)
#define HAS_RULES 1
#else
#define HAS_RULES 0
#endif

#define ROOM 60

typedef void walk_of(void);
typedef void frame_of(unsigned depth, walk_of *then);
frame_of plain_frame, slow_frame, pointer_frame, varying_frame, aligned_frame,
    large_frame;
void stacks_throw(unsigned depth, walk_of *then); /* three times, on the way */

static unsigned walks, by_rules; /* by_rules: of the walks, to their end */
static unsigned
    further; /* frames that a signal interrupted: they are told a byte further */
static void *caller; /* of the last walk by rules */

/* All but the innermost, which are two calls; and a sanitizer's backtrace has frames before. */
static void compare(void)
{
    void *mine[ROOM], *expected[2 * ROOM];
    uintptr_t end;
    unsigned depth = mym_frames_walk(mine, ROOM, &end), skip = 0;
    unsigned count = (unsigned)backtrace(expected, 2 * ROOM);

    while (skip < count && depth > 1 && expected[skip] != mine[1])
        skip++;
    walks++;
    caller = depth > 1 ? mine[1] : NULL;
    if (depth == 0)
        return;
    by_rules += end == 0;
    count = count - skip < ROOM - 1 ? count - skip : ROOM - 1;
    CHECKF(depth - 1 == count, "%u frames instead of %u", depth - 1, count);
    for (unsigned i = 1; i < depth; i++) {
        size_t more = (size_t)mine[i] - (size_t)expected[skip + i - 1];

        CHECKF(more <= 1, "frame %u is %p instead of %p", i, mine[i],
               expected[skip + i - 1]);
        further += (unsigned)more;
    }
}

static void expect(unsigned walked, unsigned ruled)
{
    CHECKF(walks == walked, "%u walks", walks);
    CHECKF(by_rules == (HAS_RULES ? ruled : 0), "%u walks by rules", by_rules);
    walks = by_rules = further = 0;
}

static frame_of *const ways[] = {plain_frame,   slow_frame,    pointer_frame,
                                 varying_frame, aligned_frame, large_frame};
#define WAYS (sizeof ways / sizeof *ways)

/* Each kind of frame below each other one, at depths up to where room ends. */
static unsigned inner_way;

static void below(void)
{
    ways[inner_way](3, compare);
}

static void frames_of_all_kinds(void)
{
    for (unsigned again = 0; again < 3; again++)
        for (unsigned outer = 0; outer < WAYS; outer++)
            for (inner_way = 0; inner_way < WAYS; inner_way++)
                for (unsigned depth = 0; depth < 70; depth++)
                    ways[outer](depth, below);
    expect(3 * WAYS * WAYS * 70, 3 * WAYS * WAYS * 70);
}

static void *thread(void *unused)
{
    plain_frame(2, compare);
    return unused;
}

static void first_frames_of_threads(void)
{
    pthread_t id;

    CHECK(pthread_create(&id, NULL, thread, NULL) == 0);
    CHECK(pthread_join(id, NULL) == 0);
    expect(1, 1);
}

static ucontext_t here, there;

static void on_own_stack(void)
{
    varying_frame(4, compare);
}

static void own_stacks(void)
{
    static char stack[256 << 10] __attribute__((aligned(16)));

    CHECK(getcontext(&there) == 0);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = &here;
    makecontext(&there, on_own_stack, 0);
    CHECK(swapcontext(&here, &there) == 0);
    CHECK(walks == 1);
    walks = by_rules = 0;
}

static void exceptions(void)
{
    for (unsigned depth = 0; depth < 8; depth++)
        stacks_throw(depth, compare);
    expect(24, 24);
}

static walk_of *in_handler;

static void handler(int signal, siginfo_t *info, void *context)
{
    (void)info;
    plain_frame(2, in_handler);
#if HAS_RULES
    if (signal == SIGILL) /* behind the instruction, ud2 */
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
#else
    (void)signal;
    (void)context;
#endif
}

/* What a sample has: the outer frames are those of the C library's, whoever found them. */
static void trace(void)
{
    void *expected[2 * ROOM];
    unsigned count = (unsigned)backtrace(expected, 2 * ROOM);
    struct mym_trace mine;

    mym_trace_begin(&mine, true);
    mym_trace_end();
    CHECKF(mine.depth > 5 && count > 5, "%u frames", mine.depth);
    for (unsigned i = 1; i <= (mine.depth < count ? mine.depth : count) - 2; i++)
        CHECKF((size_t)mine.pc[mine.depth - i] - (size_t)expected[count - i] <= 1,
               "frame %u from the end", i);
}

static void raise_signal(void)
{
    raise(SIGUSR1);
}

static void handle(int signal, int flags)
{
    struct sigaction action = {.sa_flags = flags | SA_SIGINFO};

    action.sa_sigaction = handler;
    CHECK(sigaction(signal, &action, NULL) == 0);
}

/* On the stack that was interrupted, and on others below and above it. */
static void handlers(void)
{
    char near[64 << 10];
    static char far[64 << 10];
    stack_t other = {.ss_sp = near, .ss_size = sizeof near};

    handle(SIGUSR1, SA_ONSTACK);
    in_handler = trace;
    plain_frame(5, raise_signal);
    plain_frame(5, trace);
    in_handler = compare;
    for (unsigned i = 0; i < 3; i++) {
        pointer_frame(5, raise_signal);
        aligned_frame(5, raise_signal);
        CHECK(further == (HAS_RULES ? 2 : 0));
        expect(2, 2);
        CHECK(sigaltstack(&other, NULL) == 0);
        other.ss_sp = far;
    }
    other.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&other, NULL) == 0);
}

/* Compiled at run time: no table has it. */
static void code_without_tables(void)
{
#if HAS_RULES
    /* sub $8, %rsp; call *%rdi; add $8, %rsp; ret */
    static const uint8_t code[] = {0x48, 0x83, 0xec, 0x08, 0xff, 0xd7,
                                   0x48, 0x83, 0xc4, 0x08, 0xc3};
    void *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    union {
        void *place;
        void (*call)(walk_of *then);
    } thunk = {place};

    if (place == MAP_FAILED) /* SELinux, say */
        return;
    memcpy(place, code, sizeof code);
    thunk.call(compare);
    CHECK(munmap(place, 4096) == 0);
    expect(1, 0);
#endif
}

static jmp_buf out;

static __attribute__((noreturn, noinline)) void leave(void)
{
    compare();
    longjmp(out, 1);
}

/* What it would return to is another function's first instruction. */
static __attribute__((noreturn, noinline)) void call_at_the_end(void)
{
    char room[200];

    __asm__ volatile("" : : "r"(room) : "memory");
    leave();
}

static void code_behind_the_last_call(void)
{
    if (setjmp(out) == 0)
        call_at_the_end();
    expect(1, 1);
}

#if HAS_RULES
/*
 * given_back: rbp is the caller's again when it calls, and where it was lies something else.
 * at_the_edge: what holds at the call holds from its last byte on.
 */
__asm__(".text\n"
        "given_back:\n"
        ".cfi_startproc\n"
        "push %rbp\n"
        ".cfi_adjust_cfa_offset 8\n"
        ".cfi_rel_offset %rbp, 0\n"
        "pop %rbp\n"
        ".cfi_adjust_cfa_offset -8\n"
        ".cfi_restore %rbp\n"
        "push $0\n"
        ".cfi_adjust_cfa_offset 8\n"
        "call *%rdi\n"
        "pop %rdi\n"
        ".cfi_adjust_cfa_offset -8\n"
        "ret\n"
        ".cfi_endproc\n"
        "at_the_edge:\n"
        ".cfi_startproc\n"
        "push %rdi\n"
        ".byte 0xff\n" /* call *%rdi is ff d7 */
        ".cfi_adjust_cfa_offset 8\n"
        ".byte 0xd7\n"
        "pop %rdi\n"
        ".cfi_adjust_cfa_offset -8\n"
        "ret\n"
        ".cfi_endproc\n");
/* faulting: its first instruction is one that the function before it says other things of. */
__asm__(".text\n"
        ".cfi_startproc\n"
        ".cfi_def_cfa_offset 256\n"
        "nop\n"
        ".cfi_endproc\n"
        "faulting:\n"
        ".cfi_startproc\n"
        "ud2\n"
        "ret\n"
        ".cfi_endproc\n");
void faulting(void);
void given_back(walk_of *then);
void at_the_edge(walk_of *then);

static void by_given_back(void)
{
    given_back(compare);
}

static void by_the_edge(void)
{
    at_the_edge(compare);
}
#endif

/* pointer_frame finds its own start by rbp. */
static void rows_to_the_byte(void)
{
#if HAS_RULES
    pointer_frame(2, by_given_back);
    pointer_frame(2, by_the_edge);
    expect(2, 2);
#endif
}

static void first_instructions(void)
{
#if HAS_RULES
    handle(SIGILL, 0);
    in_handler = compare;
    plain_frame(2, faulting);
    CHECK(further == 1);
    expect(1, 1);
    CHECK(signal(SIGILL, SIG_DFL) != SIG_ERR);
#endif
}

static void *address_in(const char *library)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    union {
        void *symbol;
        frame_of *call;
    } frame;

    CHECKF(handle != NULL, "%s", dlerror());
    CHECK((frame.symbol = dlsym(handle, "library_frame")) != NULL);
    frame.call(3, compare);
    CHECK(dlclose(handle) == 0);
    return caller;
}

/* They differ in the size of their frame. */
static void libraries_that_follow_each_other(void)
{
    unsigned same = 0;

    for (unsigned i = 0; i < 4; i++)
        same += address_in(getenv("STACKS_ONE")) == address_in(getenv("STACKS_OTHER"));
    expect(8, 8);
    if (same == 0)
        printf("they never were at the same place\n");
}

const struct test tests[] = {
    {"frames_of_all_kinds", frames_of_all_kinds},
    {"first_frames_of_threads", first_frames_of_threads},
    {"own_stacks", own_stacks},
    {"exceptions", exceptions},
    {"handlers", handlers},
    {"first_instructions", first_instructions},
    {"code_without_tables", code_without_tables},
    {"code_behind_the_last_call", code_behind_the_last_call},
    {"rows_to_the_byte", rows_to_the_byte},
    {"libraries_that_follow_each_other", libraries_that_follow_each_other},
    {NULL, NULL},
};
