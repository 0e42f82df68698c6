/* kernel.c - which arm64 kernels do not restart sequences, by what they say of themselves. */
#include "check.h"

#include "os/os.h"

#include <sys/auxv.h>
#include <sys/utsname.h>

#define BUILT_BY_DEBIAN                                                              \
    " (debian-kernel@lists.debian.org) (aarch64-linux-gnu-gcc-15 (Debian 15.2.0-4) " \
    "15.2.0, GNU ld (GNU Binutils for Debian) 2.45) #1 SMP "
#define BUILT_BY_UBUNTU                                                              \
    " (buildd@bos03-arm64-045) (aarch64-linux-gnu-gcc-13 (Ubuntu 13.2.0-23ubuntu4) " \
    "13.2.0, GNU ld (GNU Binutils for Ubuntu) 2.42) #31-Ubuntu SMP PREEMPT_DYNAMIC "

static const struct {
    const char *version, *signature;
    int is_unsafe;
} kernels[] = {
    /* as upstream names them, by /proc/version and by uname */
    {"Linux version 6.18.12 (root@host) (gcc (GCC) 15.1.0) #1 SMP PREEMPT", "", 0},
    {"Linux version 6.19.0 (root@host) (gcc (GCC) 15.1.0) #1 SMP PREEMPT", "", 1},
    {"6.18.99", "", 0},
    {"6.19.0-rc1", "", 1},
    {"6.19.14", "", 1},
    {"7.0.0", "", 1},
    {"7.0.0-rc7", "", 1},
    {"7.0.9", "", 1},
    {"7.0.13", "", 1},
    {"7.0.14", "", 0},
    {"7.0.140", "", 0},
    {"7.1.0-rc2", "", 1},
    {"7.1.0", "", 0},
    {"7.1.3", "", 0},
    {"7.10.0-rc1", "", 0},
    {"6.2.0", "", 0},
    {"6.1.119", "", 0},
    {"5.19.17", "", 0},
    {"10.0.3", "", 0},
    /* built at home with Debian's compiler */
    {"Linux version 7.0.3 (me@host) (gcc (Debian 12.2.0-14) 12.2.0, GNU ld (GNU "
     "Binutils "
     "for Debian) 2.40) #3 SMP PREEMPT Sat May  2 11:02:13 UTC 2026",
     "", 1},
    /* Debian: 12 names an ABI, 13 the version */
    {"Linux version 6.1.0-28-arm64" BUILT_BY_DEBIAN "Debian 6.1.119-1 (2024-11-22)", "",
     0},
    {"Linux version 6.12.48+deb13-arm64" BUILT_BY_DEBIAN
     "PREEMPT_DYNAMIC Debian 6.12.48-1 (2025-09-20)",
     "", 0},
    {"Linux version 7.0.0-2-arm64" BUILT_BY_DEBIAN "Debian 7.0.9-1 (2026-05-20)", "",
     1},
    {"Linux version 7.0.0-3-arm64" BUILT_BY_DEBIAN "Debian 7.0.14-1 (2026-07-01)", "",
     0},
    {"Linux version 6.19.6+deb14-arm64" BUILT_BY_DEBIAN
     "PREEMPT_DYNAMIC Debian 6.19.6-1 (2026-03-08)",
     "", 1},
    /* Ubuntu: the signature ends with upstream's version */
    {"Linux version 6.8.0-31-generic" BUILT_BY_UBUNTU,
     "Ubuntu 6.8.0-31.31-generic 6.8.1\n", 0},
    {"Linux version 7.0.0-14-generic" BUILT_BY_UBUNTU,
     "Ubuntu 7.0.0-14.14-generic 7.0.0\n", 1},
    {"Linux version 7.0.0-40-generic" BUILT_BY_UBUNTU,
     "Ubuntu 7.0.0-40.40-generic 7.0.14\n", 0},
    {"Linux version 7.0.0-1010-aws" BUILT_BY_UBUNTU,
     "Ubuntu 7.0.0-1010.10-aws 7.0.12\n", 1},
    /* others */
    {"Linux version 6.19.7-300.fc44.aarch64 (mockbuild@host) (gcc (GCC) 16.0.1) #1 SMP",
     "", 1},
    {"Linux version 7.0.14-1-default (geeko@buildhost) (gcc (SUSE Linux) 15.2.0) #1 "
     "SMP",
     "", 0},
    {"Linux version 6.12.34+rpt-rpi-v8 (serge@raspberrypi.com) "
     "(aarch64-linux-gnu-gcc-12 "
     "(Debian 12.2.0-14+deb12u1) 12.2.0) #1 SMP PREEMPT Debian "
     "1:6.12.34-1+rpt1~bookworm "
     "(2025-06-26)",
     "", 0},
    {"Linux version 6.19.3+rpt-rpi-v8 (serge@raspberrypi.com) "
     "(aarch64-linux-gnu-gcc-12 "
     "(Debian 12.2.0-14+deb12u1) 12.2.0) #1 SMP PREEMPT Debian 1:6.19.3-1+rpt1 "
     "(2026-03-01)",
     "", 1},
    {"6.12.23-android16-5-g1234567", "", 0},
    {"", "", 0},
    {"Linux version", "", 0},
};

static void strings(void)
{
    for (size_t i = 0; i < sizeof(kernels) / sizeof(*kernels); i++)
        CHECKF(mym_os_is_unsafe_arm64(kernels[i].version, kernels[i].signature) ==
                   kernels[i].is_unsafe,
               "%s | %s", kernels[i].version, kernels[i].signature);
}

/* Elsewhere there is nothing to ask. */
static void this_kernel(void)
{
#if !defined(__aarch64__)
    CHECK(mym_os_can_restart());
#endif
}

/* The vDSO has upstream's, a distribution's name the same two numbers. */
static void version_is_known(void)
{
    struct utsname name;
    unsigned major, minor;

    if (getauxval(AT_SYSINFO_EHDR) == 0) {
        printf("SKIP: there is no vDSO\n");
        return;
    }
    CHECK(uname(&name) == 0);
    CHECK(sscanf(name.release, "%u.%u", &major, &minor) == 2);
    CHECKF(mym_os_linux() >> 8 == MYM_OS_LINUX(major, minor) >> 8, "%x for %s",
           mym_os_linux(), name.release);
}

const struct test tests[] = {{"strings", strings},
                             {"this_kernel", this_kernel},
                             {"version_is_known", version_is_known},
                             {NULL, NULL}};
