/*
 * going_on.c - misuse that is told and goes on: what is taken afterwards is guarded as ever.
 *
 * What may be done with a page is asked of the kernel: write(2) of what it may not read fails.
 */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE  501 /* of no class: what has as much is guarded */
#define LARGE 20001

static int ends[2]; /* of a pipe */

static bool can_touch(const char *at)
{
    char byte;

    if (write(ends[1], at, 1) == 1)
        return read(ends[0], &byte, 1) == 1;
    CHECK(errno == EFAULT);
    return false;
}

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static char *first_page_of(char *p)
{
    return p - (uintptr_t)p % page_bytes();
}

/* It lies in pages that can be touched, between two that cannot. */
static void check_object(char *p, size_t size)
{
    char *first = first_page_of(p), *last = first_page_of(p + size - 1);

    CHECKF(malloc_usable_size(p) == size, "%zu bytes are not guarded", size);
    CHECKF(!can_touch(first - 1), "%p, %zu bytes: the page before", (void *)p, size);
    CHECKF(!can_touch(last + page_bytes()), "%p, %zu bytes: the page behind", (void *)p,
           size);
    for (char *at = first; at <= last; at += page_bytes())
        CHECK(can_touch(at));
}

/* All cells, in turn; of what is freed nothing can be touched. */
static void check_cells(void)
{
    for (size_t i = 0; i < 600; i++) {
        size_t size = i % 20 == 0 ? LARGE : SIZE;
        char *p = take_it(size);

        check_object(p, size);
        free(p);
        CHECK(!can_touch(p) && !can_touch(p + size - 1));
    }
    CHECK(family.verify() == 0);
}

static void overflow(char *p)
{
    write_it(first_page_of(p + SIZE) + page_bytes());
    free(p);
}

static void underflow(char *p)
{
    read_it(first_page_of(p) - 1);
    free(p);
}

static void use_after_free(char *p)
{
    free(p);
    write_it(p + 5);
}

static void far_after_free(char *p)
{
    char *large = take_it(LARGE);

    free(p);
    free(large);
    for (int i = 0; i < 3; i++)
        write_it(large + (size_t)i * 2 * page_bytes());
}

static void free_again(char *p)
{
    free(p);
    free(p);
    family.free_sized(p, SIZE);
}

static void free_within(char *p)
{
    free(p + 16);
    family.free_sized(p + 16, SIZE - 16);
    free(first_page_of(p) - 16);
    free(p);
}

static void write_behind(char *p)
{
    p[SIZE] = 1; /* what an alignment leaves */
    free(p);
}

static void nearly_all(void (*misuse)(char *))
{
    for (int i = 0; i < 8; i++) { /* two of which lie at their page's start */
        char *before = take_it(SIZE), *p = take_it(SIZE), *behind = take_it(SIZE);

        misuse(p);
        free(before);
        free(behind);
    }
}

static void (*const misuses[])(char *) = {overflow,      underflow,   use_after_free,
                                          free_again,    free_within, write_behind,
                                          far_after_free};

/* Every kind, twice. */
static void misuse_all(void)
{
    for (size_t i = 0; i < 2 * sizeof misuses / sizeof *misuses; i++)
        misuses[i / 2](take_it(SIZE));
}

void goes_on_with_the_rest(void)
{
    CHECK(pipe(ends) == 0);
    for (size_t i = 0; i < sizeof misuses / sizeof *misuses; i++) {
        nearly_all(misuses[i]);
        check_cells();
    }
    went_on();
}

/* ---- two threads open one page ---- */

static struct user {
    _Atomic pid_t id;
    char *at;
} users[2];
static atomic_bool may_use;

static void *use_it(void *user)
{
    ((struct user *)user)->id = gettid();
    while (!may_use)
        sched_yield();
    write_it(((struct user *)user)->at);
    return NULL;
}

/* It waits, for no processor. Nothing is taken here. */
static bool waits(const struct user *user)
{
    char text[256];
    ssize_t got;
    int file;

    snprintf(text, sizeof text, "/proc/self/task/%d/stat", (int)user->id);
    file = open(text, O_RDONLY);
    got = read(file, text, sizeof text - 1);
    close(file);
    CHECK(got > 0);
    text[got] = '\0';
    return strstr(text, ") S ") != NULL;
}

/*
 * The first one's report has to wait for a full pipe, which becomes empty when the second one
 * has come to the same page.
 */
void goes_on_in_threads(void)
{
    static char full[1 << 20];
    int said = dup(STDERR_FILENO);
    pthread_t thread[2];

    users[0].at = users[1].at = take_and_free();
    for (int i = 0; i < 2; i++)
        CHECK(!pthread_create(&thread[i], NULL, use_it, &users[i]));
    CHECK(pipe(ends) == 0 && fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    while (write(ends[1], full, 4096) > 0)
        ;
    CHECK(fcntl(ends[1], F_SETFL, 0) == 0 && dup2(ends[1], STDERR_FILENO) >= 0);
    while (users[0].id == 0 || users[1].id == 0)
        sched_yield();
    may_use = true;
    while (!waits(&users[0]) || !waits(&users[1]))
        sched_yield();
    CHECK(dup2(said, STDERR_FILENO) >= 0 && read(ends[0], full, sizeof full) > 0);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    CHECK(pipe(ends) == 0);
    check_cells();
    went_on();
}

/* ---- fork: what one opens is closed in the other ---- */

void goes_on_in_a_child(void)
{
    char *p = take_it(SIZE), *freed = take_it(SIZE);
    int status;

    CHECK(pipe(ends) == 0);
    free(freed);
    misuse_all();
    if (fork() == 0) {
        write_it(freed);
        misuse_all();
        overflow(p);
        check_cells();
        _exit(can_touch(freed) ? 0 : 1);
    }
    CHECK(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(!can_touch(freed));
    check_object(p, SIZE);
    free(p);
    check_cells();
    went_on();
}

/* ---- a handler of the program's, which misuses objects and never returns ---- */

static sigjmp_buf back;

static void misuse_and_leave(int signal)
{
    misuse_all();
    siglongjmp(back, signal);
}

static void check_handler(int flags)
{
    struct sigaction action = {.sa_handler = misuse_and_leave, .sa_flags = flags};

    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    misuse_all(); /* what it takes brings ours to the front */
    if (!sigsetjmp(back, 1))
        read_it((const char *)opaque(16));
    check_cells();
}

void goes_on_beside_handler(void)
{
    static char other[64 << 10];
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other};

    CHECK(pipe(ends) == 0 && sigaltstack(&stack, NULL) == 0);
    check_handler(SA_ONSTACK | SA_NODEFER);
    check_handler(SA_NODEFER);
    went_on();
}

/* ---- where the kernel refuses to close pages ---- */

/* So many bytes, as it does where there are too many mappings. */
static void refuse_to_close(size_t bytes)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)bytes, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* They are never another object's. */
void pages_that_stay_open(void)
{
    char *large[5];

    CHECK(pipe(ends) == 0);
    refuse_to_close((LARGE + page_bytes() - 1) / page_bytes() * page_bytes());
    for (int i = 0; i < 5; i++)
        large[i] = take_it(LARGE);
    for (int i = 0; i < 5; i++)
        free(large[i]);
    for (int i = 0; i < 600; i++) {
        char *p = take_it(SIZE);

        check_object(p, SIZE);
        for (int k = 0; k < 5; k++)
            CHECK(p < first_page_of(large[k]) || p >= large[k] + LARGE);
        free(p);
    }
    CHECK(can_touch(large[0]) && can_touch(large[4] + LARGE - 1));
    CHECK(family.verify() == 0);
    went_on();
}

/* ---- what cannot go on ---- */

/* The page can be touched then, but no code is run there. */
void jump_after_free(void)
{
    union {
        char *object;
        void (*function)(void);
    } at = {take_and_free()};

    at.function();
}
