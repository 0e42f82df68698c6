/*
 * still.c - no second passes while a test runs, however long the machine keeps it waiting: what is
 * done each second is done where the test does it.
 *
 * For programs that link the allocator statically with -Wl,--wrap=mym_os_coarse_ms.
 */
#include "os/os.h"

uint64_t __wrap_mym_os_coarse_ms(void);
uint64_t __wrap_mym_os_coarse_ms(void)
{
    return 1000000;
}
