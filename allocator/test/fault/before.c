/*
 * before.c - a library to preload: the kernel is one from before Linux 5.14, which takes none of
 * the advice that came since: to populate (5.14), to give locked pages back (5.18), to collapse
 * (6.1). Debian 11, Ubuntu 20.04 and RHEL 8 have such.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MADV_FIRST_NEW 22
#define MADV_HARDWARE  100 /* the numbers from here on are old */

static struct sock_filter before[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 4),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, MADV_HARDWARE, 2, 0),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, MADV_FIRST_NEW, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

__attribute__((constructor)) static void start(void)
{
    struct sock_fprog program = {sizeof before / sizeof *before, before};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        printf("SKIP: no seccomp filter\n");
        fflush(stdout);
        _exit(77);
    }
}
