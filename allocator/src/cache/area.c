/*
 * area.c - the rseq area of a thread whose C library registers none: that of musl, and of
 * glibc before 2.35.
 *
 * It is part of the thread's TLS, so at one distance from every thread pointer. While it is
 * not registered its ids are MYM_NO_ID, whose cache is closed: the fast paths fall to the
 * slow one, which registers the thread once. Threads that the kernel refuses go to the pools.
 *
 * The kernel writes to the area whenever it goes on with the thread, and musl unmaps the TLS
 * of a detached thread from within it. So a pthread key's destructor takes the area back
 * while it is there; what frees later, in other destructors or musl itself, meets the closed
 * cache again. The child of a fork keeps its area, and the kernel its registration.
 *
 * Where libc has areas, and with caches per thread, this is a stand-in: nobody registers it.
 *
 * Locking: none; an area is its thread's.
 */
#include "cache/cache.h"

#include "os/os.h"

#include <pthread.h>

/* struct rseq of <linux/rseq.h>, as long as it was in the first kernel that had it. */
static __thread struct area {
    uint32_t cpu_id_start;
    uint32_t cpu_id;
    uint64_t rseq_cs;
    uint32_t flags;
    uint32_t node_id;
    uint32_t mm_cid;
    uint32_t unused;
} area __attribute__((tls_model("initial-exec"), aligned(32))) = {.cpu_id = MYM_NO_ID,
                                                                  .mm_cid = MYM_NO_ID};

/* REFUSED while it is being asked for, by the kernel, and when the thread ends. */
static __thread enum {
    UNKNOWN,
    REFUSED,
    REGISTERED
} answer __attribute__((tls_model("initial-exec")));

static pthread_key_t key;
static bool started;

intptr_t mym_area_offset(void)
{
    char *place = (char *)&area;

    /* Else gcc folds the subtraction into an access that ld cannot relax (-flto). */
    __asm__("" : "+r"(place));
    return place - (char *)__builtin_thread_pointer();
}

/* Both ids of an area that is taken back are the kernel's, -1 and 0, which lead anywhere. */
static void end_thread(void *unused)
{
    uint64_t signals;

    (void)unused;
    if (answer != REGISTERED)
        return;
    answer = REFUSED;
    signals = mym_os_block_signals(); /* whose handlers may allocate */
    mym_os_rseq(&area, true, MYM_RSEQ_SIGNATURE);
    area.cpu_id = area.mm_cid = MYM_NO_ID;
    mym_os_restore_signals(signals);
}

MYM_COLD bool mym_area_register(void)
{
    if (!started || answer != UNKNOWN)
        return false;
    answer = REFUSED; /* for handlers, and for what setspecific may allocate */
    if (pthread_setspecific(key, &area) != 0)
        return false;
    area.rseq_cs = 0; /* as rseq(2) wants it; the sequences write it in any case */
    if (!mym_os_rseq(&area, false, MYM_RSEQ_SIGNATURE))
        return false;
    answer = REGISTERED;
    return true;
}

bool mym_area_start(void)
{
    if (!started)
        started = pthread_key_create(&key, end_thread) == 0;
    return mym_area_register();
}
