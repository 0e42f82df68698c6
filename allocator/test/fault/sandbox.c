/*
 * sandbox.c - a filter of system calls, put on before start or afterwards: what is not on
 * the documented list (mymalloc.3) ends the program, or is refused.
 */
#include "check.h"
#include "family.h"
#include "proc.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#else
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

/* What malloc may ask for after start; then what this program's end needs. */
static const int after_start[] = {SYS_mmap,    SYS_munmap, SYS_mremap,
                                  SYS_madvise, SYS_futex,  -1};
/* In a child of fork, as all here are. */
static const int with_guard[] = {SYS_mprotect, -1};
/* What a helper is made by and runs (mymalloc.3); the last one is of this program. */
static const int of_helper[] = {SYS_clone,
                                SYS_clone3,
                                SYS_rt_sigaction,
                                SYS_mprotect,
                                SYS_set_robust_list,
                                SYS_rseq,
                                SYS_gettid,
                                SYS_prctl,
                                SYS_fstat,
                                SYS_fstatfs,
                                SYS_close_range,
                                SYS_openat,
                                SYS_read,
                                SYS_write,
                                SYS_close,
                                SYS_pread64,
                                SYS_ppoll,
                                SYS_sched_getaffinity,
                                SYS_sched_setaffinity,
                                SYS_clock_nanosleep,
                                -1};
static const int reads[] = {SYS_openat, SYS_read,       SYS_close,
                            SYS_fstat,  SYS_newfstatat, -1};
static const int without_extras[] = {SYS_mmap, SYS_munmap, SYS_futex, -1};
static const int without_munmap[] = {SYS_mmap, SYS_madvise, SYS_futex, -1};
/* The last one is the kernel's: who was stopped, or frozen, in a nap goes on with that. */
static const int ends[] = {
    SYS_exit,           SYS_exit_group,      SYS_write, SYS_rt_sigreturn,
    SYS_rt_sigprocmask, SYS_restart_syscall, -1};
/* What ld.so and libc do until main, and the C library's own use of memory. */
static const int starts[] = {
    SYS_execve,
    SYS_brk,
    SYS_rt_sigaction,
    SYS_mprotect,
    SYS_openat,
    SYS_read,
    SYS_pread64,
    SYS_close,
    SYS_newfstatat,
    SYS_fstat,
    SYS_set_tid_address,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_prlimit64,
    SYS_getrandom,
    SYS_ioctl,
    SYS_getpid, /* of this program */
#if defined(__x86_64__)
    SYS_access,
    SYS_arch_prctl,
    SYS_readlink,
#endif
    SYS_faccessat,
    SYS_readlinkat,
    -1,
};

#define ROOM 64
static struct sock_filter code[3 + 2 * ROOM];

static unsigned short allow(unsigned short used, const int *calls)
{
    for (; *calls >= 0; calls++) {
        CHECK(used + 3u < sizeof(code) / sizeof(*code));
        code[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                    (unsigned)*calls, 0, 1);
        code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    return used;
}

/* Of all threads. `otherwise`: what becomes of a call that is on none of the lists. */
static void put_on(unsigned otherwise, const int *calls, const int *more)
{
    unsigned short used = 0;
    struct sock_fprog program = {0, code};

    code[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                offsetof(struct seccomp_data, nr));
    used = allow(used, calls);
    used = allow(used, ends);
    if (more)
        used = allow(used, more);
    code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
    program.len = used;
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                  &program) == 0);
}

/* ---- work of every kind ---- */

static void use(unsigned char *p, size_t size)
{
    CHECK(p);
    p[0] = p[size - 1] = 1;
}

/*
 * Small objects up to `mib`, twice, freed in another order; some large and huge ones. Those are
 * copied whole where the kernel cannot move them, so the largest are of who has many small ones.
 */
static void work(size_t mib)
{
    size_t count = mib << 10, last = (size_t)(mib < 10 ? 40 : 90) << 20;
    void **objects = calloc(count, sizeof(*objects));
    unsigned char *huge;

    CHECK(objects);
    for (int round = 0; round < 2; round++) {
        size_t most = mib < 10 || round > 0 ? 3000000 : 30000000;

        for (size_t i = 0; i < count; i++) {
            size_t size = 16 + i * 37 % 2000;

            objects[i] = malloc(size);
            use(objects[i], size);
        }
        for (size_t i = 0; i < count; i++) {
            free(objects[i * 7 % count]);
            objects[i * 7 % count] = NULL;
        }
        for (size_t i = 0; i < count; i++)
            free(objects[i]), objects[i] = NULL;
        for (size_t size = 3000; size < most; size += size / 2) {
            unsigned char *p = malloc(size);

            use(p, size);
            p = realloc(p, size * 2);
            use(p, size * 2);
            free(p);
        }
        huge = malloc((size_t)40 << 20);
        use(huge, (size_t)40 << 20);
        huge = realloc(huge, last);
        use(huge, last);
        free(huge);
        malloc_trim(0);
        CHECK(malloc(SIZE_MAX / 4) == NULL);
    }
    free(objects);
}

static atomic_int waiting, filtered;

static void *work_beside(void *unused)
{
    free(malloc(100));
    waiting++;
    while (!filtered)
        ;
    for (int i = 0; i < 2; i++)
        work(2);
    waiting--;
    return unused;
}

/* No join: that is libc's business, and it may unmap or call what it likes. */
static void work_in_filter(unsigned otherwise, const int *calls)
{
    static const size_t mib[] = {1, 10, 70};
    pthread_t thread;

    for (int i = 0; i < 3; i++)
        CHECK(!pthread_create(&thread, NULL, work_beside, NULL));
    while (waiting < 3)
        ;
    put_on(otherwise, calls,
           calls == after_start && getenv("MYMALLOC_GUARD") ? with_guard : NULL);
    filtered = 1;
    for (int i = 0; i < (is_slow() ? 1 : 3); i++)
        work(mib[i]);
    while (waiting > 0)
        ;
    _exit(0);
}

static void in_child_of(void (*what)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        what();
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
}

static void kill_all_else(void)
{
    work_in_filter(SECCOMP_RET_KILL_PROCESS, after_start);
}

static void refuse_all_else(void)
{
    work_in_filter(SECCOMP_RET_ERRNO | EPERM, after_start);
}

static void refuse_extras(void)
{
    work_in_filter(SECCOMP_RET_ERRNO | ENOSYS, without_extras);
}

/* A dense heap that is kept and then freed: the helper makes huge pages, and gives memory back. */
static void be_helped(void)
{
    static void *objects[100 << 10];
    size_t count = sizeof(objects) / sizeof(*objects);

    put_on(SECCOMP_RET_KILL_PROCESS, after_start, of_helper);
    for (size_t i = 0; i < count; i++) {
        objects[i] = malloc(1000);
        use(objects[i], 1000);
    }
    work(2);
    nanosleep(&(struct timespec){4, 0}, NULL);
    for (size_t i = 0; i < count; i++)
        free(objects[i]);
    nanosleep(&(struct timespec){4, 0}, NULL);
    _exit(0);
}

/* ---- calls that a handler of the program's answers, as those of browsers do ---- */

#if defined(__x86_64__)
#define SET_RESULT(context, value) (context)->uc_mcontext.gregs[REG_RAX] = (value)
#else
#define SET_RESULT(context, value) \
    (context)->uc_mcontext.regs[0] = (unsigned long)(value)
#endif

static const int of_threads[] = {SYS_clone,           SYS_clone3, SYS_rt_sigaction,
                                 SYS_mprotect,        SYS_rseq,   SYS_set_robust_list,
                                 SYS_clock_nanosleep, SYS_gettid, -1};

static atomic_int of_others;
static pid_t first;

static void refuse(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    SET_RESULT((ucontext_t *)context, -EPERM);
    of_others += syscall(SYS_gettid) != first;
}

static void be_refused_by_a_handler(void)
{
    struct sigaction action = {.sa_sigaction = refuse, .sa_flags = SA_SIGINFO};

    first = (pid_t)syscall(SYS_gettid);
    CHECK(!sigaction(SIGSYS, &action, NULL));
    put_on(SECCOMP_RET_TRAP, after_start, of_threads);
    work(10);
    nanosleep(&(struct timespec){2, 0}, NULL);
    for (int naps = 0; of_others == 0 && naps < 60; naps++) /* others have the CPUs */
        nanosleep(&(struct timespec){1, 0}, NULL);
    CHECK(of_others > 0);
    _exit(0);
}

static void exec_in_filter(unsigned otherwise, const int *calls)
{
    put_on(otherwise, calls, starts);
    execl("/proc/self/exe", "sandbox", "unfiltered", NULL);
    _exit(9);
}

static void exec_killed_for_others(void)
{
    exec_in_filter(SECCOMP_RET_KILL_PROCESS, after_start);
}

static void exec_without_munmap(void)
{
    exec_in_filter(SECCOMP_RET_ERRNO | ENOMEM, without_munmap);
}

/* madvise says 0 and does nothing, as under qemu-user before 7.1. */
static void exec_unheard(void)
{
    static struct sock_filter unheard[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(unheard) / sizeof(*unheard), unheard};

    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    execl("/proc/self/exe", "sandbox", "unfiltered", "freed_memory_is_zero_again",
          NULL);
    _exit(9);
}

static void take_and_free_mappings(size_t count)
{
    while (count-- > 0) {
        unsigned char *object = malloc((size_t)40 << 20);

        use(object, (size_t)40 << 20);
        free(object);
    }
}

/* One that has a fence, in the hardened build, and many that have none. */
static void go_without_protection(void)
{
    static unsigned char *spans[100];
    unsigned char *fenced = malloc((size_t)40 << 20);
    unsigned char *grown =
        realloc(malloc(3000000), 300000); /* there is room behind it */
    size_t before;

    use(fenced, (size_t)40 << 20);
    use(grown, 300000);
    for (unsigned i = 0; i < 100; i++)
        use(spans[i] = malloc(1 << 20), 1 << 20);
    before = status_kib("VmSize");
    put_on(SECCOMP_RET_ERRNO | EPERM, after_start, reads);
    free(fenced);
    CHECK((grown = realloc(grown, 3000000)));
    memset(grown, 1, 3000000); /* no page of it is the former fence */
    free(grown);
    for (unsigned i = 0; i < 100; i++)
        free(spans[i]); /* which can lose neither fence nor access: they are unmapped */
    CHECKF(!getenv("TEST_SECURE") || status_kib("VmSize") + (90 << 10) <= before,
           "%zu KiB, %zu before", status_kib("VmSize"), before);
    take_and_free_mappings(2);
    before = status_kib("VmSize");
    take_and_free_mappings(20);
    CHECKF(status_kib("VmSize") <= before + (80 << 10), "%zu KiB, %zu before",
           status_kib("VmSize"), before);
    _exit(0);
}

/* ---- cases ---- */

static void killed_for_others(void)
{
    in_child_of(kill_all_else);
}

static void others_are_refused(void)
{
    in_child_of(refuse_all_else);
}

/* Without madvise and mremap: slower, that is all. */
static void extras_are_refused(void)
{
    in_child_of(refuse_extras);
}

static void helper_calls_what_is_told(void)
{
    if (getenv("MYMALLOC_BACKGROUND"))
        in_child_of(be_helped);
}

static void helper_is_refused_by_a_handler(void)
{
    if (getenv("MYMALLOC_BACKGROUND"))
        in_child_of(be_refused_by_a_handler);
}

/* Address space comes back where no page can be protected. */
static void protection_is_refused(void)
{
    in_child_of(go_without_protection);
}

/* A filter of before the start, which knows nothing but libc's own needs. */
static void filtered_before_start(void)
{
    in_child_of(exec_killed_for_others);
    in_child_of(exec_without_munmap);
}

static void unfiltered(void)
{
    work(10);
}

/* Large ones have a page that nobody may read when they are freed. */
static void free_written(unsigned char *object, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *middle = object + size / 2;
    bool closed = size >= (1 << 20) && !getenv("TEST_SECURE");

    memset(object, 0xff, size);
    middle -= (uintptr_t)middle % page;
    CHECK(!closed || !mprotect(middle, page, PROT_NONE));
    free(object);
    if (closed) /* it may be unmapped */
        mprotect(middle, page, PROT_READ | PROT_WRITE);
}

static void freed_memory_is_zero_again(void)
{
    static const size_t sizes[] = {100, 5000, 30000, 300000, 1 << 20, 40 << 20};
    enum { SIZES = sizeof(sizes) / sizeof(*sizes), BYTES = 48 << 20 };
    static unsigned char *objects[BYTES / 100];

    for (int i = 0; i < SIZES; i++) {
        size_t count = BYTES / sizes[i], not_zero = 0;

        for (size_t j = 0; j < count; j++)
            CHECK((objects[j] = malloc(sizes[i])));
        for (size_t j = 0; j < count; j++)
            free_written(objects[j], sizes[i]);
        malloc_trim(0);
        for (size_t j = 0; j < count; j++)
            CHECK((objects[j] = calloc(1, sizes[i])));
        for (size_t j = 0; j < count; j++) {
            for (size_t at = 0; at < sizes[i]; at++)
                not_zero += objects[j][at] != 0;
            free(objects[j]);
        }
        CHECKF(not_zero == 0, "%zu bytes of objects of %zu", not_zero, sizes[i]);
    }
}

static void advice_is_not_followed(void)
{
    in_child_of(exec_unheard);
}

const struct test tests[] = {
    {"unfiltered", unfiltered},
    {"freed_memory_is_zero_again", freed_memory_is_zero_again},
    {"advice_is_not_followed", advice_is_not_followed},
    {"killed_for_others", killed_for_others},
    {"others_are_refused", others_are_refused},
    {"extras_are_refused", extras_are_refused},
    {"helper_calls_what_is_told", helper_calls_what_is_told},
    {"helper_is_refused_by_a_handler", helper_is_refused_by_a_handler},
    {"protection_is_refused", protection_is_refused},
    {"filtered_before_start", filtered_before_start},
    {NULL, NULL},
};
