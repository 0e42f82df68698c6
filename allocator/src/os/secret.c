/*
 * secret.c - numbers that nobody outside of the process knows, for the hardened build.
 */
#include "os/os.h"

#include "base/secure.h"

#include <sys/auxv.h>

#include <string.h>

MYM_FIXED uint64_t mym_secret[4] = {1, 1, 1, 1};

/*
 * From the 16 random bytes that the kernel gives each program, of which libc makes its own
 * canaries: no system call is needed, which a sandbox might forbid.
 */
void mym_os_draw_secret(void)
{
    const void *bytes = (const void *)getauxval(AT_RANDOM); /* NOLINT */
    uint64_t random[2] = {(uintptr_t)__builtin_frame_address(0),
                          (uintptr_t)&mym_secret};

    if (bytes != NULL)
        memcpy(random, bytes, sizeof random);
    for (unsigned i = 0; i < 3; i++) {
        random[0] += MYM_GOLDEN;
        mym_secret[i] = mym_mix(mym_mix(random[0]) ^ random[1]);
    }
    mym_secret[0] |= 1;
    mym_secret[1] |= 1; /* a factor and an increment */
    mym_secret[2] |= 0x0101010101010101u;
    mym_secret[3] = mym_secret[2];
}
