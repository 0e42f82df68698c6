/*
 * limit.c - how much memory there may be, and what is tried when it runs short.
 *
 * Locking: none of its own. Files are read, and much is given back, so no lock is held.
 */
#include "alloc/alloc.h"
#include "alloc/info.h"

#include "os/os.h"

static size_t own_limit = SIZE_MAX; /* MYMALLOC_LIMIT */

static size_t near_own(void)
{
    return own_limit / 8 * 7;
}

/* No address space that a program can have is larger. */
#define ADDRESS_BITS 48

/*
 * The limit has room for it beside what is alive, and what the heap could give back is
 * enough by itself, or together with what the kernel grants now: for what an alignment skips,
 * too. Without this question a hopeless request would cost a program its caches.
 */
static bool can_help(size_t size, size_t skipped)
{
    static const size_t slack = 2 * MYM_CHUNK; /* rounding up */
    size_t live, idle = mym_idle_bytes(&live) + slack, bytes = size + skipped, more;
    void *probe;

    if ((size | skipped) >> ADDRESS_BITS != 0 || size > own_limit ||
        live > own_limit - size)
        return false;
    if (skipped > 0 &&
        !mym_pages_could_hold(bytes)) /* no mapping of its own: large.c */
        return false;
    if (bytes <= idle)
        return idle > slack;
    more = mym_round_up(bytes - idle, MYM_UNIT);
    probe = mym_os_map(more);
    if (probe != NULL)
        mym_os_unmap(probe, more);
    return probe != NULL;
}

MYM_COLD bool mym_relieve(size_t size, size_t alignment)
{
    if (!can_help(size, alignment <= MYM_UNIT ? 0 : alignment))
        return false;
    mym_trim(0);
    return true;
}

/*
 * A container's limit counts the program's own code, data, stacks and page tables, too, of which
 * the heap knows nothing, and what it has in huge pages beyond its objects: an eighth is left to
 * these, but not less than this, or a quarter where that is less.
 */
#define LEFT_LEAST ((size_t)12 << 20)

static size_t near_group(size_t limit)
{
    size_t left = LEFT_LEAST < limit / 4 ? LEFT_LEAST : limit / 4;

    return limit - (left > limit / 8 ? left : limit / 8);
}

/*
 * A container's limit does not make requests fail, for what is asked for may never be
 * touched; near it, nothing free stays resident.
 */
void mym_limit_read(void)
{
    size_t near =
        near_group(mym_os_memory_limit("/proc/self/cgroup", "/sys/fs/cgroup"));

    mym_pages_set_limit(own_limit, near < near_own() ? near : near_own());
}

/* Of a limit of address space so much stays idle at most, four times that while the program swings. */
#define SPACE_PART 16

size_t mym_limit_space(size_t keep, bool may_read)
{
    size_t limit = mym_os_space_limit();

    if (limit != SIZE_MAX ||
        (may_read && mym_os_counts_mapped("/proc/sys/vm/overcommit_memory")))
        mym_pages_set_scarce();
    return keep < limit / SPACE_PART ? keep : limit / SPACE_PART;
}

void mym_limit_set(size_t bytes)
{
    own_limit = bytes;
    mym_pages_set_limit(own_limit, near_own());
}
